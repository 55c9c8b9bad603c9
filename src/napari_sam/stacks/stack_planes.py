"""A stack as planes that are read one at a time, whatever array or list of planes it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.inference.image_source import ImageSource
from napari_sam.inference.transforms import measure_sample
from napari_sam.stacks.image_io import ImageStack, LazyArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_sam.inference.encode_settings import EncodeSettings

__all__ = ["StackPlanes", "measure_limits", "measure_stack_limits"]

LARGE: Final = 1 << 28
"""Bytes; a plane that takes more is not read whole but crop by crop."""
SAMPLED: Final = 32
"""Intensities of a stack are measured on at most so many planes, evenly spaced."""
POOLED: Final = 1 << 21
"""About so many pixels of all of these together are sorted."""
MOST_CHANNELS: Final = 4
"""A last axis of at most so many is taken for channels where the axes are not named ..."""
LIKELY_CHANNELS: Final = 15
"""... and one of at most so many may be, where ..."""
NARROW: Final = 4
"""... both axes before it are so many times as long."""


class StackPlanes:
    """The planes of a stack by their index along the leading axes.

    Parameters
    ----------
    stack : array, ImageStack, or sequence of planes
        (N, H, W), (N, H, W, C) or with more leading axes: numpy, memory-mapped, dask, zarr or alike; or a
        sequence of planes, each an array or a pyramid with the finest level first.
    axes : str, optional
        One letter per axis, such as "TZYX" or "ZYXC"; Y and X, and C where there is one, last. Without it an
        array of four or more axes has channels where the last axis has at most four entries, and the others
        are Z and T from the last backwards; another last axis that looks like channels is refused.

    Attributes
    ----------
    leading : tuple of int
        Numbers of planes along the leading axes.
    letters : str
        What these are, a letter each; empty where that is not known, as of a plain stack.
    shape : (H, W)
        Of each plane.

    Raises
    ------
    ImageError
        When it is no stack of planes.
    """

    def __init__(self, stack: Any, axes: str | None = None) -> None:
        if isinstance(stack, ImageStack):
            axes = axes or str(stack.axes)
            stack = stack.data
        if isinstance(stack, (list, tuple)) or (isinstance(stack, Sequence) and not hasattr(stack, "shape")):
            self._take_sequence(stack, axes)
            return
        shape = tuple(int(n) for n in getattr(stack, "shape", ()))
        self.letters, self.channels = _read_axes(shape, axes)
        if 0 in shape:
            raise ImageError(f"Expected a stack with pixels, got shape {shape}.")
        if np.dtype(stack.dtype).kind not in "buif":
            raise ImageError(f"Expected real numbers, got {stack.dtype}; take the magnitude or convert it.")
        end = len(shape) - (1 if self.channels else 0)
        self.leading, self.shape = shape[: end - 2], (shape[end - 2], shape[end - 1])
        first = len(self.leading)
        self._read: Callable[[tuple[int, ...]], Any] = lambda index: _take_plane(stack, index, first)

    def _take_sequence(self, planes: Sequence[Any], axes: str | None) -> None:
        if len(planes) == 0:
            raise ImageError("Expected a stack with planes, got an empty sequence.")
        first = ImageSource(planes[0])
        self.letters = (axes or "").removesuffix("C").removesuffix("YX")
        self.leading, self.shape, self.channels = (len(planes),), first.shape, first.channels

        def read(index: tuple[int, ...]) -> Any:
            plane = planes[index[0]]
            source = ImageSource(plane)
            if (source.shape, source.channels) != (self.shape, self.channels):
                raise ImageError(
                    f"Expected planes of one shape, got {source.shape} with {source.channels} channels in "
                    f"plane {index[0]} after {self.shape} with {self.channels}."
                )
            return plane

        self._read = read

    def __len__(self) -> int:
        """Number of planes."""
        return int(np.prod(self.leading, dtype=np.int64))

    def plane(self, index: tuple[int, ...]) -> Any:
        """One plane (H, W) or (H, W, C): its pixels, or where it is very large a view that reads crops."""
        return self._read(index)

    def find_axis(self, axis: str) -> int:
        """Which leading axis is z, or t: the one of that name, else the last for z and the first for t."""
        place = self.letters.upper().find(axis.upper())
        if place >= 0:
            return place
        return len(self.leading) - 1 if axis == "z" else 0


def _read_axes(shape: tuple[int, ...], axes: str | None) -> tuple[str, int]:
    """Letters of the leading axes, and the number of channels or 0."""
    got = f"got shape {shape}"
    if axes is not None:
        letters = axes.upper()
        plain = letters.removesuffix("C")
        if len(letters) != len(shape) or not plain.endswith("YX") or len(set(letters)) != len(letters):
            raise ImageError(
                f"Expected a letter per axis, with Y, X and perhaps C last, got {axes!r} for shape {shape}."
            )
        leading, channels = plain[:-2], shape[-1] if letters.endswith("C") else 0
    else:
        if len(shape) > 5 or (len(shape) == 5 and shape[-1] > MOST_CHANNELS):
            raise ImageError(
                f"Expected a stack (N, H, W) or (N, H, W, C), {got}; name its axes, as in axes='TZYX', or "
                "pass one channel of it."
            )
        short = len(shape) >= 3 and shape[-1] <= min(LIKELY_CHANNELS, min(shape[-3:-1]) // NARROW)
        if short and (len(shape) == 3 or shape[-1] > MOST_CHANNELS):
            raise ImageError(
                f"Expected a stack (N, H, W) or (N, H, W, C), {got}, whose last axis looks like channels; "
                + (
                    "name its axes, axes='ZYX', if it is a stack, or use segment_image for a single plane."
                    if len(shape) == 3
                    else "name its axes, axes='ZYXC', or axes='TZYX' if these are no channels."
                )
            )
        with_channels = len(shape) >= 4 and shape[-1] <= MOST_CHANNELS
        channels = shape[-1] if with_channels else 0
        count = len(shape) - 2 - with_channels
        leading = "TZ"[-count:] if count > 1 else ""
        if count < 1:
            raise ImageError(
                f"Expected a stack of planes (N, H, W), {got}; use segment_image for a single plane."
            )
    if axes is not None and not leading:
        raise ImageError(f"Expected axes with planes before Y and X, got {axes!r}; use segment_image.")
    return leading, channels


def _take_plane(stack: Any, index: tuple[int, ...], first: int) -> Any:
    """A plane's pixels, or a view of it."""
    shape = stack.shape[first:]
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(stack.dtype).itemsize
    if size <= LARGE:
        try:
            return np.asarray(stack[index])
        except Exception as error:  # storage, codecs and graphs each fail in their own way
            raise ImageError(
                f"Plane {index if len(index) > 1 else index[0]} could not be read ({type(error).__name__}: "
                f"{error}); check its file or connection."
            ) from error
    if isinstance(stack, LazyArray) or hasattr(stack, "__dask_graph__"):
        return stack[index]  # reads nothing yet
    return LazyArray(stack, (first, first + 1))[index]


