"""Instance decoder: dense maps from which every object of the frame is read without a prompt.

Five maps at full resolution: foreground, distance to the object's centre, distance to its boundary
(after Archit et al. 2025, "Segment Anything for Microscopy"), and the offset to the centre
(after Cheng et al. 2020, "Panoptic-DeepLab"), which separates touching objects.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from napari_sam.modeling.layers import ConvBlock

MAPS: Final = ("foreground", "center_distance", "boundary_distance", "offset_row", "offset_col")
OFFSET_UNIT: Final = 16.0
"""Pixels per unit of the offset maps."""


class InstanceDecoder(nn.Module):
    """Upsamples the embedding to full resolution, with the encoder's skip features where it has them.

    Parameters
    ----------
    in_channels : int
        Channels of the embedding.
    stride : int
        Pixels per token of the embedding.
    skip_channels : tuple of int
        Channels of the encoder's features at strides 1, 2, 4, ...; empty for none.
    detail_channels : int
        Channels of the features at a quarter of ``stride`` that are handed to the mask decoder.
    """

    def __init__(
        self, in_channels: int, stride: int, skip_channels: tuple[int, ...] = (), detail_channels: int = 0
    ) -> None:
        super().__init__()
        levels = stride.bit_length() - 1  # number of doublings to full resolution
        if 2**levels != stride:
            raise ValueError(f"Expected a stride that is a power of two, got {stride}.")
        widths = [max(in_channels >> i, 16) for i in range(1, levels + 1)]
        if detail_channels:
            widths[1] = detail_channels
        self.reduce = nn.ModuleList()
        self.laterals = nn.ModuleList()
        self.blocks = nn.ModuleList()
        previous = in_channels
        for i, width in enumerate(widths):
            level = levels - 1 - i  # stride 2 ** level
            skip = skip_channels[level] if level < len(skip_channels) else 0
            # Channels are reduced before upsampling: a quarter of the work of doing it after.
            self.reduce.append(nn.Conv2d(previous, width, 1))
            self.laterals.append(nn.Conv2d(skip, width, 1) if skip else nn.Identity())
            convs = 2 if level else 1
            self.blocks.append(nn.Sequential(*(ConvBlock(width, width) for _ in range(convs))))
            previous = width
        self.head = nn.Conv2d(previous, len(MAPS), 1)

    def forward(self, embedding: Tensor, skips: tuple[Tensor, ...] = ()) -> tuple[Tensor, Tensor]:
        """Return raw maps (B, 5, H, W) in the order of ``MAPS`` and the detail features.

        Foreground and the two distances are logits; ``activate`` makes them 0 to 1.
        """
        x, detail = embedding, embedding
        for i, (reduce, lateral, block) in enumerate(
            zip(self.reduce, self.laterals, self.blocks, strict=True)
        ):
            x = interpolate(reduce(x), scale_factor=2, mode="bilinear", align_corners=False)
            level = len(self.blocks) - 1 - i
            if level < len(skips):
                x = x + lateral(skips[level])
            x = block(x)
            if i == 1:
                detail = x  # (B, D, 4 h, 4 w)
        # Offsets of tens of pixels are read to the pixel: bfloat16 has too few digits for them.
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.head(x.to(self.head.weight.dtype))
        return out, detail


def activate(maps: Tensor) -> Tensor:
    """Raw maps to foreground and distances in 0 .. 1 and offsets in pixels."""
    return torch.cat([maps[:, :3].sigmoid(), maps[:, 3:] * OFFSET_UNIT], dim=1)
