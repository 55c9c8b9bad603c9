"""Everything the user decides about what the model sees of an image; part of every embedding's key."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        for name in ("object_size", "channels", "percentiles", "limits"):
            object.__setattr__(self, name, _make_plain(getattr(self, name)))
        size, channels = self.object_size, self.channels
        if size is not None and not (_is_finite(size) and size > 0):
            raise SamError(
                f"Expected an object size above 0 pixels, got {size!r}; None leaves it to the model."
            )
        if channels is not None and not (
            isinstance(channels, tuple)
            and 1 <= len(channels) <= 3
            and all(isinstance(channel, int) and channel >= 0 for channel in channels)
        ):
            raise SamError(f"Expected one to three channels counted from 0, got {channels!r}.")
        if not (_is_pair(self.percentiles) and 0 <= self.percentiles[0] < self.percentiles[1] <= 100):
            raise SamError(f"Expected percentiles 0 <= low < high <= 100, got {self.percentiles!r}.")
        if self.limits is not None:
            _check_limits(self.limits, channels)


def _check_limits(limits: tuple[tuple[float, float], ...], channels: tuple[int, ...] | None) -> None:
    if not isinstance(limits, tuple) or not all(isinstance(pair, tuple) for pair in limits):
        raise SamError(f"Expected limits of pairs (low, high), got {limits!r}.")
    for pair in limits:
        if not (_is_pair(pair) and pair[0] < pair[1]):
            raise SamError(f"Expected limits of finite intensities, low < high, got {pair}.")
    if not 1 <= len(limits) <= 3 or (channels is not None and len(limits) not in (1, len(channels))):
        wanted = "one to three pairs" if channels is None else f"one pair, or one for each of {channels}"
        raise SamError(f"Expected limits of {wanted}, got {len(limits)}.")


def _make_plain(values: Any) -> Any:
    """Sequences and arrays as tuples of Python's own numbers: with a hash, and of one key in the cache."""
    values = values.tolist() if hasattr(values, "tolist") else values
    is_text = isinstance(values, str | bytes)
    return tuple(map(_make_plain, values)) if isinstance(values, Sequence) and not is_text else values


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _is_pair(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) == 2 and all(map(_is_finite, values))
