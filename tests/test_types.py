from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from napari_sam.errors import PromptError
from napari_sam.types import LowResLogits, ObjectMask, Progress, Prompts

# ---- prompts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"points": [(1, 2, 3)]}, r"shape \(N, 2\)", id="3-d points"),
        pytest.param({"points": (10, 12)}, r"shape \(N, 2\).*got \(2,\)", id="a bare pair"),
        pytest.param({"points": [(1, 2), (3,)]}, r"shape \(N, 2\)", id="ragged"),
        pytest.param({"points": [("a", "b")]}, r"shape \(N, 2\)", id="words"),
        pytest.param({"points": [(1, 2), (np.nan, 0)]}, "finite .* at index 1", id="nan"),
        pytest.param({"points": [(np.inf, 0)]}, "finite .* at index 0", id="inf"),
        pytest.param({"points": [(1e300, 0)]}, "finite .* at index 0", id="beyond float32"),
        pytest.param({"points": [(1, 2)], "labels": [2]}, "got 2 at index 0", id="label 2"),
        pytest.param({"points": [(1, 2)], "labels": [-1]}, "got -1 at index 0", id="label -1"),
        pytest.param({"points": [(1, 2)], "labels": [0.5]}, "got 0.5", id="label 0.5"),
        pytest.param({"points": [(1, 2)], "labels": [np.nan]}, "got nan", id="label nan"),
        pytest.param({"points": [(1, 2)], "labels": ["yes"]}, "got yes", id="label word"),
        pytest.param({"points": [(1, 2)], "labels": [1, 0]}, r"per point \(1\)", id="too many labels"),
        pytest.param({"points": [(1, 2)], "labels": []}, r"per point \(1\)", id="too few labels"),
        pytest.param({"labels": [1]}, r"per point \(0\)", id="labels without points"),
        pytest.param({"box": (1, 2, 3)}, "four finite", id="three corners"),
        pytest.param({"box": (0, 0, np.nan, 4)}, "four finite", id="nan in box"),
        pytest.param({"box": "box!"}, "four finite", id="a word for a box"),
        pytest.param({"box": (1, 2, 1, 9)}, "a box with an area", id="flat box"),
        pytest.param({"box": (1, 2, 8, 2)}, "a box with an area", id="thin box"),
        pytest.param({"mask": np.ones((2, 3, 3))}, "2-D mask, got 3-D", id="3-d mask"),
        pytest.param({"mask": [[0, np.nan], [1, 0]]}, "mask without NaN, got 1", id="nan in mask"),
    ],
)
def test_malformed_prompts_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        Prompts(**arguments)


def test_prompts_are_read() -> None:
    p = Prompts(points=[(1, 2), (3, 4.5)], labels=[True, False], box=(9, 1, 2, 7), mask=np.eye(4))
    np.testing.assert_array_equal(p.points, np.array([(1, 2), (3, 4.5)], np.float32))
    assert (p.points.dtype, p.labels.dtype, p.labels.tolist()) == (np.float32, np.int8, [1, 0])
    assert p.box == (2.0, 1.0, 9.0, 7.0)
    assert p.mask is not None
    assert (p.mask.box, p.mask_shape) == ((0, 0, 4, 4), (4, 4))


def test_only_an_array_says_of_which_plane_a_mask_is() -> None:
    assert Prompts(mask=ObjectMask(np.ones((4, 4), bool), (2, 3))).mask_shape is None
    assert Prompts(points=[(1, 2)]).mask_shape is None
    assert Prompts(mask=np.eye(4)).shifted(1, 1).mask_shape is None


def test_prompts_keep_their_values() -> None:
    points, labels = np.zeros((1, 2), np.float32), np.ones(1, np.int8)
    p = Prompts(points, labels)
    points[:], labels[:] = 7, 0
    assert p.points.tolist() == [[0, 0]]
    assert p.labels.tolist() == [1]
    with pytest.raises(FrozenInstanceError):
        p.box = (0, 0, 1, 1)  # type: ignore[misc]


def test_prompts_can_be_sent_to_another_process() -> None:
    p = pickle.loads(pickle.dumps(Prompts(points=[(1, 2)], labels=[0], box=(0, 0, 3, 4), mask=np.eye(3))))
    assert (p.points.tolist(), p.labels.tolist(), p.box) == ([[1, 2]], [0], (0, 0, 3, 4))
    assert p.mask.paste((3, 3)).tolist() == np.eye(3, dtype=bool).tolist()
    assert p.mask_shape == (3, 3)


EMPTY_MASK = np.zeros((5, 5), bool)
SQUARE = np.zeros((9, 9), bool)
SQUARE[2:5, 3:8] = True


