from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Bench

SQUARE = np.array([(20, 20), (20, 30), (30, 30), (30, 20)], float)
PATH = np.array([(40, 5), (40, 15)], float)


@pytest.fixture
def opened(bench: Bench) -> Bench:
    bench.open(np.zeros((64, 64), np.uint8))
    return bench


@pytest.fixture
def rapid(opened: Bench) -> Bench:
    opened.session.set_settings(replace(opened.session.settings, mode="rapid"))
    return opened


def draw(bench: Bench, kind: str, vertices: Any) -> None:
    bench.shapes.add([vertices], shape_type=kind)


def ids(bench: Bench) -> list[int]:
    layer = bench.controller.target_layer
    return [] if layer is None else np.unique(layer.data[layer.data != 0]).tolist()


# ------------------------------------------------------------------ one object at a time
def test_shapes_and_points_are_one_object_together(opened: Bench) -> None:
    draw(opened, "polygon", SQUARE)
    opened.points.add((25, 25))
    draw(opened, "path", PATH)
    asked = opened.asked()
    assert asked.points[0].tolist() == [25, 25]
    assert len(asked.points) == 6
    assert opened.session.history.depth == 3


def test_a_scribble_takes_the_sign_that_is_chosen(opened: Bench) -> None:
    opened.points.add((25, 25))
    opened.controller.prompts.next_label = "background"
    draw(opened, "path", PATH)
    assert opened.asked().labels.tolist() == [1, 0, 0, 0, 0, 0]
    assert opened.asked().mask.logits is not None  # a correction


def test_undo_and_redo_draw_shapes_as_they_were(opened: Bench) -> None:
    draw(opened, "polygon", SQUARE)
    opened.controller.prompts.next_label = "background"
    draw(opened, "path", PATH)
    opened.session.undo()
    assert list(opened.shapes.shape_type) == ["polygon"]
    opened.session.undo()
    assert len(opened.shapes.data) == 0
    opened.session.redo()
    opened.session.redo()
    assert list(opened.shapes.shape_type) == ["polygon", "path"]
    np.testing.assert_allclose(opened.shapes.data[1], PATH)
    assert list(opened.shapes.features["label"]) == ["foreground", "background"]
    opened.session.accept()
    assert len(opened.shapes.data) == 0
    opened.session.undo()
    assert list(opened.shapes.shape_type) == ["polygon", "path"]


@pytest.mark.parametrize(
    ("use", "box", "mask"), [("mask", False, True), ("box", True, False), ("both", True, True)]
)
def test_what_a_polygon_is_follows_the_settings_at_once(
    opened: Bench, use: Any, box: bool, mask: bool
) -> None:
    opened.session.set_settings(replace(opened.session.settings, rough_use="mask" if use == "box" else "box"))
    draw(opened, "polygon", SQUARE)
    opened.session.set_settings(replace(opened.session.settings, rough_use=use))
    asked = opened.asked()
    assert (asked.box is not None, asked.mask is not None) == (box, mask)


def test_of_two_boxes_the_newest_is_used_which_is_said_once(opened: Bench) -> None:
    draw(opened, "rectangle", SQUARE)
    draw(opened, "rectangle", SQUARE + 5)
    assert opened.asked().box == (25, 25, 35, 35)
    opened.points.add((30, 30))
    assert [message[:7] for message in opened.messages] == ["2 boxes"]


def test_selected_shapes_flip_their_sign(opened: Bench) -> None:
    draw(opened, "path", PATH)
    opened.points.add((50, 50))
    opened.viewer.layers.selection.active = opened.shapes
    opened.shapes.mode = "select"
    opened.shapes.selected_data = {0}
    opened.controller.toggle_label()
    assert opened.asked().labels.tolist() == [1, 0, 0, 0, 0, 0]
    opened.shapes.selected_data = set()
    opened.controller.toggle_label()
    assert opened.controller.prompts.next_label == "background"


# ------------------------------------------------------------------ rapid
def test_each_click_is_an_object_and_its_point_goes(rapid: Bench) -> None:
    for place in ((10, 10), (40, 40), (10, 40)):
        rapid.points.add(place)
    assert ids(rapid) == [1, 2, 3]
    assert len(rapid.points.data) == 0
    assert not rapid.shown.any()
    rapid.session.undo()
    assert ids(rapid) == [1, 2]
    assert len(rapid.points.data) == 0


@pytest.mark.parametrize(
    ("kind", "vertices"), [("rectangle", SQUARE), ("polygon", SQUARE), ("path", PATH), ("ellipse", SQUARE)]
)
def test_so_is_each_shape(rapid: Bench, kind: str, vertices: Any) -> None:
    draw(rapid, kind, vertices)
    draw(rapid, kind, vertices + 20)
    assert ids(rapid) == [1, 2]
    assert len(rapid.shapes.data) == 0


def test_several_boxes_at_once_are_an_object_each(rapid: Bench) -> None:
    rapid.shapes.add_rectangles([SQUARE, SQUARE + 15, SQUARE - 15])
    assert ids(rapid) == [1, 2, 3]
    assert rapid.messages == []


def test_an_object_begun_before_stays_in_hand(opened: Bench) -> None:
    opened.points.add((50, 50))
    opened.session.set_settings(replace(opened.session.settings, mode="rapid"))
    opened.points.add((10, 10))
    assert ids(opened) == [1]
    np.testing.assert_array_equal(opened.points.data, [(50, 50)])
    assert opened.shown[50, 50] == 1
    opened.session.accept()
    assert ids(opened) == [1, 2]


def test_clicks_before_the_loop_comes_round_are_one_object_each(rapid: Bench) -> None:
    soon: list[Any] = []
    rapid.controller.call_soon = soon.append
    rapid.points.add((10, 10))
    rapid.points.add((40, 40))
    assert ids(rapid) == [1, 2]
    assert len(rapid.points.data) == 2  # napari may not be done with them yet
    for action in soon:
        action()
    assert len(rapid.points.data) == 0
    assert ids(rapid) == [1, 2]


def test_the_slice_may_change_before_the_loop_comes_round(bench: Bench) -> None:
    bench.open(np.zeros((3, 64, 64), np.uint8))
    bench.session.set_settings(replace(bench.session.settings, mode="rapid"))
    soon: list[Any] = []
    bench.controller.call_soon = soon.append
    bench.viewer.dims.set_point(0, 0)
    bench.points.add((0, 10, 10))
    bench.viewer.dims.set_point(0, 2)
    soon.pop()()
    assert len(bench.points.data) == 0
    assert bench.session.prompts.is_empty
    bench.viewer.dims.set_point(0, 0)
    assert bench.session.prompts.is_empty
    assert bench.controller.target_layer.data[0, 10, 10] == 1


def test_a_background_click_is_no_object_and_that_is_said(rapid: Bench) -> None:
    rapid.controller.prompts.next_label = "background"
    rapid.points.add((10, 10))
    assert ids(rapid) == []
    assert "choose '+'" in rapid.messages[-1]
    assert len(rapid.points.data) == 0
