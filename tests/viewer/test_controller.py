from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels, Points, Shapes

from napari_sam.types import ObjectMask, Prompts
from napari_sam.viewer.bindings import KEYS, SHAPES_KEYS, Bindings

if TYPE_CHECKING:
    from conftest import Bench

SIZE = (64, 64)
AREA = 29  # pixels of a disc of radius 3


def gray(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 255, shape or SIZE, dtype=np.uint8)


# ------------------------------------------------------------------ layers
def test_opening_makes_three_layers_and_puts_the_points_tool_into_the_hand(bench: Bench) -> None:
    image = bench.open(gray())
    assert [layer.name for layer in bench.viewer.layers[1:]] == ["SAM preview", "SAM shapes", "SAM points"]
    assert bench.controller.image_layer is image
    assert bench.viewer.layers.selection.active is bench.points
    assert bench.points.mode == "add"
    assert bench.messages == []


def test_without_an_image_nothing_is_made_until_there_is_one(bench: Bench) -> None:
    bench.controller.enable()
    assert len(bench.viewer.layers) == 0
    image = bench.viewer.add_image(gray())
    assert bench.controller.image_layer is image
    bench.points.add((10, 10))
    assert bench.shown.sum() == AREA


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": (2, 3)},
        {"translate": (5, -7), "rotate": 40},
        {"affine": [[0, 2, 1], [1, 0, 3], [0, 0, 1]]},
    ],
)
def test_own_layers_coincide_with_the_image(bench: Bench, options: dict[str, Any]) -> None:
    image = bench.open(gray(), **options)
    bench.points.add((10, 20))
    bench.session.accept()
    for layer in bench.viewer.layers:
        for position in ((0, 0), (10, 20)):
            np.testing.assert_allclose(layer.data_to_world(position), image.data_to_world(position))
    assert bench.viewer.layers["SAM objects"].data[10, 20] == 1


def test_own_layers_follow_a_changed_scale(bench: Bench) -> None:
    image = bench.open(gray())
    bench.points.add((10, 20))
    image.scale = (3, 3)
    np.testing.assert_allclose(bench.points.scale, (3, 3))
    assert bench.shown[10, 20] == 1


def test_a_size_in_world_units_follows_a_scale_that_is_set_later(bench: Bench) -> None:
    image = bench.open(gray())
    bench.session.set_settings(replace(bench.session.settings, object_size=10, object_unit="world"))
    bench.points.add((10, 20))
    assert bench.engine.seen[-1].object_size == 10
    image.scale = (0.5, 0.5)
    assert bench.engine.seen[-1].object_size == 20
    assert bench.shown.sum() == AREA
    bench.points.add((30, 30))
    assert bench.engine.seen[-1].object_size == 20
    image.units = ("um", "um")
    assert bench.session.plane.unit == "micrometer"
    bench.session.undo()
    bench.points.add((40, 40))
    assert bench.engine.seen[-1].object_size == 20
    bench.session.undo()
    bench.session.undo()
    bench.points.add((10, 30))
    assert bench.engine.seen[-1].object_size == 20


def test_the_target_lies_under_own_layers_and_the_tool_stays_in_hand(bench: Bench) -> None:
    bench.open(gray())
    bench.points.add((10, 20))
    bench.session.accept()
    names = [layer.name for layer in bench.viewer.layers]
    assert names.index("SAM objects") == 1
    assert bench.viewer.layers.selection.active is bench.points


def test_a_second_image_of_the_same_frame_keeps_the_prompts(bench: Bench) -> None:
    bench.open(gray())
    other = bench.viewer.add_image(gray() + 1)
    points = bench.points
    points.add((10, 20))
    bench.controller.image_layer = other
    assert bench.points is points
    assert bench.shown.sum() == AREA
    np.testing.assert_array_equal(bench.engine.images[-1], other.data)


