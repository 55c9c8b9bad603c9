"""Where the objects of a label image are: a box for each, looked up once and then kept up to date.

Boxes are upper bounds: an object that shrinks keeps its box until somebody looks again, so that an edit
costs what it changes and never a plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.inference.embedding_key import digest_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_sam.session.edits import Write
    from napari_sam.session.patches import Box, Index

__all__ = ["LabelIndex", "measure_boxes"]

STRIPE = 1 << 22
"""Pixels that are read at once."""


@dataclass(slots=True, eq=False)
class _Boxes:
    """The objects of one plane: ascending ids, and a box of each."""

    labels: NDArray[np.integer]  # (K,)
    boxes: NDArray[np.int64]  # (K, 4) half-open r0, c0, r1, c1
    digest: tuple[str, ...] | None = None  # of the plane; None where it was written since
    doubted: bool = False  # the plane may be another one now

    def position(self, label: int) -> int | None:
        """Row of an object, or None."""
        found = int(np.searchsorted(self.labels, label))
        return found if found < len(self.labels) and int(self.labels[found]) == label else None

    def widen(self, labels: NDArray[np.integer], boxes: NDArray[np.int64]) -> None:
        """Take in boxes of objects, known or new."""
        self.labels, self.boxes = _join([(self.labels, self.boxes), (labels, boxes)])
        self.digest = None

    def drop(self, row: int) -> None:
        """The object is gone."""
        self.labels, self.boxes = np.delete(self.labels, row), np.delete(self.boxes, row, axis=0)
        self.digest = None

    def tighten(self, row: int, box: Box) -> None:
        """The box of an object is smaller."""
        if tuple(self.boxes[row]) != box:
            self.boxes[row], self.digest = box, None


class LabelIndex:
    """The boxes of one label image.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    read : callable
        (index, box) to the (h, w) labels there.
    empty : bool
        The image is known to have no objects yet, so that nobody has to look.
    """

    def __init__(
        self, shape: tuple[int, ...], read: Callable[[Index, Box], NDArray[np.integer]], empty: bool = False
    ) -> None:
        self.scanned = 0  # planes that were looked through, for tests and benchmarks
        self._shape = shape
        self._read = read
        self._empty = empty
        self._planes: dict[Index, _Boxes] = {}

    # ------------------------------------------------------------- asking
    def find(self, label: int, index: Index) -> Box | None:
        """The box of an object in a plane; None where it has no pixels there."""
        boxes = self._boxes(index)
        row = boxes.position(label)
        if row is None:
            return None
        r0, c0, r1, c1 = (int(value) for value in boxes.boxes[row])
        rows, cols = _extent(self._read(index, (r0, c0, r1, c1)) == label)
        if rows is None or cols is None:
            boxes.drop(row)
            return None
        exact = (r0 + rows[0], c0 + cols[0], r0 + rows[1], c0 + cols[1])
        boxes.tighten(row, exact)
        return exact

    def planes_of(self, label: int, like: Index) -> list[Index]:
        """The planes, parallel to ``like``, that may hold pixels of an object."""
        return [index for index in self._parallel(like) if self._boxes(index).position(label) is not None]

    def areas_in(self, index: Index) -> dict[int, int]:
        """Pixels of each object of a plane, which is looked through for them."""
        areas: dict[int, int] = {}
        found = []
        digest: list[str] = []
        for top, stripe in self._stripes(index, digest):
            labels, boxes, pixels = _measure(stripe, (top, 0))
            found.append((labels, boxes))
            for label, count in zip(labels.tolist(), pixels.tolist(), strict=True):
                areas[label] = areas.get(label, 0) + count
        self._planes[index] = _Boxes(*_join(found), tuple(digest))
        return areas

    # ------------------------------------------------------------- learning
    def note(self, writes: Sequence[Write]) -> None:
        """Pixels were written."""
        for write in writes:
            for index in [i for i in self._planes if _axes(i) != _axes(write.index)]:
                del self._planes[index]  # seen from another side: looked up again when needed
            boxes = self._planes.get(write.index)
            if boxes is None and self._empty and self._all_alike(write.index):
                boxes = self._planes[write.index] = _nothing()
            if boxes is not None:
                boxes.widen(*measure_boxes(np.where(write.mask, write.values, 0), write.origin))

    def forget(self, ranges: Sequence[tuple[int, int]] | None = None) -> None:
        """Somebody else wrote: into these half-open ranges of the axes, or nobody knows where."""
        self._empty = False
        if ranges is None:
            self._planes.clear()
            return
        for index in list(self._planes):
            if all(v is None or low <= v < high for v, (low, high) in zip(index, ranges, strict=True)):
                del self._planes[index]

    def doubt(self) -> None:
        """Somebody else may have written: compare each plane with what it was before the next answer.

        That takes a small part of the time that looking through it does.
        """
        self._empty = False
        for boxes in self._planes.values():
            boxes.doubted = True

    def forget_plane(self, index: Index) -> None:
        """Look through one plane before the next answer."""
        self._empty = False
        self._planes.pop(index, None)

    # ------------------------------------------------------------- looking
    def _boxes(self, index: Index) -> _Boxes:
        if len(index) != len(self._shape) or any(
            value is not None and not 0 <= value < size
            for value, size in zip(index, self._shape, strict=False)
        ):
            return _nothing()  # a plane of an image of another shape
        found = self._planes.get(index)
        if found is not None and found.doubted:
            found.doubted = False
            if found.digest is None or found.digest != self._digest(index):
                found = None
        if found is None:
            found = _nothing() if self._empty and self._all_alike(index) else self._scan(index)
            self._planes[index] = found
        return found

    def _all_alike(self, index: Index) -> bool:
        """True when every plane that is known is parallel to this one."""
        if all(_axes(other) == _axes(index) for other in self._planes):
            return True
        self._empty = False  # what was written is known from one side only
        return False

    def _scan(self, index: Index) -> _Boxes:
        self.scanned += 1
        digest: list[str] = []
        found = [measure_boxes(stripe, (top, 0)) for top, stripe in self._stripes(index, digest)]
        return _Boxes(*_join(found), tuple(digest))

    def _digest(self, index: Index) -> tuple[str, ...]:
        digest: list[str] = []
        for _ in self._stripes(index, digest):
            pass
        return tuple(digest)

    def _stripes(self, index: Index, digest: list[str]) -> Iterator[tuple[int, NDArray[np.integer]]]:
        """A plane in pieces, which are digested too: the first row of each, and its labels."""
        height, width = (n for n, value in zip(self._shape, index, strict=True) if value is None)
        step = max(1, STRIPE // max(1, width))
        for top in range(0, height, step):
            stripe = np.asarray(self._read(index, (top, 0, min(top + step, height), width)))
            digest.append(digest_pixels(stripe))
            yield top, stripe

    def _parallel(self, like: Index) -> Iterator[Index]:
        others = ([None] if value is None else range(n) for n, value in zip(self._shape, like, strict=True))
        return product(*others)


def measure_boxes(
    labels: NDArray[np.integer], origin: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The objects of a window and their boxes.

    Parameters
    ----------
    labels : (h, w) int
        0 is background.
    origin : (row, col)
        Where the window begins.

    Returns
    -------
    labels : (K,) int
        Ids, ascending.
    boxes : (K, 4) int64
        Half-open (r0, c0, r1, c1).

    Examples
    --------
    >>> import numpy as np
    >>> ids, boxes = measure_boxes(np.array([[0, 7, 7], [0, 0, 7]]))
    >>> ids.tolist(), boxes.tolist()
    ([7], [[0, 1, 2, 3]])
    """
    ids, boxes, _ = _measure(labels, origin)
    return ids, boxes


