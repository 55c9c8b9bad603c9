"""Automatic objects in layers: new ones and gaps, live thresholds, undo, and what users do meanwhile."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Labels

from napari_sam.types import ObjectMask, Prompts
from napari_sam.viewer.label_table import put_rows
from napari_sam.viewer.review_marks import read_marks, write_marks

if TYPE_CHECKING:
    from conftest import Bench

SIZE = (40, 50)


def square(r: int, c: int, side: int, score: float) -> ObjectMask:
    return ObjectMask(np.ones((side, side), bool), (r, c), predicted_iou=score)


THREE = [square(2, 2, 6, 0.9), square(12, 12, 8, 0.8), square(30, 30, 8, 0.7)]


def open_image(bench: Bench, *shape: int, lazy: bool = False) -> Any:
    bench.engine.objects = list(THREE)
    image = bench.open(np.zeros(shape or SIZE, np.uint8), name="cells")
    bench.runner._automatic = not lazy
    return image


def result(bench: Bench) -> Any:
    return bench.viewer.layers["cells objects"]


def add_target(bench: Bench, dtype: Any = np.int32, *shape: int) -> Any:
    """A target with an object 5 in the corner of the second automatic object, and far away 9."""
    data = np.zeros(shape or SIZE, dtype)
    data[..., 12:14, 12:20] = 5
    data[..., 0, 49] = 9
    target = bench.viewer.add_labels(data, name="mine")
    bench.controller.target_layer = target
    bench.controller.objects.fill_gaps = True
    return target


# ------------------------------------------------------------------ a new layer
def test_thresholds_redraw_the_layer_in_place(bench: Bench) -> None:
    open_image(bench)
    bench.session.segment_everything()
    layer, array = result(bench), result(bench).data
    drawn: list[int] = []
    layer.events.set_data.connect(lambda event: drawn.append(1))
    bench.session.auto.set_params({"predicted_iou": 0.75})
    assert layer.data is array
    assert drawn
    assert np.unique(array).tolist() == [0, 1, 2]
    assert array[2, 2] == 1
    assert array[30, 30] == 0
    bench.session.auto.set_params({"min_area": 40})
    assert np.unique(array).tolist() == [0, 1]
    assert array[12, 12] == 1
    bench.session.auto.reset()
    assert np.unique(array).tolist() == [0, 1, 2, 3]
    assert len([name for name in bench.viewer.layers if "objects" in name.name]) == 1


def test_each_object_has_its_scores_and_measures(bench: Bench) -> None:
    open_image(bench)
    bench.session.segment_everything()
    table = result(bench).features
    assert table["index"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(table["predicted_iou"], [0.9, 0.8, 0.7])
    assert table["area"].tolist() == [36, 64, 64]
    np.testing.assert_allclose(table["centroid-row"], [4.5, 15.5, 33.5])
    assert {"stability", "centroid-col", "mean_intensity", "on_border"} <= set(table)
    bench.session.auto.set_params({"min_area": 40})
    assert result(bench).features["index"].tolist() == [1, 2]
    np.testing.assert_allclose(result(bench).features["predicted_iou"], [0.7, 0.8])


def test_the_plane_of_a_stack_is_filled_and_stays_when_another_is_shown(bench: Bench) -> None:
    open_image(bench, 3, *SIZE)
    bench.viewer.dims.set_point(0, 1)
    bench.session.segment_everything()
    bench.viewer.dims.set_point(0, 2)
    bench.session.auto.set_params({"predicted_iou": 0.75})
    data = result(bench).data
    assert data.shape == (3, *SIZE)
    assert [int(plane.max()) for plane in data] == [0, 2, 0]


def test_parts_appear_while_the_rest_is_computed(bench: Bench) -> None:
    open_image(bench, lazy=True)
    active = bench.viewer.layers.selection.active
    bench.session.segment_everything()
    bench.runner.run(4)
    assert np.unique(result(bench).data).tolist() == [0, 1, 2]
    assert bench.viewer.layers.selection.active is active
    bench.runner.run()
    assert np.unique(result(bench).data).tolist() == [0, 1, 2, 3]


def test_cancel_keeps_what_is_finished(bench: Bench) -> None:
    open_image(bench, lazy=True)
    bench.session.segment_everything()
    bench.runner.run(3)
    bench.session.cancel()
    bench.runner.run()
    assert np.unique(result(bench).data).tolist() == [0, 1]
    assert result(bench).features["index"].tolist() == [1]


def test_undo_takes_the_layer_away_and_redo_brings_it(bench: Bench) -> None:
    open_image(bench)
    bench.session.segment_everything()
    layer = result(bench)
    bench.session.undo()
    assert layer not in bench.viewer.layers
    assert not bench.session.auto.state.active
    bench.session.redo()
    assert layer in bench.viewer.layers
    bench.session.auto.set_params({"predicted_iou": 0.75})
    assert np.unique(layer.data).tolist() == [0, 1, 2]
    bench.session.undo()
    assert layer not in bench.viewer.layers


def test_undo_spares_a_layer_that_somebody_worked_on(bench: Bench) -> None:
    open_image(bench)
    bench.session.segment_everything()
    layer = result(bench)
    layer.data_setitem((np.array([0]), np.array([0])), 7)
    before = layer.data.copy()
    bench.session.undo()
    assert layer in bench.viewer.layers
    np.testing.assert_array_equal(layer.data, before)


def test_an_undo_that_is_refused_keeps_what_is_known_of_the_objects(bench: Bench) -> None:
    open_image(bench)
    bench.session.segment_everything()
    layer = result(bench)
    book, token = bench.session.book, bench.session.layer_token(layer)
    records = book.records(token)
    layer.data_setitem((np.array([0]), np.array([0])), 7)
    bench.session.undo()
    assert "was edited since" in bench.messages[-1]
    assert book.records(token) == records
    bench.session.redo()
    assert book.records(token) == records
    layer.undo()
    bench.session.undo()
    assert layer not in bench.viewer.layers
    assert book.records(token) == ()
    bench.session.redo()
    assert book.labels(token) == (1, 2, 3)


def test_undo_after_the_result_was_deleted_keeps_its_records_with_it(bench: Bench) -> None:
    open_image(bench)
    bench.session.segment_everything()
    layer = result(bench)
    book, token = bench.session.book, bench.session.layer_token(layer)
    bench.viewer.layers.remove(layer)
    bench.session.undo()
    assert "is gone already" in bench.messages[-1]
    bench.viewer.add_layer(layer)
    assert book.labels(token) == (1, 2, 3)


def test_undo_takes_the_layer_away_once_all_edits_of_it_are_undone(bench: Bench) -> None:
    open_image(bench)
    bench.session.segment_everything()
    layer = result(bench)
    bench.session.editing.delete(bench.session.layer_token(layer), (None, None), [1])
    bench.session.undo()
    assert layer in bench.viewer.layers
    bench.session.undo()
    assert layer not in bench.viewer.layers
    bench.session.redo()
    bench.session.redo()
    assert layer in bench.viewer.layers
    assert not (layer.data == 1).any()


@pytest.mark.parametrize("how", ["paint", "delete"])
def test_thresholds_rest_when_the_layer_is_edited_or_deleted(bench: Bench, how: str) -> None:
    open_image(bench)
    bench.session.segment_everything()
    layer = result(bench)
    if how == "paint":
        layer.data_setitem((np.array([0]), np.array([0])), 7)
    else:
        bench.viewer.layers.remove(layer)
    state = bench.session.auto.state
    assert not state.active
    assert "'cells objects' was" in state.note
    before = layer.data.copy()
    bench.session.auto.set_params({"predicted_iou": 0.0})
    np.testing.assert_array_equal(layer.data, before)
    bench.session.segment_everything()
    assert bench.session.auto.state.active


@pytest.mark.parametrize("gaps", [False, True], ids=["new-layer", "gaps"])
def test_marks_of_the_review_stay_with_their_objects(bench: Bench, gaps: bool) -> None:
    open_image(bench)
    layer = add_target(bench) if gaps else None
    bench.session.segment_everything()
    layer = layer or result(bench)
    small, large = int(layer.data[2, 2]), int(layer.data[33, 33])
    write_marks(layer, [large], True)
    layer.features["colour"] = ["red" if i == large else "blue" for i in layer.features["index"]]

    def marked() -> list[tuple[int, int]]:
        return [tuple(np.argwhere(layer.data == label)[0].tolist()) for label in read_marks(layer)]

    bench.session.undo()
    bench.session.redo()
    assert marked() == [(30, 30)]
    bench.session.auto.set_params({"min_area": 40})  # the first object goes, and the last takes its number
    assert layer.data[33, 33] == small
    assert marked() == [(30, 30)]
    bench.session.auto.set_params({"predicted_iou": 0.75})
    assert read_marks(layer) == frozenset()
    bench.session.auto.reset()
    assert marked() == [(30, 30)]
    assert layer.features["reviewed"].dtype == bool
    colours = dict(zip(layer.features["index"], layer.features["colour"], strict=True))
    assert colours[layer.data[33, 33]] == "red"
    write_marks(layer, [int(layer.data[33, 33])], False)
    bench.session.auto.set_params({"predicted_iou": 0.0})
    assert read_marks(layer) == frozenset()


@pytest.mark.parametrize("gaps", [False, True], ids=["new-layer", "gaps"])
def test_what_is_drawn_is_told_part_by_part(bench: Bench, gaps: bool) -> None:
    open_image(bench, 3, *SIZE, lazy=True)
    if gaps:
        add_target(bench, np.int32, 3, *SIZE)
    bench.viewer.dims.set_point(0, 1)
    drawn: list[Any] = []
    bench.controller.objects.drawn.connect(lambda layer, planes: drawn.append((layer.name, planes)))
    bench.session.segment_everything()
    bench.runner.run(4)
    assert drawn == ([] if gaps else [("cells objects", {(1,)})] * 2), "a sketch is not worth keeping"
    bench.runner.run()
    count = len(drawn)
    bench.session.auto.set_params({"predicted_iou": 0.75})
    assert len(drawn) == count + (not gaps)


# ------------------------------------------------------------------ what users do before it is measured
def find_lazily(bench: Bench, layer: Any = None) -> Any:
    """The layer of a result that is drawn and waits for being measured."""
    bench.session.segment_everything()
    while bench.session.auto.is_running:
        bench.runner.run(1)
    return layer or result(bench)


def known(bench: Bench, layer: Any) -> dict[int, float]:
    """The scores of a layer's objects, as their records say."""
    records = bench.session.book.records(bench.session.layer_token(layer))
    return {record.label: round(record.predicted_iou, 2) for record in records}


