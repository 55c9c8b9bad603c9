"""A predictor that does not stop when a GPU's memory is exhausted: smaller batches first, then the CPU."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from napari_sam.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.inference.decode_window import Window
    from napari_sam.inference.embedding import Frame, ImageEmbedding
    from napari_sam.inference.engines import Engine
    from napari_sam.inference.transforms import Normalization
    from napari_sam.types import Prompts

__all__ = ["MemoryExhaustedWarning", "SteadyPredictor", "is_memory_exhausted"]

logger = logging.getLogger(__name__)


class MemoryExhaustedWarning(RuntimeWarning):
    """The model runs on the CPU from now on."""


def is_memory_exhausted(error: BaseException) -> bool:
    """Whether an error says that a GPU has no memory left."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error)  # of MPS


class SteadyPredictor(Predictor):
    """A ``Predictor`` that answers on the CPU what a GPU has no memory for, and says so once.

    The model itself is moved: its memory on the GPU is then free for others, and nothing is tried there
    again.
    """

    @property
    def engine(self) -> Engine:
        """What runs the model, on the device where the model is now."""
        self._follow()
        return super().engine

    def _encode(
        self, pixels: NDArray[Any], normalization: Normalization, frame: Frame, plane_shape: tuple[int, int]
    ) -> ImageEmbedding:
        try:
            return super()._encode(pixels, normalization, frame, plane_shape)
        except RuntimeError as error:
            if not is_memory_exhausted(error):
                raise
            self._retreat(error)
        return super()._encode(pixels, normalization, frame, plane_shape)

    def _decode_chunk(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompts], windows: Sequence[Window]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        self._follow()
        try:
            return super()._decode_chunk(self._bring(embedding), prompts, windows)
        except RuntimeError as error:
            if not is_memory_exhausted(error):
                raise
            if len(prompts) == 1:
                self._retreat(error)
        if len(prompts) == 1:
            return super()._decode_chunk(self._bring(embedding), prompts, windows)
        half = len(prompts) // 2
        logger.info("no memory on the GPU for %d prompts at once; %d are tried", len(prompts), half)
        torch.cuda.empty_cache()  # what the failed batch has left behind
        parts = (slice(None, half), slice(half, None))
        return [
            answer for part in parts for answer in self._decode_chunk(embedding, prompts[part], windows[part])
        ]

    def _follow(self) -> None:
        """Notice that the model was moved, by this predictor or by another one of the same model."""
        device = self.model.device
        if getattr(self, "_seen", device) != device:
            self.choose_again()
        self._seen = device

    def _bring(self, embedding: ImageEmbedding) -> ImageEmbedding:
        """The embedding where the model is; what is read page by page is read at once."""
        device = self.model.module.pixel_mean.device  # "cuda:0", where the model's says "cuda"
        features, detail = embedding.features, embedding.detail
        if features.device == device and (detail is None or detail.device == device):
            return embedding
        moved = None if detail is None else detail[...].to(device)
        return replace(embedding, features=features[...].to(device), detail=moved)

    def _retreat(self, error: RuntimeError) -> None:
        """Go on with the CPU; when that is where the model is, there is nowhere to go."""
        before = self.model.device
        if before.type == "cpu":
            raise error
        self.choose_again()
        self.model.move_to(torch.device("cpu"))
        if before.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"The memory of {before} is exhausted: {self.model.name} goes on with the CPU, more slowly. "
            "Close other programs that use the GPU, or choose a smaller model, and load the model again.",
            MemoryExhaustedWarning,
            stacklevel=2,
        )
