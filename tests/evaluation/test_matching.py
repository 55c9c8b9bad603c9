from __future__ import annotations

import numpy as np
import pytest

import napari_sam
from napari_sam.errors import ImageError
from napari_sam.evaluation.matching import THRESHOLDS, count_overlaps, evaluate_labels, pool_scores

EMPTY = np.zeros((4, 10), int)


def strip(*runs: tuple[int, int]) -> np.ndarray:
    """One row of 40 pixels; object i + 1 covers columns runs[i][0] up to runs[i][1]."""
    row = np.zeros((1, 40), int)
    for label, (start, stop) in enumerate(runs, start=1):
        row[0, start:stop] = label
    return row


# IoU by hand: (0, 10) against (2, 10) is 8 / 10; (20, 30) against (23, 33) is 7 / 13 = 0.538.
CASES = [
    pytest.param(strip((0, 10)), strip((0, 10)), {0.5: 1, 0.75: 1, 0.95: 1}, id="identical"),
    pytest.param(strip((0, 10)), strip((2, 10)), {0.5: 1, 0.8: 1, 0.85: 0}, id="iou exactly 0.8"),
    pytest.param(strip((0, 10)), strip((20, 30)), {0.5: 0}, id="disjoint"),
    pytest.param(strip((0, 10), (20, 30)), strip((2, 10), (23, 33)), {0.5: 2, 0.55: 1, 0.85: 0}, id="two"),
    pytest.param(strip((0, 10)), strip((0, 5), (5, 10)), {0.5: 1, 0.55: 0}, id="halves tie at 0.5"),
    pytest.param(strip((0, 5), (5, 10)), strip((0, 10)), {0.5: 1, 0.55: 0}, id="merged tie at 0.5"),
    pytest.param(strip((0, 11)), strip((0, 20)), {0.5: 1, 0.55: 1, 0.6: 0}, id="iou exactly 0.55"),
    pytest.param(strip((0, 10), (10, 20)), strip((0, 20)), {0.5: 1}, id="merge"),
    pytest.param(EMPTY, EMPTY, {0.5: 0}, id="both empty"),
    pytest.param(strip((0, 10)), strip(), {0.5: 0}, id="nothing found"),
    pytest.param(strip(), strip((0, 10)), {0.5: 0}, id="all invented"),
]


@pytest.mark.parametrize(("true", "predicted", "tp"), CASES)
def test_true_positives_by_hand(true: np.ndarray, predicted: np.ndarray, tp: dict[float, int]) -> None:
    scores = evaluate_labels(true, predicted)
    assert {t: scores.tp[t] for t in tp} == tp


def test_scores_by_hand() -> None:
    # Two true objects, three predicted; one pair at IoU 0.8, one at 7 / 13, one false positive.
    scores = evaluate_labels(strip((0, 10), (20, 30)), strip((2, 10), (23, 33), (36, 40)))
    assert (scores.n_true, scores.n_predicted, scores.n_images) == (2, 3, 1)
    assert (scores.tp[0.5], scores.fp[0.5], scores.fn[0.5]) == (2, 1, 0)
    quarter = dict.fromkeys(THRESHOLDS[1:7], 1 / 4)  # 0.55 ... 0.8: one pair, one missed, two invented
    assert scores.ap == pytest.approx({0.5: 2 / 3, **quarter, 0.85: 0, 0.9: 0, 0.95: 0})
    assert scores.msa == pytest.approx((2 / 3 + 6 / 4) / 10)
    assert scores.f1 == pytest.approx(4 / 5)
    assert scores.precision == pytest.approx(2 / 3)
    assert scores.recall == 1
    assert scores.mean_matched_iou == pytest.approx((8 / 10 + 7 / 13) / 2)


@pytest.mark.parametrize(
    ("true", "predicted", "expected"),
    [
        pytest.param(EMPTY, EMPTY, 1.0, id="nothing to find, nothing invented"),
        pytest.param(EMPTY + 1, EMPTY, 0.0, id="all missed"),
        pytest.param(EMPTY, EMPTY + 1, 0.0, id="all invented"),
        pytest.param(np.zeros((0, 5), int), np.zeros((0, 5), int), 1.0, id="no pixels"),
    ],
)
def test_empty_sides_have_defined_scores(true: np.ndarray, predicted: np.ndarray, expected: float) -> None:
    scores = evaluate_labels(true, predicted)
    values = [scores.ap[0.5], scores.msa, scores.f1, scores.precision, scores.recall]
    assert values == [expected] * 5


def naive_scores(true: np.ndarray, predicted: np.ndarray, threshold: float) -> int:
    """Largest one-to-one matching, by trying all pairs of masks and augmenting paths."""
    true_ids = [i for i in np.unique(true) if i]
    predicted_ids = [j for j in np.unique(predicted) if j]
    fits = {}
    for i in true_ids:
        for j in predicted_ids:
            both = np.sum((true == i) & (predicted == j))
            either = np.sum((true == i) | (predicted == j))
            fits[i, j] = both / either >= threshold
    owner: dict[int, int] = {}

    def place(i: int, seen: set[int]) -> bool:
        for j in predicted_ids:
            if fits[i, j] and j not in seen:
                seen.add(j)
                if j not in owner or place(owner[j], seen):
                    owner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in true_ids)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("thresholds", [THRESHOLDS, (0.1, 0.2, 0.3)], ids=["standard", "contested"])
