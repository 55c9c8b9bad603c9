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
        0 is background; ids are compact, in the order of descending score.
    """
    labels = np.zeros(shape, np.int32)
    number = 0
    for obj in sorted(objects, key=lambda o: -o.predicted_iou):
        region = labels[obj.slices]
        free = obj.mask & (region == 0)
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