@pytest.mark.parametrize(
    ("arguments", "is_empty", "extent"),
    [
        pytest.param({}, True, None, id="nothing"),
        pytest.param({"points": [(1, 2)], "labels": [0]}, False, None, id="only background"),
        pytest.param({"mask": EMPTY_MASK}, False, None, id="an empty mask"),
        pytest.param({"points": [(4, 7)]}, False, (4, 7, 4, 7), id="one click"),
        pytest.param(
            {"points": [(4, 7), (1, 9), (99, 99)], "labels": [1, 1, 0]},
            False,
            (1, 7, 4, 9),
            id="background clicks do not count",
        ),
        pytest.param({"box": (8, 3, 2, 5)}, False, (2, 3, 8, 5), id="box"),
        pytest.param({"mask": SQUARE}, False, (2, 3, 4, 7), id="mask: from centre to centre"),
        pytest.param(
            {"points": [(0, 5)], "box": (2, 3, 8, 5), "mask": SQUARE}, False, (0, 3, 8, 7), id="all"
        ),
        pytest.param({"points": [(3, 3)], "mask": EMPTY_MASK}, False, (3, 3, 3, 3), id="point, empty mask"),
    ],
)
def test_extent(
    arguments: dict[str, Any], is_empty: bool, extent: tuple[float, float, float, float] | None
) -> None:
    p = Prompts(**arguments)
    assert p.is_empty == is_empty
    assert p.has_foreground == (extent is not None)
    if extent is None:
        with pytest.raises(PromptError, match="add a foreground point"):
            _ = p.extent
    else:
        assert p.extent == extent


def test_shifted_prompts() -> None:
    mask = ObjectMask.from_plane(SQUARE, logits=LowResLogits(np.zeros((2, 2), np.float32), (0, 0, 9, 9)))
    p = Prompts(points=[(1, 2)], labels=[1], box=(1, 1, 4, 6), mask=mask).shifted(10, -3)
    assert p.points.tolist() == [[11, -1]]
    assert p.box == (11, -2, 14, 3)
    assert p.mask is not None
    assert p.mask.logits is not None
    assert p.mask.origin == (12, 0)
    assert p.mask.logits.frame == (10, -3, 19, 6)


# ---- masks ------------------------------------------------------------------------------------------------


def test_from_plane_crops_to_the_object() -> None:
    obj = ObjectMask.from_plane(SQUARE.astype(np.uint8) * 7, offset=(100, 50), predicted_iou=0.5)
    assert (obj.origin, obj.mask.shape, obj.area, obj.predicted_iou) == ((102, 53), (3, 5), 15, 0.5)
    assert obj.box == (102, 53, 105, 58)
    assert obj.slices == (slice(102, 105), slice(53, 58))
    assert obj.centroid == (103.0, 55.0)


def test_from_plane_keeps_holes() -> None:
    plane = np.ones((5, 5), bool)
    plane[2, 2] = False
    np.testing.assert_array_equal(ObjectMask.from_plane(plane).paste((5, 5)), plane)


def test_an_empty_mask() -> None:
    obj = ObjectMask.from_plane(EMPTY_MASK, offset=(3, 4))
    assert (obj.mask.shape, obj.area, obj.box) == ((0, 0), 0, (3, 4, 3, 4))
    assert np.isnan(obj.centroid).all()
    assert not obj.paste((5, 5)).any()
    assert obj.iou(obj) == 0.0


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.ones((2, 2)), id="float"),
        pytest.param(np.ones(3, bool), id="1-d"),
        pytest.param(np.ones((1, 2, 2), bool), id="3-d"),
    ],
)
def test_masks_are_boolean_planes(mask: np.ndarray[Any, Any]) -> None:
    with pytest.raises(PromptError, match="Expected a 2-D boolean mask"):
        ObjectMask(mask, (0, 0))


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        pytest.param((1, 2), [(1, 2), (1, 3), (2, 2), (2, 3)], id="inside"),
        pytest.param((-1, -1), [(0, 0)], id="over the first corner"),
        pytest.param((3, 4), [(3, 4)], id="over the last corner"),
        pytest.param((-2, 0), [], id="just above"),
        pytest.param((4, 0), [], id="just below"),
        pytest.param((100, -100), [], id="far away"),
    ],
)
def test_paste_leaves_out_what_is_outside(origin: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    plane = ObjectMask(np.ones((2, 2), bool), origin).paste((4, 5))
    assert plane.shape == (4, 5)
    assert [(int(r), int(c)) for r, c in np.argwhere(plane)] == expected


def test_intersection_and_iou_equal_those_of_full_masks() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        planes = np.zeros((2, 20, 20), bool)
        for plane in planes:
            r, c, h, w = rng.integers(0, 14, 2).tolist() + rng.integers(1, 7, 2).tolist()
            plane[r : r + h, c : c + w] = rng.random((h, w)) < 0.7
        first, second = (ObjectMask.from_plane(plane) for plane in planes)
        shared, union = int((planes[0] & planes[1]).sum()), int((planes[0] | planes[1]).sum())
        assert first.intersection(second) == second.intersection(first) == shared
        assert first.iou(second) == pytest.approx(shared / union if union else 0)
        seen.add(shared > 0)
    assert seen == {True, False}


def test_shifted_masks() -> None:
    logits = LowResLogits(np.ones((2, 2), np.float32), (0, 0, 8, 8))
    obj = ObjectMask.from_plane(SQUARE, predicted_iou=0.3, logits=logits)
    moved = obj.shifted(-2, 5)
    np.testing.assert_array_equal(moved.paste((9, 20))[:7, 5:14], SQUARE[2:])
    assert moved.predicted_iou == 0.3
    assert moved.logits is not None
    assert moved.logits.frame == (-2, 5, 6, 13)
    assert obj.origin == (2, 3)
    assert ObjectMask.from_plane(SQUARE).shifted(1, 1).logits is None


def test_progress_compares_without_its_partial_result() -> None:
    assert Progress(1, 2, "x", partial=np.zeros(3)) == Progress(1, 2, "x")
    assert Progress(1, 2) != Progress(2, 2)
