"""Linked objects as tables: one row per object and plane, napari's tracks and graph, and CSV."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_sam.stacks.linking import Linked, PlaneNames

__all__ = ["make_graph", "make_tracks", "measure_tracks", "write_tracks"]


def measure_tracks(
    linked: Linked, scores: Mapping[str, Sequence[NDArray[Any]]] | None = None
) -> dict[str, NDArray[Any]]:
    """One row per final object and plane, by id and then by plane.

    Parameters
    ----------
    linked : Linked
    scores : mapping of str to one (n,) array per plane, optional
        More columns, means by area: a value for each label that the plane was given with, ascending.

    Returns
    -------
    dict of str to (m,) array
        ``id``, ``plane``, ``area`` in pixels, and mean coordinates ``y``, ``x``, of volumes ``z`` as well.
    """
    table = linked.table
    rows = np.flatnonzero(linked.ids)
    keys, which = np.unique(linked.ids[rows] * max(table.count, 1) + table.planes[rows], return_inverse=True)
    which = which.reshape(-1)
    area = np.bincount(which, table.areas[rows], len(keys))
    columns: dict[str, NDArray[Any]] = {
        "id": keys // max(table.count, 1),
        "plane": keys % max(table.count, 1),
        "area": area.astype(np.int64),
    }
    dimensions = table.centers.shape[1]
    for axis, name in enumerate("zyx"[-dimensions:]):
        weighted = table.areas[rows] * table.centers[rows, axis]
        columns[name] = np.bincount(which, weighted, len(keys)) / np.maximum(area, 1)
    for name, planes in (scores or {}).items():
        values = np.concatenate(
            [np.zeros(0), *(_spread(names, v) for names, v in zip(linked.planes, planes, strict=True))]
        )
        weighted = table.areas[rows] * values[rows]
        columns[name] = np.bincount(which, weighted, len(keys)) / np.maximum(area, 1)
    return columns


def _spread(names: PlaneNames, values: NDArray[Any]) -> NDArray[np.float64]:
    """Values of the labels of a plane, for what they became by repair."""
    origin = {change.new: change.old for change in names.recolors if change.mask is not None}
    return np.array([values[origin.get(row, row) - 1] for row in names.rows.tolist()], np.float64)


def make_tracks(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """(m, 4) [id, plane, y, x], or (m, 5) with z before y: what a napari Tracks layer takes."""
    names = ["id", "plane", *(name for name in "zyx" if name in columns)]
    return np.stack([np.asarray(columns[name], np.float64) for name in names], axis=1)


def make_graph(parents: Mapping[int, tuple[int, ...]]) -> dict[int, list[int]]:
    """The ``graph`` of a napari Tracks layer: of each daughter the ids that she came from."""
    return {daughter: list(mothers) for daughter, mothers in parents.items()}


def write_tracks(
    file: TextIO,
    columns: Mapping[str, NDArray[Any]],
    parents: Mapping[int, tuple[int, ...]],
    plane: str = "t",
) -> None:
    """Write the rows as CSV, with the parent of each object, 0 where it has none.

    Parameters
    ----------
    file : text file
        Opened with ``newline=""``.
    columns : mapping
        What ``measure_tracks`` gives, where ``area`` may be missing; columns of one letter more are axes
        along which nothing is linked.
    parents : mapping of int to tuple of int
    plane : str
        What the number of the plane is called.
    """
    places = [name for name in "zyx" if name in columns]
    series = [name for name in columns if len(name) == 1 and name not in places]
    writer = csv.writer(file)
    sizes = [name for name in ("area",) if name in columns]
    writer.writerow(["id", *series, plane, *places, *sizes, "parent"])
    for i, number in enumerate(columns["id"].tolist()):
        parent = parents.get(number, (0,))[0]
        numbers = [int(columns[name][i]) for name in (*series, "plane")]
        where = [f"{columns[name][i]:.2f}" for name in places]
        writer.writerow([number, *numbers, *where, *(int(columns[name][i]) for name in sizes), parent])
