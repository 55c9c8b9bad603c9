"""Sections of one volume to objects: assignment by overlap, gaps closed, waists cut, crumbs cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from napari_sam.stacks.assignment import assign, number_chains

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.stacks.link_params import LinkParams
    from napari_sam.stacks.object_table import ObjectTable

    Links = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = ["link_sections", "link_z"]

ACROSS: Final = 0.5
"""IoU of two sections with a gap between them that are of one object ..."""
FULL: Final = 0.7
"""... each having so much of the largest section on its side of the gap."""
LEAST_PART: Final = 2
"""Planes on either side of a waist."""
AGAINST: Final = 0.6
"""The part of a short fragment that must lie over an object for it to be of it."""


def link_sections(table: ObjectTable, params: LinkParams) -> Links:
    """Rows of sections of neighbouring planes that are of one object."""
    iou = table.iou
    near = (table.planes[table.second] - table.planes[table.first] == 1) & (iou >= params.min_overlap)
    chosen = assign(table.first, table.second, np.where(near, iou, 0.0))
    return table.first[chosen], table.second[chosen]


def link_z(table: ObjectTable, params: LinkParams) -> NDArray[np.int64]:
    """The id of each object of the table, 1, 2, ... by first appearance; 0 for what is dropped."""
    first, second = link_sections(table, params)
    for distance in range(2, params.max_gap + 2):
        more = _close_gaps(table, params, first, second, distance)
        first, second = np.concatenate([first, more[0]]), np.concatenate([second, more[1]])
    keep = ~_at_waists(table, params, first, second)
    first, second = first[keep], second[keep]
    chains = number_chains(len(table), first, second)
    chains = _clear_fragments(table, params, chains)
    _, start, which = np.unique(chains[chains >= 0], return_index=True, return_inverse=True)
    order = np.empty(len(start), np.int64)
    order[np.argsort(start)] = np.arange(1, len(start) + 1)
    ids = np.zeros(len(table), np.int64)
    ids[chains >= 0] = order[which.reshape(-1)]
    return ids


def _close_gaps(
    table: ObjectTable,
    params: LinkParams,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    distance: int,
) -> Links:
    """Link chains that end with chains that begin ``distance`` planes later."""
    ends, starts = np.ones(len(table), bool), np.ones(len(table), bool)
    ends[first], starts[second] = False, False
    a, b, iou = table.first, table.second, table.iou
    usable = (table.planes[b] - table.planes[a] == distance) & ends[a] & starts[b]
    # an object that is missing in between is as large before as after; one that ends there has become small
    chains = number_chains(len(table), first, second)
    largest = np.zeros(int(chains.max(initial=0)) + 1)
    np.maximum.at(largest, chains, table.areas)
    full = table.areas / largest[chains] >= FULL
    usable &= (iou >= np.maximum(params.min_overlap, ACROSS)) & full[a] & full[b]
    chosen = assign(a, b, np.where(usable, iou, 0.0))
    return a[chosen], b[chosen]


def _at_waists(
    table: ObjectTable, params: LinkParams, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which links to cut: of two objects one above the other the area has a deep minimum in between."""
    cut = np.zeros(len(first), bool)
    if not np.isfinite(params.split_factor) or len(first) == 0:
        return cut
    into = np.full(len(table), -1)
    into[second] = np.arange(len(second))
    chains = number_chains(len(table), first, second)
    order = np.argsort(chains, kind="stable")  # rows are in the order of planes already
    for rows in np.split(order, np.flatnonzero(np.diff(chains[order])) + 1):
        if len(rows) < 3:
            continue
        parts = [rows]
        while parts:
            part = parts.pop()
            waist = _find_waist(table.areas[part], params.split_factor)
            if waist is not None:
                cut[into[part[waist]]] = True
                parts += [part[:waist], part[waist:]]
    return cut


def _find_waist(areas: NDArray[np.int64], factor: float) -> int | None:
    """The first section after the deepest waist, or None where there is none."""
    if len(areas) < 2 * LEAST_PART:
        return None
    before = np.maximum.accumulate(areas)
    after = np.maximum.accumulate(areas[::-1])[::-1]
    depth = np.minimum(before, after) / areas
    for waist in np.argsort(-depth, kind="stable").tolist():
        if depth[waist] < factor:
            return None
        # the thin section stays with the neighbour that is more like it
        cut = int(waist if areas[waist - 1] > areas[waist + 1] else waist + 1)
        if LEAST_PART <= cut <= len(areas) - LEAST_PART:
            return cut
    return None


def _clear_fragments(table: ObjectTable, params: LinkParams, chains: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join short chains to what they lie against; -1 for those that lie against nothing."""
    least = params.min_planes
    if table.count <= least or len(table) == 0:
        return chains
    extent = np.zeros(int(chains.max()) + 1, np.int64)
    seen = np.unique(chains * table.count + table.planes)
    np.add.at(extent, seen // table.count, 1)
    short = extent[chains] < least
    near = table.planes[table.second] - table.planes[table.first] == 1
    a, b, shared = table.first[near], table.second[near], table.pixels[near]
    rows, others = np.concatenate([a, b]), np.concatenate([b, a])
    part = np.concatenate([shared, shared]) / table.areas[rows]
    usable = short[rows] & ~short[others] & (part >= AGAINST)
    rows, others, part = rows[usable], others[usable], part[usable]
    result = chains.copy()
    result[short] = -1
    order = np.argsort(part)  # the best last, so that it stays
    result[rows[order]] = chains[others[order]]
    return result
