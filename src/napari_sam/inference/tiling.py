"""Which piece of a plane is encoded for a prompt, and the tiles that cover a plane.

Clicks, automatic segmentation and encoding ahead share one lattice of overlapping tiles, so that each finds
what the others encoded. Only prompts that a tile does not hold with some context get a crop of their own.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from napari_sam.types import Box, ObjectMask

Crop = tuple[int, int, int, int]
HALO = 64
"""Pixels of context at the seams of tiles."""
ALIGNMENT = 16
"""Sides of tiles are multiples of it, so that a convolutional encoder pads nothing."""
CREDIBLE: Final = 0.2
"""Predicted IoU of a mask that is worth another look."""


def choose_crop(shape: tuple[int, int], extent: Box, field: int, halo: int = HALO) -> Crop:
    """The crop that is encoded for prompts over ``extent``.

    A plane no larger than the field is encoded whole. On a larger one it is the tile of ``cover_plane``
    whose core holds the middle of the prompts, where that tile also holds all of them with half a halo
    around; else a crop centred on them.

    Parameters
    ----------
    shape : (H, W)
    extent : (r0, c0, r1, c1)
        Of the prompts, in pixels.
    field : int
        Side of what the model encodes at once.
    halo : int
        As for ``cover_plane``.

    Returns
    -------
    (r0, c0, r1, c1)
        Half-open pixels.

    Examples
    --------
    >>> choose_crop((300, 200), (10, 10, 20, 20), 1024)
    (0, 0, 300, 200)
    >>> choose_crop((4000, 4000), (1500, 700, 1500, 700), 1024)
    (772, 0, 1684, 912)
    >>> choose_crop((4000, 4000), (880, 700, 1000, 900), 1024)  # over a seam
    (512, 256, 1536, 1280)
    """
    if max(shape) <= field:
        return 0, 0, shape[0], shape[1]
    margin = min(halo, field // 4) / 2
    ends = []
    for length, low, high in ((shape[0], extent[0], extent[2]), (shape[1], extent[1], extent[3])):
        middle = min(max((low + high) / 2 + 0.5, 0), length - 1)
        pieces = _cover_axis(length, field, halo)
        start, stop = next((a, b) for a, b, first, last in pieces if first <= middle < last)
        held = (start == 0 or low - margin >= start) and (stop == length or high + margin <= stop)
        if not held:
            return centre_crop(shape, extent, field)
        ends.append((start, stop))
    (r0, r1), (c0, c1) = ends
    return r0, c0, r1, c1


def centre_crop(shape: tuple[int, int], extent: Box, field: int, previous: Crop | None = None) -> Crop:
    """A crop around ``extent``, at least twice as wide, whose place and side move in large steps.

    The steps (a quarter of its side; powers of two fields) let prompts that are refined keep their crop.

    Parameters
    ----------
    shape : (H, W)
    extent : (r0, c0, r1, c1)
    field : int
        The least side.
    previous : (r0, c0, r1, c1), optional
        A crop that was too small: another one is returned, a larger one where the place stays.
    """
    span = max(extent[2] - extent[0], extent[3] - extent[1])
    side = field * 2 ** max(0, math.ceil(math.log2(max(2 * span, 1) / field)))
    while True:
        crop = _place_crop(shape, extent, side)
        if crop != previous or crop == (0, 0, shape[0], shape[1]):
            return crop
        side *= 2


def _place_crop(shape: tuple[int, int], extent: Box, side: int) -> Crop:
    step = max(1, side // 4)
    ends = []
    for length, low, high in ((shape[0], extent[0], extent[2]), (shape[1], extent[1], extent[3])):
        start = round(((low + high + 1) / 2 - side / 2) / step) * step
        start = max(0, min(start, length - side))
        ends.append((start, min(start + side, length)))
    (r0, r1), (c0, c1) = ends
    return r0, c0, r1, c1


def touches_seam(crop: Crop, box: Crop, shape: tuple[int, int], margin: float) -> bool:
    """Whether a mask comes within ``margin`` pixels of a border of its crop that is not the plane's."""
    near_start = any(crop[i] > 0 and box[i] - crop[i] < margin for i in (0, 1))
    return near_start or any(crop[i + 2] < shape[i] and crop[i + 2] - box[i + 2] < margin for i in (0, 1))


def choose_larger_crop(
    shape: tuple[int, int], crop: Crop, extent: Box, best: ObjectMask, field: int, margin: float
) -> Crop | None:
    """Where to look again for an object that a seam cuts off; None where none does.

    Parameters
    ----------
    shape : (H, W)
    crop : (r0, c0, r1, c1)
        In which it was looked at.
    extent : (r0, c0, r1, c1)
        Of the prompts, in pixels.
    best : ObjectMask
        What was found there.
    field : int
        Side of what the model encodes at once.
    margin : float
        Pixels from a seam within which a mask counts as cut off.
    """
    if not best.area or best.predicted_iou < CREDIBLE:  # background: there is nothing to look for
        return None
    b = best.box
    if not touches_seam(crop, b, shape, margin):
        return None
    r0, c0, r1, c1 = extent
    around = min(r0, b[0]), min(c0, b[1]), max(r1, b[2] - 1), max(c1, b[3] - 1)
    return centre_crop(shape, around, field, crop)


def cover_plane(shape: tuple[int, int], field: int, halo: int) -> list[tuple[Crop, Crop]]:
    """Overlapping crops that cover a plane, each with the inner part that it answers for.

    There are as few as possible, and they are no larger than it takes: a plane a little larger than the field
    costs a little more than one of its size.

    Parameters
    ----------
    shape : (H, W)
    field : int
        Most that a crop is wide and high.
    halo : int
        Pixels at a crop's inner borders that are left to its neighbour; at most a quarter of ``field``
        is, so that something remains.

    Returns
    -------
    list of (crop, core)
        The cores are disjoint and cover the plane.
    """
    rows, cols = (_cover_axis(n, field, halo) for n in shape[:2])
    return [((r[0], c[0], r[1], c[1]), (r[2], c[2], r[3], c[3])) for r in rows for c in cols]


def _cover_axis(length: int, field: int, halo: int) -> list[tuple[int, int, int, int]]:
    """(start, stop) of each crop and of its core: as few crops as there can be, all of one size."""
    if length <= field:
        return [(0, length, 0, length)]
    halo = min(halo, field // 4)
    count = -(-(length - 2 * halo) // (field - 2 * halo))
    side = -(-(length - 2 * halo) // count) + 2 * halo
    side = min(field, -(-side // ALIGNMENT) * ALIGNMENT)
    starts = [round(i * (length - side) / (count - 1)) for i in range(count)]
    seams = [(start + before + side) // 2 for before, start in pairwise(starts)]
    return [
        (start, start + side, first, last)
        for start, first, last in zip(starts, [0, *seams], [*seams, length], strict=True)
    ]
