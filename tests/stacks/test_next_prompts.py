from __future__ import annotations

import numpy as np
import pytest

from napari_sam.errors import PromptError
from napari_sam.stacks.next_prompts import find_interior, make_next_prompts, predict_shift
from napari_sam.stacks.plane_overlaps import blend_masks, overlap_of, separate
from napari_sam.types import LowResLogits, ObjectMask, Prompts

LOGITS = LowResLogits(np.ones((2, 2), np.float32), (0.0, 0.0, 8.0, 8.0))
SQUARE = ObjectMask(np.ones((3, 3), bool), (4, 6), logits=LOGITS)


def _row(start: int, stop: int, score: float = 1.0) -> ObjectMask:
    return ObjectMask(np.ones((1, stop - start), bool), (0, start), predicted_iou=score)


@pytest.mark.parametrize(
    ("kinds", "points", "box", "fed"),
    [
        ("point", [[5, 7]], None, None),
        ("box", [], (4, 6, 6, 8), None),
        ("mask", [], None, "mask"),
        ("logits", [], None, "logits"),
        ("mask+box+point", [[5, 7]], (4, 6, 6, 8), "mask"),
    ],
)
def test_kinds(kinds, points, box, fed):
    prompts = make_next_prompts(SQUARE, frozenset(kinds.split("+")), (20, 20))
    assert prompts.points.tolist() == points
    assert prompts.labels.tolist() == [1] * len(points)
    assert prompts.box == box
    assert (prompts.mask is not None) == (fed is not None)
    if fed:
        assert (prompts.mask.logits is LOGITS) == (fed == "logits")


@pytest.mark.parametrize(
    ("origin", "margin", "box"),
    [
        pytest.param((4, 6), 2.0, (2, 4, 8, 10), id="inside"),
        pytest.param((-1, 6), 1.0, (-0.5, 5, 2, 9), id="cut-above"),
        pytest.param((18, 19), 1.0, (17, 18, 19.5, 19.5), id="cut-below-right"),
    ],
)
def test_the_box_grows_and_stays_on_the_plane(origin, margin, box):
    mask = ObjectMask(np.ones((3, 3), bool), origin)
    assert make_next_prompts(mask, frozenset({"box"}), (20, 20), margin=margin).box == box


def test_a_pixel_has_a_box():
    box = make_next_prompts(ObjectMask(np.ones((1, 1), bool), (3, 3)), frozenset({"box"}), (9, 9)).box
    assert box == (2.5, 2.5, 3.5, 3.5)


@pytest.mark.parametrize("origin", [(20, 0), (0, 25), (-3, 0)], ids=str)
def test_an_object_that_left_the_plane(origin):
    with pytest.raises(PromptError, match="inside the plane"):
        make_next_prompts(ObjectMask(np.ones((3, 3), bool), origin), frozenset({"mask"}), (20, 20))


def test_the_users_prompts_are_added():
    extra = Prompts([(9, 9)], [0], box=(0, 0, 8, 8))
    prompts = make_next_prompts(SQUARE, frozenset({"point", "box"}), (20, 20), extra=extra)
    assert prompts.points.tolist() == [[5, 7], [9, 9]]
    assert prompts.labels.tolist() == [1, 0]
    assert prompts.box == (0, 0, 8, 8)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(["111", "111", "111"], (1, 1), id="square"),
        pytest.param(["11111", "10001", "11111"], (0, 0), id="ring-not-in-its-hole"),
        pytest.param(["1110000", "1111111", "1110000"], (1, 1), id="in-the-thick-part"),
    ],
)
def test_interior(rows, expected):
    mask = np.array([[c == "1" for c in row] for row in rows])
    row, col = find_interior(ObjectMask(mask, (0, 0)))
    assert mask[int(row), int(col)]
    if expected != (0, 0):
        assert (row, col) == expected


@pytest.mark.parametrize(
    ("centroids", "shift"),
    [([], (0, 0)), ([(1, 1)], (0, 0)), ([(1, 1), (3.4, 0)], (2, -1)), ([(0, 0), (9, 9), (9, 8)], (0, -1))],
    ids=str,
)
def test_motion_goes_on_as_before(centroids, shift):
    assert predict_shift(centroids) == shift


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(_row(0, 4), _row(0, 4), 1.0, id="same"),
        pytest.param(_row(0, 8), _row(2, 4), 1.0, id="within"),
        pytest.param(_row(0, 4), _row(3, 7), 0.25, id="a-quarter"),
        pytest.param(_row(0, 4), _row(4, 8), 0.0, id="beside"),
        pytest.param(_row(0, 0), _row(4, 8), 0.0, id="empty"),
    ],
)
def test_overlap(one, other, expected):
    assert overlap_of(one, other) == expected


@pytest.mark.parametrize(
    ("masks", "scores", "areas"),
    [
        pytest.param({1: _row(0, 4), 2: _row(2, 6)}, {1: 0.9, 2: 0.5}, {1: 4, 2: 2}, id="the-better-keeps"),
        pytest.param({1: _row(0, 4), 2: _row(2, 6)}, {1: 0.5, 2: 0.5}, {1: 4, 2: 2}, id="equal-the-lower-id"),
        pytest.param({1: _row(0, 4), 2: _row(5, 6)}, {1: 0.1, 2: 0.2}, {1: 4, 2: 1}, id="apart"),
        pytest.param({1: _row(0, 9), 2: _row(3, 5)}, {1: 0.1, 2: 0.2}, {1: 4, 2: 2}, id="largest-part-left"),
        pytest.param({1: _row(0, 2), 2: _row(0, 5)}, {1: 0.1, 2: 0.2}, {1: 0, 2: 5}, id="covered"),
        pytest.param({1: _row(0, 2)}, {1: 0.1}, {1: 2}, id="alone"),
        pytest.param({1: _row(0, 0), 2: _row(0, 2)}, {1: 1, 2: 0}, {1: 0, 2: 2}, id="empty"),
    ],
)
def test_objects_are_kept_apart(masks, scores, areas):
    apart = separate(masks, scores)
    assert {key: mask.area for key, mask in apart.items()} == areas
    shared = [apart[a].intersection(apart[b]) for a in apart for b in apart if a < b]
    assert not any(shared)


def test_who_loses_nothing_stays_the_same_object():
    masks = {1: _row(0, 4), 2: _row(2, 6)}
    assert separate(masks, {1: 0.9, 2: 0.5})[1] is masks[1]


def test_blending_goes_from_one_to_the_other():
    small = ObjectMask(np.ones((5, 5), bool), (10, 10), predicted_iou=0.5)
    large = ObjectMask(np.ones((13, 13), bool), (6, 6), predicted_iou=0.9)
    assert blend_masks(small, large, 1.0).box == small.box
    assert blend_masks(small, large, 0.0).box == large.box
    half = blend_masks(small, large, 0.5)
    assert half.box == (8, 8, 17, 17)  # two pixels beyond the small, two within the large
    assert half.predicted_iou == pytest.approx(0.7)
    assert blend_masks(_row(0, 0), large, 0.5) is large
