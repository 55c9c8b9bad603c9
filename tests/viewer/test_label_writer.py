from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_sam.errors import ImageError, PromptError
from napari_sam.session.accepting import Accepting, AcceptRule
from napari_sam.session.edits import Edits
from napari_sam.session.history import History
from napari_sam.session.prompt_state import PromptState
from napari_sam.session.provenance import ObjectBook
from napari_sam.session.requests import Plane
from napari_sam.types import ObjectMask, Prompts
from napari_sam.viewer import label_ids
from napari_sam.viewer.label_surfaces import LabelSurfaces
from napari_sam.viewer.label_writer import LabelWriter, make_labels
from napari_sam.viewer.large_labels import LargeLabels

SHAPE = (10, 12)


def plane(*index: int | None) -> Plane:
    return Plane("s", index or (None, None), SHAPE, lambda: np.zeros(SHAPE))


def square(r: int, c: int, size: int = 3) -> ObjectMask:
    return ObjectMask(np.ones((size, size), bool), (r, c))


class Desk:
    """A viewer with one Labels layer or more, and what writes into them."""

    def __init__(self, *layers: Labels) -> None:
        self.viewer = ViewerModel()
        for layer in layers:
            self.viewer.add_layer(layer)
        self.writer = LabelWriter(self.viewer)
        self.surfaces = LabelSurfaces(self.viewer, self.writer, LargeLabels())
        self.history, self.book = History(), ObjectBook()
        self.edits = Edits(self.history, self.book)
        self.edits.surfaces = self.surfaces
        self.accepting = Accepting(self.edits)

    def write(
        self, mask: ObjectMask, where: Plane | None = None, replaces: Any = None, at: int = 0, **rule: Any
    ) -> Any:
        self.accepting.rule = AcceptRule(**rule)
        state = PromptState(where or plane(), Prompts(points=[(1, 1)]), mask, replaces)
        edit, ref = self.accepting.write(state, self.surfaces.token(self.viewer.layers[at]))
        self.edits.push(edit)
        return ref


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
def test_the_next_free_id_is_used(dtype: Any) -> None:
    data = np.zeros(SHAPE, dtype)
    data[9, 9] = 41
    layer = Labels(data)
    desk = Desk(layer)
    assert desk.write(square(0, 0)).label == 42
    assert desk.write(square(4, 4)).label == 43
    assert (layer.data[:3, :3] == 42).all()
    assert np.count_nonzero(layer.data) == 19


def test_the_array_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    maximum = label_ids._maximum
    monkeypatch.setattr(label_ids, "_maximum", lambda data: calls.append(1) or maximum(data))
    layer = Labels(np.zeros(SHAPE, int))
    desk = Desk(layer)
    for i in range(4):
        desk.write(square(0, 3 * i))
    assert len(calls) == 1


def test_ids_that_the_user_painted_or_a_script_set_are_not_used_again() -> None:
    layer = Labels(np.zeros((3, *SHAPE), int))
    desk = Desk(layer)
    where = plane(0, None, None)
    assert desk.write(square(0, 0), where).label == 1
    layer.data_setitem((np.array([2]), np.array([9]), np.array([9])), 7)  # as napari's brush does
    assert desk.write(square(0, 4), where).label == 8
    layer.data[0, 9, 9] = 20  # no event tells of this
    assert desk.write(square(0, 8), where).label == 21
    layer.data = np.full((3, *SHAPE), 0)
    layer.data[1] = 50
    assert desk.write(square(4, 0), where).label == 51


def test_an_id_that_the_brush_carried_elsewhere_is_not_given_again_after_undo() -> None:
    layer = Labels(np.zeros((5, *SHAPE), int))
    desk = Desk(layer)
    desk.write(square(0, 0), plane(3, None, None))
    layer.data_setitem((np.array([4]), np.array([9]), np.array([9])), 1)  # as napari's brush does
    desk.write(square(4, 4), plane(3, None, None))
    desk.history.undo().apply()
    desk.history.undo().apply()
    assert desk.write(square(0, 0), plane(2, None, None)).label == 2


def test_an_id_that_ctrl_z_brought_back_is_not_given_again() -> None:
    layer = Labels(np.zeros((5, *SHAPE), int))
    desk = Desk(layer)
    desk.write(square(0, 0), plane(3, None, None))
    desk.history.undo().apply()
    layer.undo()  # takes our undo back
    assert (layer.data[3, :3, :3] == 1).all()
    assert desk.write(square(0, 0), plane(4, None, None)).label == 2


@pytest.mark.parametrize("hide_first", [True, False])
def test_an_id_that_ctrl_z_brought_back_into_a_hidden_layer_is_not_given_again(hide_first: bool) -> None:
    layer = Labels(np.zeros((5, *SHAPE), int))
    desk = Desk(layer)
    desk.write(square(0, 0), plane(3, None, None))
    layer.visible = not hide_first
    desk.history.undo().apply()
    layer.visible = False
    layer.undo()
    assert desk.write(square(0, 0), plane(4, None, None)).label == 2


