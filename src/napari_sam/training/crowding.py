"""Crowding: copies of a crop's own objects, moved beside others until they touch.

Objects that touch are few in most images, and are what is missed most. A copy is real in all but its place
(copy-paste, Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation"), and where it ends is known exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    find_objects,
    gaussian_filter,
    maximum_filter,
    minimum_filter,
)
from scipy.ndimage import label as label_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["crowd_objects"]

LEAST_AREA: Final = 30
"""Pixels of an object that is copied, at least."""
MARGIN: Final = 4
"""Pixels around an object that are copied with it, for its blurred edge."""
OVERLAP: Final = 0.15
"""Share of the smaller of two objects that a copy may cover of the one that it is moved to ..."""
COVERED: Final = 0.3
"""... and of any other object, else it is not made."""
MOST: Final = 12
"""Copies in a crop."""
TRIES: Final = 3
"""Places that are tried for each."""


def crowd_objects(
    pixels: NDArray[np.float32], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Add turned and mirrored copies of objects, each touching another one or overlapping it a little.

    Copies of gray images that are brighter than their background are added to what is there, or cover it
    where they are brighter; all others cover it.

    Parameters
    ----------
    pixels : (H, W, 3) float32
    labels : (H, W) int32
        0 is background.
    rng : numpy Generator

    Returns
    -------
    pixels : (H, W, 3) float32
    labels : (H, W) int32
        The copies have new numbers. Where nothing can be copied both are returned as they are.
    """
    sources = _find_whole(labels)
    if len(sources) < 2 or (labels == 0).mean() < 0.05:
        return pixels, labels
    pixels, labels = pixels.copy(), labels.copy()
    background = np.median(pixels[labels == 0], axis=0)
    gray = bool(np.ptp(pixels.reshape(-1, 3), axis=1).max() < 1e-3)
    bright = gray and float(pixels[labels > 0].mean()) > float(background.mean())
    numbers = np.unique(labels)[1:].tolist()
    count = int(rng.integers(1, min(MOST, max(2, len(sources))) + 1))
    for _ in range(TRIES * count):
        if count == 0:
            break
        source = sources[rng.integers(len(sources))]
        target = numbers[rng.integers(len(numbers))]
        blend = rng.choice(["add", "max"]) if bright else "cover"
        count -= _paste(pixels, labels, source, target, background, str(blend), rng)
    return pixels, labels


def _find_whole(labels: NDArray[np.int32]) -> list[int]:
    """Lone objects that are not cut off and neither far smaller nor far larger than the median one."""
    area = np.bincount(labels.ravel())
    if len(area) < 2:
        return []
    highest = maximum_filter(labels, 5)
    lowest = minimum_filter(np.where(labels > 0, labels, np.iinfo(np.int32).max), 5)
    crowded = set(np.unique(labels[(labels > 0) & (highest != lowest)]).tolist())
    median = np.median(area[1:][area[1:] > 0])
    found = []
    for number, box in enumerate(find_objects(labels), 1):
        if box is None or number in crowded or not max(LEAST_AREA, median / 4) <= area[number] <= 4 * median:
            continue
        inside = all(s.start > 0 and s.stop < n for s, n in zip(box, labels.shape, strict=True))
        if inside and max(s.stop - s.start for s in box) < min(labels.shape) / 3:
            found.append(number)
    return found


def _paste(
    pixels: NDArray[np.float32],
    labels: NDArray[np.int32],
    source: int,
    target: int,
    background: NDArray[np.float32],
    blend: str,
    rng: np.random.Generator,
) -> bool:
    """Copy one object beside another, in place; False where there is no room."""
    patch, mask, alpha = _cut(pixels, labels, source, rng)
    rows, cols = np.nonzero(labels == target)
    if not len(rows):  # covered by copies
        return False
    origin = _find_place(labels, mask, (rows.mean(), cols.mean()), target, rng)
    if origin is None:
        return False
    place = tuple(slice(o, o + n) for o, n in zip(origin, mask.shape, strict=True))
    under = pixels[place]
    here = labels[place]
    if blend == "cover":
        seen = alpha * (mask | (here == 0))  # its surroundings cover no object
        pixels[place] = under + seen[..., None] * (patch - under)
    else:
        light = alpha[..., None] * np.maximum(patch - background, 0)
        merged = under + light if blend == "add" else np.maximum(under, background + light)
        pixels[place] = np.minimum(merged, 1.0)
    number = int(labels.max()) + 1
    above = blend == "cover" or rng.random() < 0.5
    here[mask if above else mask & (here == 0)] = number
    for other in np.unique(here[binary_dilation(mask)]):
        _join_fragments(labels, int(other), number)
    return True


def _cut(
    pixels: NDArray[np.float32], labels: NDArray[np.int32], source: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Pixels, mask and opacity of an object with a margin, turned and mirrored."""
    rows, cols = find_objects((labels == source).astype(np.int8))[0]
    window = tuple(
        slice(max(s.start - MARGIN, 0), min(s.stop + MARGIN, n))
        for s, n in zip((rows, cols), labels.shape, strict=True)
    )
    patch, here = pixels[window], labels[window]
    mask = here == source
    # The blurred edge comes with it, but nothing of a neighbour.
    near = (distance_transform_edt(~mask) <= MARGIN / 2) & (here == 0)
    alpha = gaussian_filter((mask | near).astype(np.float32), 0.7) * (mask | (here == 0))
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))

    def turn(array: NDArray[Any]) -> NDArray[Any]:
        turned = np.rot90(array, turns)
        return (turned[:, ::-1] if mirrored else turned).copy()

    return turn(patch), turn(mask), turn(alpha)


def _find_place(
    labels: NDArray[np.int32],
    mask: NDArray[np.bool_],
    centre: tuple[float, float],
    target: int,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Origin of a mask that is moved towards an object until it touches it; None where it does not fit."""
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    area = np.bincount(labels.ravel())
    small = min(int(mask.sum()), int(area[target]))
    wanted = rng.uniform(0, OVERLAP) * small if rng.random() < 0.5 else 0.0
    far = sum(mask.shape) / 2 + np.sqrt(area[target]) * 1.5
    near = binary_dilation(mask, iterations=2)  # MARGIN pixels around it leave room for that
    height, width = mask.shape
    found = None
    for distance in np.arange(far, 0, -1.0):
        corner = np.round(np.array(centre) + distance * direction - np.array(mask.shape) / 2).astype(int)
        row, col = int(corner[0]), int(corner[1])
        if row < 0 or col < 0 or row + height > labels.shape[0] or col + width > labels.shape[1]:
            continue
        here = labels[row : row + height, col : col + width]
        covered = np.bincount(here[mask], minlength=len(area))
        if covered[target] > wanted:
            break
        touches = bool((here[near] == target).any())
        too_much = covered[1:] > COVERED * np.minimum(area[1:], mask.sum())
        found = (row, col) if touches and not too_much.any() else None
    return found


def _join_fragments(labels: NDArray[np.int32], other: int, number: int) -> None:
    """What a copy has cut off an object goes to the copy."""
    if other in (0, number):
        return
    parts, count = label_components(labels == other, np.ones((3, 3)))
    if count > 1:
        largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
        labels[(parts > 0) & (parts != largest)] = number
