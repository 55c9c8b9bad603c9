"""Objects of one plane made disjoint, two answers for one object made one, and masks compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from napari_sam.inference.mask_ops import clean_mask
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["blend_masks", "overlap_of", "separate"]

NO_CLICKS = np.zeros((0, 2), np.int64)


def overlap_of(one: ObjectMask, other: ObjectMask) -> float:
    """The share of the smaller of two masks that both have; 0 when one is empty.

    Unlike the IoU it stays 1 where an object only shrinks or grows, as towards its ends along z.
    """
    smaller = min(one.area, other.area)
    return one.intersection(other) / smaller if smaller else 0.0


def separate(masks: Mapping[int, ObjectMask], scores: Mapping[int, float]) -> dict[int, ObjectMask]:
    """The same objects without shared pixels: those go to the higher score, of equal ones to the lower id.

    What is left of an object is its largest part; it may be empty.

    Examples
    --------
    >>> row = ObjectMask(np.ones((1, 4), bool), (0, 0))
    >>> apart = separate({1: row, 2: row.shifted(0, 2)}, {1: 0.5, 2: 0.9})
    >>> apart[1].area, apart[2].area
    (2, 4)
    """
    present = {key: mask for key, mask in masks.items() if mask.area}
    if len(present) < 2:
        return dict(masks)
    boxes = np.array([mask.box for mask in present.values()])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    owner = np.zeros(high - low, np.int32)
    order = sorted(present, key=lambda key: (-scores[key], key))
    for number in range(len(order), 0, -1):  # the best is drawn last
        mask = present[order[number - 1]]
        _window(owner, mask, low)[mask.mask] = number
    result = dict(masks)
    for number, key in enumerate(order, start=1):
        mask = present[key]
        kept = mask.mask & (_window(owner, mask, low) == number)
        if np.array_equal(kept, mask.mask):
            continue
        if kept.any():
            kept = clean_mask(kept, NO_CLICKS, hole=0)
        result[key] = _recrop(kept, mask)
    return result


def blend_masks(one: ObjectMask, other: ObjectMask, weight: float) -> ObjectMask:
    """The shape between two masks, by their signed distances (shape-based interpolation, Raya & Udupa 1990).

    Parameters
    ----------
    one, other : ObjectMask
        Answers for the same object in the same plane.
    weight : float
        Of ``one``, 0 to 1.
    """
    if not one.area or not other.area:
        return one if one.area else other
    low = np.minimum(one.box[:2], other.box[:2])
    high = np.maximum(one.box[2:], other.box[2:])
    signed = [_signed_distance(mask, low, high) for mask in (one, other)]
    mixed = weight * signed[0] + (1 - weight) * signed[1] > 0
    score = weight * one.predicted_iou + (1 - weight) * other.predicted_iou
    stability = weight * one.stability_score + (1 - weight) * other.stability_score
    origin = int(low[0]), int(low[1])
    return ObjectMask.from_plane(mixed, origin, predicted_iou=score, stability_score=stability)


def _window(owner: NDArray[np.int32], mask: ObjectMask, low: NDArray[np.int64]) -> NDArray[np.int32]:
    r0, c0, r1, c1 = mask.box
    return owner[r0 - low[0] : r1 - low[0], c0 - low[1] : c1 - low[1]]


def _recrop(kept: NDArray[np.bool_], mask: ObjectMask) -> ObjectMask:
    return ObjectMask.from_plane(
        kept,
        mask.origin,
        predicted_iou=mask.predicted_iou,
        stability_score=mask.stability_score,
        logits=mask.logits,
    )


def _signed_distance(
    mask: ObjectMask, low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Positive inside, over the box from ``low`` to ``high`` (half-open) and a rim of one pixel, cut off."""
    shape = high - low
    inside = np.pad(mask.shifted(-int(low[0]), -int(low[1])).paste((int(shape[0]), int(shape[1]))), 1)
    signed: NDArray[np.float64] = distance_transform_edt(inside) - distance_transform_edt(~inside)
    return signed[1:-1, 1:-1]
