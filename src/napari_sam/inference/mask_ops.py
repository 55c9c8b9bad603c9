"""Operations on masks and logits that never touch more than the object's own box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import label as label_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.types import Box, LowResLogits, ObjectMask

STABILITY_OFFSET = 1.0


def stability_score(logits: NDArray[np.float32], offset: float = STABILITY_OFFSET) -> float:
    """IoU of the masks at thresholds +offset and -offset (Kirillov et al. 2023, App. B).

    Examples
    --------
    >>> import numpy as np
    >>> stability_score(np.array([[2.0, 0.5], [-0.5, -2.0]], np.float32))
    0.3333333333333333
    """
    union = int(np.count_nonzero(logits > -offset))
    return int(np.count_nonzero(logits > offset)) / union if union else 0.0


def upscale_logits(
    values: NDArray[np.float32], frame: Box, limits: tuple[int, int, int, int]
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Bilinearly upscale and threshold logits, inside the box of what is positive only.

    Parameters
    ----------
    values : (h, w) float32
    frame : (r0, c0, r1, c1)
        Plane rectangle that ``values`` covers, in pixel edges.
    limits : (r0, c0, r1, c1)
        Half-open pixels of the plane that may be set.

    Returns
    -------
    mask : (rows, cols) bool
    origin : (row, col)
        Plane coordinates of ``mask[0, 0]``.
    """
    positive = values > 0
    rows, cols = np.flatnonzero(positive.any(axis=1)), np.flatnonzero(positive.any(axis=0))
    empty = np.zeros((0, 0), bool), limits[:2]
    if rows.size == 0:
        return empty
    row_range, row_weights = _interpolation(values.shape[0], frame[0], frame[2], rows, limits[0], limits[2])
    col_range, col_weights = _interpolation(values.shape[1], frame[1], frame[3], cols, limits[1], limits[3])
    if len(row_weights) == 0 or len(col_weights) == 0:
        return empty
    full = row_weights @ values @ col_weights.T
    return full > 0, (row_range, col_range)


def _interpolation(
    count: int, start: float, stop: float, positive: NDArray[np.int64], low: int, high: int
) -> tuple[int, NDArray[np.float32]]:
    """First pixel and (pixels, count) bilinear weights of the pixels that positive cells can reach.

    Only of pixels whose centre the cells cover: beyond them the logits say nothing.
    """
    cell = (stop - start) / count
    first = max(low, int(np.ceil(start - 0.5)), int(np.floor(start + (positive[0] - 0.5) * cell)))
    last = min(high, int(np.floor(stop - 0.5)) + 1, int(np.ceil(start + (positive[-1] + 1.5) * cell)))
    pixels = np.arange(first, max(first, last))
    position = np.clip((pixels + 0.5 - start) / cell - 0.5, 0, count - 1)
    lower = np.minimum(position.astype(np.int64), count - 1)
    upper = np.minimum(lower + 1, count - 1)
    fraction = (position - lower).astype(np.float32)
    weights = np.zeros((len(pixels), count), np.float32)
    rows = np.arange(len(pixels))
    weights[rows, lower] += 1 - fraction
    weights[rows, upper] += fraction
    return first, weights


def resample_logits(
    logits: LowResLogits, frame: Box, shape: tuple[int, int], outside: float
) -> NDArray[np.float32]:
    """Bilinearly resample logits onto another grid of cells; ``outside`` where they say nothing."""
    out = np.full(shape, outside, np.float32)
    h, w = logits.values.shape
    r0, c0, r1, c1 = logits.frame
    centers_r = frame[0] + (np.arange(shape[0]) + 0.5) * (frame[2] - frame[0]) / shape[0]
    centers_c = frame[1] + (np.arange(shape[1]) + 0.5) * (frame[3] - frame[1]) / shape[1]
    inside_r = np.flatnonzero((centers_r >= r0) & (centers_r <= r1))
    inside_c = np.flatnonzero((centers_c >= c0) & (centers_c <= c1))
    if inside_r.size == 0 or inside_c.size == 0:
        return out
    row_weights = _weights_at((centers_r[inside_r] - r0) * h / (r1 - r0) - 0.5, h)
    col_weights = _weights_at((centers_c[inside_c] - c0) * w / (c1 - c0) - 0.5, w)
    out[np.ix_(inside_r, inside_c)] = row_weights @ logits.values @ col_weights.T
    return out


