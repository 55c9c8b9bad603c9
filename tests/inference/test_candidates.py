from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_sam.errors import SamError
from napari_sam.inference import candidates as module
from napari_sam.inference.candidates import (
    Candidates,
    FilterParams,
    draw_candidates,
    draw_with_indices,
    explain_nothing,
    filter_candidates,
)
from napari_sam.types import ObjectMask

PLANE = (40, 60)


def rectangle(r0: int, c0: int, r1: int, c1: int, iou: float = 1.0, stability: float = 1.0) -> ObjectMask:
    return ObjectMask(np.ones((r1 - r0, c1 - c0), bool), (r0, c0), iou, stability)


def random_candidates(count: int, seed: int) -> tuple[list[ObjectMask], Candidates]:
    rng = np.random.default_rng(seed)
    objects = []
    for _ in range(count):
        mask = rng.random(rng.integers(3, 14, 2)) < 0.8
        origin = (int(rng.integers(0, 26)), int(rng.integers(0, 46)))
        scores = {"predicted_iou": float(rng.random()), "stability_score": float(rng.random())}
        objects.append(ObjectMask.from_plane(mask, origin, **scores))
    return objects, Candidates.from_objects(objects, PLANE)


def test_what_is_known_of_each() -> None:
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    objects = [
        ObjectMask(ring, (3, 6), 0.75, 0.5),
        rectangle(36, 50, 50, 70),  # over the corner
        rectangle(100, 100, 110, 110),  # outside
        ObjectMask(np.zeros((0, 0), bool), (5, 5)),
        rectangle(-4, -3, 2, 3),
    ]
    found = Candidates.from_objects(objects, PLANE, foreground=[0.9, 0.8, 0.7, 0.6, 0.5])
    assert len(found) == 5
    assert found.plane_shape == PLANE
    assert found.areas.tolist() == [16, 40, 0, 0, 6]
    assert found.boxes[[0, 1, 4]].tolist() == [[3, 6, 8, 11], [36, 50, 40, 60], [0, 0, 2, 3]]
    assert found.on_border.tolist() == [False, True, False, False, True]
    np.testing.assert_allclose(found.centers, [[5, 8], [37.5, 54.5], [np.nan] * 2, [np.nan] * 2, [0.5, 1]])
    np.testing.assert_allclose(found.predicted_iou, [0.75, 1, 1, 1, 1])
    np.testing.assert_allclose(found.stability, [0.5, 1, 1, 1, 1])
    np.testing.assert_allclose(found.scores, [0.75 * 0.5 * 0.9, 0.8, 0.7, 0.6, 0.5])
    obj = found.mask(0)
    np.testing.assert_array_equal(obj.mask, ring)
    assert (obj.origin, obj.predicted_iou, obj.stability_score) == ((3, 6), 0.75, 0.5)


def test_parts_and_choices() -> None:
    objects, found = random_candidates(9, 0)
    again = Candidates.concatenate([found.take([8, 1]), Candidates.empty(PLANE), found.take(found.areas > 0)])
    assert len(again) == 11
    for i, k in enumerate([8, 1, *range(9)]):
        np.testing.assert_array_equal(again.mask(i).paste(PLANE), objects[k].paste(PLANE))
        assert again.predicted_iou[i] == found.predicted_iou[k]
    with pytest.raises(SamError, match="one plane, got plane shapes"):
        Candidates.concatenate([found, Candidates.empty((3, 3))])
    with pytest.raises(SamError, match="one plane"):
        Candidates.concatenate([])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7])
