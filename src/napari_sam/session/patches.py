"""A small window of a label image before and after an edit, kept as runs of equal pixels.

Label images are piecewise constant: an object of 100 x 100 pixels is a few hundred runs, so that a patch
costs a few kilobytes where its two windows would cost eighty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Box", "Index", "Patch"]

Index = tuple[int | None, ...]
"""As ``Plane.index``: None on the plane's own two axes, rows first."""
Box = tuple[int, int, int, int]
"""Half-open (r0, c0, r1, c1) in pixels of the plane."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """What one edit did to a small box of one plane; made by ``between``.

    Attributes
    ----------
    index : tuple of int or None
        The plane.
    origin : (row, col)
        Where the box begins.
    shape : (h, w)
        Its size.
    lengths, old, new : (K,) int
        Runs of pixels, row by row, and the label of each before and after.
    """

    index: Index
    origin: tuple[int, int]
    shape: tuple[int, int]
    lengths: NDArray[np.integer]
    old: NDArray[np.integer]
    new: NDArray[np.integer]

    @classmethod
    def between(
        cls,
        index: Index,
        origin: tuple[int, int],
        before: NDArray[np.integer],
        after: NDArray[np.integer],
    ) -> Patch | None:
        """The difference of two windows, cropped to the pixels that differ; None where none does.

        Parameters
        ----------
        index : tuple of int or None
            The plane.
        origin : (row, col)
            Where the windows begin.
        before, after : (h, w) int
            Their labels.
        """
        changed = before != after
        rows, cols = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        if not rows.size:
            return None
        box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1))
        old, new = before[box].ravel(), after[box].ravel()
        starts = np.flatnonzero((old[1:] != old[:-1]) | (new[1:] != new[:-1])) + 1
        starts = np.concatenate([[0], starts])
        lengths = np.diff(np.append(starts, old.size))
        height, width = changed[box].shape
        return cls(
            index,
            (origin[0] + int(rows[0]), origin[1] + int(cols[0])),
            (height, width),
            _narrow(lengths),
            _narrow(old[starts]),
            _narrow(new[starts]),
        )

    @property
    def before(self) -> NDArray[np.integer]:
        """(h, w) labels before the edit."""
        return np.repeat(self.old, self.lengths).reshape(self.shape)

    @property
    def after(self) -> NDArray[np.integer]:
        """(h, w) labels after the edit."""
        return np.repeat(self.new, self.lengths).reshape(self.shape)

    @property
    def changed(self) -> NDArray[np.bool_]:
        """(h, w) pixels that the edit changed."""
        return np.repeat(self.old != self.new, self.lengths).reshape(self.shape)

    @property
    def box(self) -> Box:
        """Half-open (r0, c0, r1, c1) in pixels of the plane."""
        (row, col), (height, width) = self.origin, self.shape
        return row, col, row + height, col + width

    @property
    def area(self) -> int:
        """Number of pixels that the edit changed."""
        return int(self.lengths[self.old != self.new].sum())

    @property
    def labels(self) -> frozenset[int]:
        """Labels that gained or lost pixels; never 0."""
        touched = self.old != self.new
        return frozenset(np.union1d(self.old[touched], self.new[touched]).tolist()) - {0}

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return int(self.lengths.nbytes + self.old.nbytes + self.new.nbytes) + 200

    def inverse(self) -> Patch:
        """The patch that takes this one back."""
        return Patch(self.index, self.origin, self.shape, self.lengths, self.new, self.old)


def _narrow(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same numbers in the smallest type that holds them."""
    low, high = int(values.min()), int(values.max())
    for dtype in (np.uint8, np.uint16, np.int32, np.uint32, np.int64):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values
