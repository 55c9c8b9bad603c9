"""Objects that one plane shows merged or split, while the planes before and after it agree on another story.

Only what both neighbours say is believed: two objects there against one here that covers both, or one there
against several here that lie inside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects

from napari_sam.stacks.assignment import assign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_sam.stacks.object_table import PlaneObjects, Shared

__all__ = ["Recolor", "apply_recolors", "find_repairs"]

INSIDE: Final = 0.7
"""The part of an object's pixels that makes it lie inside another."""
ALIKE: Final = 0.4
"""IoU of two objects, one plane apart from each other over the one in question, that are the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Recolor:
    """Pixels of a plane that get another label.

    Attributes
    ----------
    old, new : int
        Labels before and after.
    box : tuple of slices
        Where.
    mask : bool array of the box's shape, or None
        Which pixels there, as far as they have the old label; None for all of them.
    """

    old: int
    new: int
    box: tuple[slice, ...]
    mask: NDArray[np.bool_] | None = None


def apply_recolors(plane: NDArray[Any], recolors: Sequence[Recolor]) -> None:
    """Change a plane in place."""
    for change in recolors:
        window = plane[change.box]
        chosen = window == change.old
        window[chosen if change.mask is None else chosen & change.mask] = change.new


def find_repairs(
    planes: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    objects: tuple[PlaneObjects, PlaneObjects, PlaneObjects],
    into: Shared,
    out_of: Shared,
    across: Shared,
) -> list[Recolor]:
    """What should change in the middle one of three planes.

    Parameters
    ----------
    planes : three (...,) int32 arrays
        Labels of the plane before, the one in question, and the one after; in that one small ones.
    objects : three PlaneObjects
        What they hold.
    into, out_of, across : Shared
        Of the first two, of the last two, of the first and the last.

    Returns
    -------
    list of Recolor
    """
    before, here, after = objects
    alike = across.pixels >= ALIKE * (before.areas[across.first] + after.areas[across.second] - across.pixels)
    same = assign(across.first, across.second, np.where(alike, across.pixels, 0).astype(np.float64))
    partner = dict(zip(across.first[same].tolist(), across.second[same].tolist(), strict=True))

    recolors = _find_merged(planes, objects, into, out_of, partner)
    merged = {change.old for change in recolors}
    # pieces of one object: inside it in both neighbours
    holder_before = {
        int(m): int(b)
        for b, m, n in zip(into.first, into.second, into.pixels, strict=True)
        if n >= INSIDE * here.areas[m]
    }
    holder_after = {
        int(m): int(a)
        for m, a, n in zip(out_of.first, out_of.second, out_of.pixels, strict=True)
        if n >= INSIDE * here.areas[m]
    }
    pieces: dict[int, list[int]] = {}
    for m, b in holder_before.items():
        if int(here.labels[m]) not in merged and partner.get(b, -1) == holder_after.get(m):
            pieces.setdefault(b, []).append(m)
    for b, parts in pieces.items():
        if len(parts) < 2 or here.areas[parts].sum() < ALIKE * before.areas[b]:
            continue
        parts.sort(key=lambda m: -int(here.areas[m]))
        kept = int(here.labels[parts[0]])
        boxes = find_objects(planes[1])
        labels = here.labels[parts[1:]].tolist()
        recolors += [Recolor(label, kept, boxes[label - 1]) for label in labels]
    return recolors


def _find_merged(
    planes: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    objects: tuple[PlaneObjects, PlaneObjects, PlaneObjects],
    into: Shared,
    out_of: Shared,
    partner: dict[int, int],
) -> list[Recolor]:
    """Objects that cover two or more which are apart both before and after."""
    before, here, after = objects
    held_before: dict[int, list[int]] = {}
    for b, m, n in zip(into.first.tolist(), into.second.tolist(), into.pixels.tolist(), strict=True):
        if n >= INSIDE * before.areas[b]:
            held_before.setdefault(m, []).append(b)
    held_after: dict[int, set[int]] = {}
    for m, a, n in zip(out_of.first.tolist(), out_of.second.tolist(), out_of.pixels.tolist(), strict=True):
        if n >= INSIDE * after.areas[a]:
            held_after.setdefault(m, set()).add(a)
    recolors = []
    free = int(here.labels.max(initial=0)) + 1
    for m, inside in held_before.items():
        through = [b for b in inside if partner.get(b) in held_after.get(m, ())]
        if len(through) < 2:
            continue
        through.sort(key=lambda b: -int(before.areas[b]))
        label = int(here.labels[m])
        box = find_objects(planes[1])[label - 1]
        seeds = np.zeros(planes[1][box].shape, np.int32)
        for number, b in enumerate(through, start=1):
            seed = (planes[0][box] == before.labels[b]) | (planes[2][box] == after.labels[partner[b]])
            seeds[seed & (seeds == 0)] = number
        nearest = distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
        parts = seeds[tuple(nearest)]
        for number in range(2, len(through) + 1):
            recolors.append(Recolor(label, free, box, parts == number))
            free += 1
    return recolors
