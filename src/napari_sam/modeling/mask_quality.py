"""What a mask itself, and the other answers to the same prompt, say about how good it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_sam.modeling.layers import MLP

WIDTH = 64
"""Hidden channels of the head."""


class MaskQuality(nn.Module):
    """Corrects the predicted IoU by a look at the mask itself.

    The IoU token sees no mask, so it cannot tell the alternatives apart well. Here each mask is described by
    the mean of the features inside it, by its size, by how sure it is (cf. the stability score, Kirillov et
    al. 2023, App. B), and by how much it has in common with the other masks; all of them are then judged
    together. No gradient flows back.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.head = SetHead(2 * channels + 4 + dim + 3, WIDTH)

    def forward(self, logits: Tensor, features: Tensor, tokens: Tensor) -> Tensor:
        """Logits (N, M, L), features (N, K, L) and mask tokens (N, M, C) to corrections (N, M)."""
        logits, features, tokens = logits.detach(), features.detach(), tokens.detach()
        inside = logits.sigmoid()  # (N, M, h w)
        edge = inside * (1 - inside)
        area, length = inside.sum(-1), edge.sum(-1)  # (N, M)
        mean = inside @ features.transpose(1, 2) / (area[..., None] + 1)  # (N, M, K)
        border = edge @ features.transpose(1, 2) / (length[..., None] + 1)
        stable = (logits - 1).sigmoid().sum(-1) / ((logits + 1).sigmoid().sum(-1) + 1)
        shape = [stable, length / (area + 1), torch.log1p(area) / 8, inside.amax(-1)]
        described = torch.cat(
            [mean, border, torch.stack(shape, dim=-1), tokens, compare_masks(logits)], dim=-1
        )
        out: Tensor = self.head(described)
        return out[..., 0]


class SetHead(nn.Module):
    """A number for each member of a set, in view of all of them (Zaheer et al. 2017, "Deep Sets").

    (N, M, F) to (N, M, 1), 0 before it is trained.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.look = nn.Linear(input_dim, hidden_dim)
        self.judge = MLP(3 * hidden_dim, hidden_dim, 1, 2)
        for parameter in self.judge.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        seen = nn.functional.relu(self.look(x))  # (N, M, hidden)
        mean, most = seen.mean(1, keepdim=True), seen.amax(1, keepdim=True)
        out: Tensor = self.judge(torch.cat([seen, mean.expand_as(seen), most.expand_as(seen)], dim=-1))
        return out


def compare_masks(logits: Tensor) -> Tensor:
    """Least, mean and greatest IoU of each mask with the others: (N, M, L) logits to (N, M, 3)."""
    iou = pairwise_iou(logits)
    itself = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    others = iou.masked_fill(itself, 0.0)
    mean = others.sum(-1) / max(1, logits.shape[1] - 1)
    return torch.stack([iou.masked_fill(itself, 1.0).amin(-1), mean, others.amax(-1)], dim=-1)


def pairwise_iou(logits: Tensor) -> Tensor:
    """IoU of each mask of a prompt with each: (N, M, L) logits to (N, M, M); 0 for empty ones."""
    masks = (logits > 0).to(logits.dtype)
    shared = masks @ masks.transpose(1, 2)
    areas = masks.sum(-1)
    return shared / (areas[:, :, None] + areas[:, None, :] - shared).clamp(min=1.0)
