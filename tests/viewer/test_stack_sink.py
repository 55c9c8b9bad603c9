"""The objects of a whole stack in the viewer: planes as they come, final ids, tracks, undo, users' edits."""

from __future__ import annotations

import gc
import json
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Labels, Tracks

from napari_sam.errors import ImageError
from napari_sam.viewer.stack_sink import StackSink
from napari_sam.viewer.unsaved_work import UnsavedWork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench


@pytest.fixture
def sink(bench: Bench) -> Iterator[StackSink]:
    sink = StackSink(bench.controller, bench.session.stacks)
    yield sink
    sink.close()


def movie(frames: int = 5) -> Any:
    """Two squares that move by a pixel a frame, and one that comes in the third frame."""
    image = np.zeros((frames, 40, 50), np.uint8)
    for t in range(frames):
        image[t, 5:15, 5 + t : 15 + t] = 200
        image[t, 25:35, 20 + t : 30 + t] = 200
        if t >= 2:
            image[t, 3:9, 38:46] = 200
    return image


def labels_of(bench: Bench) -> Any:
    return bench.viewer.layers["movie objects"]


def begin(bench: Bench, steps: int, axis: Any = "z") -> None:
    """Start, and run until ``steps`` steps of the job are done."""
    bench.runner._automatic = False
    bench.session.segment_stack(axis)
    while not any(step.startswith("plane") for step in bench.engine.log):
        bench.runner.run(1)
    for _ in range(steps - 1):
        bench.runner.run(1)


def test_every_object_keeps_its_id_and_has_records(bench: Bench, sink: StackSink) -> None:
    image = bench.open(movie(), name="movie", scale=(2, 0.5, 0.5))
    bench.session.segment_stack("z")
    layer = labels_of(bench)
    assert isinstance(layer, Labels)
    assert (layer.scale == image.scale).all()
    assert ((layer.data > 0) == (movie() > 100)).all()
    assert [np.unique(plane).tolist() for plane in layer.data] == [[0, 1, 2]] * 2 + [[0, 1, 2, 3]] * 3
    assert bench.status[-1] == "3 objects in 5 planes."
    token = bench.session.layer_token(layer)
    assert bench.session.book.labels(token) == (1, 2, 3)
    records = bench.session.book.get(token, 3)
    assert [record.plane for record in records] == [(k, None, None) for k in (2, 3, 4)]
    assert {(r.source, r.model, r.area, r.predicted_iou) for r in records} == {
        ("automatic", "nuclei", 48, 0.75)
    }
    assert records[0].params["linked"] == "z"


def test_records_of_a_stack_say_what_those_of_a_plane_say(bench: Bench, sink: StackSink) -> None:
    """In JSON that any program reads: it knows no infinity."""
    bench.open(movie(), name="movie")
    bench.session.segment_everything()
    (plane,) = bench.session.book.get(bench.session.layer_token(labels_of(bench)), 1)
    bench.session.segment_stack("z")
    linked = bench.viewer.layers["movie objects [1]"]
    stack = bench.session.book.get(bench.session.layer_token(linked), 1)[0]
    json.dumps(stack.to_json(), allow_nan=False)
    assert stack.params["filter"].keys() == plane.params["filter"].keys()
    assert stack.params.keys() - plane.params.keys() == {"linked"}


