"""The named architectures."""

from __future__ import annotations

from typing import Final

from napari_sam.errors import CheckpointError
from napari_sam.modeling.config import ConvConfig, SamConfig, TinyViTConfig, ViTConfig
from napari_sam.modeling.sam import Sam

_ARCHITECTURES: Final[dict[str, SamConfig]] = {
    "vit_b": SamConfig(ViTConfig()),
    "vit_l": SamConfig(ViTConfig(1024, 24, 16, (5, 11, 17, 23))),
    "vit_h": SamConfig(ViTConfig(1280, 32, 16, (7, 15, 23, 31))),
    "vit_t": SamConfig(TinyViTConfig()),
    "conv_s": SamConfig(
        ConvConfig(),
        embed_dim=128,
        decoder_heads=4,
        decoder_mlp_dim=512,
        iou_head_hidden_dim=128,
        decode_window=16,
        instance_decoder="maps",
        detail_channels=32,
        detail_refinement=True,
        pixel_mean=(127.5, 127.5, 127.5),
        pixel_std=(63.75, 63.75, 63.75),
    ),
    "conv_test": SamConfig(
        ConvConfig((8, 8, 16, 16, 16), (0, 0, 1, 1, 1)),
        image_size=256,
        embed_dim=32,
        decoder_heads=2,
        decoder_mlp_dim=32,
        iou_head_hidden_dim=16,
        decode_window=16,
        instance_decoder="maps",
        detail_channels=8,
        detail_refinement=True,
    ),
    "vit_test": SamConfig(
        ViTConfig(32, 2, 2, (1,), 16, 4),
        image_size=128,
        embed_dim=32,
        decoder_heads=2,
        decoder_mlp_dim=32,
        iou_head_hidden_dim=16,
    ),
}


def list_architectures() -> tuple[str, ...]:
    """Names that ``build_sam`` takes."""
    return tuple(_ARCHITECTURES)


def get_config(architecture: str) -> SamConfig:
    """Look up a named architecture.

    Raises
    ------
    CheckpointError
        When the name is unknown.
    """
    if architecture not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise CheckpointError(f"Expected an architecture out of {known}, got {architecture!r}.")
    return _ARCHITECTURES[architecture]


def build_sam(architecture: str | SamConfig) -> Sam:
    """Build a model with random weights.

    Parameters
    ----------
    architecture : str or SamConfig
        ``"vit_b"``, ``"vit_l"``, ``"vit_h"`` (Kirillov et al. 2023), ``"vit_t"`` (MobileSAM),
        ``"conv_s"`` (the bundled model), small ``"conv_test"`` and ``"vit_test"``, or a configuration.

    Raises
    ------
    CheckpointError
        When the name is unknown.
    """
    return Sam(get_config(architecture) if isinstance(architecture, str) else architecture)
