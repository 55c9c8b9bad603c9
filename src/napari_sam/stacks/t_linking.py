"""Frames of a time series to tracks: assignment by place, size and overlap, then gaps and divisions.

Two steps as in Jaqaman et al. 2008 (Nature Methods 5, 695): frame to frame first, then ends of tracks to
beginnings of others, where a beginning may also be the second daughter of an object that went on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.spatial import cKDTree

from napari_sam.stacks.assignment import assign, number_chains

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.stacks.link_params import LinkParams
    from napari_sam.stacks.object_table import ObjectTable

    Links = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = ["link_frames", "link_t", "number_links"]

PLACE, OVERLAP, SIZE = 0.5, 0.3, 0.2
"""What distance, overlap and size weigh in the cost of a link, which is from 0 to 1."""
NO_LINK: Final = 0.95
"""The cost of ending a track and beginning another."""
SWALLOWED: Final = 0.5
"""The part of an object that lies inside the one that it is lost in, ..."""
HIDDEN: Final = 8
"""... and for how many frames it may be lost there."""
SURE: Final = 1.5
"""Weight of a beginning that is an object lost before, which goes before every division."""
LIGHTEST: Final = 0.85
"""Of two daughters the larger has at most so much of the mother's area ..."""
SUM: Final = (0.45, 1.4)
"""... both together so much ..."""
BALANCE: Final = 0.4
"""... and the smaller at least so much of the larger's."""
BETWEEN: Final = 0.6
"""The mother lies so near to the middle of her daughters, in her diameters."""


def link_frames(table: ObjectTable, params: LinkParams) -> Links:
    """Rows of objects of neighbouring frames that are the same."""
    first, second = _find_near(table, params, 1, params.max_distance)
    chosen = assign(first, second, NO_LINK - _cost(table, params, first, second))
    return first[chosen], second[chosen]


def link_t(table: ObjectTable, params: LinkParams) -> tuple[NDArray[np.int64], dict[int, tuple[int, ...]]]:
    """Tracks and who came from whom.

    Returns
    -------
    ids : (n,) int64
        1, 2, ... by first appearance; 0 for what is dropped.
    parents : dict of int to (int,)
        By the id of a daughter the id of her mother.
    """
    first, second = link_frames(table, params)
    following = np.full(len(table), -1)
    following[first] = second
    begins = np.ones(len(table), bool)
    begins[second] = False
    gaps, births = _link_segments(table, params, following, begins)
    first, second = np.concatenate([first, gaps[0]]), np.concatenate([second, gaps[1]])
    # a mother's track ends where her daughters' begin
    mothers, daughters = births
    goes_on = np.isin(first, mothers)
    sisters = dict(zip(first[goes_on].tolist(), second[goes_on].tolist(), strict=True))
    chains = number_chains(len(table), first[~goes_on], second[~goes_on])
    families = [
        (int(chains[mother]), (int(chains[daughter]), int(chains[sisters[mother]])))
        for mother, daughter in zip(mothers.tolist(), daughters.tolist(), strict=True)
    ]
    return _number(table, params, chains, families)


def number_links(
    table: ObjectTable, params: LinkParams, first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], dict[int, tuple[int, ...]]]:
    """The same from links that are known; an object that goes on as two has divided."""
    divides = np.bincount(first, minlength=len(table)) > 1
    plain = ~divides[first]
    chains = number_chains(len(table), first[plain], second[plain])
    families = []
    for mother in np.flatnonzero(divides).tolist():
        one, two, *_ = second[first == mother].tolist()
        families.append((int(chains[mother]), (int(chains[one]), int(chains[two]))))
    return _number(table, params, chains, families)


def _find_near(table: ObjectTable, params: LinkParams, distance: int, reach: float) -> Links:
    """Pairs of objects so many frames apart, near enough and of like size."""
    sizes, starts = table.diameters, np.searchsorted(table.planes, np.arange(table.count + 1))
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for frame in range(table.count - distance):
        rows = np.arange(starts[frame], starts[frame + 1])
        others = np.arange(starts[frame + distance], starts[frame + distance + 1])
        if len(rows) == 0 or len(others) == 0:
            continue
        tree = cKDTree(table.centers[others])
        near = tree.query_ball_point(table.centers[rows], reach * sizes[rows])
        firsts.append(np.repeat(rows, [len(found) for found in near]))
        seconds.append(others[np.concatenate([np.asarray(found, np.int64) for found in near])])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    ratio = table.areas[first] / table.areas[second]
    alike = (ratio <= params.max_area_change) & (ratio >= 1 / params.max_area_change)
    return first[alike], second[alike]


def _cost(
    table: ObjectTable,
    params: LinkParams,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    reach: float | None = None,
) -> NDArray[np.float64]:
    """0 to 1 for each pair: 0 for two objects that are equal in every respect."""
    steps = np.linalg.norm(table.centers[second] - table.centers[first], axis=1)
    place = steps / ((reach or params.max_distance) * table.diameters[first])
    one, two = table.areas[first], table.areas[second]
    size = 1 - np.minimum(one, two) / np.maximum(one, two)
    count = max(len(table), 1)
    keys = table.first * count + table.second
    order = np.argsort(keys)
    wanted = first * count + second
    found = np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))
    overlap = np.zeros(len(first))
    if len(keys):
        pairs = order[found]
        overlap = np.where(keys[pairs] == wanted, table.iou[pairs], 0.0)
    return np.asarray(PLACE * place + OVERLAP * (1 - overlap) + SIZE * size)


