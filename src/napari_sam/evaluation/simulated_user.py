"""The simulated user: where the next click goes, given the true object and the model's answer.

The standard protocol of RITM (Sofiiuk et al. 2022) and Segment Anything (Kirillov et al. 2023, App. D.1):
the first click is the object's most interior pixel; each next click is the most interior pixel of the
wrong ones, foreground where the object is missed and background where the mask is too much, whichever
lies deeper. It is deterministic, and nothing here looks beyond the boxes of the two masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_sam.errors import ImageError
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Pixel", "first_click", "next_click", "read_objects", "tight_box"]

Pixel = tuple[int, int]


def read_objects(labels: ArrayLike) -> list[ObjectMask]:
    """Cut every object out of a label image, in ascending order of label.

    Parameters
    ----------
    labels : (H, W) integer or bool array
        0 = background.

    Returns
    -------
    list of ObjectMask

    Raises
    ------
    ImageError
        When ``labels`` is not 2-D or not of integers, or a label is negative.
    """
    plane = np.asarray(labels)
    if plane.ndim != 2 or plane.dtype.kind not in "uib":
        raise ImageError(f"Expected a 2-D image of integer labels, got {plane.ndim}-D {plane.dtype}.")
    if plane.size == 0:
        return []
    if plane.min() < 0:
        raise ImageError(f"Expected labels of 0 and above, got {plane.min()}.")
    # Dense ids first: find_objects makes a list as long as the largest label.
    ids, dense = np.unique(plane, return_inverse=True)
    dense = dense.reshape(plane.shape)
    if not (ids == 0).any():
        dense = dense + 1
    dense = dense.astype(np.int32)
    windows = ndimage.find_objects(dense)
    return [
        ObjectMask(np.ascontiguousarray(dense[window] == i), (window[0].start, window[1].start))
        for i, window in enumerate(windows, start=1)
        if window is not None
    ]


def tight_box(obj: ObjectMask) -> tuple[float, float, float, float]:
    """The box prompt around an object's pixels: their outer edges, with pixel centres at integers.

    Parameters
    ----------
    obj : ObjectMask
        Not empty.

    Examples
    --------
    >>> tight_box(ObjectMask(np.ones((2, 3), bool), (4, 5)))
    (3.5, 4.5, 5.5, 7.5)
    """
    r0, c0, r1, c1 = obj.box
    return r0 - 0.5, c0 - 0.5, r1 - 0.5, c1 - 0.5


def first_click(obj: ObjectMask) -> Pixel:
    """The (row, col) of the object's pixel farthest from its outside; the first one of several.

    Parameters
    ----------
    obj : ObjectMask
        Not empty.
    """
    return _deepest(obj.mask, obj.origin, ())[1]


def random_click(obj: ObjectMask, rng: np.random.Generator, depth: float = 0.0) -> Pixel:
    """The (row, col) of any of the object's pixels.

    Users do not all aim at the middle (RClicks, Antonov et al. 2024).

    Parameters
    ----------
    obj : ObjectMask
        Not empty.
    rng : numpy.random.Generator
    depth : float
        A pixel's chance grows with this power of its distance from the outside: 0 makes all alike.
    """
    pixels = np.argwhere(obj.mask)
    chances = _measure_depth(obj.mask)[obj.mask] ** depth if depth else np.ones(len(pixels))
    row, col = pixels[rng.choice(len(pixels), p=chances / chances.sum())]
    return int(row) + obj.origin[0], int(col) + obj.origin[1]


def next_click(
    obj: ObjectMask, answer: ObjectMask | None, clicked: Iterable[Pixel] = ()
) -> tuple[Pixel, int] | None:
    """Where and with what a user corrects an answer.

    Parameters
    ----------
    obj : ObjectMask
        The true object.
    answer : ObjectMask or None
        The model's last answer; None for nothing at all.
    clicked : iterable of (row, col)
        Pixels clicked before; never clicked again.

    Returns
    -------
    ((row, col), label) or None
        Label 1 for a missed and 0 for a wrongly covered pixel; None when no wrong pixel is left.
    """
    if answer is None:
        answer = ObjectMask(np.zeros((0, 0), bool), obj.origin)
    before = tuple(clicked)
    missed, missed_pixel = _deepest(obj.mask & ~_crop(answer, obj.box), obj.origin, before)
    extra, extra_pixel = _deepest(answer.mask & ~_crop(obj, answer.box), answer.origin, before)
    if missed == extra == 0:
        return None
    return (missed_pixel, 1) if missed > extra else (extra_pixel, 0)


def _crop(obj: ObjectMask, box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The object's pixels inside a box of the plane."""
    r0, c0, r1, c1 = box
    return obj.shifted(-r0, -c0).paste((r1 - r0, c1 - c0))


def _deepest(mask: NDArray[np.bool_], origin: Pixel, clicked: Iterable[Pixel]) -> tuple[float, Pixel]:
    """Depth and plane coordinates of the most interior pixel that is not clicked yet; depth 0 for none."""
    if not mask.any():
        return 0.0, origin
    depth = _measure_depth(mask)
    for row, col in clicked:
        r, c = row - origin[0], col - origin[1]
        if 0 <= r < depth.shape[0] and 0 <= c < depth.shape[1]:
            depth[r, c] = 0
    row, col = divmod(int(depth.argmax()), depth.shape[1])
    return float(depth[row, col]), (row + origin[0], col + origin[1])


def _measure_depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each pixel from the nearest one outside, in pixels."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