@pytest.mark.parametrize("gaps", [False, True], ids=["new-layer", "gaps"])
@pytest.mark.parametrize("how", ["paint", "another-plane", "the-same-again", "cancel", "delete-layer"])
def test_a_result_is_measured_whatever_happens_to_it_at_once(bench: Bench, gaps: bool, how: str) -> None:
    open_image(bench, 2, *SIZE, lazy=True)
    layer = add_target(bench, np.int32, 2, *SIZE) if gaps else None
    bench.viewer.dims.set_point(0, 0)
    if how == "the-same-again":  # found before, so that it comes at once and is measured at once
        bench.session.segment_everything()
        bench.runner.run()
        bench.session.undo()
    layer = find_lazily(bench, layer)
    first = 10 if gaps else 1
    if how == "paint":
        layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 99)
    elif how == "another-plane":
        bench.viewer.dims.set_point(0, 1)
        bench.session.segment_everything()
    elif how == "the-same-again":
        bench.controller.objects.fill_gaps = False
        bench.session.segment_everything()
    elif how == "cancel":
        bench.session.cancel()
    else:
        bench.viewer.layers.remove(layer)
    bench.runner.run()
    assert {first: 0.9, first + 1: 0.8, first + 2: 0.7}.items() <= known(bench, layer).items()
    assert {first, first + 1, first + 2} <= set(layer.features["index"])


