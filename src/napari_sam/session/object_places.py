"""Where the objects of a label image are and how large they are, plane by plane, from their runs of pixels.

A run is a stretch of equal labels in a row. There are a hundred times fewer of them than pixels, so that a
plane of objects is measured about as fast as it is read, and nothing is done once per object.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

__all__ = ["ObjectPlaces", "iter_places", "measure_plane"]

STRIPE = 1 << 20
"""Pixels that are looked at in one step."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPlaces:
    """One row for each label, ascending.

    Attributes
    ----------
    labels : (N,) int64
        The ids.
    areas : (N,) int64
        Pixels in the plane where the object is largest.
    totals : (N,) int64
        Pixels in all planes.
    boxes : (N, 4) int64
        Half-open (r0, c0, r1, c1) in that plane.
    planes : (N,) int64
        Which of ``indices`` that plane is.
    on_border : (N,) bool
        Touches the edge of a plane, in any of them.
    indices : tuple of tuple of int or None
        Index of each plane, as ``Plane.index``.
    """

    labels: NDArray[np.int64]
    areas: NDArray[np.int64]
    totals: NDArray[np.int64]
    boxes: NDArray[np.int64]
    planes: NDArray[np.int64]
    on_border: NDArray[np.bool_]
    indices: tuple[tuple[int | None, ...], ...]

    def __len__(self) -> int:
        return len(self.labels)


def measure_plane(plane: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Measure the objects of one plane.

    Parameters
    ----------
    plane : (H, W) array of integers
        Labels; 0 is background. Also dask or zarr, which is read in stripes.

    Returns
    -------
    labels : (N,) int64
        Ascending.
    areas : (N,) int64
        Pixels of each.
    boxes : (N, 4) int64
        Half-open (r0, c0, r1, c1).

    Examples
    --------
    >>> import numpy as np
    >>> labels, areas, boxes = measure_plane(np.array([[0, 7, 7], [3, 0, 7]]))
    >>> labels.tolist(), areas.tolist(), boxes.tolist()
    ([3, 7], [1, 3], [[1, 0, 2, 1], [0, 1, 2, 3]])
    """
    height, width = (int(size) for size in plane.shape)
    if not height or not width:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    step = max(STRIPE // width, 1)
    parts = [_find_runs(np.asarray(plane[top : top + step]), top) for top in range(0, height, step)]
    values, rows, starts, stops = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    labels, which = np.unique(values, return_inverse=True)
    if not len(labels):
        return labels, np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    areas = np.bincount(which, stops - starts, len(labels)).astype(np.int64)
    order = np.argsort(which, kind="stable")
    first = np.searchsorted(which[order], np.arange(len(labels)))
    boxes = np.stack(
        [
            np.minimum.reduceat(rows[order], first),
            np.minimum.reduceat(starts[order], first),
            np.maximum.reduceat(rows[order], first) + 1,
            np.maximum.reduceat(stops[order], first),
        ],
        axis=1,
    )
    return labels, areas, boxes


def _find_runs(stripe: NDArray[Any], top: int) -> tuple[NDArray[np.int64], ...]:
    """(label, row, first column, column after the last) of each run of a label that is not 0."""
    height, width = stripe.shape
    begins = np.ones((height, width), bool)
    np.not_equal(stripe[:, 1:], stripe[:, :-1], out=begins[:, 1:])
    at = np.flatnonzero(begins)
    stops = np.append(at[1:], height * width)
    values = stripe.ravel()[at].astype(np.int64)
    kept = values != 0
    at, stops, values = at[kept], stops[kept], values[kept]
    rows = at // width
    return values, rows + top, at - rows * width, stops - rows * width


def iter_places(data: Any, axes: tuple[int, int]) -> Generator[Progress, None, ObjectPlaces]:
    """Measure all objects of a label image, as a job of one step a plane.

    Parameters
    ----------
    data : (..., H, W) array of integers
        Labels; an object may lie in many planes.
    axes : (rows, cols)
        The axes of a plane, in ascending order.

    Yields
    ------
    Progress
        After each plane.

    Returns
    -------
    ObjectPlaces
        Where each object is.
    """
    indices = tuple(_list_planes(data.shape, axes))
    found: list[tuple[NDArray[np.int64], ...]] = []
    for number, index in enumerate(indices):
        plane = data[tuple(slice(None) if value is None else value for value in index)]
        labels, areas, boxes = measure_plane(plane)
        found.append((labels, areas, boxes, np.full(len(labels), number)))
        yield Progress(number + 1, len(indices), "Looking at objects")
    size = np.array([data.shape[axis] for axis in axes], np.int64)
    return _join(found, indices, size)


def _list_planes(shape: tuple[int, ...], axes: tuple[int, int]) -> Iterator[tuple[int | None, ...]]:
    return product(*([None] if axis in axes else range(size) for axis, size in enumerate(shape)))


def _join(
    found: list[tuple[NDArray[np.int64], ...]],
    indices: tuple[tuple[int | None, ...], ...],
    size: NDArray[np.int64],
) -> ObjectPlaces:
    """One row for each label, from one for each label in each plane."""
    values, areas, boxes, planes = (np.concatenate(columns) for columns in zip(*found, strict=True))
    labels, which = np.unique(values, return_inverse=True)
    touches = (boxes[:, :2] == 0).any(axis=1) | (boxes[:, 2:] == size).any(axis=1)
    # the largest of each label comes first in its group; of equals the first plane
    order = np.lexsort((planes, -areas, which))
    first = order[np.searchsorted(which[order], np.arange(len(labels)))]
    return ObjectPlaces(
        labels=labels,
        areas=areas[first],
        totals=np.bincount(which, areas, len(labels)).astype(np.int64),
        boxes=boxes[first],
        planes=planes[first],
        on_border=np.bincount(which, touches, len(labels)) > 0,
        indices=indices,
    )
