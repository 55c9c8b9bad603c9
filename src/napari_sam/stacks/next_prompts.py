"""From an object's mask in one plane to prompts for it in the next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from napari_sam.errors import PromptError
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["find_interior", "is_inside", "make_next_prompts", "predict_shift"]


def make_next_prompts(
    mask: ObjectMask,
    kinds: frozenset[str],
    shape: tuple[int, int],
    *,
    margin: float = 0.0,
    extra: Prompts | None = None,
) -> Prompts:
    """What is asked in the next plane.

    Parameters
    ----------
    mask : ObjectMask
        The object in the plane before, moved to where it is expected; not empty.
    kinds : frozenset of str
        Out of those of ``PropagationParams.prompts``.
    shape : (H, W)
        Of the plane.
    margin : float
        Pixels by which the box is larger than the mask on every side.
    extra : Prompts or None
        The user's on that plane: points are added, a box of theirs is taken instead.

    Raises
    ------
    PromptError
        When the mask lies outside the plane.
    """
    r0, c0, r1, c1 = mask.box
    height, width = shape
    if not is_inside(mask, shape):
        raise PromptError(
            f"Expected an object inside the plane of {height} x {width} pixels, got {mask.box}."
        )
    points = np.zeros((0, 2), np.float32)
    if "point" in kinds:
        points = np.clip([find_interior(mask)], 0, [height - 1, width - 1])
    box = None
    if "box" in kinds:
        box = (
            max(r0 - margin, -0.5),
            max(c0 - margin, -0.5),
            min(r1 - 1 + margin, height - 0.5),
            min(c1 - 1 + margin, width - 0.5),
        )
        if box[0] >= box[2] or box[1] >= box[3]:  # an object one pixel wide
            box = (box[0] - 0.5, box[1] - 0.5, box[2] + 0.5, box[3] + 0.5)
    fed = mask if "logits" in kinds else replace(mask, logits=None) if "mask" in kinds else None
    labels = np.ones(len(points), np.int8)
    if extra is not None:
        points = np.concatenate([points, extra.points])
        labels = np.concatenate([labels, extra.labels])
        box = extra.box or box
    return Prompts(points, labels, box, fed)


def is_inside(mask: ObjectMask, shape: tuple[int, int]) -> bool:
    """True when a part of the mask's box lies on a plane of this shape, (H, W)."""
    r0, c0, r1, c1 = mask.box
    return bool(mask.area) and r0 < shape[0] and c0 < shape[1] and r1 > 0 and c1 > 0


def find_interior(mask: ObjectMask) -> tuple[float, float]:
    """The (row, col) of the pixel deepest inside the object; of several the one nearest to their middle.

    Examples
    --------
    >>> import numpy as np
    >>> find_interior(ObjectMask(np.ones((3, 5), bool), (10, 20)))
    (11.0, 22.0)
    """
    depth = distance_transform_edt(np.pad(mask.mask, 1))[1:-1, 1:-1]
    deepest = np.argwhere(depth >= depth.max() - 1e-9)
    nearest = deepest[np.argmin(((deepest - deepest.mean(axis=0)) ** 2).sum(axis=1))]
    return float(nearest[0] + mask.origin[0]), float(nearest[1] + mask.origin[1])


def predict_shift(centroids: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """By how many pixels (rows, cols) the object is expected to move next: as it did last.

    Examples
    --------
    >>> predict_shift([(10.0, 4.0), (13.2, 4.1)])
    (3, 0)
    >>> predict_shift([(10.0, 4.0)])
    (0, 0)
    """
    if len(centroids) < 2:
        return 0, 0
    (r0, c0), (r1, c1) = centroids[-2:]
    return round(r1 - r0), round(c1 - c0)
