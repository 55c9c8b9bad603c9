"""``napari-sam prompts``: label images from tables of points, boxes and polygons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import complain, run_job, say
from napari_sam.cli.file_run import FileRun
from napari_sam.cli.input_files import list_inputs
from napari_sam.cli.models import load_with_bar
from napari_sam.cli.options import add_format_option, add_image_options, add_model_option
from napari_sam.cli.output_files import name_outputs
from napari_sam.inference.whole_files import refuse_existing
from napari_sam.stacks.image_io import LABELS_ENDING, open_image, pick_channels

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tqdm import tqdm

    from napari_sam.stacks.prompt_tables import PromptRow

__all__ = ["add_command", "run_prompts"]

_EPILOG = """\
examples:
  napari-sam prompts clicks.csv --images scans/ --out labels
  napari-sam prompts clicks.csv --images stack.tif --out labels --formats tiff,rois
  napari-sam prompts annotations.geojson --images slide.tif --out labels

A CSV table has one line for each point, box, or vertex of a polygon. Its columns:
  file           the image; may be left out for a single one, or for the one that is called like the table
  t, z           the plane of a stack, from 0
  object         a number; lines of one number and plane are one object. Without it each line is one
  kind           point, box or polygon (default: point where there is a row, else box)
  row, col       of a point or a polygon's vertex, in pixels; the first pixel's centre is 0, 0
  r0, c0, r1, c1 of a box
  label          of a point: foreground or 1 (default), background or 0
  ring           of a polygon with holes or in pieces: what lies in an even number of rings is outside
Commas, semicolons and tabs separate; x and y for col and row, and the columns of a Points layer that napari
saved (axis-0 ...) are understood too.
In GeoJSON x and y count from the corner of the first pixel, as in QuPath: features are points, rectangles and
polygons, with the properties file, object, label and kind; plane, or z and t, say which plane (default: the
first). Where objects overlap, pixels belong to the one that comes first in the table.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "prompts",
        help="segment the objects that a table of clicks, boxes and polygons names",
        description="Make label images of the objects that points, boxes and polygons in a table mean.",
        epilog=_EPILOG,
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="a CSV or GeoJSON file")
    parser.add_argument(
        "--images",
        required=True,
        action="append",
        metavar="PATH",
        help="an image, a folder or a pattern; may be given several times",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for what is written")
    add_format_option(parser)
    add_model_option(parser)
    add_image_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(run=run_prompts)
    return parser


def run_prompts(options: argparse.Namespace) -> int:
    """Segment all files that the table names; 2 when one of them could not be, else 0."""
    from napari_sam.stacks.outputs import check_format, list_output_names
    from napari_sam.stacks.prompt_tables import read_prompt_table
    from napari_sam.stacks.prompted_labels import match_images

    for name in options.formats:
        check_format(name)
    rows = read_prompt_table(options.table)
    matched = match_images(rows, list_inputs(options.images), options.table.stem)
    targets = name_outputs(list(matched), options.out)

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.encode_settings import EncodeSettings

    settings = EncodeSettings(object_size=options.object_size)
    predictor = CachedPredictor(load_with_bar(options.model, options.device), settings=settings)
    with FileRun(len(matched), verbose=options.verbose) as run:
        for (source, members), target in zip(matched.items(), targets, strict=True):
            stem = target.with_name(target.stem.removesuffix(LABELS_ENDING))
            with run.file(source):
                outputs = [stem.with_name(name) for name in list_output_names(stem.name, options.formats)]
                refuse_existing(outputs, overwrite=options.overwrite)
                _segment(source, members, predictor, stem, options, run.bar)
    return run.conclude()


def _segment(
    source: Path,
    rows: Sequence[PromptRow],
    predictor: Any,
    stem: Path,
    options: argparse.Namespace,
    bar: tqdm,
) -> None:
    from napari_sam.stacks.outputs import write_outputs
    from napari_sam.stacks.prompted_labels import iter_prompted_labels

    image = open_image(source)
    stack = pick_channels(image, options.channels)
    found = run_job(iter_prompted_labels(stack, rows, predictor), bar, source.name)
    written = write_outputs(
        options.formats,
        stem,
        found.labels,
        axes=found.axes,
        scale=image.scale,
        unit=image.unit,
        records=found.records,
        image=image,
        overwrite=options.overwrite,
    )
    for note in found.notes:
        complain(f"{source}: {note}")
    for path in written:
        say(f"{path}  {len(found.records)} objects")