def _weights_at(position: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    position = np.clip(position, 0, count - 1)
    lower = position.astype(np.int64)
    fraction = (position - lower).astype(np.float32)
    weights = np.zeros((len(position), count), np.float32)
    rows = np.arange(len(position))
    weights[rows, lower] += 1 - fraction
    weights[rows, np.minimum(lower + 1, count - 1)] += fraction
    return weights


def interpolate_logits(values: NDArray[np.floating], row: float, col: float) -> float:
    """The bilinear value at a place in cells, as ``upscale_logits`` sees it; the edge's beyond the edge.

    Examples
    --------
    >>> interpolate_logits(np.array([[0.0, 2.0], [4.0, 6.0]]), 0.5, 0.5)
    3.0
    """
    rows, cols = (
        _weights_at(np.array([place]), count) for place, count in zip((row, col), values.shape, strict=True)
    )
    return float((rows @ values @ cols.T)[0, 0])


def average_mask(obj: ObjectMask, frame: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Fraction of each cell of a grid that a mask covers, by point samples four to a cell side."""
    fine = 4
    rows = frame[0] + (np.arange(shape[0] * fine) + 0.5) * (frame[2] - frame[0]) / (shape[0] * fine)
    cols = frame[1] + (np.arange(shape[1] * fine) + 0.5) * (frame[3] - frame[1]) / (shape[1] * fine)
    r = np.floor(rows).astype(np.int64) - obj.origin[0]
    c = np.floor(cols).astype(np.int64) - obj.origin[1]
    h, w = obj.mask.shape
    inside = ((r >= 0) & (r < h))[:, None] & ((c >= 0) & (c < w))[None]
    if h == 0 or w == 0:
        return np.zeros(shape, np.float32)
    sampled = obj.mask[np.clip(r, 0, h - 1)[:, None], np.clip(c, 0, w - 1)[None]] & inside
    mean: NDArray[np.float32] = sampled.reshape(shape[0], fine, shape[1], fine).mean((1, 3), dtype=np.float32)
    return mean


def clean_mask(
    mask: NDArray[np.bool_],
    keep: NDArray[np.int64],
    hole: int = 32,
    open_at: NDArray[np.int64] | None = None,
    largest: bool = False,
) -> NDArray[np.bool_]:
    """Keep the parts that hold a ``keep`` pixel (else the largest) and fill small holes.

    Parameters
    ----------
    mask : (h, w) bool
    keep : (K, 2) int
        Pixels (row, col) that were clicked; those off the mask are ignored.
    hole : int
        Holes of at most this many pixels are filled.
    open_at : (K, 2) int, optional
        Pixels whose holes stay open: background clicks.
    largest : bool
        Whether the largest part is kept in any case.
    """
    parts, count = label_components(mask, np.ones((3, 3), bool))
    if count > 1:
        inside = ((keep >= 0) & (keep < mask.shape)).all(axis=1) if len(keep) else np.zeros(0, bool)
        clicked = parts[keep[inside, 0], keep[inside, 1]] if inside.any() else np.zeros(0, int)
        chosen = np.unique(clicked[clicked > 0])
        if largest or chosen.size == 0:
            chosen = np.append(chosen, np.bincount(parts.ravel())[1:].argmax() + 1)
        kept = np.zeros(count + 1, bool)
        kept[chosen] = True
        mask = kept[parts]
    outside, count = label_components(~mask)
    if count > 0:
        small = np.bincount(outside.ravel()) <= hole
        small[0] = False  # the mask itself; and what touches the border is no hole
        for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
            small[edge] = False
        if open_at is not None and len(open_at):
            r, c = open_at[((open_at >= 0) & (open_at < mask.shape)).all(axis=1)].T
            small[outside[r, c]] = False
        if small.any():
            mask = mask | small[outside]
    return mask
