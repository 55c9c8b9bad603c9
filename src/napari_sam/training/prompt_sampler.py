"""Simulated prompts: a first one per object, then corrections where the prediction is wrong.

Follows Kirillov et al. 2023, App. A ("Training algorithm"): a random foreground point or a box with
10 % jitter first, then points from the error region, the previous logits fed back. Objects are
decoded in windows of the embedding, so that one encoder pass serves all of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy.ndimage import find_objects
from torch import Tensor
from torch.nn.functional import avg_pool2d

from napari_sam.modeling.prompt_encoder import (
    BACKGROUND,
    BOX_FIRST,
    BOX_SECOND,
    FOREGROUND,
    MASK_LOGIT,
    PAD,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_AREA = 12
MIDDLE: Final = 0.4
"""Share of clicks near the middle of their object, the others being anywhere in it; ..."""
MIDDLE_IN_USE: Final = 0.8
"""... and the share as people click."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptBatch:
    """N prompts on a batch of images, each with its window.

    Attributes
    ----------
    image : (N,) int64
        Index of each prompt's image in the batch.
    object_id : (N,) int64
        Label of the object; 0 for a prompt on background, whose mask is empty.
    origin : (N, 2) int64
        Window's first token, (row, col).
    coords : (N, P, 2) float32
        (x, y) in pixels from the window's first pixel.
    labels : (N, P) int64
    rough : (N,) bool
        Whether the prompt is a rough mask; its points are padding.
    """

    image: Tensor
    object_id: Tensor
    origin: Tensor
    coords: Tensor
    labels: Tensor
    rough: Tensor


def sample_first_prompts(
    labels: NDArray[np.int32],
    objects: int,
    window: int,
    stride: int,
    rng: np.random.Generator,
    *,
    middle: float = MIDDLE,
) -> PromptBatch | None:
    """Draw the first prompt of up to ``objects`` objects of each image.

    Parameters
    ----------
    labels : (B, H, W) int32
    objects : int
    window : int
        Side of a window in tokens.
    stride : int
        Pixels per token.
    rng : numpy Generator
    middle : float
        Share of the clicks that fall near the middle of their object.

    Returns
    -------
    PromptBatch or None
        None when no image holds an object.
    """
    rows: list[tuple[int, int, NDArray[np.float64], list[int], bool]] = []
    for b, plane in enumerate(labels):
        boxes = find_objects(plane)
        ids = [i for i, box in enumerate(boxes, 1) if box is not None]
        for i in rng.permutation(ids)[:objects]:
            pixels = np.argwhere(plane[boxes[i - 1]] == i) + [s.start for s in boxes[i - 1]]
            if len(pixels) >= MIN_AREA:
                rows.append((b, int(i), *_draw_prompt(pixels, rng, middle)))
        if rng.random() < 0.5:
            background = np.argwhere(plane == 0)
            if len(background):
                point = background[rng.integers(len(background))].astype(float)
                rows.append((b, 0, np.stack([point, point]), [FOREGROUND, PAD], False))
    if not rows:
        return None
    coords = np.stack([row[2] for row in rows])  # (N, 2, 2) as (row, col) in the plane
    tokens = np.array(labels.shape[1:]) // stride
    center = coords.mean(axis=1) / stride + rng.uniform(-2.5, 2.5, (len(rows), 2))
    origin = np.clip(np.round(center - window / 2), 0, np.maximum(tokens - window, 0)).astype(np.int64)
    local = (coords - origin[:, None] * stride)[..., ::-1]
    return PromptBatch(
        torch.tensor([row[0] for row in rows]),
        torch.tensor([row[1] for row in rows]),
        torch.from_numpy(origin),
        torch.from_numpy(local.astype(np.float32)),
        torch.tensor([row[3] for row in rows]),
        torch.tensor([row[4] for row in rows]),
    )


def _draw_prompt(
    pixels: NDArray[np.int64], rng: np.random.Generator, middle: float
) -> tuple[NDArray[np.float64], list[int], bool]:
    low, high = pixels.min(axis=0) - 0.5, pixels.max(axis=0) + 0.5
    choice = rng.random()
    if choice < 0.25:
        noise = np.clip(rng.normal(0, 0.1, (2, 2)) * (high - low), -20, 20)
        return np.stack([low, high]) + noise, [BOX_FIRST, BOX_SECOND], False
    if choice < 0.32:
        return np.stack([low, high]), [PAD, PAD], True
    if choice < 0.32 + 0.68 * middle:
        wanted = np.median(pixels, axis=0) + rng.normal(0, 0.12, 2) * (high - low)
        point = pixels[np.argmin(((pixels - wanted) ** 2).sum(axis=1))].astype(float)
    else:
        point = pixels[rng.integers(len(pixels))].astype(float)
    return np.stack([point, point]), [FOREGROUND, PAD], False


def take_windows(maps: Tensor, image: Tensor, origin: Tensor, size: int) -> Tensor:
    """Cut a (size, size) window per prompt out of (B, C, H, W) maps: (N, C, size, size).

    One ``index_select`` for all: slicing prompt by prompt makes the backward pass expensive.
    """
    batch, channels, height, width = maps.shape
    steps = torch.arange(size, device=maps.device)
    rows = (origin[:, :1] + steps).clamp(max=height - 1)  # (N, size)
    cols = (origin[:, 1:] + steps).clamp(max=width - 1)
    index = (image[:, None, None] * height + rows[:, :, None]) * width + cols[:, None, :]
    flat = maps.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    taken = flat.index_select(0, index.reshape(-1))
    return taken.reshape(len(image), size, size, channels).permute(0, 3, 1, 2)


def make_rough_logits(target: Tensor, generator: torch.Generator) -> Tensor:
    """Rough mask prompts from soft targets (N, 1, h, w): shifted, grown or shrunk, as logits."""
    shift = [int(v) for v in torch.randint(-2, 3, (2,), generator=generator)]
    moved = torch.roll(target, shift, dims=(-2, -1))
    blurred = avg_pool2d(moved, 5, 1, 2)
    level = torch.empty(len(target), 1, 1, 1).uniform_(0.2, 0.8, generator=generator).to(target.device)
    return torch.where(blurred > level, MASK_LOGIT, -MASK_LOGIT)


def draw_corrections(predicted: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the next click of each object from where prediction and truth differ.

    Half of the clicks fall anywhere in the error, half in the middle of its thickest part, where
    people click.

    Parameters
    ----------
    predicted, target : (N, h, w) bool

    Returns
    -------
    coords : (N, 1, 2) float32
        (x, y) in window pixels.
    labels : (N, 1) int64
        ``PAD`` where there is no error.
    """
    count, _, width = target.shape
    error = (predicted ^ target).float()
    middle = avg_pool2d(error.unsqueeze(1), 9, 1, 4)[:, 0] * error
    middle = middle.flatten(1) ** 8  # sharply peaked, ties drawn at random
    anywhere = error.flatten(1)
    pick_middle = torch.rand(count, 1, generator=generator).to(error.device) < 0.5
    chance = torch.where(pick_middle, middle / middle.amax(1, keepdim=True).clamp(min=1e-20), anywhere)
    wrong = anywhere.any(dim=1)
    chance = torch.where(wrong[:, None], chance, torch.ones_like(chance))
    index = torch.multinomial(chance.cpu(), 1, generator=generator).to(error.device)  # (N, 1)
    is_object = target.flatten(1).gather(1, index)
    labels = torch.where(is_object, FOREGROUND, BACKGROUND)
    labels = torch.where(wrong[:, None], labels, PAD)
    coords = torch.stack([index % width, index // width], dim=-1).float()
    return coords, labels
