"""Prompt encoder: points, boxes and masks become tokens (Kirillov et al. 2023, Sec. 3 and App. A)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_sam.modeling.layers import LayerNorm2d
from napari_sam.modeling.position_encoding import PositionEmbeddingRandom

if TYPE_CHECKING:
    from napari_sam.modeling.config import SamConfig

PAD, BACKGROUND, FOREGROUND, BOX_FIRST, BOX_SECOND = -1, 0, 1, 2, 3
MASK_LOGIT = 6.0
"""Logit that stands for "inside" where a mask without logits is a prompt, in training and after it."""


class PromptEncoder(nn.Module):
    """Encodes sparse prompts (points and box corners) and dense ones (masks).

    Points carry a label: 1 foreground, 0 background, 2 and 3 the box corners nearest to and
    farthest from the origin, -1 padding. Without a box one padding point must be given, as the
    original model was trained so.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim, chans = config.embed_dim, config.mask_in_chans
        self.stride = config.stride
        self.position_scale = config.position_scale
        self.pe_layer = PositionEmbeddingRandom(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(chans // 4),
            nn.GELU(),
            nn.Conv2d(chans // 4, chans, kernel_size=2, stride=2),
            LayerNorm2d(chans),
            nn.GELU(),
            nn.Conv2d(chans, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def dense_pe(self, height: int, width: int) -> Tensor:
        """Positions of the tokens of an embedding window, (1, C, height, width)."""
        return self.pe_layer.grid(height, width, self.stride / self.position_scale).unsqueeze(0)

    def encode_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Encode (N, P, 2) pixel positions (x, y), pixel centres at integers, as (N, P, C)."""
        tokens = self.pe_layer((coords + 0.5) / self.position_scale)
        tokens = torch.where((labels == PAD)[..., None], 0.0, tokens)
        rows: list[Any] = [self.not_a_point_embed, *self.point_embeddings]
        table = torch.cat([row.weight for row in rows])
        return tokens + table[labels.long() + 1]

    def encode_masks(self, masks: Tensor | None, height: int, width: int) -> Tensor:
        """Encode (N, 1, 4 height, 4 width) logits as (N, C, height, width); None as 'no mask'."""
        if masks is None:
            return self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, height, width)
        dense: Tensor = self.mask_downscaling(masks)
        return dense

    def forward(
        self, coords: Tensor, labels: Tensor, masks: Tensor | None, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Return sparse tokens (N, P, C) and the dense embedding (N or 1, C, height, width)."""
        return self.encode_points(coords, labels), self.encode_masks(masks, height, width)
