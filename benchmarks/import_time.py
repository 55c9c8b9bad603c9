"""How long ``import napari_sam`` takes beside what an empty interpreter takes, and what it must not load.

    python benchmarks/import_time.py [--repeats 9]

Each is a process of its own, in turns; CPU-milliseconds, the median. The goal is 60 ms more than an empty
interpreter, without torch. Ends with 1 where it loads torch, napari or Qt.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

from timing import describe_machine, print_table

GOAL_MS = 60.0
STATEMENTS = {
    "empty interpreter": "",
    "import napari_sam": "import napari_sam",
    "napari_sam.types": "import napari_sam.types",
    "napari_sam.sample_data": "import napari_sam.sample_data",
    "napari_sam.load_model": "import napari_sam; napari_sam.load_model",
}
_HEAVY = "import sys, napari_sam; print(*sorted({'torch', 'napari', 'qtpy', 'scipy'} & set(sys.modules)))"


def _spend(statement: str) -> float:
    """CPU-seconds of an interpreter that runs a statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def find_heavy() -> list[str]:
    """What ``import napari_sam`` loads of what it must not load."""
    found = subprocess.run([sys.executable, "-c", _HEAVY], check=True, capture_output=True, text=True)
    return found.stdout.split()


def measure(repeats: int) -> dict[str, float]:
    """Median CPU-milliseconds of each statement beyond an empty interpreter, whose own come first."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for turn in range(repeats + 1):
        for name, statement in STATEMENTS.items():
            taken = _spend(statement)
            if turn:  # the first reads the files
                times[name].append(1000 * taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    empty = medians["empty interpreter"]
    return {name: taken if not STATEMENTS[name] else taken - empty for name, taken in medians.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    found, heavy = measure(options.repeats), find_heavy()
    print(describe_machine())
    print_table(["what", "CPU-ms, beyond the first"], list(found.items()))
    print(f"goal: {GOAL_MS:.0f} ms for import napari_sam; it loads {', '.join(heavy) or 'nothing heavy'}")
    if heavy:
        sys.exit(1)


if __name__ == "__main__":
    main()