def test_an_image_of_another_shape_gets_new_layers(bench: Bench) -> None:
    bench.open(gray())
    users = bench.viewer.add_points([(1, 1)], name="mine")
    bench.points.add((10, 20))
    bench.controller.image_layer = bench.viewer.add_image(gray(3, 32, 32))
    assert bench.points.ndim == 3
    assert len(bench.points.data) == 0
    assert bench.preview.data.shape == (3, 32, 32)
    assert users in bench.viewer.layers
    assert sum(layer.name.startswith("SAM") for layer in bench.viewer.layers) == 3


def test_deleted_own_layers_come_back_when_they_are_needed(bench: Bench) -> None:
    bench.open(gray())
    bench.points.add((10, 20))
    bench.viewer.layers.remove("SAM points")
    assert bench.session.prompts.is_empty
    assert bench.shown.sum() == 0
    bench.viewer.layers.remove("SAM preview")
    bench.controller.draw("points")
    bench.points.add((10, 20))
    assert bench.shown.sum() == AREA
    assert bench.points.mode == "add"
    bench.controller.draw("box")
    assert bench.viewer.layers.selection.active is bench.shapes
    assert bench.shapes.mode == "add_rectangle"


def test_a_second_controller_adopts_the_layers_of_the_first(bench: Bench) -> None:
    bench.open(gray())
    bench.points.add((10, 20))
    names = [layer.name for layer in bench.viewer.layers]
    bench.controller.hide_preview()
    bench.controller.disable()
    bench.controller.enable()
    assert [layer.name for layer in bench.viewer.layers] == names
    assert bench.shown.sum() == AREA


# ------------------------------------------------------------------ prompts
def test_adding_moving_and_removing_points_changes_the_preview(bench: Bench) -> None:
    bench.open(gray())
    bench.points.add((10, 20))
    assert bench.shown[10, 20] == 1
    bench.points.data = [(40, 40)]
    assert (bench.shown[10, 20], bench.shown[40, 40]) == (0, 1)
    bench.points.selected_data = {0}
    bench.points.remove_selected()
    assert bench.shown.sum() == 0


def test_one_change_is_one_request(bench: Bench) -> None:
    bench.open(gray())
    bench.engine.asked.clear()
    bench.points.add((10, 20))
    assert len(bench.engine.asked) == 1


def test_a_background_click_corrects(bench: Bench) -> None:
    bench.open(gray())
    bench.points.add((10, 20))
    bench.controller.prompts.toggle_label()
    bench.points.add((10, 22))
    assert bench.asked().labels.tolist() == [1, 0]
    assert bench.shown[10, 21] == 0


def test_toggling_a_selected_point_asks_again(bench: Bench) -> None:
    bench.open(gray())
    bench.points.data = [(10, 20), (10, 22)]
    bench.points.selected_data = {1}
    bench.points.mode = "select"
    bench.controller.prompts.toggle_label()
    assert bench.asked().labels.tolist() == [1, 0]
    assert bench.controller.prompts.next_label == "foreground"


def test_setting_features_from_a_script_asks_again(bench: Bench) -> None:
    bench.open(gray())
    bench.points.data = [(10, 20), (10, 22)]
    bench.points.features = {"label": ["foreground", "background"]}
    assert bench.asked().labels.tolist() == [1, 0]


def test_a_box_is_a_prompt(bench: Bench) -> None:
    bench.open(gray())
    bench.shapes.add_rectangles([np.array([(5, 6), (5, 16), (15, 16), (15, 6)])])
    assert bench.asked().box == (5, 6, 15, 16)
    assert bench.shown[5:15, 6:16].all()
    assert bench.shown.sum() == 100


def test_users_own_layers_as_prompts(bench: Bench) -> None:
    bench.open(gray())
    points = bench.viewer.add_points([(10, 10)], features={"label": ["foreground"]}, scale=(2, 2))
    shapes = bench.viewer.add_shapes([np.array([(5, 6), (5, 16), (15, 16), (15, 6)])])
    bench.controller.use_points(points)
    assert bench.shown[20, 20] == 1
    points.add((15, 15))
    assert bench.shown[30, 30] == 1
    bench.controller.use_shapes(shapes)
    assert bench.asked().box == (5, 6, 15, 16)
    bench.points.add((50, 50))
    assert bench.shown[50, 50] == 0


