"""How an object stands out from what surrounds it: what fades first where it ends, out of focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import binary_dilation

if TYPE_CHECKING:
    from napari_sam.types import ObjectMask

__all__ = ["measure_contrast"]

GAP: Final = 1
"""Pixels around an object that belong to neither side ..."""
RIM: Final = 3
"""... and how far out its surroundings reach."""
TEXTURE: Final = 1.5
"""A difference below so many spreads of the surroundings says nothing."""


def measure_contrast(
    image: Any, mask: ObjectMask, *, dark: bool | None = None, certain: bool = False
) -> float:
    """Mean intensity of an object less that around it; nan where there is nothing to compare.

    Around a bright object the lower quartile counts, around a dark one the upper: neighbours that touch it
    are no background.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array-like, or the levels of a pyramid, finest first
        Only the object's surroundings are read; channels are averaged.
    mask : ObjectMask
        The object.
    dark : bool or None
        Whether the object is darker than its surroundings; None to see for oneself.
    certain : bool
        Whether it is also nan where the surroundings themselves differ as much.

    Examples
    --------
    >>> from napari_sam.types import ObjectMask
    >>> image = np.zeros((20, 20))
    >>> image[8:12, 8:12] = 50
    >>> measure_contrast(image, ObjectMask.from_plane(image))
    50.0
    """
    level = image[0] if isinstance(image, list | tuple) else image
    r0, c0 = (max(value - RIM - 1, 0) for value in mask.box[:2])
    r1, c1 = (min(value + RIM + 1, int(n)) for value, n in zip(mask.box[2:], level.shape, strict=False))
    if r0 >= r1 or c0 >= c1 or not mask.area:
        return float("nan")
    window = np.asarray(level[r0:r1, c0:c1]).astype(np.float32)
    if window.ndim == 3:
        window = window.mean(axis=-1)
    inside = mask.shifted(-r0, -c0).paste(window.shape)
    around = binary_dilation(inside, iterations=RIM) & ~binary_dilation(inside, iterations=GAP)
    if not inside.any() or not around.any():
        return float("nan")
    lower, middle, upper = (float(value) for value in np.quantile(window[around], (0.25, 0.5, 0.75)))
    mean = float(window[inside].mean())
    contrast = mean - (upper if (mean < middle if dark is None else dark) else lower)
    return float("nan") if certain and abs(contrast) <= TEXTURE * (upper - lower) / 2 else contrast
