"""The objects of many label planes as columns, with the pixels that those of near planes share.

Linking needs nothing else, so a stack of any size is linked in the memory that its objects' numbers take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ObjectTable", "PlaneObjects", "Shared", "count_shared", "join_planes", "measure_plane"]


@dataclass(frozen=True, slots=True, eq=False)
class PlaneObjects:
    """The n objects of one plane.

    Attributes
    ----------
    labels : (n,) int64
        Ascending.
    areas : (n,) int64
        Pixels.
    centers : (n, d) float64
        Mean coordinates, in pixels along each axis of the plane.
    """

    labels: NDArray[np.int64]
    areas: NDArray[np.int64]
    centers: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Pairs of objects of two planes that cover the same pixels.

    Attributes
    ----------
    first, second : (p,) int64
        Which objects of the two planes.
    pixels : (p,) int64
        How many pixels both cover.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    pixels: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """All objects of a stack, plane by plane.

    Attributes
    ----------
    planes : (n,) int64
        The plane of each object, ascending.
    areas : (n,) int64
    centers : (n, d) float64
    first, second : (p,) int64
        Rows of objects of two planes that share pixels, the earlier plane first.
    pixels : (p,) int64
        How many they share.
    count : int
        Number of planes.
    """

    planes: NDArray[np.int64]
    areas: NDArray[np.int64]
    centers: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    pixels: NDArray[np.int64]
    count: int

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def iou(self) -> NDArray[np.float64]:
        """(p,) intersection over union of each pair."""
        unions = self.areas[self.first] + self.areas[self.second] - self.pixels
        return np.asarray(self.pixels / unions)

    @property
    def diameters(self) -> NDArray[np.float64]:
        """(n,) of the disc, or ball, of each object's size."""
        if self.centers.shape[1] == 3:
            return np.asarray(2 * np.cbrt(0.75 * self.areas / np.pi))
        return np.asarray(2 * np.sqrt(self.areas / np.pi))


def measure_plane(plane: NDArray[Any]) -> PlaneObjects:
    """The objects of one plane of labels, which may be a volume as well.

    Parameters
    ----------
    plane : (...,) integer array
        Labels of 0 or more; 0 is background.
    """
    place = np.flatnonzero(plane)
    labels, which = np.unique(plane.reshape(-1)[place], return_inverse=True)
    which = which.reshape(-1)
    areas = np.bincount(which, minlength=len(labels))
    coordinates = np.unravel_index(place, plane.shape)
    sums = [np.bincount(which, axis, len(labels)) for axis in coordinates]
    centers = np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None]
    return PlaneObjects(labels.astype(np.int64), areas.astype(np.int64), centers)


def count_shared(one: NDArray[Any], first: PlaneObjects, other: NDArray[Any], second: PlaneObjects) -> Shared:
    """Count the pixels that each object of one plane shares with those of another.

    Parameters
    ----------
    one, other : integer arrays of one shape
        Labels.
    first, second : PlaneObjects
        What ``measure_plane`` says of them.
    """
    both = (one != 0) & (other != 0)
    rows = np.searchsorted(first.labels, one[both])
    cols = np.searchsorted(second.labels, other[both])
    width = max(len(second), 1)
    keys, pixels = np.unique(rows.astype(np.int64) * width + cols, return_counts=True)
    return Shared(keys // width, keys % width, pixels.astype(np.int64))


def join_planes(objects: Sequence[PlaneObjects], shared: dict[tuple[int, int], Shared]) -> ObjectTable:
    """One table of all planes.

    Parameters
    ----------
    objects : sequence of PlaneObjects
        Plane by plane.
    shared : dict
        By the numbers of two planes, the smaller first.
    """
    counts = np.array([len(plane) for plane in objects], np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    dimensions = max((plane.centers.shape[1] for plane in objects), default=2)
    pairs = sorted(shared)
    nothing = np.zeros(0, np.int64)

    def rows(name: str, end: int) -> NDArray[np.int64]:
        parts = [getattr(shared[pair], name) + starts[pair[end]] for pair in pairs]
        return np.concatenate([nothing, *parts])

    return ObjectTable(
        planes=np.repeat(np.arange(len(objects)), counts),
        areas=np.concatenate([nothing, *(plane.areas for plane in objects)]),
        centers=np.concatenate([np.zeros((0, dimensions)), *(plane.centers for plane in objects)]),
        first=rows("first", 0),
        second=rows("second", 1),
        pixels=np.concatenate([nothing, *(shared[pair].pixels for pair in pairs)]),
        count=len(objects),
    )
