"""A predictor that encodes what it has not seen and remembers what it has."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import CacheError, PromptError
from napari_sam.inference.cache import EmbeddingCache
from napari_sam.inference.predictor import Predictor, choose_best
from napari_sam.inference.tiling import choose_crop
from napari_sam.inference.transforms import Normalization, check_plane, measure_normalization
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import Frame, ImageEmbedding


class CachedPredictor:
    """Predicts objects of images, encoding each piece of an image once.

    The key of an embedding is made of the pixels themselves, so an image that changed is encoded
    anew and one that was closed and opened again is not. Safe to use from several threads.

    Parameters
    ----------
    model : LoadedModel
        From ``load_model``.
    cache_dir : None
        Embeddings are kept in memory only.
    memory_bytes : int
        Budget of the memory cache.
    channels : sequence of int, optional
        Which channels of (H, W, C) images the model sees.

    Examples
    --------
    >>> import napari_sam as ns
    >>> predictor = ns.CachedPredictor(ns.load_model("nuclei"))  # doctest: +SKIP
    >>> obj = predictor.predict(image, ns.Prompts(points=[(40, 52)]))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: LoadedModel,
        cache_dir: str | Path | None = None,
        memory_bytes: int = 1 << 30,
        channels: Sequence[int] | None = None,
    ) -> None:
        if cache_dir is not None:
            raise CacheError("Expected cache_dir=None: this version keeps embeddings in memory only.")
        self.model = model
        self.predictor = Predictor(model)
        self.channels = None if channels is None else tuple(channels)
        self._cache = EmbeddingCache(memory_bytes)
        self._encoding = threading.Lock()

    def predict(self, image: Any, prompts: Prompts) -> ObjectMask:
        """Segment the object that the prompts mean.

        Parameters
        ----------
        image : (H, W), (H, W, 3) or (H, W, C) array, also dask or zarr, of any real dtype
        prompts : Prompts
            In pixels of ``image``.

        Returns
        -------
        ObjectMask
            In plane coordinates; possibly empty.

        Raises
        ------
        PromptError
            When nothing says where the object is, or it is outside the image.
        ImageError
            When the image cannot be used.
        """
        return choose_best(self.predict_candidates(image, prompts), prompts)

    def predict_candidates(self, image: Any, prompts: Prompts) -> list[ObjectMask]:
        """All masks of the model for these prompts: the single mask, then the alternatives."""
        return self._predict_candidates(image, [prompts])[0]

    def predict_many(self, image: Any, prompts: Sequence[Prompts]) -> list[ObjectMask]:
        """The best mask of each of many prompts on one image, decoded in batches."""
        found = self._predict_candidates(image, prompts)
        return [choose_best(candidates, p) for candidates, p in zip(found, prompts, strict=True)]

    def is_cached(self, image: Any, prompts: Prompts) -> bool:
        """Whether ``predict`` would answer without encoding; raises what ``predict`` would."""
        height, width, _ = check_plane(image)
        frame = self._choose_frame(image, _check_prompts(prompts, height, width))
        return self._make_key(self._read_crop(image, frame), self._normalize(image), frame) in self._cache

    def encode(self, image: Any, crop: tuple[int, int, int, int] | None = None) -> ImageEmbedding:
        """The embedding of a crop (r0, c0, r1, c1), default the whole image, from the cache or new."""
        height, width, _ = check_plane(image)
        frame = self.predictor.make_frame(crop or (0, 0, height, width))
        return self._encode(image, self._normalize(image), frame)

    def _predict_candidates(self, image: Any, prompts: Sequence[Prompts]) -> list[list[ObjectMask]]:
        height, width, _ = check_plane(image)
        normalization = self._normalize(image)
        by_frame: dict[Frame, list[int]] = {}
        checked = [_check_prompts(p, height, width) for p in prompts]
        for i, p in enumerate(checked):
            by_frame.setdefault(self._choose_frame(image, p), []).append(i)
        results: list[list[ObjectMask]] = [[] for _ in prompts]
        for frame, indices in by_frame.items():
            embedding = self._encode(image, normalization, frame)
            answers = self.predictor.decode_candidates(embedding, [checked[i] for i in indices])
            for i, answer in zip(indices, answers, strict=True):
                results[i] = answer
        return results

    def _choose_frame(self, image: Any, prompts: Prompts) -> Frame:
        height, width, _ = check_plane(image)
        crop = choose_crop((height, width), prompts.extent, self.model.config.image_size)
        return self.predictor.make_frame(crop)

    def _normalize(self, image: Any) -> Normalization:
        return measure_normalization(image, self.channels)

    def _read_crop(self, image: Any, frame: Frame) -> NDArray[Any]:
        r0, c0, r1, c1 = frame.crop
        return np.asarray(image[r0:r1, c0:c1])

    def _encode(self, image: Any, normalization: Normalization, frame: Frame) -> ImageEmbedding:
        height, width, _ = check_plane(image)
        pixels = self._read_crop(image, frame)
        key = self._make_key(pixels, normalization, frame)
        found = self._cache.get(key)
        if found is not None:
            return found
        with self._encoding:  # two threads that want the same crop encode it once
            found = self._cache.get(key)
            if found is None:
                found = self.predictor.encode(pixels, normalization, frame, (height, width))
                self._cache.put(key, found)
        return found

    def _make_key(self, pixels: NDArray[Any], normalization: Normalization, frame: Frame) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(np.ascontiguousarray(pixels).data)
        parts = (pixels.shape, str(pixels.dtype), normalization, frame, self.model.sha256)
        digest.update(repr(parts).encode())
        return digest.hexdigest()


def _check_prompts(prompts: Prompts, height: int, width: int) -> Prompts:
    """Prompts must name a place inside the image; a box is clipped to it."""
    r0, c0, r1, c1 = prompts.extent
    foreground = prompts.points[prompts.labels == 1]
    outside = (foreground < -0.5) | (foreground >= np.array([height, width]) - 0.5)
    if outside.any():
        point = tuple(round(float(v), 1) for v in foreground[outside.any(axis=1)][0])
        raise PromptError(
            f"Expected foreground points inside the image of {height} x {width} pixels, got {point}; "
            "move or delete that point."
        )
    if r1 < -0.5 or c1 < -0.5 or r0 > height - 0.5 or c0 > width - 0.5:
        raise PromptError(
            f"Expected prompts on the image of {height} x {width} pixels, "
            f"got one over rows {r0:.0f} to {r1:.0f} and columns {c0:.0f} to {c1:.0f}."
        )
    if prompts.box is None:
        return prompts
    b = prompts.box
    clipped = (max(b[0], -0.5), max(b[1], -0.5), min(b[2], height - 0.5), min(b[3], width - 0.5))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise PromptError(f"Expected a box on the image of {height} x {width} pixels, got {b}.")
    return Prompts(prompts.points, prompts.labels, clipped, prompts.mask)
