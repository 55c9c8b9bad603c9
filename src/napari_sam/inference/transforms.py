"""From the user's pixels to what the model sees, and back.

Above this file coordinates are (row, col) with pixel centres at integers; (x, y) stays below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.inference.area_averages import average_area
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.image_source import ImageSource, check_plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.tiling import Crop

__all__ = [
    "Normalization",
    "check_channels",
    "check_plane",
    "measure_normalization",
    "measure_sample",
    "render_model_input",
]

MOST_CHANNELS: Final = 4
"""A last axis of more, and longer than the first, is none of channels where nobody has chosen some."""


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
            band = stack[..., channel]
            if band.dtype in (np.uint8, np.uint16) and band.size > 1 << 16:  # few values, many pixels
                every = np.arange(np.iinfo(band.dtype).max + 1)
                out[..., i] = _stretch(every, self.low[i], span)[band]
            else:
                out[..., i] = _stretch(band, self.low[i], span)
        return out


def _stretch(values: NDArray[Any], low: float, span: float) -> NDArray[np.float32]:
    # Subtract in double: uint64 and large offsets would lose their differences in float32.
    with np.errstate(over="ignore", invalid="ignore"):  # values near the end of float64
        relative = (values.astype(np.float64) - low) / span
    return np.clip(np.nan_to_num(relative, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0).astype(np.float32)


def measure_normalization(
    image: Any,
    channels: Sequence[int] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.8),
    limits: tuple[tuple[float, float], ...] | None = None,
) -> Normalization:
    """Choose channels and intensity range of a plane, robustly against hot and dead pixels.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array, a pyramid of them, or ImageSource
        It is measured on not more than 512 x 512 of its pixels, see ``ImageSource.sample``.
    channels : sequence of up to three int, optional
        Which channels the model sees; default the first three.
    percentiles : (low, high)
        Of the finite pixels. A colour image (three or four uint8 channels) keeps one range for
        all channels, so that its colours stay; others get one per channel.
    limits : tuple of (low, high), optional
        Intensities instead of percentiles: one pair, or one for each channel that the model sees.

    Returns
    -------
    Normalization

    Raises
    ------
    ImageError
        When the image cannot be used or read, or has no such channels.
    """
    source = image if isinstance(image, ImageSource) else ImageSource(image)
    if limits is not None:
        return _take_limits(limits, _choose_channels(source.channels, channels))
    if channels is None:
        check_channels(*source.shape, source.channels)
    return measure_sample(source.sample(), channels, percentiles)


def check_channels(height: int, width: int, channels: int) -> None:
    """Refuse planes of a stack, or channels that come first, in the place of one image.

    Raises
    ------
    ImageError
        When the last axis is too long for channels.
    """
    if channels <= max(MOST_CHANNELS, height):
        return
    advice = "use segment_stack, or pass one plane, if these are planes"
    if height <= MOST_CHANNELS:
        advice = f"np.moveaxis(image, 0, -1) puts channels last; {advice}"
    raise ImageError(
        f"Expected one plane of shape (H, W) or (H, W, C), got {(height, width, channels)}, whose last axis "
        f"is too long for channels; {advice}. If there are {channels} channels, choose up to three of them."
    )


def measure_sample(
    sample: NDArray[Any], channels: Sequence[int] | None, percentiles: tuple[float, float]
) -> Normalization:
    """``measure_normalization`` on pixels that stand for a plane, or for several: every one counts.

    Parameters
    ----------
    sample : (h, w) or (h, w, C)
    channels, percentiles
        As there.
    """
    stack = sample[..., None] if sample.ndim == 2 else sample
    chosen = _choose_channels(0 if sample.ndim == 2 else sample.shape[2], channels)
    colour = sample.ndim == 3 and sample.shape[2] in (3, 4) and sample.dtype == np.uint8 and channels is None
    if colour:
        measured = dict.fromkeys(chosen, _measure_range(stack[..., :3], percentiles))
    else:
        measured = {c: _measure_range(stack[..., c], percentiles) for c in set(chosen) if c >= 0}
    measured[-1] = 0.0, 0.0  # an empty channel
    low, high = zip(*(measured[channel] for channel in chosen), strict=True)
    return Normalization(low, high, chosen)


def render_model_input(
    image: Any,
    settings: EncodeSettings | None = None,
    crop: Crop | None = None,
    max_side: int = 1024,
    normalization: Normalization | None = None,
) -> NDArray[np.uint8]:
    """What the model sees of an image, as a picture.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array, a pyramid of them, or ImageSource
    settings : EncodeSettings, optional
        Its channels and intensity range are applied.
    crop : (r0, c0, r1, c1), optional
        Half-open pixels; default the whole plane.
    max_side : int
        Larger crops are shown reduced to this many pixels a side.
    normalization : Normalization, optional
        Where it was measured before.

    Returns
    -------
    (h, w, 3) uint8

    Raises
    ------
    ImageError
        When the image cannot be used or read.
    """
    settings = settings or EncodeSettings()
    source = image if isinstance(image, ImageSource) else ImageSource(image)
    norm = normalization or measure_normalization(
        source, settings.channels, settings.percentiles, settings.limits
    )
    r0, c0, r1, c1 = crop or (0, 0, *source.shape)
    scale = min(1.0, max_side / max(r1 - r0, c1 - c0))
    size = max(1, round((r1 - r0) * scale)), max(1, round((c1 - c0) * scale))
    pixels = source.read((r0, c0, r1, c1), scale)
    if pixels.shape[:2] != size:
        rows, cols = (np.linspace(0, n, m + 1) for n, m in zip(pixels.shape[:2], size, strict=True))
        pixels = average_area(pixels, rows, cols)
    return np.round(norm.apply(pixels) * 255).astype(np.uint8)


def _take_limits(limits: tuple[tuple[float, float], ...], chosen: tuple[int, ...]) -> Normalization:
    wanted = list(dict.fromkeys(channel for channel in chosen if channel >= 0))
    if len(limits) not in (1, len(wanted)):
        raise ImageError(
            f"Expected limits of one pair, or of {len(wanted)} for the channels {wanted}, got {len(limits)}."
        )
    pairs = {c: limits[0] if len(limits) == 1 else limits[n] for n, c in enumerate(wanted)} | {-1: (0.0, 0.0)}
    low, high = zip(*(pairs[channel] for channel in chosen), strict=True)
    return Normalization(low, high, chosen)


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
    exact = finite.astype(np.float64)  # a copy, which may be put in another order
    low, high = (float(v) for v in np.percentile(exact, percentiles, overwrite_input=True))
    if high <= low:  # nearly everything has one value: a few bright pixels are the content
        low, high = float(exact.min()), float(exact.max())
    return low, high