@pytest.mark.parametrize("gaps", [False, True], ids=["new-layer", "gaps"])
def test_objects_that_thresholds_took_just_before_an_edit_leave_no_records(bench: Bench, gaps: bool) -> None:
    open_image(bench)
    layer = add_target(bench) if gaps else None
    bench.session.segment_everything()
    layer = layer or result(bench)
    write_marks(layer, [int(layer.data[33, 33])], True)
    bench.session.auto.set_params({"min_area": 40}, settle=False)  # the first goes, the last takes its number
    small = int(layer.data[33, 33])
    bench.session.set_prompts(Prompts(points=[(25, 10)], labels=[1]))
    bench.controller.target_layer = layer
    bench.session.accept()
    assert known(bench, layer) == {small: 0.7, small + 1: 0.8, int(layer.data[25, 10]): 0.9}
    assert layer.features["index"].tolist() == [small, small + 1]
    assert read_marks(layer) == {small}
    np.testing.assert_allclose(layer.features["predicted_iou"], [0.7, 0.8])


def test_what_is_erased_before_it_is_measured_gets_no_record(bench: Bench) -> None:
    open_image(bench, lazy=True)
    layer = find_lazily(bench)
    layer.data_setitem(np.nonzero(layer.data == 2), 0)
    bench.runner.run()
    assert known(bench, layer) == {1: 0.9, 3: 0.7}
    assert layer.features["index"].tolist() == [1, 3]


