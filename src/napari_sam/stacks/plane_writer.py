"""Labels written plane by plane into an array that may be chunked over several planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PlaneWriter", "check_output"]

LARGEST: Final = 1 << 28
"""Bytes of planes that are held back to write whole chunks."""


def check_output(out: Any, shape: tuple[int, ...]) -> Any:
    """The array that labels go to: ``out``, or a new one in memory.

    Raises
    ------
    ImageError
        When it has another shape, holds no integers, or may only be read.
    """
    if out is None:
        try:
            return np.zeros(shape, np.int32)
        except MemoryError as error:
            raise ImageError(
                f"Expected memory for labels of shape {shape}, got none; pass a zarr array as out."
            ) from error
    if not hasattr(out, "shape") or not hasattr(out, "dtype"):
        raise ImageError(
            f"Expected an array of integers of shape {shape} to write labels to, got {out!r:.60}."
        )
    if tuple(out.shape) != shape or np.dtype(out.dtype).kind not in "iu":
        raise ImageError(
            f"Expected integers of shape {shape} to write labels to, got {out.dtype} of {tuple(out.shape)}."
        )
    flags = getattr(out, "flags", None)  # of numpy; zarr says it by itself
    if getattr(out, "read_only", False) or not getattr(flags, "writeable", True):
        raise ImageError(
            "Expected an output that may be written to, got one that may only be read; open it anew."
        )
    return out


class PlaneWriter:
    """Writes planes in order, a chunk at a time.

    Parameters
    ----------
    out : (..., H, W) integer array
        Numpy, zarr or alike.
    """

    def __init__(self, out: Any) -> None:
        self._out = out
        self._limit = int(np.iinfo(np.dtype(out.dtype)).max)
        chunks = getattr(out, "chunks", None)
        self.depth = int(chunks[-3]) if chunks is not None and len(chunks) == out.ndim > 2 else 1
        plane = int(np.prod(out.shape[-2:], dtype=np.int64)) * 4
        self.depth = max(1, min(self.depth, LARGEST // max(plane, 1)))
        self._held: list[NDArray[np.int32]] = []
        self._first: tuple[int, ...] = ()
        self._block: NDArray[Any] = np.zeros((0, 0, 0), np.int32)
        self._read_from: tuple[int, ...] = ()

    def write(self, index: tuple[int, ...], labels: NDArray[np.int32]) -> None:
        """Take the next plane; planes of one chunk are written together.

        Raises
        ------
        ImageError
            When an id does not fit.
        """
        largest = int(labels.max(initial=0))
        if largest > self._limit:
            raise ImageError(
                f"Expected room for id {largest} in the output, got {self._out.dtype}; use int32."
            )
        follows = self._held and index == (*self._first[:-1], self._first[-1] + len(self._held))
        if self._held and not follows:
            self.flush()
        if not self._held:
            self._first = index
        self._held.append(labels)
        if (index[-1] + 1) % self.depth == 0:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            *before, start = self._first
            block = np.stack(self._held) if len(self._held) > 1 else self._held[0][None]
            self._out[(*before, slice(start, start + len(self._held)))] = block
            self._held = []
        self._read_from = ()

    def read(self, index: tuple[int, ...]) -> NDArray[Any]:
        """One plane as it was written; neighbours in its chunk are read along with it, and kept."""
        *before, number = index
        start = number - number % self.depth
        if self._read_from != (*before, start):
            stop = min(start + self.depth, self._out.shape[len(before)])
            self._block = np.array(self._out[(*before, slice(start, stop))])
            self._read_from = (*before, start)
        plane: NDArray[Any] = self._block[number - start]
        return plane
