"""The mask generator of Kirillov et al. 2023 (App. B) step by step, as ``segment-anything`` implements it.

Every point of the grid, three masks each; predicted IoU, then stability and box at full resolution, then
suppression of overlapping boxes. Slow on purpose: it is what faster ways are compared with. It differs in
memory only: one full-resolution mask at a time, and what is kept is packed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from napari_sam.inference.candidates import Candidates
from napari_sam.inference.foreground import Foreground
from napari_sam.inference.mask_ops import stability_score
from napari_sam.inference.predictor import CHUNK
from napari_sam.inference.transforms import check_plane
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.decode_window import Window
    from napari_sam.inference.embedding import Frame, ImageEmbedding
    from napari_sam.inference.grid_segmenter import GridParams
    from napari_sam.inference.region import Region

OUTSIDE = -32.0
"""Logit of cells outside a prompt's window."""


def make_exact_grid(frame: Frame, per_side: int) -> NDArray[np.float32]:
    """(N, 2) points of a frame, row by row, where the original puts them.

    It lays them at (i + 1/2) / n of each side, in a convention in which the first pixel's centre is at 0,
    and scales them to the frame as if its origin were that centre; the points that this package scales to
    the same place are a little off.
    """
    parts = (np.arange(per_side) + 0.5) / per_side
    rows, cols = (
        (parts * inner + 0.5) / frame.scale - 0.5 + start
        for inner, start in zip(frame.inner, frame.crop[:2], strict=True)
    )
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def iter_exact_candidates(
    image: Any, predictor: CachedPredictor, params: GridParams, region: Region | None = None
) -> Generator[Progress, None, Candidates]:
    """Find candidates of the whole image as one frame; a job that returns them by descending predicted IoU.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array
    predictor : CachedPredictor
    params : GridParams
        ``points_per_side``, ``predicted_iou``, ``stability`` and ``duplicates`` count.
    region : Region, optional
        Only points inside are asked, and candidates whose centre is outside are dropped.
    """
    height, width, _ = check_plane(image)
    total = params.points_per_side**2
    yield Progress(0, total, "encoding")
    embedding = predictor.encode(image, (0, 0, height, width))
    foreground = Foreground.of(predictor.model, embedding)
    points = make_exact_grid(embedding.frame, params.points_per_side)
    if region is not None:
        points = points[region.holds(points)]
    parts = [Candidates.empty((height, width))]
    ious = [np.zeros(0)]
    for start in range(0, len(points), CHUNK):
        yield Progress(start, total, "prompting")
        scores, objects = _decode(predictor, embedding, points[start : start + CHUNK], params)
        parts.append(Candidates.from_objects(objects, (height, width), foreground.inside(objects)))
        ious.append(scores)
    found = Candidates.concatenate(parts)
    found = found.take(suppress_boxes(found.boxes, np.concatenate(ious), params.duplicates))
    if region is not None:
        found = found.take(region.holds(found.centers))
    yield Progress(total, total, f"{len(found)} candidates found", found)
    return found


def _decode(
    predictor: CachedPredictor, embedding: ImageEmbedding, points: NDArray[np.float32], params: GridParams
) -> tuple[NDArray[np.float64], list[ObjectMask]]:
    """Predicted IoU, not clipped, and mask of what passes the thresholds, point by point."""
    prompts = [Prompts(points=[p]) for p in points]
    answers: list[list[tuple[float, ObjectMask]]] = [[] for _ in prompts]
    for i, window, logits, iou in predictor.predictor.iter_logits(embedding, prompts):
        for values, score in zip(logits[1:], iou[1:].tolist(), strict=True):
            if params.predicted_iou > 0 and not score > params.predicted_iou:
                continue
            full = upscale_fully(values, window, embedding)
            stability = stability_score(full)
            if stability >= params.stability:
                scores = {"predicted_iou": min(max(score, 0.0), 1.0), "stability_score": stability}
                obj = ObjectMask.from_plane(full > 0, embedding.frame.crop[:2], **scores)
                answers[i].append((score, obj))
    found = [pair for answer in answers for pair in answer]
    return np.array([score for score, _ in found], np.float64), [obj for _, obj in found]


def upscale_fully(
    values: NDArray[np.float32], window: Window, embedding: ImageEmbedding
) -> NDArray[np.float32]:
    """Logits of a window on all pixels of the crop: to the frame, without its padding, then to the crop."""
    frame = embedding.frame
    canvas = torch.full((1, 1, 4 * embedding.tokens[0], 4 * embedding.tokens[1]), OUTSIDE)
    top, left = 4 * window.row, 4 * window.col
    canvas[0, 0, top : top + values.shape[0], left : left + values.shape[1]] = torch.from_numpy(values)
    full = interpolate(canvas, frame.size, mode="bilinear", align_corners=False)
    full = full[..., : frame.inner[0], : frame.inner[1]]
    size = frame.crop[2] - frame.crop[0], frame.crop[3] - frame.crop[1]
    full = interpolate(full, size, mode="bilinear", align_corners=False)
    out: NDArray[np.float32] = full[0, 0].numpy()
    return out


def suppress_boxes(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> list[int]:
    """Greedy non-maximum suppression of (N, 4) half-open boxes; indices by descending score.

    The original's boxes end *at* the last pixel, so a box of one pixel has no area and no overlap.
    """
    ends = boxes.astype(np.float32)
    ends[:, 2:] -= 1
    area = (ends[:, 2] - ends[:, 0]) * (ends[:, 3] - ends[:, 1])
    order = np.argsort(-scores, kind="stable")
    alive = np.ones(len(boxes), bool)
    kept = []
    for n, i in enumerate(order):
        if not alive[i]:
            continue
        kept.append(int(i))
        rest = order[n + 1 :]
        low, high = np.maximum(ends[rest, :2], ends[i, :2]), np.minimum(ends[rest, 2:], ends[i, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        alive[rest[shared > threshold * (area[rest] + area[i] - shared)]] = False
    return kept
