"""TIFF files, ImageJ's and OME's too: read whole, or by the crop where they are large."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final, Literal

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

    _check_pages(path)
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
    """Open a large TIFF file; nothing for a file that is small, damaged, or that can only be read whole.

    Raises
    ------
    ImageError
        When it is cut off.
    """
    import tifffile
    import zarr

    _check_pages(path)
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


def _check_pages(path: Path) -> None:
    """Follow the pages to the last: of a file that is cut off, tifffile gives those that are left."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        big = int.from_bytes(head[2:4], order) == 43
        if path.suffix.lower() == ".ndpi" or (size >= 1 << 32 and not big):
            return  # dialects that count beyond what the format can
        count_size, entry_size, offset_size = (8, 20, 8) if big else (2, 12, 4)
        offset = int.from_bytes(head[8:16] if big else head[4:8], order)
        seen: set[int] = set()
        while offset and offset not in seen:
            seen.add(offset)
            file.seek(offset)
            count = int.from_bytes(file.read(count_size), order)
            end = offset + count_size + count * entry_size
            if end + offset_size > size:
                raise ImageError(
                    f"Expected page {len(seen)} in {path} up to byte {end + offset_size}, got {size} bytes: "
                    "the file is cut off; copy or save it again."
                )
            file.seek(end)
            offset = int.from_bytes(file.read(offset_size), order)


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
