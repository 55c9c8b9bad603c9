"""Label images as TIFF: what ImageJ can hold in its own dialect, anything else as OME-TIFF."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io.units import imagej_unit, ome_unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.outputs.content import Content

__all__ = ["fits_imagej", "write_ome_tiff", "write_tiff"]

LARGEST_FILE: Final = 1 << 31
"""Bytes before compression; ImageJ's own reader counts in 32 bits."""


def fits_imagej(labels: ImageStack) -> bool:
    """Whether ImageJ's dialect holds the labels: ids up to 65,535, the axes T, Z, Y and X, less than 2 GB."""
    in_order = "".join(axis for axis in "TZYX" if axis in labels.axes) == labels.axes
    if not in_order or math.prod(labels.data.shape) * 2 >= LARGEST_FILE:
        return False
    return np.dtype(labels.data.dtype).itemsize == 1 or _largest(labels) < 1 << 16


def _largest(labels: ImageStack) -> int:
    return max((int(np.asarray(plane).max(initial=0)) for _, plane in labels.planes()), default=0)


def write_tiff(path: Path, content: Content) -> None:
    """Write a compressed TIFF, plane by plane.

    It is OME-TIFF where the name ends in ``.ome.tif`` and where ImageJ's dialect cannot hold the labels.

    ImageJ's dialect has uint16 ids. OME-TIFF has the labels' own type, or uint32 for 64-bit ones.

    Parameters
    ----------
    path : Path
    content : Content

    Raises
    ------
    ImageError
        When ids do not fit into 32 bits.
    """
    named = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    _write(path, content.labels, ome=named or not fits_imagej(content.labels))


def write_ome_tiff(path: Path, content: Content) -> None:
    """Write a compressed OME-TIFF of any name, whose ids have the labels' own type."""
    _write(path, content.labels, ome=True)


def _write(path: Path, labels: ImageStack, *, ome: bool) -> None:
    import tifffile

    dtype = _choose_ome_type(labels) if ome else np.dtype(np.uint16)
    options: dict[str, Any] = {"metadata": _describe_ome(labels)} if ome else _describe_imagej(labels)
    with tifffile.TiffWriter(
        path,
        ome=ome,
        imagej=not ome,
        bigtiff=ome and math.prod(labels.data.shape) * dtype.itemsize >= 1 << 32,
    ) as file:
        file.write(
            _iter_planes(labels, dtype),
            shape=tuple(int(n) for n in labels.data.shape),
            dtype=dtype,
            compression="zlib",
            photometric="minisblack",
            **options,
        )


def _iter_planes(labels: ImageStack, dtype: np.dtype[Any]) -> Iterator[Any]:
    for _, plane in labels.planes():
        pixels = np.asarray(plane)
        if pixels.dtype != dtype and int(pixels.max(initial=0)) > np.iinfo(dtype).max:
            raise ImageError("Expected labels that stay as they are, got larger ids while they were written.")
        yield np.ascontiguousarray(pixels, dtype=dtype)


def _choose_ome_type(labels: ImageStack) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(labels.data.dtype)
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    if dtype.itemsize <= 4:
        return dtype
    largest = _largest(labels)
    if largest >= 1 << 32:
        raise ImageError(f"Expected ids below 2**32 for a TIFF, got {largest}; relabel, or write OME-Zarr.")
    return np.dtype(np.uint32)


def _describe_imagej(labels: ImageStack) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": labels.axes}
    options: dict[str, Any] = {"metadata": metadata}
    if labels.unit != "pixel":
        metadata["unit"] = imagej_unit(labels.unit)
        if "Z" in labels.scale:
            metadata["spacing"] = labels.scale["Z"]
    if "T" in labels.scale:
        metadata["finterval"] = labels.scale["T"]
    if {"Y", "X"} <= labels.scale.keys() and labels.unit != "pixel":
        options["resolution"] = (1 / labels.scale["X"], 1 / labels.scale["Y"])
    return options


def _describe_ome(labels: ImageStack) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": labels.axes, "Name": labels.name}
    if labels.unit != "pixel":
        for axis in "XYZ":
            if axis in labels.scale:
                metadata[f"PhysicalSize{axis}"] = labels.scale[axis]
                metadata[f"PhysicalSize{axis}Unit"] = ome_unit(labels.unit)
    if "T" in labels.scale:
        metadata |= {"TimeIncrement": labels.scale["T"], "TimeIncrementUnit": "s"}
    return metadata
