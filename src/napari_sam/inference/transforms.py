"""From the user's pixels to what the model sees, and back.

Above this file coordinates are (row, col) with pixel centres at integers; (x, y) stays below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SAMPLE_SIDE = 512
"""Percentiles are taken over evenly spaced rows and columns, fewer than twice as many as this."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """How intensities become 0 .. 1.

    Attributes
    ----------
    low, high : tuple of float
        Per model channel, the intensities that become 0 and 1.
    channels : tuple of int
        The image's channels that become the model's three; one is repeated, two leave the third
        empty (-1).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    channels: tuple[int, ...]

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """(h, w) or (h, w, C) pixels to (h, w, 3) float32 in 0 .. 1; NaN and -inf become 0."""
        stack = pixels[..., None] if pixels.ndim == 2 else pixels
        out = np.zeros((*pixels.shape[:2], 3), np.float32)
        for i, channel in enumerate(self.channels):
            if channel < 0:
                continue
            span = self.high[i] - self.low[i]
            if span <= 0:
                continue
            if i and channel == self.channels[i - 1]:
                out[..., i] = out[..., i - 1]
                continue
            # Subtract in double: uint64 and large offsets would lose their differences in float32.
            with np.errstate(over="ignore", invalid="ignore"):  # values near the end of float64
                values = (stack[..., channel].astype(np.float64) - self.low[i]) / span
            out[..., i] = np.clip(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
        return out


def check_plane(image: Any) -> tuple[int, int, int]:
    """Return (height, width, channels) of one plane; channels is 0 for (H, W).

    Raises
    ------
    ImageError
        When the image is not (H, W) or (H, W, C), is empty, or is not real-valued.
    """
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) not in (2, 3):
        raise ImageError(
            f"Expected one plane of shape (H, W) or (H, W, C), got {len(shape)}-D {shape}; "
            "pick a plane of the stack first."
        )
    if 0 in shape:
        raise ImageError(f"Expected an image with pixels, got shape {shape}.")
    if np.dtype(image.dtype).kind not in "buif":
        raise ImageError(f"Expected real numbers, got {image.dtype}; take the magnitude or convert it.")
    return int(shape[0]), int(shape[1]), int(shape[2]) if len(shape) == 3 else 0


def measure_normalization(
    image: Any,
    channels: Sequence[int] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.8),
) -> Normalization:
    """Choose channels and intensity range of a plane, robustly against hot and dead pixels.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array, also dask or zarr
    channels : sequence of up to three int, optional
        Which channels the model sees; default the first three.
    percentiles : (low, high)
        Of the finite pixels. A colour image (three or four uint8 channels) keeps one range for
        all channels, so that its colours stay; others get one per channel.

    Returns
    -------
    Normalization
    """
    height, width, count = check_plane(image)
    chosen = _choose_channels(count, channels)
    step = (max(1, height // SAMPLE_SIDE), max(1, width // SAMPLE_SIDE))
    sample = np.asarray(image[:: step[0], :: step[1]])
    stack = sample[..., None] if count == 0 else sample
    colour = count in (3, 4) and sample.dtype == np.uint8 and channels is None
    low, high = [], []
    for channel in chosen:
        if channel < 0:
            bounds = (0.0, 0.0)
        elif colour:
            bounds = _measure_range(stack[..., :3], percentiles)
        else:
            bounds = _measure_range(stack[..., channel], percentiles)
        low.append(bounds[0])
        high.append(bounds[1])
    return Normalization(tuple(low), tuple(high), chosen)


def _choose_channels(count: int, channels: Sequence[int] | None) -> tuple[int, ...]:
    if count <= 1:
        return (0, 0, 0)
    chosen = tuple(channels) if channels is not None else tuple(range(min(count, 3)))
    if not 1 <= len(chosen) <= 3 or any(not 0 <= c < count for c in chosen):
        raise ImageError(f"Expected one to three channels out of 0 .. {count - 1}, got {chosen}.")
    if len(chosen) == 1:
        return chosen * 3
    return (*chosen, -1) if len(chosen) == 2 else chosen


def _measure_range(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values.reshape(-1)
    if finite.size == 0:
        return 0.0, 0.0
    exact = finite.astype(np.float64)
    low, high = (float(v) for v in np.percentile(exact, percentiles))
    if high <= low:  # nearly everything has one value: a few bright pixels are the content
        low, high = float(exact.min()), float(exact.max())
    return low, high