def test_hiding_and_showing_a_layer_uses_up_no_ids() -> None:
    layer = Labels(np.zeros((5, *SHAPE), np.uint8))
    desk = Desk(layer)
    for number in range(3):
        desk.write(square(4 * number, 0), plane(3, None, None))
    for _ in range(3):
        desk.history.undo().apply()
    layer.visible = False
    layer.visible = True
    assert desk.write(square(0, 0), plane(4, None, None)).label == 1


def test_an_object_that_ctrl_z_moved_keeps_its_id() -> None:
    layer = Labels(np.zeros((5, *SHAPE), int))
    desk = Desk(layer)
    desk.write(square(0, 0), plane(3, None, None))
    desk.history.undo().apply()
    desk.write(square(0, 0), plane(2, None, None))
    layer.undo()
    layer.undo()  # the first object is there again, the second is gone
    desk.history.undo().apply()  # which changes nothing any more
    assert desk.write(square(0, 0), plane(4, None, None)).label == 2


def test_an_edit_before_the_first_object_leaves_the_ids_of_other_planes() -> None:
    layer = Labels(np.zeros((3, *SHAPE), int))
    layer.data[0, :2], layer.data[2, :2] = 3, 5
    desk = Desk(layer)
    builder = desk.edits.begin(desk.surfaces.token(layer), "delete object 3")
    builder.paint(plane(0, None, None), (0, 0), np.zeros(SHAPE, int))
    builder.commit()
    assert desk.write(square(4, 0), plane(0, None, None)).label == 6


def test_ids_that_were_undone_are_free_again_on_another_plane() -> None:
    layer = Labels(np.zeros((5, *SHAPE), int))
    desk = Desk(layer)
    desk.write(square(0, 0), plane(3, None, None))
    desk.write(square(4, 4), plane(3, None, None))
    desk.history.undo().apply()
    desk.history.undo().apply()
    desk.viewer.dims.set_point(0, 4)
    assert desk.write(square(0, 0), plane(4, None, None)).label == 1


def test_a_stroke_of_the_brush_says_its_id_and_the_array_is_not_searched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = Labels(np.zeros((3, *SHAPE), int))
    desk = Desk(layer)
    desk.write(square(0, 0), plane(0, None, None))
    monkeypatch.setattr(label_ids, "_maximum", lambda data: pytest.fail("searched"))
    layer.brush_size = 3
    layer.paint((2, 8, 8), 7)
    assert layer.data[2, 8, 8] == 7
    assert desk.write(square(0, 4), plane(0, None, None)).label == 8
    layer.data_setitem((np.array([2, 2]), np.array([9, 9]), np.array([0, 1])), np.array([20, 30]))
    assert desk.write(square(0, 8), plane(0, None, None)).label == 31


def test_what_a_script_writes_into_a_large_plane_is_found_when_it_is_drawn() -> None:
    data = np.zeros((3000, 20), int)
    layer = Labels(data)
    desk = Desk(layer)
    where = Plane("s", (None, None), data.shape, lambda: data)
    assert desk.write(square(0, 0), where).label == 1
    data[1000:1010, 5:9] = 6  # seen without being told
    assert desk.write(square(10, 0), where).label == 7
    data[2000, 5] = 20  # one pixel: seen once the layer is refreshed
    layer.refresh()
    assert desk.write(square(20, 0), where).label == 21


def test_a_new_layer_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Labels(np.zeros(SHAPE, int))
    desk = Desk(layer)
    desk.writer.ids.know_empty(layer)
    monkeypatch.setattr(label_ids, "_maximum", lambda data: pytest.fail("looked through"))
    assert desk.write(square(0, 0)).label == 1


def test_existing_objects_are_kept_unless_overwritten() -> None:
    data = np.zeros(SHAPE, int)
    data[:2] = 5
    layer = Labels(data)
    desk = Desk(layer)
    ref = desk.write(square(0, 0))
    assert ref.mask.area == 3
    assert (layer.data[:2] == 5).all()
    assert (layer.data[2, :3] == 6).all()
    desk.write(square(0, 4), keep="overwrite")
    assert (layer.data[:3, 4:7] == 7).all()


def test_an_object_without_free_pixels_is_refused_and_nothing_is_written() -> None:
    layer = Labels(np.ones(SHAPE, int))
    with pytest.raises(PromptError, match="choose 'overwrite'"):
        Desk(layer).write(square(0, 0))
    assert (layer.data == 1).all()


def test_one_native_undo_takes_the_object_back_and_redo_brings_it() -> None:
    layer = Labels(np.zeros(SHAPE, int))
    desk = Desk(layer)
    desk.write(square(0, 0))
    desk.write(square(4, 4))
    layer.undo()
    assert np.unique(layer.data).tolist() == [0, 1]
    layer.redo()
    assert np.unique(layer.data).tolist() == [0, 1, 2]


