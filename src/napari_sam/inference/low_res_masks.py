"""Masks at the decoder's resolution: judged and compared there, so that only what is good is upscaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.inference.candidates import Candidates, FilterParams, filter_candidates
from napari_sam.inference.mask_ops import clean_mask, stability_score, upscale_logits
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.decode_window import Window
    from napari_sam.inference.embedding import Frame
    from napari_sam.types import Box

MARGIN = 2
"""Cells kept around what is positive: as far as bilinear interpolation reaches."""


@dataclass(frozen=True, slots=True, eq=False)
class LowResMask:
    """One answer of the mask decoder, cropped to what is positive.

    Attributes
    ----------
    obj : ObjectMask
        Its mask in cells of the frame: four a token; with its scores.
    values : (h, w) float32
        Logits of these cells and ``MARGIN`` around them.
    edges : (r0, c0, r1, c1)
        The rectangle of the plane that ``values`` covers, in pixel edges.
    click : (row, col)
        The point that it answers, in plane pixels.
    """

    obj: ObjectMask
    values: NDArray[np.float32]
    edges: Box
    click: tuple[float, float]

    def upscale(self, frame: Frame) -> ObjectMask:
        """The mask on the plane's pixels, tidied as that of a click is."""
        mask, origin = upscale_logits(self.values, self.edges, frame.crop)
        if mask.any():
            keep = np.round(np.array([self.click]) - np.array(origin)).astype(np.int64)
            mask = clean_mask(mask, keep)
        scores = self.obj.predicted_iou, self.obj.stability_score
        return ObjectMask.from_plane(mask, origin, predicted_iou=scores[0], stability_score=scores[1])


def read_alternatives(
    logits: NDArray[np.float32],
    iou: NDArray[np.float32],
    window: Window,
    frame: Frame,
    stride: int,
    click: tuple[float, float],
    floor: float,
) -> list[LowResMask]:
    """The alternatives of one point whose predicted IoU and stability reach ``floor``.

    Parameters
    ----------
    logits : (M, h, w) float32
        The single mask first, which a single click does not mean, then the alternatives.
    iou : (M,) float32
    window : Window
    frame : Frame
    stride : int
        Pixels a token.
    click : (row, col)
    floor : float
    """
    found = []
    top, left = 4 * window.row, 4 * window.col
    r0, c0, r1, c1 = window.edges(frame, stride)
    cell = (r1 - r0) / logits.shape[1], (c1 - c0) / logits.shape[2]
    for values, score in zip(logits[1:], np.clip(iou[1:], 0, 1).tolist(), strict=True):
        if score < floor:
            continue
        stability = stability_score(values)
        if stability < floor:
            continue
        obj = ObjectMask.from_plane(values > 0, (top, left), predicted_iou=score, stability_score=stability)
        if obj.mask.size == 0:
            continue
        a, b, c, d = obj.box
        a, c = max(a - top - MARGIN, 0), min(c - top + MARGIN, values.shape[0])
        b, d = max(b - left - MARGIN, 0), min(d - left + MARGIN, values.shape[1])
        edges = r0 + a * cell[0], c0 + b * cell[1], r0 + c * cell[0], c0 + d * cell[1]
        found.append(LowResMask(obj, values[a:c, b:d].copy(), edges, click))
    return found


def drop_duplicates(masks: Sequence[LowResMask], shape: tuple[int, int], nms_iou: float) -> list[LowResMask]:
    """Of masks with a higher IoU than ``nms_iou`` the best, best first; ``shape`` of the frame in cells."""
    packed = Candidates.from_objects([m.obj for m in masks], shape)
    kept = filter_candidates(packed, FilterParams(nms_iou=nms_iou, containment=1))
    return [masks[i] for i in kept.tolist()]
