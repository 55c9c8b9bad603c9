"""Which piece of a plane is encoded for a prompt, and the tiles that cover a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.types import Box

Crop = tuple[int, int, int, int]
HALO = 64
"""Pixels of context at the seams of tiles."""


def choose_crop(shape: tuple[int, int], extent: Box, field: int) -> Crop:
    """The crop that is encoded for prompts over ``extent``.

    A plane no larger than the field is encoded whole. A larger one is covered by fields at half-field
    steps, so that prompts near each other share one; the field whose middle is nearest to the
    prompts' is taken. Prompts wider than half a field get a crop of their own around them.

    Parameters
    ----------
    shape : (H, W)
    extent : (r0, c0, r1, c1)
        Of the prompts, in pixels.
    field : int
        Side of what the model encodes at once.

    Returns
    -------
    (r0, c0, r1, c1)
        Half-open pixels.

    Examples
    --------
    >>> choose_crop((300, 200), (10, 10, 20, 20), 1024)
    (0, 0, 300, 200)
    >>> choose_crop((4000, 4000), (1500, 700, 1500, 700), 1024)
    (1024, 0, 2048, 1024)
    """
    if max(shape) <= field:
        return 0, 0, shape[0], shape[1]
    spans = (extent[2] - extent[0], extent[3] - extent[1])
    side = field if max(spans) <= field / 2 else int(2 * max(spans))
    starts, stops = [], []
    for length, low, high in ((shape[0], extent[0], extent[2]), (shape[1], extent[1], extent[3])):
        step = side // 2
        start = (
            round(((low + high) / 2 - side / 2) / step) * step
            if side == field
            else int((low + high - side) / 2)
        )
        start = max(0, min(start, length - side))
        starts.append(start)
        stops.append(min(start + side, length))
    return starts[0], starts[1], stops[0], stops[1]


def cover_plane(shape: tuple[int, int], field: int, halo: int) -> list[tuple[Crop, Crop]]:
    """Overlapping crops that cover a plane, each with the inner part that it answers for.

    Parameters
    ----------
    shape : (H, W)
    field : int
        Side of a crop.
    halo : int
        Pixels at a crop's inner borders that are left to its neighbour; at most a quarter of ``field``
        is, so that something remains.

    Returns
    -------
    list of (crop, core)
        The cores are disjoint and cover the plane.
    """
    halo = min(halo, field // 4)
    rows, cols = (_cover_axis(n, field, halo) for n in shape[:2])
    return [((r[0], c[0], r[1], c[1]), (r[2], c[2], r[3], c[3])) for r in rows for c in cols]


def _cover_axis(length: int, field: int, halo: int) -> list[tuple[int, int, int, int]]:
    if length <= field:
        return [(0, length, 0, length)]
    pieces, done = [], 0
    while done < length:
        start = max(0, min(done - halo, length - field))
        stop = start + field
        end = length if stop == length else stop - halo
        pieces.append((start, stop, done, end))
        done = end
    return pieces
