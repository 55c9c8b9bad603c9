"""TIFF files, ImageJ's and OME's too: read whole, or by the crop where they are large."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io.calibration import calibrate_tiff
from napari_sam.stacks.image_io.image_stack import ImageStack, arrange_axes
from napari_sam.stacks.image_io.lazy_array import LazyArray

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LARGE", "open_tiff", "read_tiff"]

LARGE: Final = 1 << 28
"""Bytes; smaller files are read at once."""


def read_tiff(path: Path) -> ImageStack:
    """Read a TIFF file with all its planes and channels.

    Raises
    ------
    ImageError
        When it holds no plane, or less than it says.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError(f"Expected at least one image in {path}, got none.")
        series = file.series[0]
        _check_length(file, series, path)
        data, axes = np.asarray(series.asarray()), str(series.axes)
        extra = tuple(getattr(series.keyframe, "extrasamples", ()))
        scale, unit = calibrate_tiff(file)
    if "Y" not in axes or "X" not in axes:
        raise ImageError(f"Expected the axes Y and X in {path}, got {axes}.")
    data, axes = arrange_axes(data, axes, extra)
    return ImageStack(data, axes, _only(scale, axes), unit, path.name)


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
            scale, unit = calibrate_tiff(file)
            if size <= LARGE or not {"Y", "X"} <= set(axes):
                return None
            _check_length(file, series, path)
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
    return ImageStack(data, axes, _only(scale, axes), unit, path.name)


def _check_length(file: Any, series: Any, path: Path) -> None:
    """A file that ends before its pixels do would be read as if the rest were black."""
    end = file.filehandle.size
    for page in series.pages:
        if page is None or page.parent is not file:  # a plane that another file of the set holds
            continue
        offsets, counts = page.dataoffsets, page.databytecounts
        needed = max((o + n for o, n in zip(offsets, counts, strict=False)), default=0)
        if needed > end:
            raise ImageError(
                f"Expected {needed} bytes in {path}, got {end}: the file is cut off; copy or save it again."
            )


def _only(scale: dict[str, float], axes: str) -> dict[str, float]:
    return {axis: step for axis, step in scale.items() if axis in axes}
