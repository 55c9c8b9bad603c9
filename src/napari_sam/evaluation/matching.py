"""Instance matching of two label images: AP at IoU thresholds, mSA, F1, recall by object size.

AP at a threshold is ``TP / (TP + FP + FN)`` as in the 2018 Data Science Bowl (Caicedo et al. 2019),
StarDist and Cellpose; mSA is its mean over the thresholds 0.50, 0.55 ... 0.95.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "THRESHOLDS",
    "LabelScores",
    "Overlaps",
    "count_overlaps",
    "evaluate_labels",
    "match_objects",
    "pool_scores",
]

# Written as i / 100 so that an IoU of, say, 11 / 20 is the same float as its threshold.
THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Which objects of two label images share pixels, and how much.

    Attributes
    ----------
    true_areas : (n_true,) int64
        Pixels of each true object, in ascending order of its label.
    predicted_areas : (n_predicted,) int64
        The same of the predicted objects.
    rows, cols : (n_pairs,) int64
        Indices of the true and of the predicted object of each overlapping pair.
    iou : (n_pairs,) float64
        Intersection over union of each pair, in (0, 1].
    """

    true_areas: NDArray[np.int64]
    predicted_areas: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    iou: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelScores:
    """How well predicted objects match the true ones, in one image or pooled over several.

    Where a ratio is 0 / 0: with no object on either side nothing was missed and nothing invented, so
    every score is 1; with objects on one side only it is 0.

    Attributes
    ----------
    thresholds : tuple of float
        IoU at or above which a pair matches, ascending.
    true_positives : tuple of int
        Matched pairs at each threshold.
    n_true, n_predicted : int
        Number of objects.
    true_areas : (n_true,) int64
        Pixels of each true object.
    matched_iou : (n_true,) float64
        IoU of each true object with its match at the lowest threshold; 0 where there is none.
    n_images : int
        Number of images behind these numbers.
    """

    thresholds: tuple[float, ...]
    true_positives: tuple[int, ...]
    n_true: int
    n_predicted: int
    true_areas: NDArray[np.int64]
    matched_iou: NDArray[np.float64]
    n_images: int = 1

    @property
    def tp(self) -> dict[float, int]:
        """True positives by threshold."""
        return dict(zip(self.thresholds, self.true_positives, strict=True))

    @property
    def fp(self) -> dict[float, int]:
        """False positives by threshold: predicted objects without a match."""
        return {t: self.n_predicted - tp for t, tp in self.tp.items()}

    @property
    def fn(self) -> dict[float, int]:
        """False negatives by threshold: true objects without a match."""
        return {t: self.n_true - tp for t, tp in self.tp.items()}

    @property
    def ap(self) -> dict[float, float]:
        """TP / (TP + FP + FN) by threshold, 0 to 1."""
        return {t: self._ratio(tp, self.n_true + self.n_predicted - tp) for t, tp in self.tp.items()}

    @property
    def msa(self) -> float:
        """Mean of ``ap`` over the thresholds, 0 to 1."""
        return float(np.mean(list(self.ap.values())))

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) at the lowest threshold (0.5 unless chosen otherwise), 0 to 1."""
        return self._ratio(2 * self.true_positives[0], self.n_true + self.n_predicted)

    @property
    def precision(self) -> float:
        """TP / (TP + FP) at the lowest threshold, 0 to 1."""
        return self._ratio(self.true_positives[0], self.n_predicted)

    @property
    def recall(self) -> float:
        """TP / (TP + FN) at the lowest threshold, 0 to 1."""
        return self._ratio(self.true_positives[0], self.n_true)

    @property
    def mean_matched_iou(self) -> float:
        """Mean IoU of the pairs that match at the lowest threshold; nan when there is none."""
        found = self.matched_iou[self.matched_iou > 0]
        return float(found.mean()) if found.size else float("nan")

    def recall_by_area(self, low: float = 0, high: float = np.inf) -> tuple[int, int]:
        """How many of the true objects with ``low <= area < high`` pixels were found, and how many there are.

        Parameters
        ----------
        low, high : float
            Pixels, half-open.

        Returns
        -------
        found, total : int
            At the lowest threshold.
        """
        inside = (self.true_areas >= low) & (self.true_areas < high)
        return int(np.count_nonzero(self.matched_iou[inside] > 0)), int(np.count_nonzero(inside))

    def _ratio(self, above: int, below: int) -> float:
        if below:
            return above / below
        return 1.0 if self.n_true == self.n_predicted == 0 else 0.0


def evaluate_labels(
    true: ArrayLike, predicted: ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> LabelScores:
    """Match the objects of two label images and count.

    Parameters
    ----------
    true, predicted : (...,) integer or bool array, equal shapes
        Labels, 0 = background; label values need not be consecutive nor agree.
    thresholds : sequence of float
        IoU thresholds in (0, 1].

    Returns
    -------
    LabelScores

    Raises
    ------
    ImageError
        When shapes differ, or a dtype is not an integer or bool, or a label is negative.
    ValueError
        When a threshold is outside (0, 1] or there is none.

    Notes
    -----
    A pair matches when its IoU is at or above the threshold, and each object matches at most once. Above
    0.5 that is automatic; at exactly 0.5 (two predictions that are the halves of one object, say) and
    below, the matching with the most pairs is taken, and the largest sum of IoU among those.

    Examples
    --------
    >>> scores = evaluate_labels([[1, 1, 0, 2]], [[1, 1, 0, 0]])
    >>> scores.ap[0.5], scores.n_true, scores.n_predicted
    (0.5, 2, 1)
    """
    levels = tuple(sorted({float(t) for t in thresholds}))
    if not levels or not all(0 < level <= 1 for level in levels):
        raise ValueError(f"Expected IoU thresholds in (0, 1], got {list(thresholds)}.")
    overlaps = count_overlaps(true, predicted)
    matches = [_match(overlaps, level) for level in levels]
    matched_iou = np.zeros(len(overlaps.true_areas))
    matched_iou[overlaps.rows[matches[0]]] = overlaps.iou[matches[0]]
    return LabelScores(
        thresholds=levels,
        true_positives=tuple(len(match) for match in matches),
        n_true=len(overlaps.true_areas),
        n_predicted=len(overlaps.predicted_areas),
        true_areas=overlaps.true_areas,
        matched_iou=matched_iou,
    )


def pool_scores(scores: Iterable[LabelScores]) -> LabelScores:
    """Sum the counts of several images, so that every object weighs the same.

    Parameters
    ----------
    scores : iterable of LabelScores
        Of equal thresholds.

    Returns
    -------
    LabelScores

    Raises
    ------
    ValueError
        When there is none, or thresholds differ.
    """
    parts = list(scores)
    if not parts or len({part.thresholds for part in parts}) != 1:
        kinds = len({part.thresholds for part in parts})
        raise ValueError(f"Expected scores of one set of thresholds, got {len(parts)} scores of {kinds}.")
    return LabelScores(
        thresholds=parts[0].thresholds,
        true_positives=tuple(int(n) for n in np.sum([part.true_positives for part in parts], axis=0)),
        n_true=sum(part.n_true for part in parts),
        n_predicted=sum(part.n_predicted for part in parts),
        true_areas=np.concatenate([part.true_areas for part in parts]),
        matched_iou=np.concatenate([part.matched_iou for part in parts]),
        n_images=sum(part.n_images for part in parts),
    )


def count_overlaps(true: ArrayLike, predicted: ArrayLike) -> Overlaps:
    """Count the shared pixels of all overlapping pairs, in one pass over the foreground.

    Parameters
    ----------
    true, predicted : (...,) integer or bool array, equal shapes
        Labels, 0 = background.

    Returns
    -------
    Overlaps

    Raises
    ------
    ImageError
        As in `evaluate_labels`.
    """
    left, right = _read_labels(true, "true"), _read_labels(predicted, "predicted")
    if left.shape != right.shape:
        raise ImageError(
            f"Expected label images of one shape, got {left.shape} and {right.shape}; "
            "compare the labels of the same plane."
        )
    left_ids, left_areas = np.unique(left[left != 0], return_counts=True)
    right_ids, right_areas = np.unique(right[right != 0], return_counts=True)
    shared = (left != 0) & (right != 0)
    # Indices instead of labels: they are dense, so that a pair's key fits into an int64 for any label.
    rows = np.searchsorted(left_ids, left[shared]).astype(np.int64)
    cols = np.searchsorted(right_ids, right[shared]).astype(np.int64)
    width = max(len(right_ids), 1)
    keys, intersections = np.unique(rows * width + cols, return_counts=True)
    rows, cols = keys // width, keys % width
    unions = left_areas[rows] + right_areas[cols] - intersections
    return Overlaps(
        left_areas.astype(np.int64), right_areas.astype(np.int64), rows, cols, intersections / unions
    )


def match_objects(true: ArrayLike, predicted: ArrayLike, threshold: float = 0.5) -> dict[int, int]:
    """Which predicted object each true one is matched with.

    Parameters
    ----------
    true, predicted : (...,) integer or bool array, equal shapes
        Labels, 0 = background.
    threshold : float
        IoU from which on two match.

    Returns
    -------
    dict of int to int
        Predicted labels by true ones; what has no match is not in it.

    Raises
    ------
    ImageError
        As in `evaluate_labels`.

    Examples
    --------
    >>> match_objects([[1, 1, 0, 2]], [[7, 7, 0, 0]])
    {1: 7}
    """
    left, right = _read_labels(true, "true"), _read_labels(predicted, "predicted")
    overlaps = count_overlaps(left, right)
    pairs = _match(overlaps, threshold)
    left_ids, right_ids = np.unique(left[left != 0]), np.unique(right[right != 0])
    rows, cols = left_ids[overlaps.rows[pairs]], right_ids[overlaps.cols[pairs]]
    return dict(zip(rows.tolist(), cols.tolist(), strict=True))


def _match(overlaps: Overlaps, threshold: float) -> NDArray[np.int64]:
    """Indices of the pairs of the largest one-to-one matching with IoU >= threshold."""
    pairs = np.flatnonzero(overlaps.iou >= threshold)
    rows, cols = overlaps.rows[pairs], overlaps.cols[pairs]
    if pairs.size == 0:
        return pairs
    contested = (np.bincount(rows)[rows] > 1) | (np.bincount(cols)[cols] > 1)
    if not contested.any():
        return pairs
    left, row_index = np.unique(rows[contested], return_inverse=True)
    right, col_index = np.unique(cols[contested], return_inverse=True)
    # One pair more outweighs any sum of IoUs, which stays below 1.
    weights = np.zeros((len(left), len(right)))
    weights[row_index, col_index] = 1 + overlaps.iou[pairs[contested]] / (1 + min(weights.shape))
    index = np.zeros(weights.shape, np.int64)
    index[row_index, col_index] = pairs[contested]
    chosen = linear_sum_assignment(weights, maximize=True)
    return np.concatenate([pairs[~contested], index[chosen][weights[chosen] > 0]])


def _read_labels(labels: ArrayLike, name: str) -> NDArray[np.integer]:
    array = np.asarray(labels)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise ImageError(f"Expected integer {name} labels, got {array.dtype}; 0 is the background.")
    if array.size and array.min() < 0:
        raise ImageError(f"Expected {name} labels >= 0, got {array.min()}; 0 is the background.")
    return array
