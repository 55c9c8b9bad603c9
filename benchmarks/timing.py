"""What the speed benchmarks share: alternating timings, the rate of matrix products, peak memory, a table."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def time_in_turns(
    functions: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True
) -> dict[str, float]:
    """Median seconds of each function; they take turns, so that a busy machine slows all of them alike.

    They are called once before, unless ``warm`` is False. On a CPU these are CPU-seconds, of all threads
    together, which other programs disturb less than the clock; where there is a GPU they are seconds.
    """
    gpu = torch.cuda.is_available()

    def now() -> float:
        if gpu:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    for function in functions.values() if warm else ():
        function()  # the first call allocates and compiles
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = now()
            function()
            found[name].append(now() - start)
    return {name: sorted(values)[len(values) // 2] for name, values in found.items()}


def measure_matmul(dtype: torch.dtype, device: str = "cpu", size: int = 2048) -> float:
    """Rate of a large matrix product, in GFLOP per second of one core or of the GPU."""
    a, b = (torch.randn(size, size, dtype=torch.float32).to(device, dtype) for _ in range(2))
    seconds = time_in_turns({"product": lambda: a @ b}, 5)["product"]
    return 2 * size**3 / seconds / 1e9


def measure_peak_memory() -> float:
    """Largest memory that the process has held so far, in MiB; 0 where the system does not say."""
    try:  # what getrusage says includes the parent process, as it was when this one began
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10


def measure_peak_alone(script: str, *arguments: object) -> float:
    """Largest memory, in MiB, of a process of its own that runs a benchmark's ``--alone`` and prints it."""
    command = [sys.executable, script, "--alone", *map(str, arguments)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


def describe_machine() -> str:
    """One line: processor, threads, PyTorch."""
    name = torch.cpu.get_capabilities().get("cpu_name", "") if hasattr(torch.cpu, "get_capabilities") else ""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return (
        f"{name or platform.processor()} ({capability}), {threads} threads, {gpu}, torch {torch.__version__}"
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    cells = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [list(head), ["-" * width for width in widths], *cells]
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
