"""Prompts drawn as maps, in the space of predicted centres.

The instance decoder predicts the offset from every pixel to its object's centre: the pixel's *vote*.
Two pixels belong to one object when their votes fall together, so each click is compared with every
pixel by the distance of their votes, besides the plain distance on the image that interactive
segmentation has long used (Sofiiuk et al. 2022). The mask decoder gets these maps beside the tokens.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from napari_sam.modeling.prompt_encoder import BACKGROUND, BOX_FIRST, BOX_SECOND, FOREGROUND

VOTE_WIDTHS: Final = (3.0, 8.0)
CLICK_WIDTH: Final = 5.0
"""Standard deviations in pixels of the kernels around votes and clicks."""
CHANNELS: Final = 2 * (len(VOTE_WIDTHS) + 1) + 3


def draw_prompt_maps(
    offsets: Tensor, coords: Tensor, labels: Tensor, masks: Tensor | None, cell: float
) -> Tensor:
    """Draw prompts on the cells of their window.

    Parameters
    ----------
    offsets : (N, 2, h, w)
        Row and column offset to the centre in pixels, one per cell.
    coords : (N, P, 2)
        Prompt positions (x, y) in pixels of the window.
    labels : (N, P)
        As ``PromptEncoder`` reads them.
    masks : (N, 1, h, w) or None
        Logits of rough or previous masks.
    cell : float
        Pixels per cell.

    Returns
    -------
    (N, CHANNELS, h, w)
        0 to 1: for foreground and then for background clicks the kernels of the votes' distance and of
        the distance; then the inside of the box, and how near votes are to its middle; last the rough
        mask, which the image tokens alone would know at a quarter of its resolution only.
    """
    height, width = offsets.shape[-2:]
    y = ((torch.arange(height, device=offsets.device) + 0.5) * cell - 0.5)[:, None].expand(height, width)
    x = ((torch.arange(width, device=offsets.device) + 0.5) * cell - 0.5).expand(height, width)
    place = torch.stack([x, y], dim=-1).to(offsets.dtype).expand(len(coords), -1, -1, -1)  # (N, h, w, 2)
    votes = place + offsets.flip(1).permute(0, 2, 3, 1)
    cells = ((coords + 0.5) / cell).long()
    index = cells[..., 1].clamp(0, height - 1) * width + cells[..., 0].clamp(0, width - 1)  # (N, P)
    clicked = votes.flatten(1, 2).gather(1, index[..., None].expand(-1, -1, 2))  # (N, P, 2)
    maps = []
    for code in (FOREGROUND, BACKGROUND):
        by_vote = _nearest(votes, clicked, labels == code)
        maps += [torch.exp(-by_vote / (2 * sigma**2)) for sigma in VOTE_WIDTHS]
        maps.append(torch.exp(-_nearest(place, coords, labels == code) / (2 * CLICK_WIDTH**2)))
    rough = torch.zeros_like(maps[0]) if masks is None else masks[:, 0].sigmoid()
    return torch.stack([*maps, *_draw_box(place, votes, coords, labels), rough], dim=1)


def _nearest(positions: Tensor, targets: Tensor, chosen: Tensor) -> Tensor:
    """Squared distance (N, h, w) to the nearest chosen target; very far where none is chosen."""
    best = torch.full(positions.shape[:-1], 1e6, device=positions.device, dtype=positions.dtype)
    for p in range(targets.shape[1]):
        square = ((positions - targets[:, p, None, None]) ** 2).sum(-1)
        best = torch.minimum(best, square.masked_fill(~chosen[:, p, None, None], 1e6))
    return best


def _draw_box(place: Tensor, votes: Tensor, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    corners = [((labels == code)[..., None] * coords).sum(1) for code in (BOX_FIRST, BOX_SECOND)]  # (N, 2)
    low, high = (corner[:, None, None] for corner in corners)
    exists = (labels == BOX_SECOND).any(1)[:, None, None]
    inside = ((place >= low - 0.5) & (place <= high + 0.5)).all(-1) & exists
    sigma = ((high - low) / 5).clamp(min=1.5)
    square = (((votes - (low + high) / 2) / sigma) ** 2).sum(-1)
    return inside.to(place.dtype), torch.exp(-square / 2) * exists
