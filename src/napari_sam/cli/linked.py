"""``napari-sam segment --link``: stacks whose objects keep their ids along z or t, and their tracks."""

from __future__ import annotations

import io
import shutil
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.cli.console import run_job
from napari_sam.cli.object_options import find_companion, name_table, read_region
from napari_sam.cli.options import add_link_option, read_thresholds
from napari_sam.errors import ImageError, SamError
from napari_sam.stacks.image_io import LABELS_ENDING
from napari_sam.stacks.link_params import LinkParams
from napari_sam.stacks.outputs import check_format, list_output_names, replace_file, write_outputs

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from tqdm import tqdm

    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.segment_stack import StackLabels

__all__ = ["add_link_options", "list_linked_outputs", "name_axis", "segment_linked"]

LARGEST: Final = 1 << 30
"""Bytes; labels of more are written to zarr as they come, and are an OME-Zarr in the end."""
CHUNK: Final = 1024


def add_link_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the command's parser."""
    group = parser.add_argument_group("stacks")
    add_link_option(group)
    group.add_argument(
        "--max-gap", type=int, metavar="N", help="with --link: planes that an object may miss (default: 1)"
    )
    group.add_argument(
        "--min-planes", type=int, metavar="N", help="with --link: drop objects in fewer planes (default: 2)"
    )
    group.add_argument(
        "--split-factor",
        type=float,
        metavar="X",
        help="with --link z: cut an object at a waist, where its area is X times smaller than on both sides "
        f"of it; inf never cuts (default: {LinkParams().split_factor:g})",
    )


def name_axis(axes: str, link: str) -> str:
    """The axes of an image, with the one to link along among them.

    An axis without a meaning of its own (Q, I ...) is taken for it where there is no other.

    Raises
    ------
    ImageError
        When there is none.

    Examples
    --------
    >>> name_axis("QYX", "t"), name_axis("TZYXC", "z")
    ('TYX', 'TZYXC')
    """
    letter, leading = link.upper(), axes[: axes.index("Y")]
    if letter in leading:
        return axes
    if len(leading) == 1:
        return letter + axes[1:]
    raise ImageError(
        f"Expected planes along {letter}, got the axes {axes}; use --link with one of {leading}."
    )


def list_linked_outputs(stack: ImageStack, target: Path, options: argparse.Namespace) -> list[Path]:
    """All files that linking may write for ``NAME_labels.tif``.

    Raises
    ------
    ImageError
        When there is no axis to link along, or nothing here can write labels of this size.
    """
    _, shape = _describe_labels(stack, options.link)
    name = _choose_format(shape)
    check_format(name)
    stem = target.stem.removesuffix(LABELS_ENDING)
    labels = [target.with_name(output) for output in list_output_names(stem, [name])]
    return [*labels, *_list_tables(target, options)]


def _list_tables(target: Path, options: argparse.Namespace) -> list[Path]:
    tracks = target.with_name(target.stem.removesuffix(LABELS_ENDING) + "_tracks.csv")
    return [tracks] if options.link == "t" else [name_table(target)] * options.table


def _describe_labels(stack: ImageStack, link: str) -> tuple[str, tuple[int, ...]]:
    """The image's axes, and the (..., Y, X) shape of its labels."""
    axes = name_axis(stack.axes, link)
    return axes, tuple(int(n) for n in stack.data.shape[: axes.index("X") + 1])


def _choose_format(shape: tuple[int, ...]) -> str:
    return "ome-zarr" if int(np.prod(shape, dtype=np.int64)) * 4 > LARGEST else "tiff"


def segment_linked(
    stack: ImageStack, predictor: Any, options: argparse.Namespace, bar: tqdm, source: Path, target: Path
) -> tuple[Path, str]:
    """Segment a file, link its objects, and write labels and tables.

    Returns
    -------
    path : Path
        Of the labels: ``target``, or an OME-Zarr beside it where they are large.
    said : str
        How many objects.

    Raises
    ------
    SamError
        When it cannot be done.
    """
    from napari_sam.inference.segment_image import filter_defaults
    from napari_sam.stacks.segment_stack import iter_segment_stack

    if options.fill is not None:
        raise SamError("Expected --link or --fill, got both; fill gaps plane by plane, without --link.")
    axes, shape = _describe_labels(stack, options.link)
    region = None
    if options.region is not None:
        region = read_region(find_companion(options.region, source), (shape[-2], shape[-1]))
    names = ("max_gap", "min_planes", "split_factor")
    params = LinkParams(**{n: getattr(options, n) for n in names if getattr(options, n) is not None})
    filters = replace(filter_defaults(predictor, options.method), **read_thresholds(options))
    name = _choose_format(shape)
    scratch = target.with_name(f".{target.stem}-{uuid.uuid4().hex}.zarr")
    try:
        job = iter_segment_stack(
            stack.data,
            predictor,
            options.link,
            options.method,
            out=_make_scratch(scratch, shape) if name == "ome-zarr" else None,
            axes=axes,
            params=params,
            filters=filters,
            region=region,
        )
        found = run_job(job, bar, source.name)
        [path] = write_outputs(
            [name],
            target.with_name(target.stem.removesuffix(LABELS_ENDING)),
            found.labels,
            axes=axes[: len(shape)],
            scale=stack.scale,
            unit=stack.unit,
            overwrite=options.overwrite,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for table in _list_tables(target, options):
        _write_csv(table, found, options)
    divided = len({mother for mothers in found.parents.values() for mother in mothers})
    more = f", {divided} divided" if divided else ""
    return path, f"{found.count} objects in {int(np.prod(shape[:-2]))} planes{more}"


def _make_scratch(folder: Path, shape: tuple[int, ...]) -> Any:
    import zarr

    folder.parent.mkdir(parents=True, exist_ok=True)
    chunks = (*(1,) * (len(shape) - 2), *(min(CHUNK, n) for n in shape[-2:]))
    return zarr.create_array(folder, shape=shape, chunks=chunks, dtype="int32", fill_value=0)


def _write_csv(path: Path, found: StackLabels, options: argparse.Namespace) -> None:
    from napari_sam.stacks.tracks import write_tracks

    text = io.StringIO(newline="")
    write_tracks(text, found.columns, found.parents, options.link)
    content = text.getvalue().encode()
    replace_file(path, lambda temporary: temporary.write_bytes(content), overwrite=options.overwrite)