def test_a_result_that_is_taken_back_before_it_is_measured_has_its_records_after_redo(bench: Bench) -> None:
    open_image(bench, lazy=True)
    layer = find_lazily(bench)
    bench.session.undo()
    bench.runner.run()
    assert known(bench, layer) == {}
    bench.session.redo()
    bench.runner.run()
    assert known(bench, layer) == {1: 0.9, 2: 0.8, 3: 0.7}


# ------------------------------------------------------------------ what users do meanwhile
def test_deleting_the_result_while_it_grows_ends_the_run(bench: Bench) -> None:
    open_image(bench, lazy=True)
    bench.session.segment_everything()
    bench.runner.run(4)
    bench.viewer.layers.remove(result(bench))
    bench.runner.run()
    assert "cells objects" not in bench.viewer.layers
    assert not bench.session.is_segmenting
    assert bench.messages == []


def test_painting_into_the_result_while_it_grows_is_kept(bench: Bench) -> None:
    open_image(bench, lazy=True)
    bench.session.segment_everything()
    bench.runner.run(4)
    painted = result(bench)
    painted.data_setitem((np.array([0]), np.array([0])), 77)
    bench.runner.run()
    assert painted.data[0, 0] == 77
    assert np.unique(bench.viewer.layers["cells objects [1]"].data).tolist() == [0, 1, 2, 3]


def test_another_slice_image_or_model_while_it_runs(bench: Bench) -> None:
    open_image(bench, 3, *SIZE, lazy=True)
    bench.session.segment_everything()
    bench.runner.run(4)
    bench.viewer.dims.set_point(0, 2)
    bench.session.set_model(type(bench.session.model)("vit_t"))
    bench.runner.run()
    assert [int(plane.max()) for plane in result(bench).data].count(3) == 1
    assert bench.messages == []


def test_removing_the_image_while_it_runs_keeps_what_is_there(bench: Bench) -> None:
    image = open_image(bench, lazy=True)
    bench.session.segment_everything()
    bench.runner.run(4)
    bench.viewer.layers.remove(image)
    bench.runner.run()
    assert np.unique(result(bench).data).tolist() == [0, 1, 2]
    assert bench.messages == []