def measure_limits(
    images: Iterable[Any], channels: tuple[int, ...] | None, percentiles: tuple[float, float]
) -> tuple[tuple[float, float], ...]:
    """Intensities of several planes that become black and white, from the same sample of each.

    Parameters
    ----------
    images : iterable of (H, W) or (H, W, C) arrays or pyramids
        No two of them are held at once.
    channels : tuple of int or None
        Which channels the model sees.
    percentiles : (low, high)

    Returns
    -------
    tuple of (low, high)
        One pair, or one for each channel that the model sees; as ``EncodeSettings.limits`` wants them.
    """
    sample = np.concatenate([ImageSource(image).sample() for image in images])  # every plane counts alike
    step = math.ceil(math.sqrt(sample.shape[0] * sample.shape[1] / POOLED))
    found = measure_sample(sample[::step, ::step], channels, percentiles)
    kept: dict[int, tuple[float, float]] = {}
    for low, high, channel in zip(found.low, found.high, found.channels, strict=True):
        if channel >= 0:  # of a constant image nothing is white
            kept[channel] = (low, high if high > low else max(low + 1, float(np.nextafter(low, np.inf))))
    limits = tuple(kept.values())
    return limits[:1] if len(set(limits)) == 1 else limits


def measure_stack_limits(planes: StackPlanes, settings: EncodeSettings) -> tuple[tuple[float, float], ...]:
    """``measure_limits`` on planes from all over a stack.

    Stretching each plane by itself would turn the noise of an empty one into objects.
    """
    count = len(planes)
    chosen = np.unique(np.linspace(0, count - 1, SAMPLED).round().astype(int)).tolist()
    images = (planes.plane(tuple(int(i) for i in np.unravel_index(n, planes.leading))) for n in chosen)
    return measure_limits(images, settings.channels, settings.percentiles)
