"""Objects to a label image and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def draw_objects(objects: Iterable[ObjectMask], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Draw objects as labels 1, 2, ...; where they overlap the one of higher predicted IoU wins.

    Parameters
    ----------
    objects : iterable of ObjectMask
    shape : (H, W)

    Returns
    -------
    (H, W) int32
        0 is background; ids are compact, in the order of descending score. What lies outside ``shape``
        is left out.
    """
    labels = np.zeros(shape, np.int32)
    number = 0
    height, width = shape
    for obj in sorted(objects, key=lambda o: -o.predicted_iou):
        r0, c0, r1, c1 = obj.box
        top, left, bottom, right = max(r0, 0), max(c0, 0), min(r1, height), min(c1, width)
        if top >= bottom or left >= right:
            continue
        region = labels[top:bottom, left:right]
        free = obj.mask[top - r0 : bottom - r0, left - c0 : right - c0] & (region == 0)
        if free.any():
            number += 1
            region[free] = number
    return labels


def read_objects(labels: NDArray[np.integer]) -> dict[int, ObjectMask]:
    """The objects of a label image by their id."""
    found = {}
    for i, box in enumerate(find_objects(labels), 1):
        if box is not None:
            found[i] = ObjectMask(labels[box] == i, (box[0].start, box[1].start))
    return found
