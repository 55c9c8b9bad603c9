from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_sam.session.drawing import Drawing, Shape, label_shape, sample_path
from napari_sam.types import ObjectMask, Prompts

PLANE = (40, 50)
SQUARE = np.array([(10, 10), (10, 19), (19, 19), (19, 10)], float)  # pixels 10 to 19: 100 of them


def clicks(*rows: tuple[float, float, int]) -> Drawing:
    table = np.array(rows, np.float32).reshape(-1, 3)
    return Drawing(table[:, :2], table[:, 2].astype(np.int8))


def polygon(offset: float = 0, is_object: bool = True) -> Shape:
    return Shape("polygon", SQUARE + offset, is_object)


@pytest.mark.parametrize(
    ("use", "has_mask", "box"),
    [
        ("mask", True, None),
        ("box", False, (9.5, 9.5, 19.5, 19.5)),
        ("both", True, (9.5, 9.5, 19.5, 19.5)),
    ],
)
def test_a_polygon_is_what_the_user_wants_it_to_be(use: Any, has_mask: bool, box: Any) -> None:
    prompts = Drawing(shapes=(polygon(),)).to_prompts(PLANE, use)
    assert prompts.box == box
    assert (prompts.mask is not None) == has_mask
    if prompts.mask is not None:
        assert prompts.mask.box == (10, 10, 20, 20)
        assert prompts.mask.mask.all()
        assert prompts.mask.logits is None


@pytest.mark.parametrize(
    ("shapes", "area", "points"),
    [
        pytest.param((polygon(), polygon(5)), 175, [], id="two overlap by 25 pixels"),
        pytest.param((polygon(), polygon(15)), 200, [], id="two apart"),
        pytest.param((polygon(), polygon(5, False)), 75, [[19, 19, 0]], id="one is cut away"),
        pytest.param((polygon(), polygon(0, False)), None, [[14, 14, 0]], id="nothing is left"),
        pytest.param((polygon(25),), 50, [], id="half beyond the plane"),
        pytest.param((polygon(35),), None, [], id="beyond the plane"),
    ],
)
def test_polygons_together(shapes: Any, area: int | None, points: Any) -> None:
    prompts = Drawing(shapes=shapes).to_prompts(PLANE)
    assert (None if prompts.mask is None else prompts.mask.area) == area
    assert len(prompts.points) == len(points)
    assert prompts.labels.tolist() == [label for _, _, label in points]


@pytest.mark.parametrize(
    ("click", "box"),
    [
        pytest.param((12, 12, 1), (9.5, 9.5, 19.5, 19.5), id="inside"),
        pytest.param((25, 12, 1), (9.5, 9.5, 26, 19.5), id="below: the box grows"),
        pytest.param((5, 30, 1), (4, 9.5, 19.5, 31), id="above and to the right"),
        pytest.param((25, 12, 0), (9.5, 9.5, 19.5, 19.5), id="background says nothing of it"),
    ],
)
def test_the_box_of_a_rough_mask_holds_the_clicks(click: Any, box: Any) -> None:
    drawing = Drawing(shapes=(polygon(),)).joined(clicks(click))
    assert drawing.to_prompts(PLANE, "both").box == box


def test_an_ellipse_is_drawn_within_its_corners() -> None:
    corners = np.array([(5, 5), (5, 25), (25, 25), (25, 5)], float)  # radius 10 around (15, 15)
    mask = Drawing(shapes=(Shape("ellipse", corners),)).to_prompts(PLANE).mask
    assert mask is not None
    assert mask.area == pytest.approx(np.pi * 100, rel=0.03)
    np.testing.assert_allclose(mask.centroid, (15, 15), atol=0.1)


def test_a_rectangle_beside_a_polygon_is_the_box() -> None:
    box = Shape("rectangle", SQUARE - 3)
    prompts = Drawing(shapes=(box, polygon())).to_prompts(PLANE)
    assert prompts.box == (7, 7, 16, 16)
    assert prompts.mask is not None


def test_scribbles_are_points_after_the_clicks_with_the_sign_of_their_stroke() -> None:
    path = np.array([(0, 0), (0, 10)], float)
    shapes = (Shape("path", path), Shape("line", path + np.array([5, 0]), is_object=False))
    prompts = Drawing(np.array([(30, 30)], np.float32), np.array([0], np.int8), shapes).to_prompts(PLANE)
    expected = [(30, 30), *((0, c) for c in (1, 3, 5, 7, 9)), *((5, c) for c in (1, 3, 5, 7, 9))]
    np.testing.assert_allclose(prompts.points, expected)
    assert prompts.labels.tolist() == [0] + [1] * 5 + [0] * 5


@pytest.mark.parametrize(
    ("vertices", "count", "expected"),
    [
        pytest.param([(0, 0), (0, 10)], 2, [(0, 2.5), (0, 7.5)], id="straight"),
        pytest.param([(0, 0), (0, 4), (4, 4)], 2, [(0, 2), (2, 4)], id="round a corner"),
        pytest.param([(0, 0), (0, 2)], 5, [(0, 0.5), (0, 1.5)], id="short: a point a pixel"),
        pytest.param([(3, 3), (3, 3)], 5, [(3, 3)], id="a dot"),
        pytest.param([(3, 3)], 5, [(3, 3)], id="one vertex"),
    ],
)
def test_points_along_a_path(vertices: Any, count: int, expected: Any) -> None:
    np.testing.assert_allclose(sample_path(np.array(vertices, float), count), expected)


def test_a_label_is_its_own_mask_until_something_is_said() -> None:
    mask = ObjectMask(np.ones((3, 4), bool), (5, 6))
    drawing = Drawing(shapes=(label_shape(mask),))
    assert drawing.untouched is mask
    assert drawing.to_prompts(PLANE).mask is mask
    more = drawing.joined(clicks((6, 7, 1)))
    assert more.untouched is None
    assert more.to_prompts(PLANE).mask is mask


def test_prompts_as_a_drawing_mean_the_same() -> None:
    mask = ObjectMask(np.ones((3, 4), bool), (5, 6))
    prompts = Prompts([(1, 2), (3, 4)], [1, 0], (5, 6, 7, 8), mask)
    again = Drawing.of_prompts(prompts).to_prompts(PLANE)
    assert again.points.tolist() == prompts.points.tolist()
    assert again.labels.tolist() == [1, 0]
    assert again.box == prompts.box
    assert again.mask is mask


def test_without_takes_each_thing_away_once() -> None:
    drawing = clicks((1, 1, 1), (1, 1, 1), (2, 2, 0)).joined(Drawing(shapes=(polygon(), polygon(5))))
    left = drawing.without(clicks((1, 1, 1)).joined(Drawing(shapes=(polygon(5),))))
    assert left.points.tolist() == [[1, 1], [2, 2]]
    assert left.labels.tolist() == [1, 0]
    assert [shape.vertices[0, 0] for shape in left.shapes] == [10]
    assert drawing.without(drawing).is_empty


def test_split_gives_each_click_and_shape_alone() -> None:
    parts = clicks((1, 1, 1), (2, 2, 0)).joined(Drawing(shapes=(polygon(is_object=False),))).split()
    assert [(len(part.points), len(part.shapes)) for part in parts] == [(1, 0), (1, 0), (0, 1)]
    assert [part.says_where for part in parts] == [True, False, False]
