"""Reads crops of planes that may be far larger than memory: numpy, memory-mapped, dask, zarr, or a pyramid.

Whatever has a shape, a dtype and slices is an image. Of a sequence of such levels, the finest first, the one
is read that suits the scale at which the model looks. Nothing but the pixels asked for is ever read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError, SamError
from napari_sam.inference.area_averages import average_area, working_type
from napari_sam.inference.plane_sample import (
    SAMPLE_SIDE,
    SPOTS,
    STRIDE_SIDE,
    find_content,
    find_filling,
    spread_places,
    spread_spots,
)
from napari_sam.inference.source_memory import SourceMemory, is_dask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_sam.inference.tiling import Crop

__all__ = ["ImageSource", "check_plane"]

LARGEST_READ: Final = 1 << 26
"""Bytes; a larger crop is read in blocks and averaged down at once."""
BLOCK_SIDE: Final = 2048
LOOKS: Final = 16
"""Places along each axis at which a lazy plane that may be empty is looked at ..."""
LARGEST_OVERVIEW: Final = 1 << 28
"""... while the chunks that hold them are no more than so many bytes."""
COARSER: Final = 1.05
"""A level may be this much coarser than asked for: the sides of pyramids are rounded."""


def check_plane(image: Any) -> tuple[int, int, int]:
    """Return (height, width, channels) of one plane or pyramid; channels is 0 for (H, W).

    Raises
    ------
    ImageError
        When the image is not (H, W) or (H, W, C), is empty, or is not real-valued.
    """
    if isinstance(image, ImageSource):
        return *image.shape, image.channels
    level = _list_levels(image)[0]
    shape = tuple(getattr(level, "shape", ()))
    if len(shape) not in (2, 3):
        raise ImageError(
            f"Expected one plane of shape (H, W) or (H, W, C), got {len(shape)}-D {shape}; "
            "pick a plane of the stack first."
        )
    if 0 in shape:
        raise ImageError(f"Expected an image with pixels, got shape {shape}.")
    try:
        kind = np.dtype(level.dtype).kind
    except (AttributeError, TypeError) as error:  # a DataFrame, a tensor
        raise ImageError(
            f"Expected an array with a dtype of NumPy's, got {type(level).__name__}; pass np.asarray of it."
        ) from error
    if kind not in "buif":
        raise ImageError(f"Expected real numbers, got {level.dtype}; take the magnitude or convert it.")
    if not all(math.isfinite(n) for n in shape):  # of dask, after a choice by values
        raise ImageError(f"Expected an image of a known shape, got {shape}; compute its chunk sizes first.")
    return int(shape[0]), int(shape[1]), int(shape[2]) if len(shape) == 3 else 0


def _list_levels(image: Any) -> list[Any]:
    """The levels of a pyramid; anything else is one level."""
    if isinstance(image, Sequence) and len(image) and all(hasattr(level, "shape") for level in image):
        return [_bare(level) for level in image]
    return [_bare(image)]


def _bare(level: Any) -> Any:
    """The dask array in an xarray.DataArray; anything else as it is."""
    labelled = hasattr(level, "dims") and hasattr(level, "__dask_graph__")
    # only where it is chunked: that of a file would be read as a whole
    return level.data if labelled and level.chunks is not None else level


class ImageSource:
    """One plane, read crop by crop. Coordinates are those of the finest level.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array, or a sequence of such levels, the finest first
        numpy, memory-mapped, dask, zarr or anything else with ``shape``, ``dtype`` and slices.
    memory : SourceMemory, optional
        What is known of the image from before, where it is read lazily.

    Attributes
    ----------
    levels : list
    shape : (H, W)
        Of the finest level.
    channels : int
        0 for (H, W).
    dtype : numpy.dtype
    sizes : list of (rows, cols)
        Of each level; their ratios need not be whole or alike.
    memory : SourceMemory or None
        None where reading costs nothing, so that nothing needs to be remembered.

    Raises
    ------
    ImageError
        When it is no image, or the levels are no pyramid.
    """

    def __init__(self, image: Any, memory: SourceMemory | None = None) -> None:
        height, width, self.channels = check_plane(image)
        self.levels = _list_levels(image)
        self.shape = height, width
        self.dtype = np.dtype(self.levels[0].dtype)
        self.sizes = [self._check_level(n) for n in range(len(self.levels))]
        if len(self.sizes) > 1 and set(self.sizes) == {self.shape}:
            raise ImageError(
                f"Expected a pyramid, got {len(self.sizes)} levels of one shape {self.shape}; use "
                "segment_stack for planes."
            )
        in_memory = all(isinstance(level, np.ndarray) for level in self.levels)
        self.memory = None if in_memory else memory or SourceMemory(self.levels)

    def _check_level(self, level: int) -> tuple[int, int]:
        rows, cols, channels = check_plane(self.levels[level])
        if rows > self.shape[0] or cols > self.shape[1] or channels != self.channels:
            raise ImageError(
                f"Expected a pyramid with the finest level first and channels alike, got level {level} of "
                f"shape {tuple(self.levels[level].shape)} below {tuple(self.levels[0].shape)}."
            )
        return rows, cols

    def factors(self, level: int) -> tuple[float, float]:
        """Pixels of the finest level per row and column of a level."""
        rows, cols = self.sizes[level]
        return self.shape[0] / rows, self.shape[1] / cols

    def choose_level(self, scale: float) -> int:
        """The coarsest level that still has ``scale`` pixels per pixel of the finest."""
        coarseness = [max(self.factors(n)) for n in range(len(self.levels))]
        fitting = [n for n, factor in enumerate(coarseness) if factor * scale <= COARSER]
        return max(fitting, key=coarseness.__getitem__, default=0)

    def read(self, crop: Crop, scale: float = 1.0, channels: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The pixels of a crop, at a resolution of ``scale`` or finer.

        Parameters
        ----------
        crop : (r0, c0, r1, c1)
            Half-open pixels of the finest level.
        scale : float
            Pixels wanted per pixel of the finest level.
        channels : tuple of int, optional
            Reads no others; they come in this order.

        Returns
        -------
        (h, w) or (h, w, C)
            As stored, or averaged to floating point where crop and level have different pixel grids or the
            crop is very large.

        Raises
        ------
        ImageError
            When reading fails.
        """
        level = self.choose_level(scale)
        sizes = list(zip(self.sizes[level], self.shape, strict=True))
        low, high = ([crop[i + k] * n / full for i, (n, full) in enumerate(sizes)] for k in (0, 2))
        lengths = [b - a for a, b in zip(low, high, strict=True)]
        bands = max(1, self.channels if channels is None else len(channels))
        step = [1, 1]
        if math.prod(lengths) * bands * self.dtype.itemsize > LARGEST_READ:
            step = [max(1, int(COARSER / (scale * factor))) for factor in self.factors(level)]
        if step == [1, 1] and all(edge.is_integer() for edge in (*low, *high)):
            r0, c0, r1, c1 = (int(edge) for edge in (*low, *high))
            return self._take(level, (r0, c0, r1, c1), channels)
        cells = [max(1, round(length / k)) for length, k in zip(lengths, step, strict=True)]
        rows, cols = (np.linspace(a, b, n + 1) for a, b, n in zip(low, high, cells, strict=True))
        return self._read_averaged(level, rows, cols, channels)

    def sample(self) -> NDArray[Any]:
        """Pixels of the finest level from all over the plane, at most 512 x 512.

        Which ones depends on the plane's shape alone, or, where most of them have one value, on where the
        plane has others. Of a lazy array they are kept, see ``SourceMemory``.

        Raises
        ------
        ImageError
            When reading fails.
        """
        if self.memory is None:
            return self._read_sample()
        sample = self.memory.sample
        if sample is None:
            started = time.monotonic()
            sample = self._read_sample()
            self.memory.keep_sample(sample, started)
        return sample

    def _read_sample(self) -> NDArray[Any]:
        sample = self._read_places(0, *(spread_places(n) for n in self.shape))
        filling = find_filling(sample) if max(self.shape) > STRIDE_SIDE else None
        overview = None if filling is None else self._read_overview()
        if filling is None or overview is None:
            return sample
        spots = [self._take(0, box, None) for box in find_content(*overview, filling, self.shape)]
        if not spots:
            return sample
        rows = [np.concatenate(spots[n : n + SPOTS], axis=1) for n in range(0, len(spots), SPOTS)]
        sample = np.concatenate(rows)
        sample[0, 0] = filling.reshape(sample.shape[2:])  # what flat content is to be told from
        return sample

    def _read_overview(self) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]] | None:
        """Pixels from all over the plane, their rows and columns; None where that takes too many reads."""
        level = 0
        if self.memory is not None:
            level = max(range(len(self.levels)), key=lambda n: math.prod(self.factors(n)))
        size, image = self.sizes[level], self.levels[level]
        places = [[slice(0, n, -(-n // SAMPLE_SIDE))] for n in size]
        if self.memory is not None and math.prod(image.shape) * self.dtype.itemsize > LARGEST_READ:
            chunk = getattr(image, "chunksize", None) or getattr(image, "chunks", None) or (1,)
            count = min(LOOKS, math.isqrt(LARGEST_OVERVIEW // (math.prod(chunk) * self.dtype.itemsize)))
            if count <= SPOTS or min(size) < SAMPLE_SIDE:
                return None
            places = [spread_spots(n, count) for n in size]
        rows, cols = (
            (np.concatenate([np.arange(s.start, s.stop, s.step) for s in axis]) + 0.5) * factor
            for axis, factor in zip(places, self.factors(level), strict=True)
        )
        return self._read_places(level, *places), rows, cols

    def _read_places(self, number: int, rows: list[slice], cols: list[slice]) -> NDArray[Any]:
        """Pixels of a level where these rows and columns meet."""
        level = self.levels[number]
        if len(rows) * len(cols) > 1 and (is_dask(level) or hasattr(level, "oindex")):
            # at once, so that a chunk that holds several places is computed once
            r, c = (
                np.concatenate([np.arange(s.start, s.stop, s.step) for s in axis]) for axis in (rows, cols)
            )
            with _errors_of_reading():
                return np.asarray(level[r][:, c] if is_dask(level) else level.oindex[r, c])
        # not every array has strided reads, and of chunked ones they are no cheaper than whole ones
        parts = [
            [self._take(number, (r.start, c.start, r.stop, c.stop), None)[:: r.step, :: c.step] for c in cols]
            for r in rows
        ]
        return np.concatenate([np.concatenate(row, axis=1) for row in parts])

    def _take(self, level: int, box: Crop, channels: tuple[int, ...] | None) -> NDArray[Any]:
        r0, c0, r1, c1 = box
        index: tuple[slice, ...] = (slice(r0, r1), slice(c0, c1))
        chosen: list[int] = []
        if channels is not None and self.channels:
            first = min(channels)
            index, chosen = (*index, slice(first, max(channels) + 1)), [c - first for c in channels]
        with _errors_of_reading():
            pixels = np.asarray(self.levels[level][index])
        if pixels.shape[:2] != (r1 - r0, c1 - c0):
            raise ImageError(
                f"Expected {r1 - r0} x {c1 - c0} pixels in rows {r0} to {r1} and columns {c0} to {c1} of the "
                f"image, got shape {pixels.shape}; it may be incomplete. The next click reads again."
            )
        return pixels[..., chosen] if chosen and chosen != list(range(pixels.shape[2])) else pixels

    def _read_averaged(
        self,
        level: int,
        rows: NDArray[np.float64],
        cols: NDArray[np.float64],
        channels: tuple[int, ...] | None,
    ) -> NDArray[Any]:
        """Averages over the cells between these edges, block by block."""
        bands = self.channels if channels is None else len(channels)
        shape = (len(rows) - 1, len(cols) - 1, *([bands] if self.channels else []))
        out = np.empty(shape, working_type(self.dtype))
        for i, j in _list_blocks(rows):
            for k, m in _list_blocks(cols):
                r0, c0 = math.floor(rows[i]), math.floor(cols[k])
                part = self._take(level, (r0, c0, math.ceil(rows[j]), math.ceil(cols[m])), channels)
                out[i:j, k:m] = average_area(part, rows[i : j + 1] - r0, cols[k : m + 1] - c0)
        return out


def _list_blocks(edges: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Ranges of cells that span no more than a block of pixels, or one cell."""
    start, count = 0, len(edges) - 1
    while start < count:
        stop = int(np.searchsorted(edges, edges[start] + BLOCK_SIDE, "right")) - 1
        stop = min(max(stop, start + 1), count)
        yield start, stop
        start = stop


@contextmanager
def _errors_of_reading() -> Iterator[None]:
    try:
        yield
    except SamError:
        raise
    except Exception as error:  # storage, codecs and graphs each fail in their own way
        raise ImageError(
            f"The image could not be read ({type(error).__name__}: {error}); "
            "check its file or connection. The next click reads again."
        ) from error
