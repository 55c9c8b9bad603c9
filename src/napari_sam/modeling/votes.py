"""Votes: where each pixel, and each click, believes its object's centre to be.

The instance decoder predicts the offset from every pixel to its object's centre. Two pixels belong to
one object when their votes fall together, so the mask decoder is given the votes of all pixels, and
the prompt tokens those of the clicks, both encoded as random Fourier features, in which a dot product
is a kernel of the distance (Rahimi and Recht 2007).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from napari_sam.modeling.prompt_encoder import BACKGROUND, BOX_FIRST, BOX_SECOND, FOREGROUND

FREQUENCIES = 16
KERNEL_WIDTH = 8.0
"""Standard deviation in pixels of the kernel that the encoding stands for."""


class VoteEncoder(nn.Module):
    """Encodes votes of pixels as maps and votes of prompts as additions to their tokens."""

    frequencies: Tensor

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, FREQUENCIES) / KERNEL_WIDTH)
        self.token = nn.Linear(2 * FREQUENCIES, embed_dim)
        self.channels = 2 * FREQUENCIES

    def encode(self, positions: Tensor) -> Tensor:
        """(..., 2) positions (x, y) in pixels of the window to (..., 2 * FREQUENCIES)."""
        phase = positions @ self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1) * math.sqrt(0.5)

    def forward(self, offsets: Tensor, coords: Tensor, labels: Tensor, cell: float) -> tuple[Tensor, Tensor]:
        """Encode the votes of a window.

        Parameters
        ----------
        offsets : (N, 2, h, w)
            Row and column offset to the centre in pixels, one per cell.
        coords : (N, P, 2)
            Prompt positions (x, y) in pixels of the window.
        labels : (N, P)
            As ``PromptEncoder`` reads them.
        cell : float
            Pixels per cell.

        Returns
        -------
        maps : (N, 2 * FREQUENCIES, h, w)
        tokens : (N, P, C)
            0 for padding.
        """
        count, _, height, width = offsets.shape
        y = (torch.arange(height, device=offsets.device) + 0.5) * cell - 0.5
        x = (torch.arange(width, device=offsets.device) + 0.5) * cell - 0.5
        votes = torch.stack([x + offsets[:, 1], y[:, None] + offsets[:, 0]], dim=-1)  # (N, h, w, 2)
        maps = self.encode(votes).permute(0, 3, 1, 2)
        column = ((coords[..., 0] + 0.5) / cell).long().clamp(0, width - 1)
        row = ((coords[..., 1] + 0.5) / cell).long().clamp(0, height - 1)
        index = (row * width + column)[..., None].expand(-1, -1, 2)  # (N, P, 2)
        flat = votes.reshape(1 if count == 1 else count, height * width, 2)
        clicked = flat.expand(len(coords), -1, -1).gather(1, index)
        corners = (labels == BOX_FIRST) | (labels == BOX_SECOND)
        weight = corners.to(coords.dtype)[..., None]
        middle = (coords * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1.0)
        place = torch.where(corners[..., None], middle.expand_as(clicked), clicked)
        points = (labels == FOREGROUND) | (labels == BACKGROUND) | corners
        tokens: Tensor = self.token(self.encode(place)) * points[..., None]
        return maps, tokens
