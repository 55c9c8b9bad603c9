"""``napari-sam segment``: label images of whole files, plane by plane."""

from __future__ import annotations

import argparse
import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.console import complain, describe, make_bar, run_job, say
from napari_sam.cli.image_files import ImageStack, pick_channels, read_image
from napari_sam.cli.output_files import expand_inputs, name_outputs, write_labels
from napari_sam.errors import SamError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tqdm import tqdm

__all__ = ["METHODS", "add_command", "add_model_options", "read_channels", "run_segment"]

METHODS = ("auto", "instances", "grid")

_EPILOG = """\
examples:
  napari-sam segment nuclei.tif --out labels
  napari-sam segment scans/ stack.tif --out labels --method instances --device cuda
  napari-sam segment "day1/*.tif" --out labels --channels 2,0 --overwrite

NAME.tif gives NAME_labels.tif: int32, 0 is the background. Of a stack (time, z ...) each plane is segmented
on its own. A file that cannot be read is reported and the others go on; the exit code is then 2.
"""

_log = logging.getLogger(__name__)


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "segment",
        help="segment image files into label images",
        description="Segment every object of image files, and write label images.",
        epilog=_EPILOG,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the label images")
    add_model_options(parser)
    parser.add_argument(
        "--channels", type=read_channels, metavar="N,N", help="channels to use, from 0, at most three"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace label images that exist")
    parser.set_defaults(run=run_segment)
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose model, method and device."""
    parser.add_argument(
        "--model", default="nuclei", help="a name that `napari-sam models` lists, or a checkpoint file"
    )
    parser.add_argument(
        "--method", default="auto", choices=METHODS, help="how to find objects (default: auto)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def read_channels(text: str) -> tuple[int, ...]:
    """Read "2,0" as (2, 0).

    Raises
    ------
    argparse.ArgumentTypeError
        When it is not one to three different numbers from 0.
    """
    try:
        channels = tuple(int(part) for part in text.split(","))
    except ValueError:
        channels = ()
    if not 1 <= len(channels) <= 3 or min(channels) < 0 or len(set(channels)) != len(channels):
        raise argparse.ArgumentTypeError(f"expected one to three different numbers like 0,1, got {text!r}")
    return channels


def run_segment(options: argparse.Namespace) -> int:
    """Segment all files; 2 when one of them could not be, else 0."""
    inputs = expand_inputs(options.images)
    if not inputs:
        complain("error: no image files found; name files, or a folder that holds images")
        return 2
    outputs = name_outputs(inputs, options.out)

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.checkpoints import load_model

    model = load_model(options.model, device=options.device)
    failed = 0
    with make_bar(len(inputs), "file") as bar:
        for source, target in zip(inputs, outputs, strict=True):
            try:
                if target.exists() and not options.overwrite:
                    raise FileExistsError(17, "exists already; add --overwrite to replace it", str(target))
                stack = pick_channels(read_image(source), options.channels)
                # A cache of its own for each file: no embedding of a file is ever wanted again.
                labels = _segment_planes(stack, CachedPredictor(model), options.method, bar, source.name)
                axes = stack.axes.removesuffix("C")
                write_labels(target, labels, axes, overwrite=options.overwrite)
            except (SamError, OSError, ValueError, MemoryError) as error:
                failed += 1
                if options.verbose:
                    traceback.print_exc()
                complain(f"error: {source}: {describe(error)}")
            else:
                say(f"{target}  {_count(labels)}")
            bar.update()
    if failed and len(inputs) > 1:
        complain(f"{failed} of {len(inputs)} files failed")
    return 2 if failed else 0


def _segment_planes(
    stack: ImageStack,
    predictor: Any,
    method: str,
    bar: tqdm,
    name: str,
) -> NDArray[np.int32]:
    """(..., Y, X) labels; ids start at 1 in each plane."""
    from napari_sam.inference.segment_image import iter_segment_image

    y = stack.axes.index("Y")
    labels = np.zeros(stack.data.shape[: y + 2], np.int32)
    for index, plane in stack.planes():
        where = f" [{','.join(map(str, index))}]" if index else ""
        labels[index] = run_job(iter_segment_image(plane, predictor, method), bar, name + where)
    return labels


def _count(labels: NDArray[np.int32]) -> str:
    planes = labels.reshape(-1, *labels.shape[-2:])
    total = sum(int(np.count_nonzero(np.unique(plane))) for plane in planes)
    where = f" in {len(planes)} planes" if len(planes) > 1 else ""
    return f"{total} objects{where}"
