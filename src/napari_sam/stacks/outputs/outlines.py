"""Outlines of label pixels as polygons that lie on the pixels' edges, and polygons back to pixels.

A pixel (row, col) is the square from (row, col) to (row + 1, col + 1). Corners are therefore whole numbers,
and filling an outline gives back the very same pixels. That is how ImageJ's wand and QuPath see pixels too.

Pixels that touch only at a corner are different polygons, so that every ring is simple and every polygon
valid (OGC simple features): a hole may touch the outline at a point, but nothing crosses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Polygon", "fill_polygons", "trace_outlines"]

Polygon = list["NDArray[Any]"]
"""Rings of (N, 2) corners (row, col), not repeating the first; the outline, then its holes."""


def trace_outlines(mask: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> list[Polygon]:
    """Trace the outlines of a mask.

    Parameters
    ----------
    mask : (h, w) bool
        One object.
    origin : (row, col)
        Plane coordinates of ``mask[0, 0]``.

    Returns
    -------
    list of list of (N, 2) int64
        One polygon for each part whose pixels are connected by edges. Outlines run counter-clockwise where
        x = col goes right and y = row goes up (clockwise on a screen), holes the other way (RFC 7946).

    Examples
    --------
    >>> import numpy as np
    >>> [[ring.tolist() for ring in polygon] for polygon in trace_outlines(np.ones((1, 2), bool))]
    [[[[0, 0], [0, 2], [1, 2], [1, 0]]]]
    """
    from scipy import ndimage  # not at the top: the command line names the formats at once

    parts, count = ndimage.label(mask)
    if count == 1:
        return [_trace_part(mask, origin)]
    polygons = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        top, left = origin[0] + box[0].start, origin[1] + box[1].start
        polygons.append(_trace_part(parts[box] == number, (top, left)))
    return polygons


def _trace_part(part: NDArray[np.bool_], origin: tuple[int, int]) -> Polygon:
    """Rings of one part, found by pairing up the corners along every row, and along every column.

    Between two neighbours in such a pair runs an edge of the outline. Where two pixels of the part touch at a
    corner, two rings (or one twice) pass: that corner is two nodes, joined so that they do not cross.
    """
    full = np.zeros((part.shape[0] + 2, part.shape[1] + 2), np.int8)  # numpy.pad takes as long as the rest
    full[1:-1, 1:-1] = part
    up_left, up_right = full[:-1, :-1], full[:-1, 1:]
    down_left, down_right = full[1:, :-1], full[1:, 1:]
    turns = up_left ^ up_right ^ down_left ^ down_right  # 1 or 3 of the four: the outline turns here
    crossing = (up_left == down_right) & (up_right == down_left) & (up_left != up_right)
    rows, cols = np.nonzero((turns != 0) | crossing)
    twice = crossing[rows, cols]
    rows, cols = np.repeat(rows, 1 + twice), np.repeat(cols, 1 + twice)  # by row, then by column
    count = len(rows)
    second = np.zeros(count, bool)
    second[1:] = (rows[1:] == rows[:-1]) & (cols[1:] == cols[:-1])
    # of a crossing's two nodes the first holds the edge to the left; the background beside that edge and the
    # edge up is one pixel, or, where that pixel is the object's, it is the edge down
    is_up = np.where(up_left[rows, cols] == 0, ~second, second)
    down_first = np.lexsort((~is_up, rows, cols))
    beside, along = np.empty(count, np.int64), np.empty(count, np.int64)
    beside[0::2], beside[1::2] = np.arange(1, count, 2), np.arange(0, count, 2)
    along[down_first[0::2]], along[down_first[1::2]] = down_first[1::2], down_first[0::2]
    inside = (down_right[rows, cols] == 1).tolist()
    corners = np.column_stack([rows + origin[0], cols + origin[1]])
    to_side, to_end, seen = beside.tolist(), along.tolist(), bytearray(count)
    outline, holes = None, []
    for start in range(count):
        if seen[start]:
            continue
        ring, node = [], start
        while not seen[node]:
            other = to_side[node]
            seen[node] = seen[other] = 1
            ring += [node, other]
            node = to_end[other]
        # the first corner of a ring is its topmost leftmost: inside an outline, outside a hole
        if inside[start] and outline is None:
            outline = corners[ring]
        else:
            holes.append(corners[[ring[0], *ring[:0:-1]]])
    assert outline is not None
    return [outline, *holes]


def fill_polygons(polygons: Iterable[Sequence[Any]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside polygons.

    Parameters
    ----------
    polygons : iterable of sequence of (N, 2) array
        Rings of corners (row, col), where pixel (0, 0) reaches from 0 to 1; any real numbers. What lies in
        an even number of rings of one polygon is outside it.
    shape : (H, W)
        Of the plane; what lies beyond it is left out.

    Returns
    -------
    (H, W) bool
    """
    filled = np.zeros(shape, bool)
    for rings in polygons:
        arrays = [np.asarray(ring, float).reshape(-1, 2) for ring in rings]
        arrays = [ring for ring in arrays if len(ring) >= 3]
        if not arrays:
            continue
        low = np.maximum(np.floor(np.min([r.min(axis=0) for r in arrays], axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(np.max([r.max(axis=0) for r in arrays], axis=0)), shape).astype(int)
        if (high > low).all():
            part = _fill_rings(
                [ring - low for ring in arrays], (int(high[0] - low[0]), int(high[1] - low[1]))
            )
            filled[low[0] : high[0], low[1] : high[1]] |= part
    return filled


def _fill_rings(rings: list[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Even-odd filling: along a row of pixel centres, each edge crossed changes inside to outside or back."""
    changes = np.zeros((shape[0], shape[1] + 1), np.int64)
    for ring in rings:
        start, stop = ring, np.roll(ring, -1, axis=0)
        low, high = np.minimum(start[:, 0], stop[:, 0]), np.maximum(start[:, 0], stop[:, 0])
        first = np.clip(np.ceil(low - 0.5), 0, shape[0]).astype(np.int64)  # rows with low <= r + 0.5 < high
        last = np.clip(np.ceil(high - 0.5), 0, shape[0]).astype(np.int64)
        lengths = last - first
        edge = np.repeat(np.arange(len(ring)), lengths)
        if not len(edge):
            continue
        row = np.arange(len(edge)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[edge]
        (r0, c0), (r1, c1) = start[edge].T, stop[edge].T
        col = c0 + (row + 0.5 - r0) * (c1 - c0) / (r1 - r0)
        place = np.clip(np.ceil(col - 0.5), 0, shape[1]).astype(np.int64)
        np.add.at(changes, (row, place), 1)
    inside: NDArray[np.bool_] = np.cumsum(changes, axis=1)[:, :-1] % 2 == 1
    return inside
