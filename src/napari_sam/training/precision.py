"""Which numbers a model is trained in."""

from __future__ import annotations

import torch

from napari_sam.modeling.image_encoder import multiplies_bfloat16

__all__ = ["choose_training_precision"]


def choose_training_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where its matrix products are quicker; weights and losses are float32 in any case.

    A training step of the bundled model takes half the time on CPUs with AVX512-BF16 or AMX.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else torch.float32
