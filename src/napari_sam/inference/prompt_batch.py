"""Prompts as the mask decoder takes them: in batches of one kind, in pixels of their windows.

Prompts that bring no mask get the automatic instance that they lie on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_sam.errors import PromptError
from napari_sam.inference.mask_ops import average_mask, resample_logits
from napari_sam.modeling.prompt_encoder import BACKGROUND, BOX_FIRST, BOX_SECOND, FOREGROUND, MASK_LOGIT, PAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.decode_window import Window
    from napari_sam.inference.embedding import Frame, ImageEmbedding
    from napari_sam.inference.paged_tensor import PagedTensor
    from napari_sam.types import ObjectMask, Prompts

__all__ = ["cut_windows", "group_prompts", "propose_instance", "read_dense", "read_sparse"]


def propose_instance(embedding: ImageEmbedding, prompts: Prompts) -> Prompts:
    """Prompts without a mask get the automatic instance under the first click, else in the box's middle."""
    if prompts.mask is not None or embedding.instances is None:
        return prompts
    clicks = prompts.points[prompts.labels == 1]
    if len(clicks):
        row, col = clicks[0]
    elif prompts.box is not None:
        row, col = (prompts.box[0] + prompts.box[2]) / 2, (prompts.box[1] + prompts.box[3]) / 2
    else:
        return prompts
    r0, c0, r1, c1 = embedding.frame.crop
    cells = embedding.frame.inner
    step = (r1 - r0) / cells[0], (c1 - c0) / cells[1]
    instance = embedding.instances.at((row - r0 + 0.5) / step[0] - 0.5, (col - c0 + 0.5) / step[1] - 0.5)
    if instance is None:
        return prompts
    if step != (1, 1):
        instance = _enlarge(instance, step)
    return replace(prompts, mask=instance.shifted(r0, c0))


def _enlarge(mask: ObjectMask, step: tuple[float, float]) -> ObjectMask:
    """A mask on cells of ``step`` (rows, cols) pixels, on pixels."""
    lines = []
    for start, count, size in zip(mask.origin, mask.mask.shape, step, strict=True):
        first, last = round(start * size), round((start + count) * size)
        pixels = ((np.arange(first, last) + 0.5) / size).astype(np.int64) - start
        lines.append((first, np.clip(pixels, 0, count - 1)))
    (row, rows), (col, cols) = lines
    return replace(mask, mask=mask.mask[np.ix_(rows, cols)], origin=(row, col))


def group_prompts(pending: dict[int, Window], prompts: Sequence[Prompts]) -> Iterable[list[int]]:
    """Indices of prompts that can share a batch: same number of tokens, same window size."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, window in pending.items():
        p = prompts[i]
        key = (len(p.points), p.box is None, p.mask is None, window.height, window.width)
        groups.setdefault(key, []).append(i)
    return groups.values()


def read_sparse(
    prompts: Sequence[Prompts], windows: Sequence[Window], frame: Frame, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points and box corners as (N, P, 2) window (x, y) and their labels (N, P)."""
    coords, labels = [], []
    for p, window in zip(prompts, windows, strict=True):
        origin = np.array([window.col, window.row], np.float32) * stride
        points = frame.to_frame(p.points) - origin
        codes = np.where(p.labels == 1, FOREGROUND, BACKGROUND)
        # A background click far outside the window says nothing about what is in it.
        size = np.array([window.width, window.height], np.float32) * stride
        far = ((points < -0.25 * size) | (points > 1.25 * size)).any(axis=1)
        codes = np.where(far, PAD, codes)
        if p.box is not None:
            corners = frame.to_frame(np.array(p.box, np.float32).reshape(2, 2)) - origin
            points, codes = np.concatenate([points, corners]), np.append(codes, [BOX_FIRST, BOX_SECOND])
        else:
            points = np.concatenate([points, np.zeros((1, 2), np.float32)])
            codes = np.append(codes, PAD)
        coords.append(points)
        labels.append(codes)
    return np.stack(coords).astype(np.float32), np.stack(labels).astype(np.int64)


def read_dense(
    prompts: Sequence[Prompts], windows: Sequence[Window], frame: Frame, stride: int
) -> NDArray[np.float32] | None:
    """Logits of the masks that prompts bring, (N, 1, 4 h, 4 w) on the cells of their windows; None for none.

    Raises
    ------
    PromptError
        When some of the prompts bring a mask and others do not.
    """
    if prompts[0].mask is None:
        return None
    shape = 4 * windows[0].height, 4 * windows[0].width
    planes = []
    for p, window in zip(prompts, windows, strict=True):
        edges = window.edges(frame, stride)
        if p.mask is None:
            raise PromptError("Expected prompts of one kind in a batch, got some without a mask.")
        if p.mask.logits is not None:
            values = resample_logits(p.mask.logits, edges, shape, -MASK_LOGIT)
        else:
            values = (average_mask(p.mask, edges, shape) - 0.5) * 2 * MASK_LOGIT
        planes.append(np.clip(values, -32, 32))
    return np.stack(planes)[:, None].astype(np.float32)


def cut_windows(
    maps: Tensor | PagedTensor, origins: Sequence[tuple[int, int]], height: int, width: int
) -> Tensor:
    """Windows (row, col) of a map (1, C, H, W), as (N, C, height, width); N is 1 where one window is all."""
    if maps.shape[-2:] == (height, width):
        return maps if isinstance(maps, Tensor) else maps[..., :height, :width]
    return torch.cat([maps[..., r : r + height, c : c + width] for r, c in origins])
