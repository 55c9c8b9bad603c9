"""``napari-sam segment``: label images of whole files, plane by plane."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.console import complain, run_job, say
from napari_sam.cli.file_run import FileRun
from napari_sam.cli.input_files import list_inputs
from napari_sam.cli.linked import add_link_options, list_linked_outputs, segment_linked
from napari_sam.cli.models import load_with_bar
from napari_sam.cli.object_options import (
    add_object_options,
    choose_dtype,
    find_companion,
    name_table,
    read_existing,
    read_region,
    write_table,
)
from napari_sam.cli.options import add_image_options, add_method_option, add_model_option, read_thresholds
from napari_sam.cli.output_files import name_outputs, write_labels
from napari_sam.inference.whole_files import refuse_existing
from napari_sam.stacks.image_io import ImageStack, open_image, pick_channels

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray
    from tqdm import tqdm

__all__ = ["add_command", "run_segment"]

_EPILOG = """\
examples:
  napari-sam segment nuclei.tif --out labels
  napari-sam segment scans/ stack.tif --out labels --method instances --device cuda
  napari-sam segment "day1/*.tif" --out labels --channels 2,0 --overwrite
  napari-sam segment slide.zarr --out labels --region tumour.geojson --min-area 40 --table
  napari-sam segment nuclei.tif --out more --fill labels/nuclei_labels.tif
  napari-sam segment embryo.tif --out labels --link z
  napari-sam segment movie.tif --out tracks --link t

NAME.tif gives NAME_labels.tif, an OME-TIFF of int32 with the image's axes and scale; 0 is the background. Of
a stack (time, z ...) each plane is segmented on its own, unless --link says how its objects go on from plane
to plane. Linked labels are a TIFF for ImageJ, with ids above 65,535 NAME_labels.ome.tif, and of more than
1 GiB NAME_labels.zarr. Large TIFF files and zarr images are read tile by tile. A file that cannot be read is
reported and the others go on; the exit code is then 2.
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
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image files, zarr images, or folders of them"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the label images")
    add_model_option(parser)
    add_method_option(parser)
    add_image_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace label images that exist")
    add_object_options(parser)
    add_link_options(parser)
    parser.set_defaults(run=run_segment)
    return parser


def run_segment(options: argparse.Namespace) -> int:
    """Segment all files; 2 when one of them could not be, else 0."""
    inputs = list_inputs(options.images)
    outputs = name_outputs(inputs, options.out)

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.encode_settings import EncodeSettings

    settings = EncodeSettings(object_size=options.object_size)
    model = load_with_bar(options.model, options.device)
    with FileRun(len(inputs), verbose=options.verbose) as run:
        for source, target in zip(inputs, outputs, strict=True):
            with run.file(source):
                if options.link is None:  # else what is written depends on the stack
                    written = [target, *[name_table(target)] * options.table]
                    refuse_existing(written, overwrite=options.overwrite)
                stack = pick_channels(open_image(source), options.channels)
                if options.link is not None:
                    written = list_linked_outputs(stack, target, options)
                    refuse_existing(written, overwrite=options.overwrite)
                # No cache: no embedding of a file is ever wanted again.
                predictor = CachedPredictor(model, memory_bytes=0, settings=settings)
                notes: list[str] = []
                if options.link is not None:
                    path, said = segment_linked(stack, predictor, options, run.bar, source, target)
                else:
                    path, said, notes = _segment_file(stack, predictor, options, run.bar, source, target)
                for line in notes:
                    complain(f"{source}: {line}")
                say(f"{path}  {said}")
    return run.conclude()


@dataclass(slots=True, eq=False)
class _Found:
    """What a file gives."""

    labels: NDArray[Any]
    tables: list[tuple[tuple[int, ...], dict[str, NDArray[Any]]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _segment_file(
    stack: ImageStack, predictor: Any, options: argparse.Namespace, bar: tqdm, source: Path, target: Path
) -> tuple[Path, str, list[str]]:
    """Segment each plane on its own and write; the labels' path, how many objects, and notes."""
    found = _segment_planes(stack, predictor, options, bar, source)
    write_labels(target, found.labels, stack, overwrite=options.overwrite)
    if options.table:
        leading = stack.axes[: stack.axes.index("Y")]
        write_table(name_table(target), found.tables, leading, overwrite=options.overwrite)
    return target, _count(found.labels), found.notes


def _segment_planes(
    stack: ImageStack, predictor: Any, options: argparse.Namespace, bar: tqdm, source: Path
) -> _Found:
    """(..., Y, X) labels, numbered from 1 in each plane, or through all planes after those that are there."""
    from napari_sam.inference.candidates import draw_with_indices, explain_nothing, filter_candidates
    from napari_sam.inference.object_table import measure_objects
    from napari_sam.inference.segment_image import filter_defaults, iter_candidates

    y = stack.axes.index("Y")
    shape = tuple(stack.data.shape[: y + 2])
    filters = replace(filter_defaults(predictor, options.method), **read_thresholds(options))
    region = existing = None
    if options.region is not None:
        region = read_region(find_companion(options.region, source), (shape[y], shape[y + 1]))
    if options.fill is not None:
        existing = read_existing(find_companion(options.fill, source), shape)
    found = _Found(np.zeros(shape, np.int32) if existing is None else existing)
    largest = 0 if existing is None else int(existing.max(initial=0))  # of all planes: objects may be linked
    for index, plane in stack.planes():
        where = f" [{','.join(map(str, index))}]" if index else ""
        job = iter_candidates(plane, predictor, options.method, region=region)
        candidates = run_job(job, bar, source.name + where)
        kept = filter_candidates(candidates, filters)
        labels, shown = draw_with_indices(candidates, kept)
        if len(kept) == 0 and len(candidates):
            found.notes.append(f"{where.strip()} {explain_nothing(candidates, filters)}".strip())
        first = 0
        if existing is not None:
            first = largest
            labels, shown = _fill(found, index, labels, shown, first)
            largest += len(shown)
        else:
            found.labels[index] = labels
        if options.table:
            table = measure_objects(labels, plane, scores=candidates.take(shown))
            table["index"] += first
            found.tables.append((index, table))
    return found


def _fill(
    found: _Found,
    index: tuple[int, ...],
    labels: NDArray[np.int32],
    shown: NDArray[np.int64],
    first: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Add to a plane what fits into its gaps, widening the dtype where ids need it; what was added."""
    from napari_sam.inference.fitting import fit_into_gaps

    labels, numbers = fit_into_gaps(labels, found.labels[index])
    before, needed = found.labels.dtype, first + len(numbers)
    dtype = choose_dtype(before, needed)
    if dtype != before:
        found.labels = found.labels.astype(dtype)
        found.notes.append(f"ids up to {needed} do not fit into {before}; the labels are {dtype}")
    plane = found.labels[index]
    added = labels > 0
    plane[added] = labels[added].astype(np.int64) + first
    return labels, shown[numbers - 1]


def _count(labels: NDArray[Any]) -> str:
    planes = labels.reshape(-1, *labels.shape[-2:])
    total = sum(int(np.count_nonzero(np.unique(plane))) for plane in planes)
    where = f" in {len(planes)} planes" if len(planes) > 1 else ""
    return f"{total} objects{where}"