def _measure(
    labels: NDArray[np.integer], origin: tuple[int, int]
) -> tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.int64]]:
    """Ids, boxes and areas, from the runs of equal pixels."""
    width = labels.shape[1]
    nothing = np.zeros(0, np.int64), np.zeros((0, 4), np.int64), np.zeros(0, np.int64)
    if not labels.size:
        return nothing
    flat = np.ascontiguousarray(labels).ravel()
    begins = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::width] = True
    starts = np.flatnonzero(begins)
    stops = np.append(starts[1:], flat.size)
    of = flat[starts]
    kept = of != 0
    starts, stops, of = starts[kept], stops[kept], of[kept]
    if not len(of):
        return nothing
    order = np.argsort(of, kind="stable")
    starts, stops, of = starts[order], stops[order], of[order]
    groups = _groups(of)
    rows, cols, ends = starts // width, starts % width, (stops - 1) % width
    boxes = np.stack(
        [
            np.minimum.reduceat(rows, groups) + origin[0],
            np.minimum.reduceat(cols, groups) + origin[1],
            np.maximum.reduceat(rows, groups) + 1 + origin[0],
            np.maximum.reduceat(ends, groups) + 1 + origin[1],
        ],
        axis=1,
    )
    return of[groups], boxes.astype(np.int64), np.add.reduceat(stops - starts, groups)


def _join(
    parts: Sequence[tuple[NDArray[np.integer], NDArray[np.int64]]],
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The boxes of several parts of a plane, one for each object."""
    parts = [part for part in parts if len(part[0])]
    if len(parts) < 2:
        return parts[0] if parts else (np.zeros(0, np.int64), np.zeros((0, 4), np.int64))
    labels = np.concatenate([part[0] for part in parts])
    boxes = np.concatenate([part[1] for part in parts])
    order = np.argsort(labels, kind="stable")
    labels, boxes = labels[order], boxes[order]
    groups = _groups(labels)
    low, high = np.minimum.reduceat(boxes[:, :2], groups), np.maximum.reduceat(boxes[:, 2:], groups)
    return labels[groups], np.concatenate([low, high], axis=1)


def _groups(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """Where each run of equal values begins; there is at least one value."""
    return np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)


def _extent(mask: NDArray[np.bool_]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None, None
    return (int(rows[0]), int(rows[-1]) + 1), (int(cols[0]), int(cols[-1]) + 1)


def _nothing() -> _Boxes:
    return _Boxes(np.zeros(0, np.int64), np.zeros((0, 4), np.int64))


def _axes(index: Index) -> tuple[int, ...]:
    return tuple(axis for axis, value in enumerate(index) if value is None)