@pytest.mark.parametrize(
    ("add", "words"),
    [
        pytest.param(lambda b: b.points.add((10, 99)), "Expected points inside", id="outside"),
        pytest.param(
            lambda b: (b.controller.prompts.toggle_label(), b.points.add((5, 5))),
            "background points only",
            id="background",
        ),
        pytest.param(
            lambda b: b.shapes.add_rectangles([np.array([(5, 6), (5, 6), (15, 6), (15, 6)])]),
            "without area",
            id="zero area",
        ),
    ],
)
def test_bad_prompts_are_told_once_and_nothing_is_lost(bench: Bench, add: Any, words: str) -> None:
    bench.open(gray())
    bench.engine.asked.clear()
    add(bench)
    assert len(bench.messages) == 1
    assert words in bench.messages[0]
    assert bench.shown.sum() == 0
    assert bench.engine.asked == []
    assert len(bench.points.data) + len(bench.shapes.data) == 1


# ------------------------------------------------------------------ slices
def test_only_the_slice_that_is_shown_is_segmented(bench: Bench) -> None:
    image = bench.open(gray(5, *SIZE), scale=(2, 1, 1))
    bench.viewer.dims.set_point(0, 6)
    bench.points.add((3, 10, 20))
    np.testing.assert_array_equal(bench.engine.images[-1], image.data[3])
    assert bench.shown[3].sum() == bench.shown.sum() == AREA
    bench.viewer.dims.set_point(0, 2)
    assert bench.shown.sum() == 0
    bench.points.add((1, 30, 30))
    assert bench.shown[1].sum() == bench.shown.sum() == AREA
    bench.session.accept()
    assert bench.points.data.tolist() == [[3, 10, 20]]
    bench.viewer.dims.set_point(0, 6)
    assert bench.shown[3].sum() == AREA
    assert np.unique(bench.viewer.layers["SAM objects"].data[1]).tolist() == [0, 1]


def test_a_point_added_on_another_slice_is_no_prompt(bench: Bench) -> None:
    bench.open(gray(5, *SIZE))
    bench.viewer.dims.set_point(0, 1)
    bench.points.add((4, 10, 10))
    assert bench.shown.sum() == 0
    assert bench.messages == []


def test_undo_moves_back_to_the_slice_of_the_prompt(bench: Bench) -> None:
    bench.open(gray(5, *SIZE), scale=(2, 1, 1), translate=(10, 0, 0))
    bench.viewer.dims.set_point(0, 12)
    bench.points.add((1, 10, 10))
    bench.viewer.dims.set_point(0, 18)
    bench.points.add((4, 20, 20))
    bench.session.undo()
    assert bench.points.data.tolist() == [[1, 10, 10]]
    bench.session.undo()
    assert bench.viewer.dims.point[0] == 12
    assert len(bench.points.data) == 0
    bench.session.redo()
    assert bench.points.data.tolist() == [[1, 10, 10]]
    assert bench.shown[1].sum() == AREA


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param({"order": (1, 0, 2)}, id="rolled"),
        pytest.param({"order": (2, 0, 1)}, id="rolled twice"),
        pytest.param({"ndisplay": 3}, id="3-D"),
        pytest.param({"order": (1, 2, 0), "ndisplay": 3}, id="3-D, rolled"),
    ],
)
def test_undo_turns_back_to_the_plane_of_the_prompt(bench: Bench, turn: dict[str, Any]) -> None:
    bench.open(gray(8, *SIZE))
    bench.viewer.dims.set_point(0, 5)
    bench.points.add((5, 20, 20))
    bench.session.accept()
    bench.viewer.dims.update(turn)
    bench.session.undo()
    plane = bench.session.plane
    assert plane is not None
    assert plane.index == (5, None, None)
    assert bench.controller.find_plane() == plane
    assert bench.points.data.tolist() == [[5, 20, 20]]
    bench.points.add((5, 40, 40))
    assert bench.asked().points.tolist() == [[20, 20], [40, 40]]


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0)])
def test_any_two_axes_may_be_shown(bench: Bench, order: tuple[int, ...]) -> None:
    data = gray(30, 40, 50)
    bench.open(data)
    bench.viewer.dims.order = order
    bench.viewer.dims.point = (7, 8, 9)
    bench.points.add((7, 8, 9))
    sliced = order[0]
    np.testing.assert_array_equal(bench.engine.images[-1], data.take((7, 8, 9)[sliced], axis=sliced))
    assert bench.shown[7, 8, 9] == 1
    assert bench.shown.sum() == bench.shown.take((7, 8, 9)[sliced], axis=sliced).sum() == AREA
    bench.session.accept()
    assert bench.viewer.layers["SAM objects"].data[7, 8, 9] == 1


