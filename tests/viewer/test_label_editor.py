from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.viewer.label_editor import LabelEditor

if TYPE_CHECKING:
    from conftest import Bench

SIZE = (64, 64)


def scene(*shape: int) -> np.ndarray:
    data = np.zeros((*shape, *SIZE), np.int32)
    data[..., 10:14, 10:14] = 1
    data[..., 10:14, 14:20] = 2
    data[..., 30:40, 30:40] = 3
    data[..., 33, 33] = 0
    return data


@pytest.fixture
def edit(bench: Bench) -> Any:
    editors = []

    def start(data: Any, **options: Any) -> tuple[LabelEditor, Any]:
        bench.open(np.zeros(data.shape, np.uint8), **options)
        layer = bench.viewer.add_labels(data, **options)
        editor = LabelEditor(bench.controller)
        editor.enable()
        editors.append(editor)
        bench.viewer.layers.selection.active = layer
        return editor, layer

    yield start
    for editor in editors:
        editor.close()


def test_the_object_at_hand_is_the_selected_label_of_the_active_layer(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    layer.selected_label = 3
    assert (editor.layer, editor.label) == (layer, 3)
    editor.fill_holes()
    assert layer.data[33, 33] == 3
    bench.session.undo()
    assert layer.data[33, 33] == 0
    assert bench.status[-1] == "Undone: fill holes of object 3."


def test_each_tool_is_one_item_of_naparis_undo(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    before = layer.data.copy()
    editor.merge([1, 3])
    assert np.unique(layer.data).tolist() == [0, 1, 2]
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_clicks_delete_merge_and_split(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    editor.take("merge")
    assert str(layer.mode) == "pan_zoom"
    assert editor.click((11, 11))
    assert editor.click((11, 16))
    assert (layer.data == 1).sum() == 40
    editor.take("split")
    assert editor.click((35, 31))
    assert editor.click((35, 39))
    assert layer.data[35, 39] != layer.data[35, 31]
    editor.take("delete")
    assert not editor.click((50, 50))
    assert "No object here" in bench.status[-1]
    assert editor.click((12, 12))
    assert not (layer.data == 1).any()
    for _ in range(3):
        bench.session.undo()
    np.testing.assert_array_equal(layer.data, scene())


def test_the_clicks_of_a_split_are_on_one_plane(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene(4))
    editor.take("split")
    bench.viewer.dims.set_point(0, 1)
    assert editor.click((1, 35, 31))
    bench.viewer.dims.set_point(0, 3)
    assert editor.click((3, 35, 39))
    np.testing.assert_array_equal(layer.data, scene(4))
    assert "other half" in bench.status[-1]
    assert editor.click((3, 35, 31))
    assert layer.data[3, 35, 39] != layer.data[3, 35, 31]
    np.testing.assert_array_equal(layer.data[:3], scene(3))


def test_keys_take_the_object_under_the_cursor_and_no_other(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    viewer = bench.viewer
    layer.selected_label = 1
    viewer.mouse_over_canvas = True
    viewer.cursor.position = (60, 60)
    editor.delete_here()
    np.testing.assert_array_equal(layer.data, scene())
    assert "under the cursor" in bench.status[-1]
    viewer.cursor.position = (35, 35)
    editor.delete_here()
    assert np.unique(layer.data).tolist() == [0, 1, 2]
    layer.selected_label = 2
    viewer.mouse_over_canvas = False
    editor.delete_here()
    assert np.unique(layer.data).tolist() == [0, 1]


def test_taking_a_tool_up_and_down_gives_the_layer_back(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    bench.controller.target_layer = layer
    bench.viewer.layers.selection.active = bench.points
    editor.take("pick")
    assert bench.viewer.layers.selection.active is layer
    assert editor.click((35, 35))
    assert layer.selected_label == 3
    assert editor.tool == ""
    assert bench.viewer.layers.selection.active is bench.points


def test_a_tool_of_naparis_takes_the_place_of_ours(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    editor.take("delete")
    layer.mode = "paint"
    assert editor.tool == ""


@pytest.mark.parametrize(
    ("order", "plane"),
    [
        pytest.param((0, 1, 2), (1, slice(None), slice(None)), id="rows and columns"),
        pytest.param((1, 0, 2), (slice(None), 11, slice(None)), id="middle axis sliced"),
        pytest.param((2, 0, 1), (slice(None), slice(None), 11), id="last axis sliced"),
    ],
)
def test_only_the_plane_that_is_shown_is_edited(bench: Bench, edit: Any, order: Any, plane: Any) -> None:
    editor, layer = edit(scene(3), scale=(2, 1, 1), translate=(5, 0, 0))
    bench.viewer.dims.order = order
    bench.viewer.dims.point = (7, 11, 11)
    layer.selected_label = 1
    editor.delete()
    expected = scene(3)
    expected[plane][expected[plane] == 1] = 0
    np.testing.assert_array_equal(layer.data, expected)
    editor.everywhere = True
    editor.delete()
    assert not (layer.data == 1).any()
    bench.session.undo()
    bench.session.undo()
    np.testing.assert_array_equal(layer.data, scene(3))


def test_undo_shows_the_plane_that_it_changes(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene(4), scale=(2, 1, 1))
    bench.viewer.dims.set_point(0, 4)
    layer.selected_label = 1
    editor.delete()
    bench.viewer.dims.set_point(0, 0)
    bench.session.undo()
    assert bench.viewer.dims.point[0] == 4
    editor.everywhere = True
    editor.delete()
    bench.viewer.dims.set_point(0, 0)
    bench.session.undo()
    assert bench.viewer.dims.point[0] == 0


def test_a_stack_is_looked_through_once(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene(20))
    editor.everywhere = True
    session = bench.session
    index = session.edits.surface(session.layer_token(layer)).index
    for label in (1, 2):
        layer.selected_label = label
        editor.delete()
    for z in range(5):
        bench.viewer.dims.set_point(0, z)
    layer.selected_label = 3
    editor.delete()
    assert not layer.data.any()
    for _ in range(3):
        session.undo()
    assert index.scanned == 20


def test_what_the_brush_and_naparis_undo_change_is_found(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene(3))
    editor.everywhere = True
    layer.selected_label = 3
    editor.delete()
    layer.data_setitem((np.array([2, 2]), np.array([50, 51]), np.array([50, 50])), 7)  # as the brush does
    layer.selected_label = 7
    editor.delete()
    assert not (layer.data == 7).any()
    layer.undo()
    layer.undo()
    layer.undo()
    assert (layer.data == 3).sum() == 3 * 99
    layer.selected_label = 3
    editor.delete()
    assert not (layer.data == 3).any()


@pytest.mark.parametrize("how", ["another time point", "hidden", "hidden and shown"])
def test_what_naparis_undo_brings_back_is_deleted_whole(bench: Bench, how: str) -> None:
    bench.open(np.zeros((4, 3, *SIZE), np.uint8))
    layer = bench.viewer.add_labels(scene(3))
    bench.controller.target_layer = layer
    bench.viewer.dims.set_point(1, 1)
    token = bench.session.layer_token(layer)
    surface = bench.session.edits.surface(token)
    layer.data_setitem(np.nonzero((layer.data == 3) & (np.arange(64) >= 35)), 0)  # as the brush does
    assert surface.find(3, (1, None, None)) == (30, 30, 40, 35)
    if how == "another time point":
        bench.viewer.dims.set_point(0, 2)
    else:
        layer.visible = False
    layer.undo()
    if how == "hidden and shown":
        bench.viewer.dims.set_point(0, 2)
        layer.visible = True
    bench.session.editing.delete(token, (1, None, None), [3])
    assert not (layer.data[1] == 3).any()


def test_what_a_script_drew_is_found_by_a_click(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    layer.selected_label = 3
    editor.smooth()
    layer.data[50:54, 50:54] = 9  # nobody is told
    layer.refresh()
    layer.data[54:56, 50:54] = 9
    editor.take("delete")
    assert editor.click((55, 52))
    assert not (layer.data == 9).any()


def test_splitting_along_edges_reads_the_image(bench: Bench, edit: Any) -> None:
    data = np.zeros(SIZE, np.int32)
    data[10:20, 10:50] = 1
    image = np.zeros(SIZE, np.uint8)
    image[:, 42:] = 200
    editor, layer = edit(data)
    bench.controller.image_layer.data = image
    editor.follow_edges = True
    editor.split(1, ((15, 12), (15, 48)))
    assert (layer.data[15, 10:41] == 1).all()
    assert (layer.data[15, 43:50] == 2).all()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        pytest.param(lambda e: e.smooth(), "object", id="not there"),
        pytest.param(lambda e: e.delete(), "no such object", id="delete"),
    ],
)
def test_an_object_that_is_not_there_is_told(bench: Bench, edit: Any, act: Any, words: str) -> None:
    editor, layer = edit(scene())
    layer.selected_label = 40
    act(editor)
    assert words in (bench.messages + bench.status[-1:])[0]
    assert not bench.session.history.can_undo


def test_a_3d_view_and_no_layer_are_told(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene(3))
    bench.viewer.dims.ndisplay = 3
    bench.messages.clear()
    editor.delete()
    assert "2-D view" in bench.messages[-1]
    bench.viewer.layers.remove(layer)
    editor.delete()
    assert "got none" in bench.messages[-1]


def test_a_deleted_layer_ends_its_steps_but_not_the_others(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    bench.points.add((50, 50))
    layer.selected_label = 1
    bench.viewer.layers.selection.active = layer
    editor.delete()
    bench.viewer.layers.remove(layer)
    bench.session.undo()
    assert "it was deleted" in bench.messages[-1]
    bench.session.undo()
    assert len(bench.points.data) == 0
    bench.viewer.add_layer(layer)
    bench.session.redo()
    bench.session.redo()


def test_close_disconnects(bench: Bench, edit: Any) -> None:
    editor, layer = edit(scene())
    callbacks = len(layer.events.selected_label.callbacks)
    pressed = len(bench.viewer.mouse_drag_callbacks)
    editor.close()
    assert len(bench.viewer.mouse_drag_callbacks) == pressed - 1
    assert len(layer.events.selected_label.callbacks) == callbacks - 1
