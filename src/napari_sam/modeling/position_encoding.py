"""Positions as random Fourier features (Tancik et al. 2020; Kirillov et al. 2023, App. A)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PositionEmbeddingRandom(nn.Module):
    """Sine and cosine of random projections of a position."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_pos_feats))

    def forward(self, coords: Tensor) -> Tensor:
        """Encode (..., 2) positions as (x, y), 0 to 1 within the frame, as (..., 2 * num_pos_feats)."""
        matrix = self.positional_encoding_gaussian_matrix
        projected = 2 * math.pi * ((2 * coords.to(matrix.dtype) - 1) @ matrix)
        return torch.cat([projected.sin(), projected.cos()], dim=-1)

    def grid(self, height: int, width: int, token: float) -> Tensor:
        """Encode the token centres of a grid as (C, height, width); a token is ``token`` frames wide."""
        matrix = self.positional_encoding_gaussian_matrix
        y = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5) * token
        x = (torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5) * token
        coords = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        return self.forward(coords).permute(2, 0, 1)
