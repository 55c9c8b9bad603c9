"""Everything the user decides about what the model sees of an image; part of every embedding's key."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_sam.errors import SamError

__all__ = ["EncodeSettings"]


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """Scale, channels and intensity range at which the model sees an image.

    Attributes
    ----------
    object_size : float or None
        Typical diameter of the objects in pixels of the finest level; None leaves the scale to the model.
    channels : tuple of one to three int, or None
        Which channels of (H, W, C) images the model sees; None takes the first three.
    percentiles : (low, high)
        Of the plane's intensities, 0 to 100; they become black and white where ``limits`` says nothing.
    limits : tuple of (low, high), or None
        Fixed intensities that become black and white instead, one pair per channel that the model sees, or
        one pair for all of them. A range measured over a whole stack is passed here.

    Raises
    ------
    SamError
        When a value is impossible.

    Examples
    --------
    >>> EncodeSettings(object_size=80, percentiles=(0.5, 99.9)).object_size
    80
    """

    object_size: float | None = None
    channels: tuple[int, ...] | None = None
    percentiles: tuple[float, float] = (1.0, 99.8)
    limits: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        size, channels = self.object_size, self.channels
        if size is not None and not (math.isfinite(size) and size > 0):
            raise SamError(
                f"Expected an object size above 0 pixels, got {size}; None leaves it to the model."
            )
        if channels is not None and (not 1 <= len(channels) <= 3 or min(channels) < 0):
            raise SamError(f"Expected one to three channels counted from 0, got {channels}.")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise SamError(f"Expected percentiles 0 <= low < high <= 100, got {self.percentiles}.")
        if self.limits is not None:
            _check_limits(self.limits, channels)


def _check_limits(limits: tuple[tuple[float, float], ...], channels: tuple[int, ...] | None) -> None:
    for low, high in limits:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise SamError(f"Expected limits of finite intensities, low < high, got {(low, high)}.")
    if not 1 <= len(limits) <= 3 or (channels is not None and len(limits) not in (1, len(channels))):
        wanted = "one to three pairs" if channels is None else f"one pair, or one for each of {channels}"
        raise SamError(f"Expected limits of {wanted}, got {len(limits)}.")