@pytest.mark.parametrize("gaps", [False, True], ids=["new-layer", "gaps"])
@pytest.mark.parametrize("undone", [False, True], ids=["there", "undone"])
def test_images_that_were_closed_are_let_go_of(bench: Bench, gaps: bool, undone: bool) -> None:
    image = open_image(bench)
    held = []
    for _ in range(3):
        held.append(weakref.ref(image.data))
        if gaps:
            add_target(bench)
        bench.session.segment_everything()
        if undone:
            bench.session.undo()
        bench.viewer.layers.remove(image)
        image = bench.viewer.add_image(np.zeros(SIZE, np.uint8), name="cells")
        bench.controller.image_layer = image
        bench.session.segment_everything()
    gc.collect()
    assert [data() is None for data in held] == [True, True, True]


@pytest.mark.parametrize("steps", [1, 3], ids=["before-its-first-part", "after-it"])
@pytest.mark.parametrize("cancelled", [False, True], ids=["to-its-end", "cancelled"])
def test_a_run_that_ends_after_another_image_was_chosen_holds_nothing(
    bench: Bench, steps: int, cancelled: bool
) -> None:
    image = open_image(bench, lazy=True)
    held = weakref.ref(image.data)
    bench.session.segment_everything()
    bench.runner.run(steps)
    bench.controller.image_layer = bench.viewer.add_image(np.ones(SIZE, np.uint8), name="next")
    if cancelled:
        bench.session.cancel()
    bench.runner.run()
    bench.viewer.layers.remove(image)
    bench.points.add([[20, 20]])
    bench.runner.run()
    bench.engine.images.clear()
    del image
    gc.collect()
    assert held() is None
    assert len(bench.session.auto._cache) == 0


@pytest.mark.parametrize("gaps", [False, True], ids=["new-layer", "gaps"])
def test_results_that_were_closed_with_their_image_are_let_go_of(bench: Bench, gaps: bool) -> None:
    image = open_image(bench)
    if gaps:
        add_target(bench)
    bench.session.segment_everything()
    layer = bench.viewer.layers["mine" if gaps else "cells objects"]
    held = weakref.ref(layer.data)
    for closed in (image, layer):
        bench.viewer.layers.remove(closed)
    del layer, closed
    bench.viewer.add_image(np.zeros(SIZE, np.uint8), name="next")
    gc.collect()
    assert held() is None
    assert not bench.session.history.can_undo


def test_results_that_were_taken_back_stay_for_redo_when_the_image_changes(bench: Bench) -> None:
    image = open_image(bench)
    bench.session.segment_everything()
    bench.session.undo()
    bench.viewer.layers.remove(image)
    bench.viewer.add_image(np.zeros(SIZE, np.uint8), name="next")
    bench.session.redo()
    assert np.unique(result(bench).data).tolist() == [0, 1, 2, 3]


# ------------------------------------------------------------------ gaps
def test_gaps_are_filled_and_objects_stay(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench)
    before = target.data.copy()
    bench.session.segment_everything()
    assert (target.data[before != 0] == before[before != 0]).all()
    assert np.unique(target.data).tolist() == [0, 5, 9, 10, 11, 12]
    assert target.data[2, 2] == 10
    assert (target.data[14:20, 12:20] == 11).all()
    assert target.features["index"].tolist() == [10, 11, 12]
    assert target.features["area"].tolist() == [36, 48, 64]
    assert [layer.name for layer in bench.viewer.layers if isinstance(layer, Labels)] == [
        "SAM preview",
        "mine",
    ]


def test_thresholds_change_the_fill_and_leave_one_native_undo_item(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench)
    before = target.data.copy()
    bench.session.segment_everything()
    for value in (0.75, 0.0, 0.85, 0.75):
        bench.session.auto.set_params({"predicted_iou": value})
    assert np.unique(target.data).tolist() == [0, 5, 9, 10, 11]
    assert target.features["index"].tolist() == [10, 11]
    target.undo()
    np.testing.assert_array_equal(target.data, before)
    target.redo()
    assert np.unique(target.data).tolist() == [0, 5, 9, 10, 11]


