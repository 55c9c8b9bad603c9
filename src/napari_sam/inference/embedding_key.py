"""What an embedding is called: a digest of everything that decides its content, and of nothing else.

That is the crop's pixels, their normalisation, the model, the frame, and the numerics; not the file, nor the
place in the plane. So the same pixels in a copy, a crop or another slice are found again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from xxhash import xxh3_128

from napari_sam.inference.area_averages import average_area
from napari_sam.inference.image_source import ImageSource
from napari_sam.inference.source_memory import MemoryPool
from napari_sam.inference.transforms import Normalization, measure_normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import Frame
    from napari_sam.inference.encode_settings import EncodeSettings

__all__ = ["EmbeddingKey", "KeyMaker", "digest_pixels"]

VERSION: Final = 3
"""To be raised whenever the same inputs give another embedding. Which engine computes it does not count: only
accurate ones are chosen, and what one has cached serves the others."""
BAND: Final = 1 << 22
"""Bytes of a view that are made contiguous at once."""
NORMALIZATIONS: Final = 256


def digest_pixels(pixels: NDArray[Any]) -> str:
    """A 128-bit digest of an array's values, shape and dtype, fast enough for every click.

    Examples
    --------
    >>> import numpy as np
    >>> digest_pixels(np.eye(3)[::-1]) == digest_pixels(np.eye(3)[::-1].copy())
    True
    """
    digest = xxh3_128(repr((pixels.shape, pixels.dtype.str)).encode())
    rows = max(1, BAND // max(1, pixels[:1].nbytes))
    for start in range(0, len(pixels), rows):
        digest.update(np.ascontiguousarray(pixels[start : start + rows]).view(np.uint8).data)
    return str(digest.hexdigest())


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingKey:
    """The key of an embedding, with what it takes to compute it.

    Attributes
    ----------
    key : str
        32 hexadecimal digits.
    digest : str
        Of the crop's pixels.
    normalization : Normalization
        Of ``pixels``, whose channels are those that the model sees.
    pixels : array or None
        The crop's pixels, where they were read to make the key.
    channels : tuple of int or None
        Those of the image that are read.
    """

    key: str
    digest: str
    normalization: Normalization
    pixels: NDArray[Any] | None
    channels: tuple[int, ...] | None

    def read(self, source: ImageSource, frame: Frame) -> NDArray[Any]:
        """The pixels to be encoded, not much larger than the frame."""
        pixels = self.pixels
        if pixels is None:
            pixels = source.read(frame.crop, frame.scale, self.channels)
        steps = [max(1, n // m) for n, m in zip(pixels.shape[:2], frame.inner, strict=True)]
        if max(steps) == 1:
            return pixels
        rows, cols = (
            np.linspace(0, n, round(n / step) + 1) for n, step in zip(pixels.shape[:2], steps, strict=True)
        )
        return average_area(pixels, rows, cols)


class KeyMaker:
    """Makes keys; remembers what it must not read or measure twice. Thread-safe.

    Parameters
    ----------
    model : LoadedModel
    """

    def __init__(self, model: LoadedModel) -> None:
        precision = getattr(model, "precision", None) or str(next(model.module.parameters()).dtype)
        self._model = (model.sha256, str(precision).removeprefix("torch."))
        self._memories = MemoryPool()
        self._measured: OrderedDict[tuple[Any, ...], Normalization] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, image: Any) -> ImageSource:
        """An image, with what is known of it."""
        if isinstance(image, ImageSource):
            return image
        source = ImageSource(image)
        if source.memory is not None:
            source.memory = self._memories.find(source.levels)
        return source

    def normalize(self, source: ImageSource, settings: EncodeSettings) -> Normalization:
        """Measured on the plane's sample; the same sample is measured once."""
        arguments = settings.channels, settings.percentiles, settings.limits
        if settings.limits is not None:
            return measure_normalization(source, *arguments)
        key = (digest_pixels(source.sample()), source.channels, *arguments)
        with self._lock:
            found = self._measured.get(key)
        if found is None:
            found = measure_normalization(source, *arguments)
            with self._lock:
                self._measured[key] = found
                if len(self._measured) > NORMALIZATIONS:
                    self._measured.popitem(last=False)
        return found

    def make(self, source: ImageSource, frame: Frame, settings: EncodeSettings) -> EmbeddingKey:
        """The key of a frame's embedding.

        Raises
        ------
        ImageError
            When the image cannot be read.
        """
        channels = _list_channels(source, settings)
        known = None
        if source.memory is not None:
            known = source.memory.known_digest(_place(source, frame, channels))
        if known is not None:
            return self._name(source, frame, settings, known, None)
        pixels = source.read(frame.crop, frame.scale, channels)
        return self._name(source, frame, settings, digest_pixels(pixels), pixels)

    def settle(
        self, made: EmbeddingKey, source: ImageSource, frame: Frame, settings: EncodeSettings
    ) -> EmbeddingKey:
        """The key of a copy of the pixels as they are now, to be encoded and stored under no other.

        An image in memory, or a file behind it, may be written to since the key was made.

        Raises
        ------
        ImageError
            When the image cannot be read.
        """
        pixels = made.pixels
        if pixels is None:
            pixels = source.read(frame.crop, frame.scale, made.channels)
        pixels = np.array(pixels)
        digest = digest_pixels(pixels)
        if digest == made.digest:
            return replace(made, pixels=pixels)
        return self._name(source, frame, settings, digest, pixels)

    def _name(
        self,
        source: ImageSource,
        frame: Frame,
        settings: EncodeSettings,
        digest: str,
        pixels: NDArray[Any] | None,
    ) -> EmbeddingKey:
        """The key of a crop with this digest; ``pixels`` where they were read just now."""
        channels = _list_channels(source, settings)
        if pixels is not None and source.memory is not None:
            # before the sample is used: it may be outdated
            source.memory.note_digest(_place(source, frame, channels), digest)
        normalization = self.normalize(source, settings)
        if channels is not None:
            order = tuple(channels.index(c) if c >= 0 else -1 for c in normalization.channels)
            normalization = replace(normalization, channels=order)
        r0, c0, r1, c1 = frame.crop
        geometry = (r1 - r0, c1 - c0), float(frame.scale), frame.size
        # Left to the model, the scale is searched; the same frame with the size set is taken as it is.
        parts = (VERSION, self._model, digest, normalization, geometry, settings.object_size is None)
        key = xxh3_128(repr(parts).encode()).hexdigest()
        return EmbeddingKey(key, digest, normalization, pixels, channels)


def _place(source: ImageSource, frame: Frame, channels: tuple[int, ...] | None) -> tuple[Any, ...]:
    """What is read of an image for a frame."""
    return frame.crop, source.choose_level(frame.scale), channels


def _list_channels(source: ImageSource, settings: EncodeSettings) -> tuple[int, ...] | None:
    """The channels to be read; None for all, or where there are no channels or not these."""
    if source.channels == 0:
        return None
    count = source.channels
    chosen = tuple(dict.fromkeys(settings.channels)) if settings.channels else tuple(range(min(count, 3)))
    return chosen if max(chosen) < count else None