def test_a_series_gets_tracks_that_lie_on_the_objects(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie", scale=(2, 0.5, 0.5))
    bench.session.segment_stack("t")
    tracks = bench.viewer.layers["movie tracks"]
    assert isinstance(tracks, Tracks)
    assert (tracks.scale == (2, 0.5, 0.5)).all()
    assert tracks.data[:2].tolist() == [[1, 0, 9.5, 9.5], [1, 1, 9.5, 10.5]]
    for number, frame, row, col in tracks.data:
        assert labels_of(bench).data[int(frame), round(row), round(col)] == number


def test_divisions_are_in_the_graph(bench: Bench, sink: StackSink) -> None:
    image = np.zeros((4, 40, 50), np.uint8)
    image[:2, 10:22, 10:22] = 200
    image[2:, 12:20, 5:14] = image[2:, 12:20, 18:27] = 200
    bench.open(image, name="movie")
    bench.session.segment_stack("t")
    assert bench.viewer.layers["movie tracks"].graph == {2: [1], 3: [1]}
    assert bench.status[-1] == "3 objects in 4 planes, 1 divided."
    token = bench.session.layer_token(labels_of(bench))
    assert bench.session.book.get(token, 2)[0].params["parents"] == [1]


def test_planes_appear_as_they_come(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    begin(bench, 3)
    assert [bool(plane.any()) for plane in labels_of(bench).data] == [True] * 3 + [False] * 2
    bench.runner.run()
    assert labels_of(bench).data.any(axis=(1, 2)).all()
    assert sum(isinstance(layer, Labels) for layer in bench.viewer.layers) == 2  # and the preview


def test_cancel_keeps_what_is_finished_as_one_step(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    begin(bench, 2)
    bench.session.cancel()
    bench.runner.run()
    assert [bool(plane.any()) for plane in labels_of(bench).data] == [True] * 2 + [False] * 3
    assert bench.status[-1] == "Cancelled; 2 planes that were finished are kept."
    book = bench.session.book
    records = book.get(bench.session.layer_token(labels_of(bench)), 1)
    assert [(r.plane, r.source, r.area) for r in records] == [
        ((k, None, None), "automatic", 100) for k in (0, 1)
    ]
    bench.session.undo()
    assert "movie objects" not in bench.viewer.layers


def test_closing_keeps_what_is_finished_with_its_records(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    begin(bench, 2)
    sink.close()
    bench.runner.run()
    assert labels_of(bench).data.any(axis=(1, 2)).tolist() == [True] * 2 + [False] * 3
    records = bench.session.book.get(bench.session.layer_token(labels_of(bench)), 1)
    assert [record.plane[0] for record in records] == [0, 1]
    assert not bench.session.is_segmenting


def test_what_is_drawn_is_told_plane_by_plane(bench: Bench, sink: StackSink) -> None:
    drawn: list[Any] = []
    sink.drawn.connect(lambda layer, planes: drawn.append((layer.name, planes)))
    bench.open(movie(), name="movie")
    begin(bench, 2)
    assert drawn == [("movie objects", {(0,)}), ("movie objects", {(1,)})]
    bench.runner.run()
    assert drawn[-1] == ("movie objects", None)  # ids are others now, in any plane


@pytest.fixture
def work(bench: Bench, sink: StackSink) -> Iterator[UnsavedWork]:
    """Told by whatever draws, as in the dock."""
    work = UnsavedWork(bench.controller)
    work.enable()
    for drawing in (sink, bench.controller.objects):
        drawing.drawn.connect(work.mark_unsaved)
    yield work
    work.close()


def planes_to_save(work: UnsavedWork) -> Any:
    (layer,) = work.take().layers
    return layer.planes


def test_only_the_plane_that_was_drawn_is_saved_again(bench: Bench, work: UnsavedWork) -> None:
    bench.open(movie(), name="movie")
    begin(bench, 1)
    assert planes_to_save(work) is None  # the layer is new
    bench.runner.run(1)
    assert planes_to_save(work) == {(1,)}
    bench.runner.run(1)
    assert planes_to_save(work) == {(2,)}
    labels_of(bench).refresh()  # by whoever
    assert planes_to_save(work) is None


def test_only_the_plane_whose_threshold_was_moved_is_saved_again(bench: Bench, work: UnsavedWork) -> None:
    bench.open(movie(), name="movie")
    bench.viewer.dims.set_point(0, 2)
    bench.session.segment_everything()
    assert planes_to_save(work) is None  # the layer is new
    bench.session.auto.set_params({"min_area": 60})
    assert planes_to_save(work) == {(2,)}


def test_an_error_keeps_what_is_finished_and_is_told(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.engine.segment_error = ImageError("Plane 2 could not be read.")
    bench.session.segment_stack("z")
    assert labels_of(bench).data.any(axis=(1, 2)).tolist() == [True, True, False, False, False]
    assert "Plane 2 could not be read." in bench.messages
    assert not bench.session.is_segmenting


def test_undo_takes_layers_and_records_and_redo_brings_them(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.session.segment_stack("t")
    layer = labels_of(bench)
    token, drawn = bench.session.layer_token(layer), layer.data.copy()
    bench.session.undo()
    assert {"movie objects", "movie tracks"}.isdisjoint(layer.name for layer in bench.viewer.layers)
    assert bench.session.book.labels(token) == ()
    bench.session.redo()
    assert labels_of(bench) is layer
    assert "movie tracks" in bench.viewer.layers
    assert (layer.data == drawn).all()
    assert bench.session.book.labels(bench.session.layer_token(layer)) == (1, 2, 3)


def test_what_was_painted_meanwhile_stays_and_the_result_has_its_own_layer(
    bench: Bench, sink: StackSink
) -> None:
    bench.open(movie(), name="movie")
    begin(bench, 3)
    first = labels_of(bench)
    first.data_setitem((np.array([0]), np.array([0]), np.array([0])), 9)
    bench.runner.run()
    assert first.data[0, 0, 0] == 9
    second = bench.viewer.layers["movie objects [1]"]
    assert second.data[0, 0, 0] == 0
    assert second.data.any(axis=(1, 2)).all()
    first.undo()
    assert first.data[0, 0, 0] == 0


def test_what_was_painted_on_planes_that_are_yet_to_come_stays(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    begin(bench, 2)
    first = labels_of(bench)
    first.data_setitem((np.full(3, 4), np.array([0, 30, 31]), np.array([0, 30, 30])), 99)
    bench.runner.run(1)
    second = bench.viewer.layers["movie objects [1]"]
    assert first.data.any(axis=(1, 2)).tolist() == [True, True, False, False, True]
    assert second.data.any(axis=(1, 2)).tolist() == [True, True, True, False, False]
    bench.session.cancel()
    bench.runner.run()
    assert bench.status[-1] == "Cancelled; 3 planes that were finished are kept."
    assert bench.session.book.labels(bench.session.layer_token(second)) == (1, 2, 3)
    bench.session.undo()
    assert second not in bench.viewer.layers
    assert np.count_nonzero(first.data == 99) == 3


def test_undo_leaves_labels_that_were_edited(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.session.segment_stack("z")
    labels_of(bench).data_setitem((np.array([0]), np.array([0]), np.array([0])), 9)
    bench.session.undo()
    assert labels_of(bench).data[0, 0, 0] == 9
    assert "was edited since" in bench.messages[-1]


def test_undo_takes_labels_whose_edits_were_undone(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.session.segment_stack("z")
    layer = labels_of(bench)
    token = bench.session.layer_token(layer)
    bench.session.editing.delete(token, (0, None, None), [1], everywhere=True)
    assert bench.session.book.labels(token) == (2, 3)
    bench.session.undo()
    bench.session.undo()
    assert "movie objects" not in bench.viewer.layers
    bench.session.redo()
    bench.session.redo()
    assert np.unique(layer.data).tolist() == [0, 2, 3]


def test_results_that_were_deleted_are_let_go_of(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.session.segment_stack("t")
    names = ("movie objects", "movie tracks")
    layers = [weakref.ref(bench.viewer.layers[name]) for name in names]
    array = weakref.ref(labels_of(bench).data)
    for name in names:
        bench.viewer.layers.remove(name)
    gc.collect()
    assert [ref() for ref in (*layers, array)] == [None] * 3
    bench.session.undo()
    assert bench.messages[-1] == "'movie objects' is gone already."


def test_undo_takes_what_is_left_of_a_result(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.session.segment_stack("t")
    bench.viewer.layers.remove("movie tracks")
    bench.session.undo()
    assert "movie objects" not in bench.viewer.layers
    bench.session.redo()
    assert "movie objects" in bench.viewer.layers


def test_a_result_that_was_put_back_can_be_taken_back(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.session.segment_stack("z")
    layer = labels_of(bench)
    bench.viewer.layers.remove(layer)
    bench.viewer.add_layer(layer)
    bench.session.undo()
    assert layer not in bench.viewer.layers
    bench.session.redo()
    assert layer in bench.viewer.layers


def test_deleting_the_layer_ends_the_job(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(20), name="movie")
    begin(bench, 3)
    bench.viewer.layers.remove(labels_of(bench))
    bench.runner.run()
    assert bench.engine.log.count("plane 19") == 0
    assert "movie objects" not in bench.viewer.layers
    assert not bench.session.is_segmenting


def test_removing_the_image_ends_the_job(bench: Bench, sink: StackSink) -> None:
    image = bench.open(movie(20), name="movie")
    begin(bench, 3)
    bench.viewer.layers.remove(image)
    bench.runner.run()
    assert bench.engine.log.count("plane 19") == 0
    assert not bench.session.is_segmenting
    assert "Stopped; 3 planes that were finished are kept." in bench.status


def test_choosing_another_image_keeps_what_is_finished_as_one_step(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(20), name="movie")
    other = bench.viewer.add_image(movie(20), name="other channel")
    begin(bench, 3)
    bench.controller.image_layer = other
    bench.runner.run()
    assert bench.engine.log.count("plane 19") == 0
    assert labels_of(bench).data.any(axis=(1, 2)).tolist() == [True] * 3 + [False] * 17
    assert "Stopped; 3 planes that were finished are kept." in bench.status
    token = bench.session.layer_token(labels_of(bench))
    assert [record.plane[0] for record in bench.session.book.get(token, 1)] == [0, 1, 2]
    bench.session.undo()
    assert "movie objects" not in bench.viewer.layers


def test_nothing_found_leaves_no_layer(bench: Bench, sink: StackSink) -> None:
    bench.open(np.zeros((3, 40, 50), np.uint8), name="movie")
    bench.session.segment_stack("z")
    assert "movie objects" not in bench.viewer.layers
    assert any("in the planes of 'movie'. Set the object size" in message for message in bench.messages)
    assert not bench.session.history.can_undo


def test_other_axes_stay_where_they_are(bench: Bench, sink: StackSink) -> None:
    """Of (T, Z, Y, X) the volume of the time that is shown, or the frames of the section that is."""
    image = np.zeros((4, 5, 40, 50), np.uint8)
    image[1] = movie(5)
    image[:, 2] = movie(4)
    bench.open(image, name="movie")
    bench.viewer.dims.set_current_step((0, 1), (1, 2))
    bench.session.segment_stack("z")
    data = labels_of(bench).data
    assert data.shape == image.shape
    assert data[1].any(axis=(1, 2)).all()
    assert not data[[0, 2, 3]].any()
    bench.session.segment_stack("t")
    data = bench.viewer.layers["movie objects [1]"].data
    assert data[:, 2].any(axis=(1, 2)).all()
    assert not data[:, [0, 1, 3, 4]].any()
    assert set(bench.viewer.layers["movie tracks"].data[:, 2].tolist()) == {2.0}


def test_another_order_of_the_axes(bench: Bench, sink: StackSink) -> None:
    """The view shows z and x; the planes follow each other along y."""
    bench.open(np.moveaxis(movie(), 0, 1), name="movie")
    bench.viewer.dims.order = (1, 0, 2)
    bench.session.segment_stack("z")
    assert (np.moveaxis(labels_of(bench).data, 1, 0) > 0).tolist() == (movie() > 100).tolist()


def test_thresholds_that_the_user_has_set_hold_for_stacks(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    bench.session.segment_everything()
    bench.session.auto.set_params({"min_area": 60})
    bench.session.segment_stack("z")
    assert bench.status[-1] == "2 objects in 5 planes."


def test_a_plane_alone_is_no_stack(bench: Bench, sink: StackSink) -> None:
    bench.open(np.zeros((40, 50), np.uint8), name="plane")
    bench.session.segment_stack("z")
    assert "Expected a stack, got 'plane' without further planes" in bench.messages[-1]


def test_one_at_a_time(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(), name="movie")
    begin(bench, 1)
    bench.session.segment_stack("z")
    bench.session.segment_everything()
    assert bench.messages == ["Segmentation is running already: cancel it first."] * 2


def test_a_click_goes_before_the_rest_of_a_stack(bench: Bench, sink: StackSink) -> None:
    bench.open(movie(8), name="movie")
    begin(bench, 2)
    bench.points.add((bench.session.plane.index[0], 30, 30))
    bench.runner.run(3)
    assert bench.session.preview is not None
    assert bench.runner.is_busy