def test_fragments_are_left_out_and_told(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench)
    target.data[12:17, 12:20] = 5
    bench.session.segment_everything()
    assert np.unique(target.data).tolist() == [0, 5, 9, 10, 11]
    assert bench.session.auto.state.note == "2 of 3 objects (1 have no room)"


def test_undo_of_a_fill_is_one_step_and_redo_brings_it(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench)
    before = target.data.copy()
    bench.session.segment_everything()
    filled = target.data.copy()
    bench.session.undo()
    np.testing.assert_array_equal(target.data, before)
    assert len(target.features) == 0
    bench.session.redo()
    np.testing.assert_array_equal(target.data, filled)
    assert bench.session.auto.state.active


def test_undo_of_a_fill_spares_what_was_painted_since(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench)
    before = target.data.copy()
    bench.session.segment_everything()
    target.data_setitem((np.array([39]), np.array([0])), 77)
    assert not bench.session.auto.state.active
    bench.session.undo()
    before[39, 0] = 77
    np.testing.assert_array_equal(target.data, before)
    target.undo()
    assert np.unique(target.data).tolist() == [0, 5, 9, 10, 11, 12, 77]


def test_ctrl_z_on_the_target_ends_the_thresholds(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench)
    target.data_setitem((np.array([39]), np.array([0])), 8)
    bench.session.segment_everything()
    target.undo()  # napari's own; no event tells of it
    before = target.data.copy()
    bench.session.auto.set_params({"predicted_iou": 0.0})
    np.testing.assert_array_equal(target.data, before)
    assert not bench.session.auto.state.active
    assert "one that was edited since" in bench.messages[-1]


def test_an_accepted_object_ends_the_thresholds(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench)
    bench.session.segment_everything()
    bench.points.add((25, 5))
    bench.session.accept()
    assert target.data[25, 5] == 13
    assert not bench.session.auto.state.active


def test_a_target_without_enough_ids_is_copied_to_a_larger_type(bench: Bench) -> None:
    open_image(bench)
    target = add_target(bench, np.uint8)
    target.data[0, 49] = 253
    before = target.data.copy()
    bench.session.segment_everything()
    wide = bench.controller.target_layer
    np.testing.assert_array_equal(target.data, before)
    assert wide is not target
    assert wide.data.dtype == np.int32
    assert np.unique(wide.data).tolist() == [0, 5, 253, 254, 255, 256]
    bench.session.auto.set_params({"predicted_iou": 0.75})
    assert np.unique(wide.data).tolist() == [0, 5, 253, 254, 255]
    bench.session.undo()
    assert bench.controller.target_layer is target
    assert wide not in bench.viewer.layers
    bench.session.redo()
    assert bench.controller.target_layer is wide
    assert bench.messages == []


@pytest.mark.parametrize("between", [True, False], ids=["after-another-plane", "at-once"])
def test_undo_of_a_fill_spares_what_was_painted_since_into_a_copy_of_a_larger_type(
    bench: Bench, between: bool
) -> None:
    open_image(bench, 2, *SIZE)
    bench.viewer.dims.set_point(0, 0)
    target = add_target(bench, np.uint8, 2, *SIZE)
    target.data[:, 0, 49] = 255
    before = target.data.copy()
    bench.session.segment_everything()
    wide = bench.controller.target_layer
    bench.controller.objects.fill_gaps = False
    if between:  # the copy is listened to no more
        bench.viewer.dims.set_point(0, 1)
        bench.session.segment_everything()
    painted = np.array([1, 1]), np.array([20, 21]), np.array([3, 3])
    wide.data_setitem(painted, 777)
    for _ in range(1 + between):
        bench.session.undo()
    assert wide in bench.viewer.layers
    assert bench.controller.target_layer is wide
    before = before.astype(np.int32)
    before[painted] = 777
    np.testing.assert_array_equal(wide.data, before)
    bench.session.redo()
    assert np.unique(wide.data).tolist() == [0, 5, 255, 256, 257, 258, 777]
    bench.session.undo()
    wide.data_setitem(painted, 0)
    bench.session.redo()
    bench.session.undo()
    assert wide not in bench.viewer.layers
    assert bench.controller.target_layer is target


