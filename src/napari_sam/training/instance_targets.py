"""Targets of the instance decoder: foreground, two distances and the offset to the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

from napari_sam.modeling.instance_decoder import MAPS, OFFSET_UNIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTACT_WEIGHT = 5.0
SMALL_AREA = 300.0
"""Objects with fewer pixels weigh more, up to threefold."""


def make_instance_targets(labels: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the dense targets of a label image.

    Parameters
    ----------
    labels : (H, W) int32, 0 is background

    Returns
    -------
    targets : (5, H, W) float32
        In the order of ``MAPS``: foreground 0 or 1; distance to the centre and to the boundary, each
        divided by the object's largest; row and column offset to the centre in ``OFFSET_UNIT``
        pixels. All 0 in the background.
    weight : (H, W) float32
        How much each pixel counts: pixels between touching objects and of small objects more.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((5, 5), np.int32)
    >>> labels[1:4, 1:4] = 1
    >>> targets, weight = make_instance_targets(labels)
    >>> [float(v) for v in (targets[0].sum(), targets[1, 2, 2], targets[2, 2, 2], targets[3, 1, 1])]
    [9.0, 0.0, 1.0, 0.0625]
    """
    height, width = labels.shape
    targets = np.zeros((len(MAPS), height, width), np.float32)
    weight = np.ones((height, width), np.float32)
    inside = labels > 0
    if not inside.any():
        return targets, weight
    ids, flat = np.unique(labels[inside], return_inverse=True)
    rows, cols = np.nonzero(inside)
    area = np.bincount(flat).astype(np.float64)
    offset_row = (np.bincount(flat, rows) / area)[flat] - rows
    offset_col = (np.bincount(flat, cols) / area)[flat] - cols
    center = np.hypot(offset_row, offset_col)
    deep = inside & ~find_inner_boundary(labels)
    # One object may fill the whole crop: then there is no boundary to measure from.
    boundary = (np.ones(labels.shape) if deep.all() else distance_transform_edt(deep) + 0.5)[inside]
    targets[0][inside] = 1.0
    targets[1][inside] = center / np.maximum(_max_by_label(center, flat, len(ids)), 1.0)[flat]
    targets[2][inside] = boundary / _max_by_label(boundary, flat, len(ids))[flat]
    targets[3][inside] = offset_row / OFFSET_UNIT
    targets[4][inside] = offset_col / OFFSET_UNIT
    weight[inside] = np.clip(np.sqrt(SMALL_AREA / area), 1.0, 3.0)[flat]
    # The surroundings weigh as much as the object: otherwise small objects would swell.
    weight = maximum_filter(weight, 5)
    contact = _find_contact(labels)
    weight[contact] = np.maximum(weight[contact], CONTACT_WEIGHT)
    return targets, weight


def find_inner_boundary(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Object pixels with a 4-neighbour of another label; the image's edge is no boundary."""
    edge = np.zeros(labels.shape, bool)
    vertical = labels[1:] != labels[:-1]
    horizontal = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge & (labels > 0)


def _find_contact(labels: NDArray[np.int32], size: int = 5) -> NDArray[np.bool_]:
    """Pixels near two different objects."""
    far = np.iinfo(np.int32).max
    low = minimum_filter(np.where(labels > 0, labels, far), size)
    contact: NDArray[np.bool_] = (maximum_filter(labels, size) != low) & (low != far)
    return contact


def _max_by_label(values: NDArray[Any], flat: NDArray[Any], count: int) -> NDArray[np.float64]:
    largest = np.zeros(count)
    np.maximum.at(largest, flat, values)
    return largest
