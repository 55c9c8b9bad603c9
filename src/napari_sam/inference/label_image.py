"""From a label image to objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

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