def test_a_replaced_object_moves_and_is_one_undo_item() -> None:
    layer = Labels(np.zeros(SHAPE, int))
    desk = Desk(layer)
    ref = desk.write(square(0, 0))
    again = desk.write(square(1, 1), replaces=ref)
    assert again.label == ref.label == 1
    expected = np.zeros(SHAPE, int)
    expected[1:4, 1:4] = 1
    np.testing.assert_array_equal(layer.data, expected)
    layer.undo()
    expected[:] = 0
    expected[:3, :3] = 1
    np.testing.assert_array_equal(layer.data, expected)


def test_a_replacement_in_another_layer_is_a_new_object() -> None:
    one, two = Labels(np.zeros(SHAPE, int)), Labels(np.full(SHAPE, 0))
    desk = Desk(one, two)
    two.data[9, 9] = 3
    ref = desk.write(square(0, 0))
    assert desk.write(square(0, 0), replaces=ref, at=1).label == 4
    assert (one.data[:3, :3] == 1).all()


@pytest.mark.parametrize(
    ("index", "where"),
    [
        pytest.param((1, None, None), (1, slice(2, 5), slice(3, 6)), id="rows and columns"),
        pytest.param((None, 1, None), (slice(2, 5), 1, slice(3, 6)), id="middle axis sliced"),
        pytest.param((None, None, 1), (slice(2, 5), slice(3, 6), 1), id="last axis sliced"),
    ],
)
def test_objects_of_a_stack_lie_on_their_plane(index: tuple[int | None, ...], where: Any) -> None:
    shape = tuple({None: 12}.get(i, 4) for i in index)
    layer = Labels(np.zeros(shape, int))
    here = Plane("s", index, (12, 12), lambda: np.zeros((12, 12)))
    Desk(layer).write(square(2, 3), here)
    assert (layer.data[where] == 1).all()
    assert np.count_nonzero(layer.data) == 9


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        pytest.param(lambda: Labels(np.zeros((3, 3), int)), r"shape \(10, 12\), got .* \(3, 3\)", id="shape"),
        pytest.param(lambda: Labels(np.zeros((2, *SHAPE), int)), "image's shape", id="dimensions"),
        pytest.param(lambda: Labels(da.zeros(SHAPE, dtype=int)), "can be written", id="dask"),
        pytest.param(
            lambda: Labels([np.zeros(SHAPE, int), np.zeros((5, 6), int)], multiscale=True),
            "single-scale",
            id="multiscale",
        ),
        pytest.param(lambda: Labels(np.broadcast_to(np.zeros(12, int), SHAPE)), "read-only", id="read-only"),
        pytest.param(lambda: Labels(np.full(SHAPE, 255, np.uint8)), "free id", id="ids used up"),
    ],
)
def test_targets_that_cannot_be_written_are_refused(layer: Any, words: str) -> None:
    desk = Desk(layer())

    def accept() -> None:
        desk.writer.check(desk.viewer.layers[0], SHAPE)
        desk.write(square(0, 0), keep="overwrite")

    with pytest.raises(ImageError, match=words) as refused:
        accept()
    if "free id" not in words:
        assert "choose another layer in 'Write to', or 'new layer'" in str(refused.value)


def test_close_disconnects() -> None:
    layer = Labels(np.zeros(SHAPE, int))
    desk = Desk(layer)
    signals = layer.events.paint, layer.events.set_data, layer.events.visible
    before = [len(signal.callbacks) for signal in signals]
    desk.write(square(0, 0))
    assert all(len(signal.callbacks) > count for signal, count in zip(signals, before, strict=True))
    desk.writer.close()
    desk.surfaces.close()
    assert [len(signal.callbacks) for signal in signals] == before


@pytest.mark.parametrize(
    ("shape", "many", "dtype"),
    [
        pytest.param((64, 64), False, np.int32, id="small"),
        pytest.param((200, 300, 300), False, np.int32, id="stack of small planes"),
        pytest.param((2049, 2049), False, np.uint16, id="large"),
        pytest.param((2049, 2049), True, np.int32, id="large, for many objects"),
    ],
)
def test_large_planes_get_a_type_that_napari_shows_at_once(
    shape: tuple[int, ...], many: bool, dtype: type
) -> None:
    labels = make_labels(shape, many)
    assert (labels.shape, labels.dtype) == (shape, dtype)
    assert not labels.any()


def test_an_object_is_written_into_a_hidden_layer() -> None:
    layer = Labels(np.zeros((5, *SHAPE), int))
    desk = Desk(layer)
    desk.viewer.dims.set_point(0, 0)
    layer.visible = False
    desk.viewer.dims.set_point(0, 3)
    desk.write(square(0, 0), plane(3, None, None))
    assert (layer.data[3, :3, :3] == 1).all()
    assert np.count_nonzero(layer.data) == 9
    assert not layer.visible
    desk.history.undo().apply()
    assert not layer.data.any()
