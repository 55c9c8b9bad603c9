from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.candidates import Candidates
from napari_sam.inference.fitting import cut_candidates, fit_into_gaps
from napari_sam.inference.region import Region
from napari_sam.types import ObjectMask


def row(text: str) -> np.ndarray:
    """One row of labels, a digit each."""
    return np.array([[int(digit) for digit in text]], np.int32)


@pytest.mark.parametrize(
    ("labels", "taken", "fitted", "numbers"),
    [
        pytest.param("0110220", "0000000", "0110220", [1, 2], id="all is free"),
        pytest.param("0110220", "0000099", "0110200", [1, 2], id="half is left, which is enough"),
        pytest.param("0111220", "0011000", "0000110", [2], id="a third is a fragment"),
        pytest.param("1111111", "0001000", "0000000", [], id="of two equal pieces neither is half of it"),
        pytest.param("1111111", "0010000", "0001111", [1], id="the larger piece"),
        pytest.param("1111111", "0100010", "0000000", [], id="no piece is large enough"),
        pytest.param("1122330", "1100000", "0011220", [2, 3], id="ids are compact"),
        pytest.param("0000000", "1100000", "0000000", [], id="nothing"),
        pytest.param("1111000", "1111111", "0000000", [], id="no gap"),
    ],
)
def test_fit_into_gaps(labels: str, taken: str, fitted: str, numbers: list[int]) -> None:
    found, before = fit_into_gaps(row(labels), row(taken))
    np.testing.assert_array_equal(found, row(fitted))
    assert before.tolist() == numbers


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    labels = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    taken = np.array([[0, 5, 0], [5, 0, 0]])
    found, _ = fit_into_gaps(labels, taken)
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 1, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_gaps_of_any_integer_type(dtype: type) -> None:
    taken = np.array([[0, 200, 0]]).astype(dtype)
    found, _ = fit_into_gaps(row("111"), taken, min_fraction=0.3)
    assert found.dtype == np.int32
    assert found.tolist() == [[1, 0, 0]]


def test_cut_candidates_keeps_scores_of_what_is_inside() -> None:
    objects = [ObjectMask(np.ones((4, 4), bool), (r, 0), 0.1 * r, 0.5) for r in (1, 4, 8)]
    candidates = Candidates.from_objects(objects, (12, 6), [0.2, 0.4, 0.6])
    cut = cut_candidates(candidates, Region.from_box((0, 1, 6, 6), (12, 6)))
    assert cut.areas.tolist() == [12, 6]
    assert cut.boxes.tolist() == [[1, 1, 5, 4], [4, 1, 6, 4]]
    np.testing.assert_allclose(cut.predicted_iou, [0.1, 0.4])
    np.testing.assert_allclose(cut.foreground, [0.2, 0.4])
    assert cut.stability.tolist() == [0.5, 0.5]


def test_cut_candidates_may_leave_none() -> None:
    candidates = Candidates.from_objects([ObjectMask(np.ones((2, 2), bool), (0, 0))], (8, 8))
    assert len(cut_candidates(candidates, Region.from_box((4, 4, 8, 8), (8, 8)))) == 0
