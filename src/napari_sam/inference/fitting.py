"""Objects made to fit: into the gaps of a label image, and into a mask of the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.inference.candidates import Candidates
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.region import Region

__all__ = ["MIN_FRACTION", "cut_candidates", "fit_into_gaps"]

MIN_FRACTION = 0.5
"""Of an object less than this is a fragment: most of it is another object."""


def fit_into_gaps(
    labels: NDArray[np.int32], taken: NDArray[Any], min_fraction: float = MIN_FRACTION
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """What of each object lies on free pixels; of one that is cut apart the largest part.

    Parameters
    ----------
    labels : (H, W) int32
        Objects 1, 2, ...; 0 is background.
    taken : (H, W) array
        Not 0 where other objects are.
    min_fraction : float
        An object that keeps less of its area is left out.

    Returns
    -------
    labels : (H, W) int32
        With compact ids.
    numbers : (K,) int64
        The id that each of them had before.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 1, 1, 0, 2, 2]], np.int32)
    >>> taken = np.array([[0, 0, 0, 5, 5, 5, 5]])
    >>> fit_into_gaps(labels, taken)[0].tolist()
    [[1, 1, 1, 0, 0, 0, 0]]
    """
    # here, not above: the dock widget imports this file when it opens
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as label_components

    count = int(labels.max(initial=0))
    before = np.bincount(labels.ravel(), minlength=count + 1)
    free = np.where(taken == 0, labels, 0).astype(np.int32)
    after = np.bincount(free.ravel(), minlength=count + 1)
    boxes = find_objects(free, count)
    for number in np.flatnonzero((after > 0) & (after < before)).tolist():
        if number == 0:
            continue
        window = free[boxes[number - 1]]
        parts, pieces = label_components(window == number, np.ones((3, 3), bool))
        sizes = np.bincount(parts.ravel())
        largest = int(sizes[1:].argmax()) + 1
        if sizes[largest] < min_fraction * before[number]:
            window[parts > 0] = 0
            after[number] = 0
        elif pieces > 1:
            window[(parts > 0) & (parts != largest)] = 0
    after[0] = 0
    compact = np.cumsum(after > 0).astype(np.int32)
    compact[after == 0] = 0
    return compact[free], np.flatnonzero(after).astype(np.int64)


def cut_candidates(candidates: Candidates, region: Region) -> Candidates:
    """Leave of each candidate what lies inside a region; those that are wholly outside are dropped.

    Parameters
    ----------
    candidates : Candidates
    region : Region
        Of the same plane, such as a mask of the foreground.
    """
    objects, chosen = [], []
    for i in range(len(candidates)):
        obj = candidates.mask(i)
        inside = obj.mask & region.mask(obj.box)
        if not inside.any():
            continue
        scores = {"predicted_iou": obj.predicted_iou, "stability_score": obj.stability_score}
        objects.append(ObjectMask.from_plane(inside, obj.origin, **scores))
        chosen.append(i)
    return Candidates.from_objects(objects, candidates.plane_shape, candidates.foreground[chosen])