def test_a_3d_view_is_told_once_and_going_back_continues(bench: Bench) -> None:
    bench.open(gray(5, *SIZE))
    bench.points.add((2, 10, 10))
    bench.viewer.dims.ndisplay = 3
    assert len(bench.messages) == 1
    assert "switch to 2-D" in bench.messages[0]
    bench.viewer.dims.ndisplay = 2
    assert bench.shown[2].sum() == AREA


def test_the_3d_view_is_told_of_once_while_a_series_plays(bench: Bench) -> None:
    bench.open(np.zeros((5, 4, 32, 32), np.uint8), name="series")
    bench.viewer.dims.ndisplay = 3
    for frame in range(5):
        bench.viewer.dims.set_current_step(0, frame)
    assert len([message for message in bench.messages if "Expected the 2-D view" in message]) == 1
    bench.viewer.dims.ndisplay = 2
    bench.viewer.dims.ndisplay = 3
    assert len([message for message in bench.messages if "Expected the 2-D view" in message]) == 2


def test_dask_multiscale_and_rgb_images(bench: Bench) -> None:
    data = gray(4, *SIZE)
    bench.open(da.from_array(data, chunks=(1, 32, 32)))
    bench.points.add((2, 10, 10)) if bench.viewer.dims.set_point(0, 2) is None else None
    np.testing.assert_array_equal(bench.engine.images[-1], data[2])
    bench.controller.image_layer = bench.viewer.add_image(
        [gray(), gray()[::2, ::2]], multiscale=True, name="levels"
    )
    bench.points.add((40, 50))
    assert bench.engine.images[-1].shape == SIZE
    assert bench.shown[40, 50] == 1
    bench.controller.image_layer = bench.viewer.add_image(gray(*SIZE, 3), rgb=True, name="colours")
    bench.points.add((40, 50))
    assert bench.engine.images[-1].shape == (*SIZE, 3)
    assert bench.shown.shape == SIZE


# ------------------------------------------------------------------ accept
def test_accept_fills_the_target_with_the_next_ids(bench: Bench) -> None:
    bench.open(gray())
    for position in ((10, 10), (40, 40)):
        bench.points.add(position)
        bench.session.accept()
    target = bench.controller.target_layer
    assert target.name == "SAM objects"
    assert (target.data[10, 10], target.data[40, 40]) == (1, 2)
    assert len(bench.points.data) == 0
    assert bench.shown.sum() == 0
    target.undo()
    assert np.unique(target.data).tolist() == [0, 1]


def test_a_chosen_target_keeps_its_objects(bench: Bench) -> None:
    bench.open(gray())
    labels = np.zeros(SIZE, int)
    labels[8:11] = 7
    target = bench.viewer.add_labels(labels.copy())
    bench.controller.target_layer = target
    bench.points.add((10, 10))
    bench.session.accept()
    assert (target.data[labels == 7] == 7).all()
    assert target.data[12, 10] == 8
    bench.controller.overwrite = True
    bench.points.add((10, 40))
    bench.session.accept()
    assert target.data[10, 40] == 9


def test_a_target_of_another_shape_is_told_and_nothing_is_lost(bench: Bench) -> None:
    bench.open(gray())
    target = bench.viewer.add_labels(np.zeros((10, 10), int))
    bench.controller.target_layer = target
    bench.points.add((10, 10))
    bench.session.accept()
    assert len(bench.messages) == 1
    assert "image's shape (64, 64)" in bench.messages[0]
    assert not target.data.any()
    assert len(bench.points.data) == 1
    assert bench.shown.sum() == AREA


