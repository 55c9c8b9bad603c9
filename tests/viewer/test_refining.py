from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, PromptError

if TYPE_CHECKING:
    from conftest import Bench


def theirs() -> Any:
    """Labels as another program makes them: two touching squares."""
    labels = np.zeros((64, 64), np.uint16)
    labels[10:20, 10:20] = 5
    labels[10:20, 20:30] = 9
    return labels


@pytest.fixture
def desk(bench: Bench) -> Bench:
    bench.open(np.zeros((64, 64), np.uint8))
    bench.layer = bench.viewer.add_labels(theirs(), name="theirs")  # type: ignore[attr-defined]
    bench.viewer.layers.selection.active = bench.points
    bench.engine.asked.clear()
    return bench


def labels(bench: Bench) -> Any:
    return np.asarray(bench.viewer.layers["theirs"].data)


def test_a_label_of_another_program_is_shown_corrected_and_written_under_its_id(desk: Bench) -> None:
    desk.controller.refiner.refine(desk.viewer.layers["theirs"], 5)
    np.testing.assert_array_equal(desk.shown != 0, theirs() == 5)
    assert desk.engine.asked == []
    desk.points.add((40, 40))
    asked = desk.asked()
    assert asked.mask.box == (10, 10, 20, 20)
    assert asked.box == (9.5, 9.5, 41, 41)  # around the label, and the click
    desk.session.accept()
    after = labels(desk)
    assert after[40, 40] == 5
    np.testing.assert_array_equal(after == 9, theirs() == 9)  # the neighbour
    assert set(np.unique(after)) == {0, 5, 9}
    desk.session.undo()
    np.testing.assert_array_equal(labels(desk), theirs())


def test_accepted_without_a_correction_nothing_changes(desk: Bench) -> None:
    desk.controller.refiner.refine(desk.viewer.layers["theirs"], 5)
    desk.session.accept()
    np.testing.assert_array_equal(labels(desk), theirs())


def test_the_prompts_of_an_object_are_back_when_it_is_refined(desk: Bench) -> None:
    desk.points.add((40, 40))
    desk.session.accept()
    target = desk.controller.target_layer
    assert len(desk.points.data) == 0
    assert desk.controller.refiner.refine_at((40, 40))
    np.testing.assert_array_equal(desk.points.data, [(40, 40)])
    assert desk.shown.astype(bool).sum() == 29
    desk.points.add((43, 40))
    assert desk.asked().points.tolist() == [[40, 40], [43, 40]]
    assert desk.asked().mask.box == (37, 37, 44, 44)
    desk.session.accept()
    assert np.unique(target.data).tolist() == [0, 1]


def test_refined_twice_no_box_of_the_first_time_is_left(desk: Bench) -> None:
    refiner, layer = desk.controller.refiner, desk.viewer.layers["theirs"]
    for place in ((40, 40), (50, 12)):
        refiner.refine(layer, 5)
        assert len(desk.shapes.data) == 0
        desk.points.add(place)
        desk.session.accept()
    refiner.refine(layer, 5)
    np.testing.assert_array_equal(desk.points.data, [(40, 40), (50, 12)])
    desk.points.add((60, 60))
    assert desk.asked().box[2:] == (61, 61)


@pytest.mark.parametrize(
    ("position", "label"), [((15, 15), 5), ((15, 25), 9), ((40, 40), None)], ids=["one", "other", "none"]
)
def test_the_object_at_a_position(desk: Bench, position: Any, label: int | None) -> None:
    assert desk.controller.refiner.refine_at(position) == (label is not None)
    accepted = desk.session.prompting.state.accepted
    assert (None if accepted is None else accepted.label) == label


def test_the_topmost_visible_layer_wins(desk: Bench) -> None:
    above = desk.viewer.add_labels(np.full((64, 64), 2), name="above")
    desk.controller.refiner.refine_at((15, 15))
    assert desk.controller.target_layer is above
    above.visible = False
    desk.controller.refiner.refine_at((15, 15))
    assert desk.controller.target_layer is desk.viewer.layers["theirs"]


def test_the_key_takes_what_is_under_the_cursor_else_the_selected_label(desk: Bench) -> None:
    layer = desk.viewer.layers["theirs"]
    layer.selected_label = 9
    desk.viewer.layers.selection.active = layer
    desk.viewer.cursor.position = (15, 15)
    assert desk.controller.refiner.refine_here()
    assert desk.session.prompting.state.accepted.label == 5
    desk.viewer.cursor.position = (50, 50)
    assert desk.controller.refiner.refine_here()
    assert desk.session.prompting.state.accepted.label == 9
    layer.selected_label = 77
    assert not desk.controller.refiner.refine_here()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        pytest.param({"data": np.ones((3, 3), int)}, ImageError, "that coincide", id="another shape"),
        pytest.param({"scale": (2, 2)}, ImageError, "that coincide", id="another scale"),
        pytest.param({"label": 77}, PromptError, "object 77", id="no such object"),
    ],
)
def test_what_cannot_be_refined_is_an_error(
    desk: Bench, change: dict[str, Any], error: Any, words: str
) -> None:
    options = {"data": theirs(), "label": 5, **change}
    label = options.pop("label")
    layer = desk.viewer.add_labels(options.pop("data"), **options)
    with pytest.raises(error, match=words):
        desk.controller.refiner.refine(layer, label)
    assert desk.controller.target_layer is None


def test_an_error_at_a_click_is_said(desk: Bench) -> None:
    desk.viewer.add_labels(np.ones((64, 64), int), scale=(2, 2))
    assert not desk.controller.refiner.refine_at((15, 15))
    assert "that coincide" in desk.messages[-1]


def test_in_a_stack_the_object_of_the_plane_that_is_shown_is_refined(bench: Bench) -> None:
    bench.open(np.zeros((3, 64, 64), np.uint8))
    stack = np.stack([theirs(), 0 * theirs(), theirs()])
    layer = bench.viewer.add_labels(stack.copy())
    bench.viewer.dims.set_point(0, 2)
    bench.controller.refiner.refine(layer, 5)
    bench.points.add((2, 40, 40))
    bench.session.accept()
    np.testing.assert_array_equal(layer.data[:2], stack[:2])
    assert layer.data[2, 40, 40] == 5
    bench.viewer.dims.set_point(0, 1)
    with pytest.raises(PromptError, match="go to its plane"):
        bench.controller.refiner.refine(layer, 5)


def test_the_refined_object_is_there_after_a_look_at_another_plane(bench: Bench) -> None:
    bench.open(np.zeros((3, 64, 64), np.uint8))
    layer = bench.viewer.add_labels(np.stack([theirs()] * 3))
    bench.viewer.dims.set_point(0, 0)
    bench.controller.refiner.refine(layer, 5)
    bench.viewer.dims.set_point(0, 1)
    assert not bench.shown.any()
    bench.viewer.dims.set_point(0, 0)
    np.testing.assert_array_equal(bench.shown[0] != 0, theirs() == 5)
    bench.points.add((0, 40, 40))
    bench.session.accept()
    assert layer.data[0, 40, 40] == 5
