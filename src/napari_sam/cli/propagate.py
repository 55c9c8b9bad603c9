"""``napari-sam propagate``: objects of a stack from prompts in some of its planes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_sam.cli.console import complain, make_bar, run_job, say
from napari_sam.cli.models import load_with_bar
from napari_sam.cli.options import add_image_options, add_model_option
from napari_sam.errors import ImageError
from napari_sam.inference.propagation_values import PropagationParams
from napari_sam.inference.whole_files import refuse_existing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_sam.stacks.prompted_stacks import PropagatedLabels

__all__ = ["add_command", "run_propagate"]

LIMITS: Final = ("min_overlap", "max_area_change", "max_regrowth", "min_contrast", "min_score")
ENDINGS: Final = {
    ".tif": "tiff",
    ".tiff": "tiff",
    ".zarr": "ome-zarr",
    ".zip": "rois",
    ".geojson": "geojson",
    ".json": "coco",
    ".csv": "csv",
}

_EPILOG = """\
examples:
  napari-sam propagate stack.tif --prompts clicks.csv --out labels.tif
  napari-sam propagate movie.tif --prompts clicks.csv --out tracked.zarr --along T --motion
  napari-sam propagate stack.tif --prompts clicks.csv --out labels.tif --quality planes.csv

The table says in which planes objects were clicked or boxed (see `napari-sam prompts --help`); its columns z
and t name the plane. An object that was said in several planes meets itself in the middle between them;
background points alone, in any plane, say what does not belong to it there.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    default = PropagationParams()
    parser: argparse.ArgumentParser = commands.add_parser(
        "propagate",
        help="follow objects of a table of prompts through a stack",
        description="Follow objects that were prompted in some planes through z or t, and write the labels.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "stack", type=Path, metavar="STACK", help="a stack: TIFF or zarr, read plane by plane"
    )
    parser.add_argument("--prompts", required=True, type=Path, metavar="TABLE", help="a CSV or GeoJSON file")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE",
        help="what to write; its ending chooses: .tif, .zarr, .zip (ImageJ), .geojson, .json (COCO), .csv",
    )  # fmt: skip
    parser.add_argument(
        "--quality", type=Path, metavar="CSV", help="area and overlap of every plane, and flags"
    )
    parser.add_argument("--along", metavar="AXIS", help="Z or T (default: Z where there is one, else T)")
    parser.add_argument("--direction", default="both", choices=("both", "forward", "backward"))
    parser.add_argument("--first", type=int, metavar="N", help="first plane to change, from 0")
    parser.add_argument("--last", type=int, metavar="N", help="last plane to change")
    parser.add_argument(
        "--hand-on", default=default.prompts, metavar="KINDS",
        help=f"mask, logits, box, point or several joined by + (default: {default.prompts})",
    )  # fmt: skip
    parser.add_argument(
        "--between", default=default.between, choices=("nearest", "blend"), help="between two prompted planes"
    )
    for name, text in (
        ("min_overlap", "an object ends where less of it lies on the plane before"),
        ("max_area_change", "an object ends where its area changes by more than this factor"),
        ("max_regrowth", "an object that shrank ends where it grows again by more; not with --motion"),
        (
            "min_contrast",
            "an object ends where it stands out by less of what it does at first; not with --motion",
        ),
        ("min_score", "an object ends where its predicted IoU is less"),
    ):
        value = getattr(default, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, metavar="X", help=f"{text} ({value:g})"
        )
    parser.add_argument(
        "--no-stops", action="store_true", help="objects go on at jumps, which are only flagged"
    )
    parser.add_argument("--motion", action="store_true", help="expect objects to move on, along t")
    add_model_option(parser)
    add_image_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(run=run_propagate)
    return parser


def run_propagate(options: argparse.Namespace) -> int:
    """Propagate; 0 when all objects were found, else 2."""
    from napari_sam.stacks.image_io import open_image, pick_channels
    from napari_sam.stacks.outputs import check_format
    from napari_sam.stacks.prompt_tables import read_prompt_table
    from napari_sam.stacks.prompted_labels import match_images
    from napari_sam.stacks.prompted_stacks import choose_axis, iter_propagated_labels

    ending = options.out.suffix.lower()
    if ending not in ENDINGS:
        raise ImageError(f"Expected a file ending in {', '.join(ENDINGS)}, got {options.out.name!r}.")
    check_format(ENDINGS[ending])
    refuse_existing(filter(None, (options.out, options.quality)), overwrite=options.overwrite)
    params = _read_params(options)
    image = open_image(options.stack)
    stack = pick_channels(image, options.channels)
    axis = choose_axis(stack, options.along and options.along.upper())
    rows = match_images(read_prompt_table(options.prompts, beside_alone=True), [options.stack])[options.stack]

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.encode_settings import EncodeSettings

    settings = EncodeSettings(object_size=options.object_size)
    predictor = CachedPredictor(load_with_bar(options.model, options.device), settings=settings)
    with make_bar(1, "stack") as bar:
        job = iter_propagated_labels(stack, rows, predictor, axis=axis, params=params)
        found = run_job(job, bar, options.stack.name)
        bar.update()
    _write(found, image, ENDINGS[ending], options)
    for note in found.notes:
        complain(f"{options.stack}: {note}")
    flags = sum(result.is_suspicious for _, result in found.rows)
    count = len({result.id for _, result in found.rows})
    say(f"{options.out}  {count} objects" + (f", {flags} planes flagged" if flags else ""))
    return 2 if found.notes else 0


def _read_params(options: argparse.Namespace) -> PropagationParams:
    make = PropagationParams.for_series if options.motion else PropagationParams
    given = {name: value for name in LIMITS if (value := getattr(options, name)) is not None}
    return make(
        prompts=options.hand_on,
        direction=options.direction,
        first=options.first,
        last=options.last,
        stop_at_jumps=not options.no_stops,
        between=options.between,
        **given,
    )


def _write(found: PropagatedLabels, image: Any, name: str, options: argparse.Namespace) -> None:
    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.outputs import make_content, replace_file, write_format

    labels = ImageStack(found.labels, found.axes, image.scale, image.unit, options.out.stem)
    content = make_content(labels, image=image, volumes=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_format(name, options.out, content, overwrite=options.overwrite)
    if options.quality is not None:
        text = _format_quality(found)
        replace_file(
            options.quality, lambda path: path.write_text(text, encoding="utf-8"), overwrite=options.overwrite
        )


def _format_quality(found: PropagatedLabels) -> str:
    """One line for each object and plane."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    leading = found.axes[: found.axes.index("Y")].lower()
    writer.writerow([*leading, "object", "area", "overlap", "area_ratio", "predicted_iou", "flag", "anchor"])
    for place, result in found.rows:
        score = "" if result.mask is None else round(result.mask.predicted_iou, 4)
        measures: Sequence[Any] = (result.area, round(result.overlap, 4), round(result.area_ratio, 4), score)
        writer.writerow([*place, result.id, *measures, result.flag, int(result.is_anchor)])
    return text.getvalue()
