"""What the mask decoder computes of an embedding whatever the prompts, kept for the embeddings in use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_sam.inference.engines import Engine
    from napari_sam.modeling.transformer import SharedImage

KEPT: Final = 2
"""Embeddings whose shared work is kept: 11 MB each for a frame of 64 x 64 tokens."""
TOKENS_PER_BATCH: Final = 16384
"""Image tokens that a CPU decodes at once: more no longer fit its caches, and prompts become slower."""


class SharedWork:
    """Computes ``Engine.share`` once for each embedding in use. Thread-safe.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: list[tuple[Tensor, SharedImage | None]] = []
        self._lock = threading.Lock()

    def of(self, embedding: Tensor) -> SharedImage | None:
        """What is shared by all prompts on this very tensor (1, C, h, w); None where nothing is."""
        with self._lock:
            for i, (known, shared) in enumerate(self._kept):
                if known is embedding:
                    self._kept.append(self._kept.pop(i))
                    return shared
        shared = self._engine.share(embedding)
        with self._lock:
            self._kept = [*self._kept[1 - KEPT :], (embedding, shared)]
        return shared


def choose_batch(device: torch.device, tokens: int, most: int) -> int:
    """Prompts that are decoded at once on windows of so many image tokens, at most ``most``.

    Examples
    --------
    >>> import torch
    >>> choose_batch(torch.device("cpu"), 64 * 64, most=64)
    4
    >>> choose_batch(torch.device("cuda"), 64 * 64, most=64)
    64
    """
    return max(1, min(most, TOKENS_PER_BATCH // tokens)) if device.type == "cpu" else most