def test_a_deleted_target_is_replaced_by_a_new_one(bench: Bench) -> None:
    bench.open(gray())
    bench.points.add((10, 10))
    bench.session.accept()
    bench.viewer.layers.remove("SAM objects")
    assert bench.controller.target_layer is None
    bench.points.add((40, 40))
    bench.session.accept()
    assert bench.controller.target_layer.data[40, 40] == 1


def accept_at(bench: Bench, *point: float) -> Any:
    """The layer that an object at a point was written into."""
    bench.points.add(point)
    bench.session.accept()
    return bench.controller.target_layer


@pytest.mark.parametrize("opened_first", [True, False])
def test_objects_of_the_next_image_go_into_a_layer_of_their_own(bench: Bench, opened_first: bool) -> None:
    first = bench.open(gray(), name="first")
    of_first = accept_at(bench, 10, 10)
    if opened_first:
        second = bench.viewer.add_image(gray(), name="second")
        bench.viewer.layers.remove(first)
        bench.controller.image_layer = second
    else:
        bench.viewer.layers.remove(first)
        bench.viewer.add_image(gray(), name="second")
    assert bench.controller.target_layer is None
    assert bench.messages == [
        "Objects of 'second' go into a new layer; to go on in 'SAM objects', choose it under 'Write to'."
    ]
    assert accept_at(bench, 40, 40) is not of_first
    assert np.count_nonzero(of_first.data) == AREA


def test_channels_of_one_image_write_into_one_layer(bench: Bench) -> None:
    first, second = bench.open(gray(), name="first"), bench.viewer.add_image(gray(), name="second")
    target = accept_at(bench, 10, 10)
    bench.controller.image_layer = second
    assert accept_at(bench, 40, 40) is target
    third = bench.viewer.add_image(gray(), name="smoothed")
    bench.controller.image_layer = third
    assert accept_at(bench, 40, 10) is target
    bench.viewer.layers.remove(first)
    bench.viewer.layers.remove(third)
    bench.controller.image_layer = second
    assert bench.controller.target_layer is target
    own = bench.controller.target_layer = bench.viewer.add_labels(np.zeros(SIZE, int))
    bench.viewer.add_image(gray(), name="fourth")
    bench.controller.image_layer = bench.viewer.layers["fourth"]
    bench.controller.image_layer = second
    assert bench.controller.target_layer is own
    assert bench.messages == []


def test_every_image_keeps_its_target(bench: Bench) -> None:
    first, second = bench.open(gray()), bench.viewer.add_image(gray(30, 30))
    of_first = accept_at(bench, 10, 10)
    bench.controller.image_layer = second
    of_second = accept_at(bench, 10, 10)
    assert of_second.data.shape == (30, 30)
    bench.controller.image_layer = first
    assert bench.controller.target_layer is of_first
    bench.viewer.layers.remove(of_second)
    bench.controller.image_layer = second
    assert bench.controller.target_layer is None


def test_a_target_that_was_chosen_before_the_image_stays(bench: Bench) -> None:
    bench.controller.enable()
    target = bench.viewer.add_labels(np.zeros(SIZE, int))
    bench.controller.target_layer = target
    first = bench.viewer.add_image(gray())
    assert accept_at(bench, 10, 10) is target
    bench.viewer.layers.remove(first)
    bench.controller.target_layer = target  # chosen again, for what comes
    bench.viewer.add_image(gray())
    assert accept_at(bench, 40, 40) is target
    assert bench.messages == []


@pytest.mark.parametrize("chosen", [True, False])
def test_objects_of_pixels_that_were_replaced_do_not_mix_with_new_ones(bench: Bench, chosen: bool) -> None:
    image = bench.open(gray())
    target = accept_at(bench, 10, 10)
    if chosen:
        bench.controller.target_layer = target
    image.data = gray() // 2
    assert (bench.controller.target_layer is target) == chosen
    assert len(bench.messages) == (0 if chosen else 1)


