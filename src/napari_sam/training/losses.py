"""Losses of the two decoders (Kirillov et al. 2023, App. A, and the instance decoder's own)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

if TYPE_CHECKING:
    from napari_sam.training.config import TrainConfig


def dice_loss(probability: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """1 - soft dice over the last two dimensions; inputs in 0 .. 1."""
    weight = torch.ones_like(target) if weight is None else weight
    overlap = (weight * probability * target).sum((-2, -1))
    total = (weight * (probability + target)).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (total + 1)


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017) averaged over the last two dimensions."""
    entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    wrong = probability * (1 - target) + (1 - probability) * target
    return (wrong**gamma * entropy).mean((-2, -1))


def instance_loss(maps: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Loss of the dense maps.

    Parameters
    ----------
    maps : (B, 5, H, W)
        Raw, as the instance decoder gives them.
    targets : (B, 5, H, W)
    weight : (B, H, W)
    """
    foreground = targets[:, 0]
    entropy = binary_cross_entropy_with_logits(maps[:, 0], foreground, reduction="none")
    loss = (entropy * weight).sum() / weight.sum()
    loss = loss + 0.5 * dice_loss(maps[:, 0].sigmoid(), foreground, weight).mean()
    inside = (foreground * weight).unsqueeze(1)
    norm = inside.sum().clamp(min=1.0)
    distances = maps[:, 1:3].sigmoid()
    # Background counts for the boundary distance, which is 0 there and so marks the objects' edges.
    outside = 0.3 * (1 - foreground) * weight
    boundary = ((distances[:, 1] - targets[:, 2]) ** 2 * (inside[:, 0] + outside)).sum() / norm
    center = ((distances[:, :1] - targets[:, 1:2]) ** 2 * inside).sum() / norm
    offsets = smooth_l1_loss(maps[:, 3:], targets[:, 3:], beta=0.1, reduction="none")
    return loss + 4 * boundary + 2 * center + (offsets * inside).sum() / norm


def mask_losses(logits: Tensor, target: Tensor, config: TrainConfig) -> Tensor:
    """Loss of each mask: (N, M, h, w) logits against (N, 1, h, w) soft targets gives (N, M)."""
    target = target.expand_as(logits)
    loss = config.dice_weight * dice_loss(logits.sigmoid(), target)
    if config.bce_weight:
        entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = loss + config.bce_weight * _sum_over_object(entropy, target)
    if config.focal_weight:
        loss = loss + config.focal_weight * focal_loss(logits, target)
    return loss


def _sum_over_object(entropy: Tensor, target: Tensor) -> Tensor:
    # A small object fills 2 % of its window, so its entropy is divided by a multiple of its area rather
    # than by the window's. Both classes weigh the same: a weight on the object alone makes masks swell.
    area = target.sum((-2, -1))
    size = target.shape[-2] * target.shape[-1]
    share = torch.where(area > 0, (4 * area).clamp(size / 8, size), torch.full_like(area, size))
    return entropy.sum((-2, -1)) / share


def prompt_loss(
    logits: Tensor, predicted_iou: Tensor, target: Tensor, actual_iou: Tensor, config: TrainConfig
) -> Tensor:
    """Minimum over the three masks, plus the single mask, plus the error of the predicted IoU.

    Parameters
    ----------
    logits : (N, 4, h, w)
    predicted_iou, actual_iou : (N, 4)
    target : (N, 1, h, w)
        Soft, 0 to 1.
    """
    losses = mask_losses(logits, target, config)  # (N, 4)
    masks = losses[:, 0] + losses[:, 1:].min(dim=1).values
    return masks.mean() + 4 * smooth_l1_loss(predicted_iou, actual_iou, beta=0.2)
