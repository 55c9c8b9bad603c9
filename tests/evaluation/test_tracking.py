"""Scores of tracks, against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.errors import ImageError
from napari_sam.evaluation import TrackScores, evaluate_tracks
from napari_sam.evaluation.matching import match_objects


def series(*frames: str) -> np.ndarray:
    """Frames of one row, a digit per four pixels."""
    return np.array([[[int(c) for c in frame for _ in range(4)]] for frame in frames])


TRUTH = series("1200", "1200", "1345", "1345")  # 2 divides into 3 and 4; 5 appears
PARENTS = {3: (2,), 4: (2,)}

CASES = [
    pytest.param(TRUTH, PARENTS, TrackScores(7, 7, 7, 1, 1, 1), id="the-truth"),
    pytest.param(TRUTH * 2, {6: (4,), 8: (4,)}, TrackScores(7, 7, 7, 1, 1, 1), id="other-ids"),
    pytest.param(np.zeros_like(TRUTH), {}, TrackScores(7, 0, 0, 1, 0, 0), id="nothing"),
    pytest.param(
        series("1200", "1200", "2345", "2345"), PARENTS, TrackScores(7, 7, 6, 1, 1, 1), id="one-id-jumps"
    ),
    pytest.param(
        series("1200", "1200", "1245", "1245"), {}, TrackScores(7, 8, 7, 1, 0, 0), id="mother-goes-on"
    ),
    pytest.param(
        series("1200", "1200", "1245", "1345"),
        {3: (2,), 4: (2,)},
        TrackScores(7, 7, 6, 1, 1, 1),
        id="a-daughter-one-frame-late",
    ),
    pytest.param(TRUTH, {3: (1,), 4: (1,)}, TrackScores(7, 7, 7, 1, 1, 0), id="wrong-mother"),
    pytest.param(TRUTH, {3: (2,)}, TrackScores(7, 7, 7, 1, 0, 0), id="only-one-daughter"),
]


@pytest.mark.parametrize(("predicted", "parents", "expected"), CASES)
def test_links_and_divisions_are_counted(predicted, parents, expected):
    assert evaluate_tracks(TRUTH, PARENTS, predicted, parents) == expected


def test_ratios():
    scores = TrackScores(8, 5, 4, 2, 4, 1)
    assert (scores.link_recall, scores.link_precision) == (0.5, 0.8)
    assert (scores.division_recall, scores.division_precision) == (0.5, 0.25)
    nothing = TrackScores(0, 0, 0, 0, 0, 0)
    assert nothing.link_recall == nothing.link_precision == nothing.division_recall == 1.0


@pytest.mark.parametrize(
    ("true", "predicted"),
    [
        pytest.param(np.zeros((2, 3, 3), int), np.zeros((3, 3, 3), int), id="other-length"),
        pytest.param(np.zeros((3, 3), int), np.zeros((3, 3), int), id="one-frame"),
    ],
)
def test_what_is_no_series_is_refused(true, predicted):
    with pytest.raises(ImageError, match="Expected two series"):
        evaluate_tracks(true, {}, predicted, {})


def test_volumes_are_scored_like_planes():
    """A 3-D object is one object, however many planes it has."""
    true = np.zeros((4, 4, 4), int)
    true[:2], true[2:, :, 2:] = 3, 8  # 32 and 16 voxels
    predicted = np.zeros_like(true)
    predicted[0], predicted[2:, :, 1:] = 5, 6  # half of the one, and three quarters overlap with the other
    assert match_objects(true, predicted, 0.5) == {3: 5, 8: 6}
    assert match_objects(true, predicted, 0.6) == {8: 6}