def test_equals_a_naive_matching(seed: int, thresholds: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = np.zeros((2, 40, 40), int)
    for label in range(1, 16):
        r, c = rng.integers(0, 34, 2)
        h, w = rng.integers(3, 9, 2)
        true[r : r + h, c : c + w] = label
        dr, dc = rng.integers(-2, 3, 2)
        r, c = max(r + dr, 0), max(c + dc, 0)
        predicted[r : r + h, c : c + w] = 100 * label
    scores = evaluate_labels(true, predicted, thresholds)
    assert scores.tp == {t: naive_scores(true, predicted, t) for t in thresholds}
    assert len(set(scores.true_positives)) > 1  # the case tells thresholds apart


def test_more_pairs_come_before_a_better_pair() -> None:
    # The best pair alone (true 1 with predicted 1: 6 / 10) would leave true 2 without a partner (0 shared);
    # at 0.2 two pairs exist: true 1 with predicted 2 (3 / 9) and true 2 with predicted 1 (2 / 11).
    true, predicted = strip((0, 9), (9, 12)), strip((3, 11), (0, 3))
    assert evaluate_labels(true, predicted, [0.15]).true_positives == (2,)


def test_ties_prefer_the_larger_iou() -> None:
    scores = evaluate_labels(strip((0, 10)), strip((0, 3), (3, 10)), [0.25])
    assert scores.matched_iou == pytest.approx([0.7])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.uint64, np.int64])
def test_label_values_and_dtypes_do_not_matter(dtype: type) -> None:
    labels = strip((0, 10), (20, 30)).astype(dtype)
    renamed = np.where(labels == 1, np.iinfo(dtype).max, labels).astype(dtype)
    assert evaluate_labels(labels, renamed).msa == 1


def test_bool_is_one_object_and_stacks_match_as_a_whole() -> None:
    mask = np.zeros((3, 8, 8), bool)
    mask[:, 2:5, 2:5] = True
    scores = evaluate_labels(mask, mask.astype(np.uint8) * 7)
    assert (scores.n_true, scores.f1, scores.true_areas.tolist()) == (1, 1.0, [27])


def test_recall_by_area_is_half_open() -> None:
    true = strip((0, 4), (5, 10), (20, 30))
    predicted = strip((5, 10), (20, 30))
    scores = evaluate_labels(true, predicted)
    assert scores.recall_by_area(high=5) == (0, 1)
    assert scores.recall_by_area(5, 10) == (1, 1)
    assert scores.recall_by_area(high=11) == (2, 3)
    assert scores.recall_by_area(50) == (0, 0)


def test_pooling_sums_counts() -> None:
    one = evaluate_labels(strip((0, 10), (20, 30)), strip((0, 10)))  # TP 1, FN 1
    two = evaluate_labels(strip((0, 10)), strip((0, 10), (12, 15), (20, 30)))  # TP 1, FP 2
    empty = evaluate_labels(EMPTY, EMPTY)
    pooled = pool_scores([one, two, empty])
    assert (pooled.n_images, pooled.n_true, pooled.n_predicted) == (3, 3, 4)
    assert (pooled.tp[0.5], pooled.fp[0.5], pooled.fn[0.5]) == (2, 2, 1)
    assert pooled.ap[0.5] == pytest.approx(2 / 5)
    assert pooled.recall_by_area(high=50) == (2, 3)


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"one shape, got \(2, 3\) and \(3, 2\)"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "integer true labels, got float64"),
        (np.zeros((2, 2), int), np.array([[0, -3], [1, 1]]), "predicted labels >= 0, got -3"),
    ],
    ids=["shapes", "floats", "negative"],
)
def test_wrong_labels_are_refused(true: np.ndarray, predicted: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        evaluate_labels(true, predicted)


@pytest.mark.parametrize(
    "thresholds", [[], [0.0], [0.5, 1.01], [0.5, float("nan")]], ids=["none", "zero", "above one", "nan"]
)
def test_wrong_thresholds_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(ValueError, match="IoU thresholds"):
        evaluate_labels(EMPTY, EMPTY, thresholds)


def test_different_thresholds_do_not_pool() -> None:
    with pytest.raises(ValueError, match="one set of thresholds"):
        pool_scores([evaluate_labels(EMPTY, EMPTY), evaluate_labels(EMPTY, EMPTY, [0.5])])


def test_overlaps_of_a_large_plane_stay_small() -> None:
    plane = np.zeros((500, 500), np.int32)
    plane[10:20, 10:20] = 2**31 - 1
    overlaps = count_overlaps(plane, plane)
    assert (overlaps.rows.tolist(), overlaps.cols.tolist(), overlaps.iou.tolist()) == ([0], [0], [1.0])


def test_public_name() -> None:
    assert napari_sam.evaluate_labels is evaluate_labels