def test_the_plane_of_a_stack_is_filled(bench: Bench) -> None:
    open_image(bench, 3, *SIZE)
    bench.viewer.dims.set_point(0, 1)
    target = add_target(bench, np.int32, 3, *SIZE)
    bench.session.segment_everything()
    assert [int(plane.max()) for plane in target.data] == [9, 12, 9]
    bench.session.undo()
    assert [int(plane.max()) for plane in target.data] == [9, 9, 9]


def test_a_target_that_cannot_be_written_is_refused_before_anything_is_computed(bench: Bench) -> None:
    open_image(bench)
    bench.controller.target_layer = bench.viewer.add_labels(np.zeros((3, 3), int), name="small")
    bench.controller.objects.fill_gaps = True
    bench.session.segment_everything()
    assert "Expected a Labels layer of the image's shape" in bench.messages[0]
    assert bench.engine.searched == []


def test_without_a_target_gaps_are_a_new_layer(bench: Bench) -> None:
    open_image(bench)
    bench.controller.objects.fill_gaps = True
    bench.session.segment_everything()
    assert np.unique(result(bench).data).tolist() == [0, 1, 2, 3]


def test_parts_of_gaps_are_sketched_and_the_target_is_written_once(bench: Bench) -> None:
    open_image(bench, lazy=True)
    target = add_target(bench)
    before = target.data.copy()
    bench.session.segment_everything()
    bench.runner.run(4)
    np.testing.assert_array_equal(target.data, before)
    assert np.unique(bench.viewer.layers["mine gaps"].data).tolist() == [0, 1, 2]
    bench.runner.run()
    assert "mine gaps" not in bench.viewer.layers
    assert int(target.data.max()) == 12


def test_deleting_the_target_while_it_runs_ends_the_run(bench: Bench) -> None:
    open_image(bench, lazy=True)
    target = add_target(bench)
    bench.session.segment_everything()
    bench.runner.run(4)
    bench.viewer.layers.remove(target)
    bench.runner.run()
    assert not bench.session.is_segmenting
    assert "mine gaps" not in bench.viewer.layers
    assert bench.messages == []


def test_a_region_of_a_shapes_layer_restricts_the_work(bench: Bench) -> None:
    open_image(bench)
    shapes = bench.viewer.add_shapes([[(0, 0), (0, 25), (25, 25), (25, 0)]], shape_type="polygon")
    bench.session.segment_everything(region=bench.controller.read_region(shapes))
    assert np.unique(result(bench).data).tolist() == [0, 1, 2]
    assert bench.controller.read_region(None) is None
    assert list(bench.controller.regions()) == [result(bench), shapes]


# ------------------------------------------------------------------ the table
def test_rows_of_others_stay() -> None:
    layer = Labels(np.zeros((4, 4), int), features={"index": [3, 4], "grade": ["a", "b"], "area": [1, 2]})
    put_rows(layer, {"index": np.array([4, 7]), "area": np.array([20, 30]), "score": np.array([0.5, 0.6])})
    table = layer.features
    assert table["index"].tolist() == [3, 4, 7]
    assert table["grade"].isna().tolist() == [False, True, True]
    assert table["area"].tolist() == [1, 20, 30]
    np.testing.assert_array_equal(table["score"], [np.nan, 0.5, 0.6])
    put_rows(layer, {}, gone=[4, 7])
    assert layer.features["index"].tolist() == [3]
    assert layer.features["grade"].tolist() == ["a"]


def test_rows_without_an_index_are_those_of_the_labels_0_1_2() -> None:
    layer = Labels(np.zeros((4, 4), int), features={"grade": ["none", "a", "b"]})
    put_rows(layer, {"index": np.array([5])})
    assert layer.features["index"].tolist() == [0, 1, 2, 5]
    assert layer.features["grade"].tolist()[:3] == ["none", "a", "b"]
    assert layer.features["grade"].isna().tolist() == [False, False, False, True]