def _link_segments(
    table: ObjectTable, params: LinkParams, following: NDArray[np.int64], begins: NDArray[np.bool_]
) -> tuple[Links, Links]:
    """What every beginning is: a track found again, a daughter, or new. Gaps and births, as pairs of rows."""
    count = len(table)
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], bool]] = []
    for distance in range(2, params.max_gap + 2):
        reach = params.max_distance * np.sqrt(distance)
        a, b = _find_near(table, params, distance, reach)
        usable = (following[a] < 0) & begins[b]
        a, b = a[usable], b[usable]
        pairs.append((a, b, NO_LINK - _cost(table, params, a, b, reach), False))
    hidden, freed, cost = _find_hidden(table, params, following, begins)
    pairs.append((hidden, freed, SURE - cost, False))
    if params.divisions:
        mothers, daughters, cost = _find_births(table, params, following, begins)
        # whoever divides may not be found again as well, so the two kinds of left ends are kept apart
        pairs.append((mothers + count, daughters, NO_LINK - cost, True))
    left, right = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
    weights = np.concatenate([pair[2] for pair in pairs])
    chosen = assign(left, right, weights)
    left, right = left[chosen], right[chosen]
    born = left >= count
    return (left[~born], right[~born]), (left[born] - count, right[born])


def _find_hidden(
    table: ObjectTable, params: LinkParams, following: NDArray[np.int64], begins: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Tracks that end inside a larger object, with beginnings beside it later: two that were seen as one."""
    inside = table.planes[table.second] - table.planes[table.first] == 1
    inside &= table.pixels >= SWALLOWED * table.areas[table.first]
    inside &= (following[table.first] < 0) & ~begins[table.second]
    starts = np.searchsorted(table.planes, np.arange(table.count + 1))
    found: list[tuple[int, int, float]] = []
    for lost, holder in zip(table.first[inside].tolist(), table.second[inside].tolist(), strict=True):
        for _ in range(HIDDEN):
            if following[holder] < 0:
                break
            frame = int(table.planes[holder]) + 1
            rows = np.arange(starts[frame], starts[frame + 1])
            rows = rows[begins[rows]]
            apart = np.linalg.norm(table.centers[rows] - table.centers[holder], axis=1)
            ratio = table.areas[rows] / table.areas[lost]
            usable = apart <= params.max_distance * table.diameters[holder]
            usable &= (ratio <= params.max_area_change) & (ratio >= 1 / params.max_area_change)
            for row, size in zip(rows[usable].tolist(), ratio[usable].tolist(), strict=True):
                found.append((lost, row, SIZE * (1 - min(size, 1 / size))))
            holder = int(following[holder])
    lost_rows, freed, cost = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
    return np.array(lost_rows, np.int64), np.array(freed, np.int64), np.array(cost, np.float64)


def _find_births(
    table: ObjectTable, params: LinkParams, following: NDArray[np.int64], begins: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Objects that go on, with a beginning beside them that may be their second daughter."""
    # daughters stand further off than anything moves, and are smaller than their mother
    loose = replace(params, max_area_change=2 * params.max_area_change)
    a, b = _find_near(table, loose, 1, 1.5 * params.max_distance)
    usable = (following[a] >= 0) & begins[b]
    a, b = a[usable], b[usable]
    sister = following[a]
    mother, one, two = (table.areas[rows].astype(np.float64) for rows in (a, b, sister))
    total, larger = (one + two) / mother, np.maximum(one, two)
    middle = (table.centers[b] * one[:, None] + table.centers[sister] * two[:, None]) / (one + two)[:, None]
    offset = np.linalg.norm(middle - table.centers[a], axis=1) / table.diameters[a]
    likely = (larger <= LIGHTEST * mother) & (total >= SUM[0]) & (total <= SUM[1])
    likely &= (np.minimum(one, two) >= BALANCE * larger) & (offset <= BETWEEN)
    a, b, offset, total = a[likely], b[likely], offset[likely], total[likely]
    cost = 0.5 * offset / BETWEEN + 0.3 * np.minimum(np.abs(total - 1), 1)
    return a, b, cost


def _number(
    table: ObjectTable,
    params: LinkParams,
    chains: NDArray[np.int64],
    families: list[tuple[int, tuple[int, int]]],
) -> tuple[NDArray[np.int64], dict[int, tuple[int, ...]]]:
    """Ids 1, 2, ... of the tracks that are long enough, and their parents."""
    if len(table) == 0:
        return np.zeros(0, np.int64), {}
    count = int(chains.max()) + 1
    length = np.bincount(chains, minlength=count)
    kept = length >= params.min_planes
    at_edge = (table.planes == 0) | (table.planes == table.count - 1)
    kept[chains[at_edge]] = True
    if table.count <= params.min_planes:
        kept[:] = True
    for mother, daughters in families:
        kept[[mother, *daughters]] = True
    ids = np.zeros(count, np.int64)
    ids[kept] = np.arange(1, int(kept.sum()) + 1)
    parents = {
        int(ids[daughter]): (int(ids[mother]),) for mother, daughters in families for daughter in daughters
    }
    return ids[chains], dict(sorted(parents.items()))