def test_undo_after_accept_takes_the_object_and_brings_the_prompts(bench: Bench) -> None:
    bench.open(gray())
    bench.points.add((10, 10))
    bench.session.accept()
    bench.session.undo()
    target = bench.controller.target_layer
    assert not target.data.any()
    assert bench.points.data.tolist() == [[10, 10]]
    assert bench.shown[10, 10] == 1
    bench.points.add((10, 14))
    bench.session.accept()
    assert target.data[10, 14] == target.data[10, 10] == 1
    assert np.unique(target.data).tolist() == [0, 1]


def test_undo_leaves_labels_alone_that_were_replaced(bench: Bench) -> None:
    bench.open(gray())
    data = np.zeros(SIZE, np.int32)
    data[5:10, 5:10], data[20:25, 20:25], data[30:35, 30:35] = 300, 44, 301
    layer = bench.viewer.add_labels(data)
    token = bench.session.layer_token(layer)
    bench.session.editing.delete(token, (None, None), [300, 301])
    layer.data = layer.data.astype(np.uint8)  # as napari's "convert data type"
    bench.session.undo()
    assert np.unique(layer.data).tolist() == [0, 44]
    assert bench.messages == [bench.status[-1]]
    assert "at most 255" in bench.status[-1]


def test_segment_everything_fills_a_new_layer(bench: Bench) -> None:
    bench.open(gray(3, *SIZE), scale=(2, 1, 1), name="cells")
    bench.viewer.dims.set_point(0, 4)
    bench.session.segment_everything()
    layer = bench.viewer.layers["cells objects"]
    assert isinstance(layer, Labels)
    assert layer.data.shape == (3, *SIZE)
    assert np.unique(layer.data[2]).tolist() == [1, 2]
    assert not layer.data[:2].any()
    np.testing.assert_allclose(layer.scale, (2, 1, 1))
    bench.session.segment_everything()
    assert "cells objects [1]" in bench.viewer.layers


# ------------------------------------------------------------------ what users do meanwhile
def test_an_object_goes_where_it_was_accepted_whatever_is_chosen_meanwhile(bench: Bench) -> None:
    bench.open(gray())
    bench.runner._automatic = False
    one, other = (bench.viewer.add_labels(np.zeros(SIZE, int)) for _ in range(2))
    bench.controller.target_layer = one
    assert accept_at(bench, 10, 10) is one
    bench.controller.target_layer = other
    assert accept_at(bench, 40, 40) is other
    bench.controller.target_layer = None
    made = accept_at(bench, 40, 10)
    bench.controller.target_layer = one
    bench.runner.run()
    for layer, place in ((one, (10, 10)), (other, (40, 40)), (made, (40, 10))):
        assert layer.data[place] == 1
        assert np.count_nonzero(layer.data) == AREA
    assert bench.messages == []


def test_pixels_written_in_place_leave_the_target_as_it_is(bench: Bench) -> None:
    image = bench.open(gray())
    made = accept_at(bench, 10, 10)
    image.data = image.data
    assert bench.controller.target_layer is made
    assert bench.messages == []


def test_other_pixels_of_one_channel_leave_the_target_as_it_is(bench: Bench) -> None:
    bench.open(gray())
    made = accept_at(bench, 10, 10)
    channel = bench.controller.image_layer = bench.viewer.add_image(gray())
    channel.data = gray() // 2
    assert bench.controller.target_layer is made


def test_a_rapid_click_beside_all_objects_makes_no_layer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.open(gray())
    nothing = ObjectMask.from_plane(np.zeros(SIZE, bool))
    monkeypatch.setattr("napari_sam.session.rapid.clip_mask", lambda *_: nothing)
    bench.session.rapid.ask(bench.session.plane, Prompts(points=[(10, 10)]))
    assert bench.status[-1] == "No object found there."
    assert "SAM objects" not in bench.viewer.layers
    assert bench.controller.target_layer is None


