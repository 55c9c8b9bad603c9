"""What a predicted IoU turns out to be: from the masks' agreement, and by a measured curve.

A small model is surer of its masks than it should be, and ranks the masks of one click badly: a mask that the
others resemble is a better guess than its own score tells. The curve is measured on images that the model was
not trained on, and is in the checkpoint's record, where ``benchmarks/calibrate_iou.py`` puts it; it rises
everywhere, so that the ranking of masks stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import CheckpointError
from napari_sam.modeling.mask_decoder import pairwise_iou

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["KEY", "calibrate_iou", "fit_calibration", "read_calibration", "weigh_agreement"]

KEY: Final = "iou_calibration"
"""Of the record: two lists, predicted and measured IoU."""
LEAST_SLOPE: Final = 0.02
"""So much the curve rises at least, for the ranking's sake."""

Curve = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


def weigh_agreement(logits: Tensor, iou: Tensor) -> Tensor:
    """Predicted IoU by what the masks of a prompt have in common: one that others resemble is a good guess.

    The mean, over all masks, of the predicted IoU of each times its IoU with the mask in question. That is
    lower than what was predicted, which the curve makes up for.

    Parameters
    ----------
    logits : (N, M, h, w) float32
        Above 0 is foreground.
    iou : (N, M) float32
        As predicted.

    Returns
    -------
    (N, M) float32

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[[[1, 1, -1]], [[1, -1, -1]], [[-1, -1, 1]]]]).float()
    >>> weigh_agreement(logits, torch.tensor([[0.4, 0.4, 0.8]]))
    tensor([[0.2000, 0.2000, 0.2667]])
    """
    alike = pairwise_iou(logits.flatten(2))
    return (alike @ iou.unsqueeze(2))[..., 0] / iou.shape[1]


def read_calibration(record: Mapping[str, Any]) -> Curve | None:
    """The curve of a checkpoint's record; None where it has none.

    Raises
    ------
    CheckpointError
        When it is no rising curve.
    """
    if KEY not in record:
        return None
    try:
        predicted, measured = (np.asarray(values, np.float32) for values in record[KEY])
        rising = all((np.diff(v) > 0).all() and np.isfinite(v).all() for v in (predicted, measured))
        if predicted.ndim != 1 or predicted.shape != measured.shape or len(predicted) < 2 or not rising:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"Expected two rising lists of the same length as {KEY!r} in the checkpoint's record, got others."
        ) from error
    return predicted, measured


def calibrate_iou(iou: NDArray[np.float32], curve: Curve) -> NDArray[np.float32]:
    """Predicted IoU by a curve; beyond its ends, as far from them as it was.

    Examples
    --------
    >>> curve = np.array([0.5, 0.9], np.float32), np.array([0.3, 0.9], np.float32)
    >>> [round(float(v), 2) for v in calibrate_iou(np.array([0.4, 0.7, 1.0], np.float32), curve)]
    [0.2, 0.6, 1.0]
    """
    predicted, measured = curve
    beyond = iou - np.clip(iou, predicted[0], predicted[-1])
    return (np.interp(iou, predicted, measured) + beyond).astype(np.float32)


def fit_calibration(
    predicted: NDArray[np.floating], measured: NDArray[np.floating], bins: int = 12
) -> tuple[list[float], list[float]]:
    """A rising curve through the medians of bins of equal counts.

    Parameters
    ----------
    predicted, measured : (n,) float
    bins : int

    Returns
    -------
    predicted, measured : list of float
        For the record; medians, because what is to be small is the absolute error.
    """
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    x = np.array([np.median(predicted[part]) for part in parts], np.float64)
    y = np.array([np.median(measured[part]) for part in parts], np.float64)
    y = np.maximum.accumulate(y)
    keep = np.concatenate([[True], np.diff(x) > 1e-4])
    x, y = x[keep], y[keep]
    y = y + LEAST_SLOPE * (x - x.mean())
    return [round(float(v), 5) for v in x], [round(float(v), 5) for v in y]
