"""Convolutional image encoder: what a small model learns fastest from few images.

A residual pyramid (He et al. 2016) at strides 1 to 16, fused top-down (Lin et al. 2017) into an
embedding at stride 8. It takes frames of any size that is a multiple of 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from napari_sam.modeling.layers import ConvBlock

if TYPE_CHECKING:
    from napari_sam.modeling.config import ConvConfig


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)  # starts as the identity (Goyal et al. 2017)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(x + self.norm2(self.conv2(self.conv1(x))))


class ConvEncoder(nn.Module):
    """(B, 3, H, W) to an embedding (B, out_chans, H / 8, W / 8) and skip features at strides 1, 2, 4."""

    def __init__(self, config: ConvConfig, out_chans: int) -> None:
        super().__init__()
        widths = config.widths
        if len(widths) != 5 or len(config.blocks) != 5:
            raise ValueError(f"Expected five widths and five block counts, got {config}.")
        self.stages = nn.ModuleList()
        for level, (width, blocks) in enumerate(zip(widths, config.blocks, strict=True)):
            entry = ConvBlock(3 if level == 0 else widths[level - 1], width, stride=1 if level == 0 else 2)
            self.stages.append(nn.Sequential(entry, *(ResidualBlock(width) for _ in range(blocks))))
        self.lateral = nn.Conv2d(widths[3], out_chans, 1)
        self.top = nn.Conv2d(widths[4], out_chans, 1)
        self.neck = ConvBlock(out_chans, out_chans)
        self.out = nn.Conv2d(out_chans, out_chans, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        stem, *stages = self.stages
        # Pixels in bfloat16 lose what tells a faint object from its background; deeper, it costs nothing.
        with torch.autocast(x.device.type, enabled=False):
            x = stem(x.to(self.lateral.weight.dtype))
        pyramid = [x]
        for stage in stages:
            x = stage(x)
            pyramid.append(x)
        *skips, eighth, sixteenth = pyramid
        top = interpolate(self.top(sixteenth), scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.neck(self.lateral(eighth) + top)), tuple(skips)
