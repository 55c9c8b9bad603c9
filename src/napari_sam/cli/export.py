"""``napari-sam export``: label images in the formats of other programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.console import complain, say
from napari_sam.cli.file_run import FileRun
from napari_sam.cli.options import add_format_option
from napari_sam.cli.output_files import name_apart
from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import (
    LABELS_ENDING,
    TIFF_SUFFIXES,
    fit_axes,
    list_images,
    name_image,
    open_image,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_sam.stacks.image_io import ImageStack

__all__ = ["add_command", "run_export"]

MOST_EDGES = 0.6
"""Of all pairs of neighbours; labels of objects two pixels wide have half."""

_EPILOG = """\
examples:
  napari-sam export labels/ --formats rois --out rois
  napari-sam export cells_labels.tif --formats geojson,csv --images cells.tif --out results
  napari-sam export stack_labels.tif --formats csv --volumes --out results
  napari-sam export labels/ --formats ome-zarr --images scans/ --into-images

NAME_labels.tif gives, with --out:
  tiff      NAME_labels.tif, for ImageJ; NAME_labels.ome.tif where ids are above 65,535 or the file above 2 GB
  ome-zarr  NAME_labels.zarr, of any size, with coarser levels
  rois      NAME_rois.zip, for ImageJ's ROI Manager
  geojson   NAME_objects.geojson, for QuPath
  coco      NAME_coco.json: run lengths, for training other models
  csv       NAME_objects.csv: size, shape and place of each object, with --images intensities; no labels
All but csv give exactly the same labels back. rois, ome-zarr and coco need
pip install "napari-sam-workbench[formats]". Axes and scale come from the label image, or where it says
nothing from the image.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write label images in other formats",
        description="Write label images as ImageJ ROIs, GeoJSON, COCO, tables of measurements and more.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "labels", nargs="+", metavar="LABELS", help="label images (TIFF, PNG, zarr), or folders of them"
    )
    add_format_option(parser, required=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for what is written")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="PATH",
        help="the image that all labels are of, or a folder with an image NAME for each NAME_labels: adds "
        "intensities to csv, and the scale where the labels have none",
    )
    parser.add_argument(
        "--volumes", action="store_true", help="measure objects of z-stacks in 3-D (default: plane by plane)"
    )
    parser.add_argument(
        "--into-images",
        action="store_true",
        help="write ome-zarr labels into the OME-Zarr images that --images names",
    )
    parser.add_argument(
        "--name", default="objects", help="what labels are called inside a zarr (default: objects)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(run=run_export)
    return parser


def run_export(options: argparse.Namespace) -> int:
    """Write all; 2 when one of them could not be, else 0."""
    files = options.formats if not options.into_images else [f for f in options.formats if f != "ome-zarr"]
    if files and options.out is None:
        complain("error: name a folder with --out")
        return 2
    if options.into_images and (options.images is None or "ome-zarr" not in options.formats):
        complain("error: --into-images needs --formats ome-zarr, and --images to say which")
        return 2
    sources = _take_once(list_images(options.labels, labels=True))
    if not sources:
        complain("error: no label images found; name files, or a folder that holds some")
        return 2
    images = None if options.images is None else list_images(options.images)
    if options.into_images and images == [options.images] and len(sources) > 1:
        complain(
            f"error: {len(sources)} label images would go into {options.images} under one name; export them "
            "one by one, each with a --name"
        )
        return 2
    names = [_name_labels(source) for source in sources]
    stems = name_apart(sources, names) if files else names
    with FileRun(len(sources), verbose=options.verbose) as run:
        for source, stem in zip(sources, stems, strict=True):
            with run.file(source):
                for path in _export(source, stem, images, files, options):
                    say(str(path))
    return run.conclude()


def _export(
    source: Path,
    stem: str,
    images: Sequence[Path] | None,
    files: Sequence[str],
    options: argparse.Namespace,
) -> list[Path]:
    from napari_sam.stacks.outputs import add_labels, make_content, write_outputs

    name = _name_labels(source)
    labels = replace(open_image(source), name=name)
    path = None if images is None else _find_image(images, name, options.images)
    image = None if path is None else open_image(path)
    if image is not None:
        labels = _inherit(labels, image)
    if _looks_like_an_image(labels):
        complain(f"warning: {source}: nearly all neighbouring pixels differ; is it the image, and no labels?")
    written: list[Path] = []
    if files:
        written += write_outputs(
            files,
            options.out / stem,
            labels.data,
            axes=labels.axes,
            scale=labels.scale,
            unit=labels.unit,
            image=image,
            volumes=options.volumes,
            overwrite=options.overwrite,
        )
    if options.into_images and path is not None:
        content = make_content(labels)
        written.append(add_labels(path, content, options.name, overwrite=options.overwrite))
    return written


def _take_once(sources: Sequence[Path]) -> list[Path]:
    """Label images without the ``NAME_labels.zarr`` that a batch wrote beside ``NAME_labels.tif``."""
    tiffs = {path.with_name(name_image(path)) for path in sources if path.suffix.lower() in TIFF_SUFFIXES}
    twins = {path for path in tiffs if path.name.endswith(LABELS_ENDING)}
    return [p for p in sources if p.suffix.lower() != ".zarr" or p.with_suffix("") not in twins]


def _name_labels(source: Path) -> str:
    """What the outputs of a label image are called; those inside an image like the image.

    Examples
    --------
    >>> _name_labels(Path("a_labels.tif")), _name_labels(Path("a.zarr/labels/objects"))
    ('a', 'a')
    >>> _name_labels(Path("a.zarr/labels/cells"))
    'a_cells'
    """
    if source.parent.name == "labels" and ".zarr" in "".join(part[-5:].lower() for part in source.parts[:-2]):
        inside = "" if source.name == "objects" else f"_{source.name}"
        return name_image(source.parent.parent).removesuffix(LABELS_ENDING) + inside
    return name_image(source).removesuffix(LABELS_ENDING)


def _looks_like_an_image(labels: ImageStack) -> bool:
    """Whether the first plane is more like noise than like objects; a mistake that no format would notice."""
    plane = np.asarray(next(plane for _, plane in labels.planes())[:512, :512])
    return plane.size > 1000 and float(np.mean(plane[:, 1:] != plane[:, :-1])) > MOST_EDGES


def _find_image(images: Sequence[Path], name: str, given: Path) -> Path:
    if images == [given]:  # the image itself was named, no folder: all labels are of it
        return given
    found = [path for path in images if name_image(path) == name]
    if len(found) != 1:
        raise ImageError(f"Expected one image called {name!r} among those of --images, got {len(found)}.")
    return found[0]


def _inherit(labels: ImageStack, image: ImageStack) -> ImageStack:
    """Axes and scale of the image, where the labels are of its planes and do not say them."""
    axes = image.axes.removesuffix("C")
    shape = tuple(image.data.shape[: len(axes)])
    data = fit_axes(labels.data, shape)
    if tuple(data.shape) != shape:
        return labels
    labels = replace(labels, data=data, axes=axes)
    return labels if labels.scale else replace(labels, scale=dict(image.scale), unit=image.unit)
