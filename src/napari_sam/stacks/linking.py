"""Planes of labels to objects with constant ids, along z or along t, in one pass over the planes.

Planes are measured as they come and forgotten again; the objects' numbers are then linked for the whole stack
at once (``z_linking``, ``t_linking``), and a second pass over the planes gives the final ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_sam.errors import ImageError, SamError
from napari_sam.stacks.link_params import LinkParams
from napari_sam.stacks.object_table import (
    ObjectTable,
    PlaneObjects,
    Shared,
    count_shared,
    join_planes,
    measure_plane,
)
from napari_sam.stacks.plane_repairs import Recolor, apply_recolors, find_repairs
from napari_sam.stacks.t_linking import link_frames, link_t, number_links
from napari_sam.stacks.z_linking import link_sections, link_z

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Links = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = ["AXES", "LinkParams", "Linked", "Linker", "check_axis", "link_planes"]

Axis = Literal["z", "t"]
AXES = ("z", "t")


def check_axis(axis: str) -> Axis:
    """The axis, or a SamError that says which there are."""
    if axis == "z":
        return "z"
    if axis == "t":
        return "t"
    raise SamError(f"Expected axis 'z' (sections of one volume) or 't' (a time series), got {axis!r}.")


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """Which final object each label of each plane belongs to.

    Attributes
    ----------
    ids : (n,) int64
        The final id of each row of ``table``, 1, 2, ... by first appearance; 0 for one that was dropped.
    table : ObjectTable
        The objects of all planes.
    parents : dict of int to tuple of int
        Of an id that came from a division, the id that divided.
    planes : list of PlaneNames
        What their labels are called.
    """

    ids: NDArray[np.int64]
    table: ObjectTable
    parents: dict[int, tuple[int, ...]]
    planes: list[PlaneNames]

    def __len__(self) -> int:
        """Number of planes."""
        return len(self.planes)

    @property
    def count(self) -> int:
        """Number of objects."""
        return int(self.ids.max(initial=0))

    def relabel(self, number: int, plane: NDArray[Any]) -> NDArray[np.int32]:
        """A plane with the final ids.

        Parameters
        ----------
        number : int
            Of the plane, counted as they were given.
        plane : integer array
            The labels as they were given.
        """
        names = self.planes[number]
        return self._relabel(number, plane, names.given, np.arange(1, len(names.given) + 1))

    def relabel_provisional(
        self, number: int, plane: NDArray[Any], *, keep_unknown: bool = False
    ) -> NDArray[np.int32]:
        """The same for a plane with the provisional ids that ``Linker.add`` gave.

        Parameters
        ----------
        number : int
        plane : integer array
        keep_unknown : bool
            Leave labels that the plane did not have, as somebody may have drawn them since; else they become
            background.
        """
        shown = self.planes[number].shown
        order = np.argsort(shown)
        return self._relabel(number, plane, shown[order], order + 1, keep_unknown)

    def _relabel(
        self,
        number: int,
        plane: NDArray[Any],
        names: NDArray[np.int64],
        dense_of: NDArray[np.int64],
        keep_unknown: bool = False,
    ) -> NDArray[np.int32]:
        place = np.flatnonzero(plane)
        values = plane.reshape(-1)[place].astype(np.int64)
        index = np.minimum(np.searchsorted(names, values), max(len(names) - 1, 0))
        known = names[index] == values if len(names) else np.zeros(len(values), bool)
        dense = np.zeros(plane.shape, np.int32)
        dense.reshape(-1)[place[known]] = dense_of[index[known]]
        mine = self.planes[number]
        apply_recolors(dense, mine.recolors)
        start = int(np.searchsorted(self.table.planes, number))
        lookup = np.zeros(1 + max(len(names), int(mine.rows.max(initial=0))), np.int32)
        lookup[mine.rows] = self.ids[start : start + len(mine.rows)]
        final: NDArray[np.int32] = lookup[dense]
        if keep_unknown:
            final.reshape(-1)[place[~known]] = values[~known]
        return final


@dataclass(eq=False, slots=True)
class PlaneNames:
    """What the n objects of a plane are called: 1 .. n while they are linked.

    Attributes
    ----------
    given : (n,) int64
        Their labels in the plane that was given, ascending.
    shown : (n,) int64
        Their provisional ids.
    rows : (m,) int64
        The objects after repair, as they stand in the table, by their numbers while they are linked.
    recolors : list of Recolor
        What was repaired.
    """

    given: NDArray[np.int64]
    shown: NDArray[np.int64]
    rows: NDArray[np.int64]
    recolors: list[Recolor] = field(default_factory=list)


@dataclass(eq=False)
class Linker:
    """Takes planes one by one, and links them all at the end.

    Parameters
    ----------
    axis : "z" or "t"
    params : LinkParams
        How.
    """

    axis: Axis
    params: LinkParams = field(default_factory=LinkParams)

    def __post_init__(self) -> None:
        self._objects: list[PlaneObjects] = []
        self._shared: dict[tuple[int, int], Shared] = {}
        self._names: list[PlaneNames] = []
        self._held: dict[int, NDArray[np.int32]] = {}  # the last planes, their objects numbered 1 .. n
        self._reach = max(self.params.max_gap + 1, 2)  # planes apart that are compared; repair looks 2 away
        self._shape: tuple[int, ...] | None = None
        self._next_id = 1

    def add(self, labels: NDArray[Any]) -> NDArray[np.int32]:
        """Take the next plane.

        Parameters
        ----------
        labels : integer array
            Of one shape with all others; 0 is background. It is not changed and not kept.

        Returns
        -------
        int32 array
            The same plane with provisional ids: those of the plane before where an object continues, else new
            ones.

        Raises
        ------
        ImageError
            When the plane is no array of labels, or has another shape than those before.
        """
        number = len(self._names)
        if labels.dtype.kind not in "bui" or (labels.dtype.kind == "i" and labels.min(initial=0) < 0):
            raise ImageError(
                f"Expected labels of 0 or more, got {labels.dtype} in plane {number}; 0 is the background."
            )
        if self._shape not in (None, labels.shape):
            raise ImageError(
                f"Expected planes of one shape, got {labels.shape} after {self._shape} in plane {number}."
            )
        self._shape = labels.shape
        found = measure_plane(labels)
        plane = np.zeros(labels.shape, np.int32)
        place = np.flatnonzero(labels)
        plane.reshape(-1)[place] = np.searchsorted(found.labels, labels.reshape(-1)[place]) + 1
        rows = np.arange(1, len(found) + 1)
        self._objects.append(PlaneObjects(rows, found.areas, found.centers))
        self._held[number] = plane
        self._compare(number)
        shown = self._number_provisionally(number)
        self._names.append(PlaneNames(found.labels, shown, rows))
        self._repair(number - 1)
        self._held.pop(number - self._reach - 1, None)  # no plane to come reaches it
        return np.concatenate([[0], shown]).astype(np.int32)[plane]

    def finish(self, find_links: Callable[[Linked], Links] | None = None) -> Linked:
        """Link everything that was added.

        Parameters
        ----------
        find_links : callable, optional
            For t, another tracker: takes the objects, each under an id of its own, and gives the rows of each
            link's two ends.
        """
        table = join_planes(self._objects, self._shared)
        if find_links is not None:
            apart = Linked(np.arange(1, len(table) + 1), table, {}, list(self._names))
            ids, parents = number_links(table, self.params, *find_links(apart))
            return Linked(ids, table, parents, list(self._names))
        if self.axis == "z":
            return Linked(link_z(table, self.params), table, {}, list(self._names))
        ids, parents = link_t(table, self.params)
        return Linked(ids, table, parents, list(self._names))

    def _compare(self, number: int) -> None:
        """Count what a held plane shares with those within reach, which are held until it is repaired."""
        for other in self._held:
            if 0 < abs(other - number) <= self._reach:
                a, b = sorted((other, number))
                self._shared[a, b] = count_shared(
                    self._held[a], self._objects[a], self._held[b], self._objects[b]
                )

    def _repair(self, number: int) -> None:
        """Repair a plane now that both its neighbours are known."""
        if not self.params.repair or number - 1 not in self._held:
            return
        before, after = number - 1, number + 1
        recolors = find_repairs(
            (self._held[before], self._held[number], self._held[after]),
            (self._objects[before], self._objects[number], self._objects[after]),
            self._shared[before, number],
            self._shared[number, after],
            self._shared[before, after],
        )
        if recolors:
            apply_recolors(self._held[number], recolors)
            self._objects[number] = measure_plane(self._held[number])
            self._names[number].rows = self._objects[number].labels
            self._names[number].recolors = recolors
            self._compare(number)

    def _number_provisionally(self, number: int) -> NDArray[np.int64]:
        """Ids for the newest plane, from those of the plane before it."""
        found = self._objects[number]
        ids = np.zeros(len(found), np.int64)
        if number:
            before = self._objects[number - 1]
            table = join_planes([before, found], {(0, 1): self._shared[number - 1, number]})
            first, second = (link_sections if self.axis == "z" else link_frames)(table, self.params)
            ids[second - len(before)] = self._names[number - 1].shown[before.labels[first] - 1]
        new = np.flatnonzero(ids == 0)
        ids[new] = self._next_id + np.arange(len(new))
        self._next_id += len(new)
        return ids


def link_planes(
    planes: Iterable[NDArray[Any]], axis: Literal["z", "t"], params: LinkParams | None = None
) -> Linked:
    """Link the labels of planes to objects.

    Parameters
    ----------
    planes : iterable of (H, W) integer arrays
        Labels, 0 = background; looked at one after the other. Volumes (Z, H, W) for ``axis="t"`` as well.
    axis : "z" or "t"
        Sections of one volume, linked where they overlap; or frames of a time series, linked where objects
        have moved to, with divisions.
    params : LinkParams, optional
        Thresholds.

    Returns
    -------
    Linked
        ``relabel(k, plane)`` gives the labels of the k-th plane their final ids.

    Raises
    ------
    SamError
        When the axis is neither.
    ImageError
        When a plane holds no labels, or is of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> planes = [np.array([[5, 5, 0]]), np.array([[0, 2, 2]]), np.array([[0, 9, 9]])]
    >>> linked = link_planes(planes, "z")
    >>> [linked.relabel(k, plane).tolist() for k, plane in enumerate(planes)]
    [[[1, 1, 0]], [[0, 1, 1]], [[0, 1, 1]]]
    """
    linker = Linker(check_axis(axis), params or LinkParams())
    for plane in planes:
        linker.add(np.asarray(plane))
    return linker.finish()
