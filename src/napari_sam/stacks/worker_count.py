"""How many worker processes a machine has room for."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from napari_sam.stacks.work_units import BatchJob

__all__ = ["choose_workers"]

WORKER_BYTES: Final = 3 << 29
"""Memory that a worker with a small model and small images takes."""


def choose_workers(job: BatchJob, units: int) -> int:
    """How many processes suit this machine.

    One where there is a GPU, which is shared badly; else one per core, as far as memory goes.

    Parameters
    ----------
    job : BatchJob
    units : int
        That are to be done.
    """
    if job.device not in ("auto", "cpu"):
        return 1
    if job.device == "auto" and _has_gpu():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    room = max(1, _free_memory() // (WORKER_BYTES + 2 * _model_bytes(job.model)))
    return max(1, min(cores // job.threads, units, room))


def _has_gpu() -> bool:
    """Whether "auto" is likely to find one; torch, which knows, takes seconds to load."""
    return shutil.which("nvidia-smi") is not None or sys.platform == "darwin"


def _free_memory() -> int:
    """Bytes that processes may take, roughly; plenty where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 1 << 40


def _model_bytes(name: str) -> int:
    from napari_sam.inference.registry import find_card

    card = find_card(name)
    if card is not None:
        return (card.megabytes or 0) * 10**6
    path = Path(name).expanduser()
    return path.stat().st_size if path.is_file() else 0