def test_a_rapid_click_goes_into_the_layer_that_was_chosen_then(bench: Bench) -> None:
    bench.open(gray())
    bench.runner._automatic = False
    one, other = (bench.viewer.add_labels(np.zeros(SIZE, int)) for _ in range(2))
    bench.controller.target_layer = one
    bench.session.rapid.ask(bench.session.plane, Prompts(points=[(10, 10)]))
    bench.controller.target_layer = other
    bench.runner.run()
    assert [np.count_nonzero(layer.data) for layer in (one, other)] == [AREA, 0]


@pytest.mark.parametrize("change", ["another channel", "other pixels", "deleted"])
def test_an_accepted_object_is_written_when_the_image_is_another_by_then(bench: Bench, change: str) -> None:
    image, channel = bench.open(gray()), bench.viewer.add_image(gray())
    bench.runner._automatic = False
    target = bench.controller.target_layer = bench.viewer.add_labels(np.zeros(SIZE, int))
    accept_at(bench, 10, 10)
    if change == "another channel":
        bench.controller.image_layer = channel
    elif change == "other pixels":
        image.data = gray() // 2
    else:
        bench.viewer.layers.remove(image)
    bench.runner.run()
    assert np.count_nonzero(target.data) == AREA
    assert bench.messages == []
    bench.session.undo()
    assert not target.data.any()


def test_an_accepted_object_whose_layer_is_deleted_meanwhile_is_said_to_be_lost(bench: Bench) -> None:
    bench.open(gray())
    bench.runner._automatic = False
    bench.viewer.layers.remove(accept_at(bench, 10, 10))
    bench.runner.run()
    assert len(bench.messages) == 1
    assert "'SAM objects', got none: it was deleted" in bench.messages[0]


def test_what_cannot_be_written_is_said_when_it_is_accepted(bench: Bench) -> None:
    bench.open(gray())
    bench.runner._automatic = False
    bench.controller.target_layer = bench.viewer.add_labels(np.zeros((3, 3), int))
    accept_at(bench, 10, 10)
    assert len(bench.messages) == 1
    assert "image's shape" in bench.messages[0]
    assert not bench.session.prompts.is_empty


def test_an_image_that_is_deleted_while_a_job_runs(bench: Bench) -> None:
    image = bench.open(gray())
    bench.runner._automatic = False
    bench.points.add((10, 10))
    bench.session.accept()
    bench.session.segment_everything()
    bench.runner.run(steps=2)
    bench.viewer.layers.remove(image)
    bench.runner.run()
    assert bench.controller.image_layer is None
    objects, *own = bench.viewer.layers
    assert np.count_nonzero(objects.data) == AREA  # accepted before
    assert [layer.name for layer in own] == ["SAM preview", "SAM shapes", "SAM points"]
    assert len(bench.messages) <= 1
    bench.points.add((20, 20))
    bench.session.accept()
    bench.session.segment_everything()


def test_an_image_that_is_renamed_while_a_job_runs(bench: Bench) -> None:
    image = bench.open(gray(), name="before")
    bench.runner._automatic = False
    bench.session.segment_everything()
    bench.runner.run(steps=2)
    image.name = "after"
    bench.runner.run()
    assert "before objects" in bench.viewer.layers
    assert bench.messages == []