def test_suppression_equals_that_of_objects_one_by_one(threshold: float) -> None:
    objects, found = random_candidates(150, 4)
    expected: list[ObjectMask] = []
    for obj in sorted(objects, key=lambda o: -o.predicted_iou * o.stability_score):
        inside = [obj.intersection(k) / min(obj.area, k.area) for k in expected]
        if all(obj.iou(k) <= threshold for k in expected) and all(part <= 0.9 for part in inside):
            expected.append(obj)
    kept = filter_candidates(found, FilterParams(nms_iou=threshold, containment=0.9))
    assert 1 < len(expected) < 150
    assert [objects[i] for i in kept] == expected


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        pytest.param({}, [0, 1, 2, 3, 4], id="all"),
        pytest.param({"predicted_iou": 0.75}, [0, 1, 4], id="predicted IoU"),
        pytest.param({"stability": 0.8}, [0, 2, 3], id="stability, equal passes"),
        pytest.param({"foreground": 0.5}, [0, 1, 2, 4], id="foreground; unknown passes"),
        pytest.param({"min_area": 16}, [0, 1, 2, 4], id="smallest"),
        pytest.param({"max_area": 25}, [0, 2, 3], id="largest"),
        pytest.param({"keep_border": False}, [0, 1, 2, 3], id="border"),
        pytest.param({"min_area": 1000}, [], id="none"),
    ],
)
def test_thresholds(params: dict[str, Any], kept: list[int]) -> None:
    objects = [
        rectangle(1, 1, 6, 6, 1.0, 1.0),
        rectangle(1, 10, 9, 20, 0.95, 0.75),
        rectangle(20, 1, 24, 5, 0.7, 0.9),
        rectangle(20, 30, 23, 33, 0.6, 0.8),
        rectangle(30, 50, 40, 60, 0.9, 0.4),
    ]
    found = Candidates.from_objects(objects, PLANE, [0.9, 0.5, np.nan, 0.4, 0.6])
    assert sorted(filter_candidates(found, FilterParams(**params)).tolist()) == kept


@pytest.mark.parametrize(
    ("objects", "params", "kept"),
    [
        pytest.param([(0, 0, 10, 10, 0.8), (0, 1, 10, 11, 0.9)], {}, [1], id="of duplicates the better"),
        pytest.param([(0, 0, 10, 10, 0.8), (0, 5, 10, 15, 0.9)], {}, [1, 0], id="a third is no duplicate"),
        pytest.param(
            [(0, 0, 10, 10, 0.8), (0, 5, 10, 15, 0.9)], {"nms_iou": 0.3}, [1], id="unless asked for"
        ),
        pytest.param([(0, 0, 10, 10, 0.8), (2, 2, 5, 5, 0.9)], {}, [1], id="whole and part, the part better"),
        pytest.param(
            [(0, 0, 10, 10, 0.9), (2, 2, 5, 5, 0.8)], {}, [0], id="whole and part, the whole better"
        ),
        pytest.param([(0, 0, 10, 10, 0.9), (2, 2, 5, 5, 0.8)], {"containment": 1}, [0, 1], id="nested kept"),
        pytest.param(
            [(0, 0, 40, 60, 1.0), (2, 2, 9, 9, 0.8), (20, 20, 25, 25, 0.7)],
            {},
            [1, 2, 0],
            id="what fills the plane gives way, and stays",
        ),
        pytest.param([(0, 0, 40, 60, 0.9), (0, 0, 40, 58, 1.0)], {}, [1], id="two that fill the plane"),
        pytest.param(
            [(0, 0, 9, 9, 0.9), (0, 1, 9, 10, 0.8), (0, 5, 9, 14, 0.7)],
            {"nms_iou": 0.35},
            [0, 2],
            id="what is suppressed suppresses nothing",
        ),
        pytest.param(
            [(0, 0, 10, 10, 0.8), (0, 1, 10, 11, 0.9)],
            {"max_area": 99},
            [],
            id="what is filtered out suppresses nothing",
        ),
        pytest.param([(0, 0, 10, 10, 0.8)] * 3, {"nms_iou": 1, "containment": 1}, [0, 1, 2], id="off"),
    ],
)
def test_overlaps(objects: list[Any], params: dict[str, Any], kept: list[int]) -> None:
    found = Candidates.from_objects([rectangle(*o) for o in objects], PLANE)
    assert filter_candidates(found, FilterParams(**params)).tolist() == kept


