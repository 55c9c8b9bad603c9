"""Writes labels in any number of formats, each file or folder whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.inference.whole_files import refuse_existing, replace_file, replace_folder
from napari_sam.stacks.image_io import ImageStack, LazyArray
from napari_sam.stacks.outputs.coco import write_coco
from napari_sam.stacks.outputs.content import Content
from napari_sam.stacks.outputs.geojson import write_geojson
from napari_sam.stacks.outputs.imagej_rois import write_rois
from napari_sam.stacks.outputs.label_objects import check_labels
from napari_sam.stacks.outputs.measurements import write_measurements
from napari_sam.stacks.outputs.ome_zarr_labels import write_ome_zarr
from napari_sam.stacks.outputs.tiff import fits_imagej, write_tiff

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "FORMATS",
    "Format",
    "check_format",
    "list_output_names",
    "make_content",
    "name_output",
    "write_format",
    "write_outputs",
]


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes
    ----------
    title : str
        For people.
    ending : str
        What is put behind an image's name.
    write : callable
        Takes the path and a ``Content``.
    package : str
        What has to be installed for it beyond the core; "" for nothing.
    """

    title: str
    ending: str
    write: Callable[[Path, Content], None]
    package: str = ""


FORMATS: Final[Mapping[str, Format]] = {
    "tiff": Format("TIFF label image", "_labels.tif", write_tiff),
    "ome-zarr": Format("OME-Zarr labels", "_labels.zarr", write_ome_zarr, "ome_zarr"),
    "rois": Format("ImageJ ROIs", "_rois.zip", write_rois, "roifile"),
    "geojson": Format("GeoJSON polygons (QuPath)", "_objects.geojson", write_geojson),
    "coco": Format("COCO JSON with RLE", "_coco.json", write_coco, "pycocotools"),
    "csv": Format("CSV measurements", "_objects.csv", write_measurements),
}
"""By the name that the command line and manifests use."""

_STANDARD: Final = "TZYX"