def test_replaced_pixels_end_the_history_and_are_read_anew(bench: Bench) -> None:
    image = bench.open(gray())
    bench.points.add((10, 10))
    image.data = np.zeros(SIZE, np.uint8)
    assert not bench.session.history.can_undo
    assert not bench.engine.images[-1].any()
    image.data = np.zeros((32, 32), np.uint8)
    assert bench.preview.data.shape == (32, 32)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(np.zeros((64, 64)), id="constant"),
        pytest.param(np.full((64, 64), np.nan), id="NaN"),
        pytest.param(np.zeros((64, 1)), id="one pixel wide"),
        pytest.param(np.eye(64, dtype=bool), id="bool"),
        pytest.param(np.full((64, 64), 2**63, np.uint64), id="uint64"),
        pytest.param(np.ones((64, 64), np.float16), id="float16"),
        pytest.param(np.zeros((2, 3, 4, 64, 64), np.uint8), id="5-D"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(encountered|NaN).*:RuntimeWarning")  # napari's contrast limits
def test_odd_images_are_segmented_like_any_other(bench: Bench, data: Any) -> None:
    image = bench.open(data, contrast_limits=(0, 1))
    where = np.round(bench.viewer.dims.point).astype(int)
    where[-2:] = (10, 0)
    bench.points.add(where)
    assert bench.engine.images[-1].dtype == image.data.dtype
    assert bench.shown[tuple(where)] == 1
    bench.session.accept()
    assert bench.controller.target_layer.data[tuple(where)] == 1
    assert bench.messages == []


def test_disable_disconnects_everything(bench: Bench) -> None:
    image = bench.viewer.add_image(gray())
    points, shapes = Points(ndim=2), Shapes(ndim=2)
    for layer in (points, shapes):
        bench.viewer.add_layer(layer)

    def count() -> dict[str, int]:
        groups = {"layers": bench.viewer.layers.events, "dims": bench.viewer.dims.events}
        groups |= {layer.name: layer.events for layer in (image, points, shapes)}
        return {
            f"{name}.{event}": len(emitter.callbacks)
            for name, group in groups.items()
            for event, emitter in group.emitters.items()
        }

    before = count()
    bench.controller.enable()
    bench.controller.use_points(points)
    bench.controller.use_shapes(shapes)
    assert count() != before
    for name in ("SAM preview", "SAM shapes", "SAM points"):
        bench.viewer.layers.remove(name)
    bench.controller.disable()
    assert count() == before
    bench.viewer.layers.clear()


# ------------------------------------------------------------------ keys
def test_keys_are_bound_and_given_back(bench: Bench) -> None:
    def before(_viewer: Any) -> None:
        """Bound by somebody else."""

    bench.viewer.bind_key(KEYS["accept"], before)
    keymap = dict(bench.viewer.keymap)
    called: list[str] = []
    bindings = Bindings(bench.viewer, {name: (lambda name=name: called.append(name)) for name in KEYS})
    bindings.enable()
    for function in bench.viewer.keymap.values():
        function(bench.viewer)
    assert sorted(called) == sorted(KEYS)
    bindings.disable()
    assert bench.viewer.keymap == keymap


def test_keys_of_naparis_shapes_are_ours_in_our_layer_only(bench: Bench) -> None:
    bench.open(gray())
    users = bench.viewer.add_shapes(name="mine")
    called: list[str] = []
    bindings = Bindings(bench.viewer, {name: (lambda name=name: called.append(name)) for name in KEYS})
    bindings.enable()
    bindings.use_shapes(bench.shapes)
    ((key, function),) = bench.shapes.keymap.items()
    function(bench.shapes)
    assert (str(key), called) == ("T", ["toggle_label"])
    assert len(users.keymap) == 0
    bindings.use_shapes(None)
    assert len(bench.shapes.keymap) == 0
    bindings.use_shapes(bench.shapes)
    bindings.disable()
    assert len(bench.shapes.keymap) == len(bench.viewer.keymap) == 0


def test_keys_clash_with_naparis_in_shapes_layers_only() -> None:
    from napari.utils.key_bindings import coerce_keybinding
    from napari.utils.shortcuts import default_shortcuts

    ours = {coerce_keybinding(key): name for name, key in KEYS.items()}
    clashes = {
        (ours[coerce_keybinding(key)], action)
        for action, keys in default_shortcuts.items()
        for key in keys
        if coerce_keybinding(key) in ours
    }
    assert clashes == {("toggle_label", "napari:activate_add_path_mode")}
    assert SHAPES_KEYS == ("toggle_label",)


def test_masks_that_lie_partly_outside_are_written_inside(bench: Bench) -> None:
    bench.open(gray())
    bench.engine.radius = 8
    bench.points.add((0, 0))
    bench.session.accept()
    expected = ObjectMask.from_plane(bench.controller.target_layer.data)
    assert expected.box == (0, 0, 9, 9)
