"""``napari-sam train``: train or fine-tune a model on a folder of images and labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import complain, say
from napari_sam.cli.options import add_device_option, add_seed_option, read_positive
from napari_sam.errors import SamError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_command", "run_train"]

_EPILOG = """\
examples:
  napari-sam train --data nuclei/ --config nuclei --out runs/nuclei
  napari-sam train --data nuclei/ --config nuclei --out runs/nuclei --resume --processes 2
  napari-sam train --data cells/ --config nuclei --init nuclei --steps-scale 0.1 --out runs/cells

The data folder holds images/NAME.png and labels/NAME.png (or .tif; NAME_labels.tif will do), and may hold
index.csv with the columns id and split: then only rows of split "train" are used. A tenth of the images is
held out; with a column kind a tenth of each kind. A run that was stopped goes on with --resume. Several
processes on a CPU take one core each.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a model",
        description="Train a promptable model on a folder of labelled images.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="folder with images/ and labels/"
    )
    parser.add_argument("--config", required=True, metavar="NAME", help="name of a training configuration")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for checkpoints and log"
    )
    parser.add_argument(
        "--init", metavar="MODEL", help="start from this model (name or file) instead of random weights"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="parallel processes (default: 1)"
    )
    add_seed_option(parser, "of all random numbers")
    add_device_option(parser)
    parser.add_argument(
        "--steps-scale",
        type=read_positive,
        default=1.0,
        metavar="F",
        help="train F times as long (default: 1)",
    )
    parser.add_argument(
        "--phases",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="NAMES",
        help="only these phases of the recipe, as in joint,plain,scores (default: all)",
    )
    parser.set_defaults(run=run_train)
    return parser


def run_train(options: argparse.Namespace) -> int:
    """Train until the end or Ctrl+C."""
    if options.processes < 1:
        complain(f"error: expected at least one process, got {options.processes}")
        return 2
    if not (options.data / "images").is_dir():
        raise FileNotFoundError(2, "no training data: no such folder", str(options.data / "images"))

    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    from napari_sam.cli.labelled_files import read_labelled_images
    from napari_sam.inference.device import choose_device
    from napari_sam.training.config import choose_phases, read_config
    from napari_sam.training.loop import train

    logging.getLogger("napari_sam.training").setLevel(logging.INFO)  # the steps with losses and time left
    choose_phases(read_config(options.config), options.phases)  # a wrong name is said before images are read
    try:
        finished = train(
            read_labelled_images(options.data),
            options.config,
            options.out,
            resume=options.resume,
            processes=options.processes,
            seed=options.seed,
            device=str(choose_device(options.device)),
            scale=options.steps_scale,
            phases=options.phases,
            init=options.init,
        )
    except ProcessRaisedException as error:
        # The message is the traceback of the child; its last line is the error itself.
        last = str(error).strip().splitlines()[-1]
        raise SamError(f"A training process failed: {last}") from error
    except ProcessExitedException as error:
        raise SamError(f"A training process ended early: {error}; go on with --resume.") from error
    say(str(finished))
    return 0