def test_overlaps_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = random_candidates(30, 5)
    before = found.nbytes
    filter_candidates(found, FilterParams())
    assert found.nbytes > before
    monkeypatch.setattr(module, "find_overlapping", lambda _: pytest.fail("counted again"))
    filter_candidates(found, FilterParams(nms_iou=0.2, predicted_iou=0.5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"predicted_iou": 1.5}, "predicted_iou from 0 to 1, got 1.5"),
        ({"nms_iou": float("nan")}, "nms_iou from 0 to 1, got nan"),
        ({"stability": None}, "stability from 0 to 1, got None"),
        ({"min_area": -1}, "min_area as a number of pixels of 0 or more, got -1"),
        (
            {"min_area": 5, "max_area": 4},
            "min_area of at most max_area, got 5 and 4; no object can be both. Where min_area is not given",
        ),
    ],
    ids=str,
)
def test_impossible_thresholds(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SamError, match=message):
        FilterParams(**values)


def test_each_pixel_goes_to_the_best() -> None:
    objects = [
        rectangle(0, 0, 4, 4, 0.5),
        rectangle(0, 2, 4, 6, 0.9),
        rectangle(1, 3, 2, 5, 0.4),  # wholly under the second
        rectangle(6, 0, 8, 3, 0.8),
    ]
    found = Candidates.from_objects(objects, (9, 7))
    kept = filter_candidates(found, FilterParams(nms_iou=1, containment=1))
    labels, indices = draw_with_indices(found, kept)
    expected = np.zeros((9, 7), np.int32)
    expected[:4, :2] = 3
    expected[:4, 2:6] = 1
    expected[6:8, :3] = 2
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32
    assert indices.tolist() == [1, 3, 0]
    np.testing.assert_array_equal(draw_candidates(found, kept), expected)


def test_of_what_is_cut_apart_the_largest_part_stays() -> None:
    """A bar across an object would leave two parts of one id."""
    found = Candidates.from_objects([rectangle(0, 0, 4, 9, 0.5), rectangle(0, 3, 4, 4, 0.9)], (4, 9))
    labels = draw_candidates(found, np.array([1, 0]))
    assert labels[0].tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2]


def test_parts_that_nothing_cut_stay() -> None:
    two = np.zeros((1, 5), bool)
    two[0, [0, 1, 4]] = True
    labels = draw_candidates(Candidates.from_objects([ObjectMask(two, (0, 0))], (1, 5)), np.array([0]))
    assert labels.tolist() == [[1, 1, 0, 0, 1]]


def test_nothing_to_draw() -> None:
    found = Candidates.empty((3, 4))
    assert filter_candidates(found, FilterParams()).tolist() == []
    labels, indices = draw_with_indices(found, np.zeros(0, np.int64))
    assert labels.tolist() == [[0] * 4] * 3
    assert indices.tolist() == []


def test_thousands_of_touching_objects() -> None:
    objects = [rectangle(r, c, r + 4, c + 4) for r in range(0, 240, 4) for c in range(0, 320, 4)]
    found = Candidates.from_objects(objects, (240, 320))
    labels = draw_candidates(found, filter_candidates(found, FilterParams()))
    assert np.bincount(labels.ravel()).tolist() == [0] + [16] * 4800


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"predicted_iou": 0.95}, "all 2 candidates, predicted IoU 0.95 excludes 2 of them; loosen them"),
        ({"min_area": 30}, "min. size 30 excludes 2 of them; loosen"),
        ({"min_area": 0, "max_area": 0.5}, "max. size 0.5 excludes 2 of them; loosen"),
        ({"keep_border": False}, "leaving out objects at the border excludes 2 of them; loosen"),
        ({"predicted_iou": 0.85, "min_area": 10}, "predicted IoU 0.85 excludes 1 of them"),
    ],
    ids=str,
)
def test_why_there_is_nothing(params: dict[str, Any], message: str) -> None:
    found = Candidates.from_objects([rectangle(0, 0, 5, 5, 0.8), rectangle(0, 9, 3, 12, 0.9)], PLANE)
    filters = FilterParams(**params)
    assert len(filter_candidates(found, filters)) == 0
    assert message in explain_nothing(found, filters)
    assert explain_nothing(Candidates.empty(PLANE), filters) == "no objects found"
