"""``napari-sam train``: train or fine-tune a model on a folder of images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import complain

if TYPE_CHECKING:
    import argparse

__all__ = ["add_command", "run_train"]

_EPILOG = """\
examples:
  napari-sam train --data nuclei/ --config nuclei --out runs/nuclei
  napari-sam train --data nuclei/ --config nuclei --out runs/nuclei --resume --processes 2

The data folder holds index.csv (with the columns id and split), images/ID.png and labels/ID.png; training
uses the rows whose split is "train". A run that was stopped goes on with --resume.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a model",
        description="Train a promptable model on a folder of labelled images.",
        epilog=_EPILOG,
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder with index.csv")
    parser.add_argument("--config", required=True, metavar="NAME", help="name of a training configuration")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for checkpoints and log"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="parallel processes (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.set_defaults(run=run_train)
    return parser


def run_train(options: argparse.Namespace) -> int:
    """Train until the end or Ctrl+C."""
    if options.processes < 1:
        complain(f"error: expected at least one process, got {options.processes}")
        return 2
    if not (options.data / "index.csv").is_file():
        raise FileNotFoundError(2, "no training data: no such file", str(options.data / "index.csv"))

    from napari_sam.training.loop import train

    train(
        options.data,
        options.config,
        options.out,
        resume=options.resume,
        processes=options.processes,
        seed=options.seed,
        device=options.device,
    )
    return 0