def write_outputs(
    formats: Iterable[str],
    path_stem: str | os.PathLike[str],
    labels: Any,
    *,
    axes: str,
    scale: Mapping[str, float] | None = None,
    unit: str = "pixel",
    records: Mapping[int, Mapping[str, Any]] | None = None,
    image: ImageStack | None = None,
    volumes: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write one label image in several formats.

    Parameters
    ----------
    formats : iterable of str
        Names in ``FORMATS``.
    path_stem : path
        Folder and name; each format puts its ending behind: ``out/cells`` gives ``out/cells_labels.tif``.
    labels : (..., Y, X) integer array
        numpy, or anything that is read by slices; 0 is the background.
    axes : str
        One letter per axis.
    scale : mapping of str to float, optional
        World units per step along an axis, by its letter; seconds along T.
    unit : str
        Of Z, Y and X, as NGFF spells it.
    records : mapping of int to mapping, optional
        What is known of each object, by id and name: values of JSON.
    image : ImageStack, optional
        What the labels are of, for intensities.
    volumes : bool
        Whether tables measure objects along Z in 3-D.
    overwrite : bool
        Whether existing files may be replaced.

    Returns
    -------
    list of Path
        What was written, in the order of the formats.

    Raises
    ------
    ImageError
        When there is no such format, its package is not installed, or the labels do not fit into it.
    FileExistsError
        When something exists and may not be replaced; nothing of that format is written then.
    """
    stem = Path(path_stem)
    names = list(dict.fromkeys(formats))
    stack = ImageStack(labels, axes, dict(scale or {}), unit, stem.name)
    content = make_content(stack, records=records, image=image, volumes=volumes)
    for name in names:  # nothing is written when a later one cannot be
        check_format(name)
    targets = [name_output(name, stem, content) for name in names]
    refuse_existing(targets, overwrite=overwrite)
    for name, target in zip(names, targets, strict=True):
        write_format(name, target, content, overwrite=overwrite)
    return targets


def make_content(
    labels: ImageStack,
    *,
    records: Mapping[int, Mapping[str, Any]] | None = None,
    image: ImageStack | None = None,
    volumes: bool = False,
) -> Content:
    """Check labels, and put their axes into the order that every format has: T, Z, Y, X.

    Raises
    ------
    ImageError
        When they are no labels, or the image is of other planes.
    """
    check_labels(labels)
    if image is not None and image.data.shape[: len(labels.axes)] != tuple(labels.data.shape):
        raise ImageError(
            f"Expected an image of the labels' shape {tuple(labels.data.shape)} ({labels.axes}), got "
            f"{tuple(image.data.shape)} ({image.axes}) in {image.name}."
        )
    axes = _name_axes(labels.axes)
    order = sorted(range(len(axes)), key=lambda i: _STANDARD.find(axes[i]))
    labels = replace(labels, axes=axes)
    if order != list(range(len(axes))):
        labels = replace(labels, data=_transpose(labels, order), axes="".join(axes[i] for i in order))
        if image is not None:
            more = range(len(axes), len(image.axes))
            image = replace(
                image, data=_transpose(image, [*order, *more]), axes=labels.axes + "C" * len(more)
            )
    return Content(labels, image, dict(records or {}), volumes)


def _name_axes(axes: str) -> str:
    """Letters of axes that say nothing ("Q", "I") become those that every format knows."""
    free = [axis for axis in "ZT" if axis not in axes]
    named = ""
    for axis in axes:
        if axis not in _STANDARD and not free:
            raise ImageError(f"Expected at most the axes T, Z, Y and X, got {axes}; write the parts apart.")
        named += axis if axis in _STANDARD else free.pop(0)
    return named


def _transpose(stack: ImageStack, order: list[int]) -> Any:
    if isinstance(stack.data, np.ndarray | LazyArray):
        return stack.data.transpose(order)
    return LazyArray(stack.data, (stack.axes.index("Y"), stack.axes.index("X"))).transpose(order)


def name_output(name: str, stem: Path, content: Content) -> Path:
    """The file that a format gives; a TIFF that ImageJ cannot hold is called ``.ome.tif``."""
    ending = FORMATS[name].ending
    if name == "tiff" and not fits_imagej(content.labels):
        ending = ending.replace(".tif", ".ome.tif")
    return stem.with_name(stem.name + ending)


def write_format(name: str, path: Path, content: Content, *, overwrite: bool = False) -> None:
    """Write labels in one format to a path of any name, whole or not at all.

    Parameters
    ----------
    name : str
        In ``FORMATS``.
    path : Path
    content : Content
    overwrite : bool
        Whether what exists may be replaced.

    Raises
    ------
    ImageError
        When there is no such format, its package is not installed, or the labels do not fit into it.
    FileExistsError
        When the path exists and may not be replaced.
    """
    form = check_format(name)
    if name == "ome-zarr":
        replace_folder(path, lambda folder: form.write(folder, content), overwrite=overwrite)
    else:
        replace_file(path, lambda temporary: form.write(temporary, content), overwrite=overwrite)


def list_output_names(stem: str, formats: Iterable[str]) -> list[str]:
    """Every name that the outputs of an image may get, before its labels are known.

    Examples
    --------
    >>> list_output_names("a", ["tiff", "csv"])
    ['a_labels.tif', 'a_objects.csv', 'a_labels.ome.tif']
    """
    endings = [FORMATS[name].ending for name in formats]
    endings += [ending.replace(".tif", ".ome.tif") for ending in endings if ending.endswith(".tif")]
    return [stem + ending for ending in endings]


def check_format(name: str) -> Format:
    """A format that can be written here.

    Raises
    ------
    ImageError
        When there is no such format, or its package is not installed.
    """
    from importlib.util import find_spec

    if name not in FORMATS:
        raise ImageError(f"Expected a format among {', '.join(FORMATS)}, got {name!r}.")
    form = FORMATS[name]
    if form.package and find_spec(form.package) is None:
        raise ImageError(
            f"Expected the package {form.package.replace('_', '-')} for the format {name!r}, got none; "
            "install it with: pip install 'napari-sam-workbench[formats]'"
        )
    return form
