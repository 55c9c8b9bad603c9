"""Which engine is fastest for each part of a model here, and how far its masks are from those of float32.

    python benchmarks/engine_accuracy.py [--model nuclei] [--keep]

Runs the job behind ``napari-sam models tune`` and prints all of its trials. With ``--keep`` converted models
and the verdict go to where the program looks for them, as with that command; else to a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from timing import describe_machine, print_table

from napari_sam.inference.checkpoints import load_model
from napari_sam.inference.engines.choice import default_engine_dir
from napari_sam.inference.engines.tuning import iter_tune

if TYPE_CHECKING:
    from napari_sam.inference.engines.verdict import Verdict


def tune(name: str, folder: Path) -> Verdict:
    job = iter_tune(load_model(name, "cpu"), folder)
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            verdict: Verdict = stop.value
            return verdict
        print(f"\r{step.done}/{step.total} {step.description:40s}", end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--keep", action="store_true", help="keep the converted model and the verdict")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        verdict = tune(options.model, default_engine_dir() if options.keep else Path(temporary))
    rows = [
        [
            trial.part,
            trial.engine,
            1000 * trial.seconds,
            trial.ratio,
            trial.median,
            trial.low,
            trial.error,
            "passes" if trial.passes else "fails",
            "chosen" if trial.engine == getattr(verdict, trial.part) else "",
        ]
        for trial in verdict.trials
    ]
    print(f"\r{describe_machine()}")
    head = ["part", "engine", "ms", "ratio", "median IoU", "5th percentile", "rms error", "guard", ""]
    print_table(head, rows)


if __name__ == "__main__":
    main()
