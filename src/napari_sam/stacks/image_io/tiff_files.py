"""TIFF files, ImageJ's and OME's too: read whole, or by the crop where they are large."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io.image_stack import ImageStack, arrange_axes
from napari_sam.stacks.image_io.lazy_array import LazyArray

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LARGE", "open_tiff", "read_tiff"]

LARGE: Final = 1 << 28
"""Bytes; smaller files are read at once."""


def read_tiff(path: Path) -> ImageStack:
    """Read a TIFF file with all its planes and channels."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError(f"Expected at least one image in {path}, got none.")
        series = file.series[0]
        data, axes = np.asarray(series.asarray()), str(series.axes)
        extra = tuple(getattr(series.keyframe, "extrasamples", ()))
    if "Y" not in axes or "X" not in axes:
        raise ImageError(f"Expected the axes Y and X in {path}, got {axes}.")
    return ImageStack(*arrange_axes(data, axes, extra))


def open_tiff(path: Path) -> ImageStack | None:
    """Open a large TIFF file; nothing for a file that is small, damaged, or that can only be read whole."""
    import tifffile
    import zarr

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            axes, shape, size = str(series.axes), tuple(series.shape), int(series.nbytes)
            extra = tuple(getattr(series.keyframe, "extrasamples", ()))
            in_one_piece = series.dataoffset is not None
        if size <= LARGE or not {"Y", "X"} <= set(axes):
            return None
        if in_one_piece:
            source = tifffile.memmap(path, mode="r")
        else:
            store = tifffile.imread(path, aszarr=True, series=0, level=0)
            source = zarr.open_array(store, mode="r")
            weakref.finalize(source, store.close)  # the store holds the file open
        if tuple(source.shape) != shape:
            return None
    except (ValueError, TypeError, ImportError, IndexError, tifffile.TiffFileError):
        return None
    data, axes = arrange_axes(LazyArray(source, (axes.index("Y"), axes.index("X"))), axes, extra)
    return ImageStack(data, axes)
