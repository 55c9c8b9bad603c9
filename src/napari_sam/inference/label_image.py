"""What a label image holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import find_objects
from scipy.ndimage import label as label_components

from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_objects(labels: NDArray[np.integer]) -> dict[int, ObjectMask]:
    """The objects of a label image by their id."""
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    found = {}
    for i, box in enumerate(find_objects(labels), 1):
        if box is not None:
            found[i] = ObjectMask(labels[box] == i, (box[0].start, box[1].start))
    return found


def is_mask(labels: NDArray[np.integer[Any]]) -> bool:
    """Whether all objects have one id, though they do not touch: a mask that nobody has numbered.

    Parameters
    ----------
    labels : (H, W) integer or bool array
        0 and below are background.

    Examples
    --------
    >>> is_mask(np.array([[255, 0, 255]])), is_mask(np.array([[1, 0, 2]]))
    (True, False)
    """
    inside = labels > 0
    if not inside.any() or labels.max() != labels[inside].min():
        return False
    return int(label_components(inside, np.ones((3, 3)))[1]) > 1
