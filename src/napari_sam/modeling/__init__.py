"""The Segment Anything architectures (Kirillov et al. 2023); one file per term of the paper."""

from napari_sam.modeling.build import build_sam, get_config, list_architectures
from napari_sam.modeling.config import ConvConfig, SamConfig, TinyViTConfig, ViTConfig
from napari_sam.modeling.sam import Features, Sam

__all__ = [
    "ConvConfig",
    "Features",
    "Sam",
    "SamConfig",
    "TinyViTConfig",
    "ViTConfig",
    "build_sam",
    "get_config",
    "list_architectures",
]
