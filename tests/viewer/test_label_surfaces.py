from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Labels

from napari_sam.errors import ImageError
from napari_sam.session.edits import Edits
from napari_sam.session.history import History
from napari_sam.session.provenance import ObjectBook
from napari_sam.types import ObjectMask
from napari_sam.viewer.label_index import LabelIndex, measure_boxes
from napari_sam.viewer.label_surfaces import LabelSurfaces, read_box
from napari_sam.viewer.label_writer import LabelWriter
from napari_sam.viewer.large_labels import LargeLabels

if TYPE_CHECKING:
    from conftest import Bench

HERE = (None, None)


class Desk:
    def __init__(self, *layers: Labels) -> None:
        self.viewer = ViewerModel()
        for layer in layers:
            self.viewer.add_layer(layer)
        self.surfaces = LabelSurfaces(self.viewer, LabelWriter(self.viewer), LargeLabels())
        self.history = History()
        self.edits = Edits(self.history, ObjectBook())
        self.edits.surfaces = self.surfaces

    def draw(self, layer: Any, index: Any, mask: ObjectMask, label: int) -> Any:
        builder = self.edits.begin(self.surfaces.token(layer), "draw")
        builder.set(index, mask, label, "overwrite")
        return builder.commit()


def square(r: int, c: int, size: int = 5) -> ObjectMask:
    return ObjectMask(np.ones((size, size), bool), (r, c))


# ------------------------------------------------------------------ boxes
@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_those_of_a_naive_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, (17, 23)) * (rng.random((17, 23)) < 0.4)
    ids, boxes = measure_boxes(labels, (100, 200))
    assert ids.tolist() == [int(i) for i in np.unique(labels) if i]
    for label, box in zip(ids, boxes.tolist(), strict=True):
        assert tuple(box) == ObjectMask.from_plane(labels == label, (100, 200)).box


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 4)], ids=str)
def test_a_window_without_objects_has_no_boxes(shape: tuple[int, int]) -> None:
    ids, boxes = measure_boxes(np.zeros(shape, int))
    assert (len(ids), boxes.shape) == (0, (0, 4))


@pytest.mark.parametrize("seed", range(5))
def test_the_index_follows_random_edits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = Labels(rng.integers(0, 3, (4, 30, 30)))
    desk = Desk(layer)
    index = desk.surfaces.surface(desk.surfaces.token(layer)).index
    for _ in range(30):
        plane: list[Any] = [int(rng.integers(0, 4)), None, None]
        if rng.random() < 0.2:
            plane = [None, int(rng.integers(0, 30)), None]
        mask = square(int(rng.integers(0, 28)), int(rng.integers(0, 28)), int(rng.integers(1, 9)))
        desk.draw(layer, tuple(plane), mask, int(rng.integers(0, 9)))
        if rng.random() < 0.3 and desk.history.can_undo:
            desk.history.undo().apply()
        where = (int(rng.integers(0, 4)), None, None)
        label = int(rng.integers(1, 9))
        there = ObjectMask.from_plane(layer.data[where[0]] == label)
        assert index.find(label, where) == (there.box if there.area else None)
    labels, areas = np.unique(layer.data[2], return_counts=True)
    assert index.areas_in((2, None, None)) == {i: n for i, n in zip(labels, areas, strict=True) if i}


def test_a_plane_is_read_in_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_sam.viewer.label_index.STRIPE", 64)
    data = np.zeros((40, 16), int)
    data[2:37, 3:6] = 4
    index = LabelIndex(data.shape, lambda where, box: read_box(data, where, box))
    assert index.find(4, HERE) == (2, 3, 37, 6)
    assert index.scanned == 1


class Looking:
    """A stack with an object in each plane, and what is known of where they are."""

    def __init__(self) -> None:
        data = np.zeros((4, 40, 40), np.int32)
        data[:, 5:9, 5:9] = 1
        self.layer = Labels(data)
        self.desk = Desk(self.layer)
        self.look()

    def look(self) -> tuple[list[int], int]:
        """The planes that hold the object, and how many were looked through for it."""
        index = self.desk.surfaces.surface(self.desk.surfaces.token(self.layer)).index
        before = index.scanned
        planes = [where[0] for where in index.planes_of(1, (0, None, None))]
        return planes, index.scanned - before

    def erase(self, plane: int) -> None:
        """As the brush does."""
        where = np.nonzero(self.layer.data[plane])
        self.layer.data_setitem((np.full(len(where[0]), plane), *where), 0)


@pytest.mark.parametrize("how", ["undo", "script", "hidden"])
def test_after_silent_changes_only_planes_that_changed_are_looked_through(how: str) -> None:
    looking = Looking()
    looking.erase(2)
    assert looking.look() == ([0, 1, 3], 1)
    if how == "undo":
        looking.layer.undo()
    elif how == "script":
        looking.layer.data[2, 5:9, 5:9] = 1
        looking.layer.refresh()
    else:
        looking.layer.visible = False
        looking.layer.undo()
        assert looking.look() == ([0, 1, 2, 3], 1)
        looking.layer.visible = True
        assert looking.look() == ([0, 1, 2, 3], 0)
    assert looking.look() == ([0, 1, 2, 3], 0 if how == "hidden" else 1)
    assert looking.look() == ([0, 1, 2, 3], 0)


def test_a_box_that_was_found_smaller_is_not_believed_when_the_pixels_are_back() -> None:
    looking = Looking()
    index = looking.desk.surfaces.surface(looking.desk.surfaces.token(looking.layer)).index
    here = (1, None, None)
    looking.layer.data[1, 7:9, 5:9] = 0  # nobody is told
    assert index.find(1, here) == (5, 5, 7, 9)
    looking.layer.data[1, 7:9, 5:9] = 1
    looking.layer.refresh()
    assert index.find(1, here) == (5, 5, 9, 9)


# ------------------------------------------------------------------ large
class Counting(np.ndarray):
    """Counts the pixels that are read and written."""

    read = written = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, tuple) and isinstance(found, np.ndarray):
            Counting.read += found.size
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, tuple) and all(isinstance(axis, np.ndarray) for axis in key):
            Counting.written += len(key[0])
        super().__setitem__(key, value)


def test_on_a_large_layer_only_the_boxes_are_touched() -> None:
    layer = Labels(np.zeros((3000, 3000), np.uint16))
    desk = Desk(layer)
    desk.surfaces._writer.ids.know_empty(layer)
    counting = layer.data.view(Counting)
    surface = desk.surfaces.surface(desk.surfaces.token(layer))
    surface._data = counting
    builder = desk.edits.begin(desk.surfaces.token(layer), "draw")
    builder.surface = surface
    Counting.read = Counting.written = 0
    builder.set(HERE, square(1000, 1000, 20), 1)
    builder.mask_of(HERE, 1)
    edit = builder.commit()
    assert Counting.read < 10 * 400
    assert edit.area == 400
    assert edit.nbytes < 2000


@pytest.mark.parametrize(
    "index",
    [
        pytest.param((2, None, 1, None), id="first and third axis sliced"),
        pytest.param((None, 3, None, 1), id="second and last axis sliced"),
        pytest.param((1, 1, None, None), id="last two axes shown"),
    ],
)
def test_any_axes_of_a_stack(index: Any) -> None:
    data = np.zeros((8, 9, 8, 9), np.int32)
    layer = Labels(data.copy())
    desk = Desk(layer)
    desk.draw(layer, index, square(1, 2), 3)
    rows, cols = (axis for axis, value in enumerate(index) if value is None)
    where = [slice(value, value + 1) if value is not None else slice(None) for value in index]
    where[rows], where[cols] = slice(1, 6), slice(2, 7)
    data[tuple(where)] = 3
    np.testing.assert_array_equal(layer.data, data)
    desk.history.undo().apply()
    assert not layer.data.any()


# ------------------------------------------------------------------ on disk
def test_a_zarr_target_is_edited_and_undone(bench: Bench, tmp_path: Any) -> None:
    store = zarr.create_array(tmp_path / "labels.zarr", shape=(3, 64, 64), chunks=(1, 32, 32), dtype="uint16")
    bench.open(np.zeros((3, 64, 64), np.uint8))
    target = bench.viewer.add_labels(store)
    bench.controller.target_layer = target
    bench.viewer.layers.selection.active = bench.points
    for z, at in ((0, (10, 10)), (2, (40, 40))):
        bench.viewer.dims.set_point(0, z)
        bench.points.add((z, *at))
        bench.session.accept()
    assert [int(np.asarray(store[z]).max()) for z in range(3)] == [1, 0, 2]
    bench.session.editing.delete(bench.session.target, (2, None, None), [2])
    assert np.asarray(store[2]).max() == 0
    for _ in range(3):
        bench.session.undo()
    assert not np.asarray(store[:]).any() or np.asarray(store[0]).max() == 1
    for _ in range(6):
        bench.session.undo()
    assert not np.asarray(store[:]).any()
    for _ in range(9):
        bench.session.redo()
    assert [int(np.asarray(store[z]).max()) for z in range(3)] == [1, 0, 0]
    assert bench.messages == []


# ------------------------------------------------------------------ layers that go
def test_a_deleted_target_is_told_and_prompts_come_back(bench: Bench) -> None:
    bench.open(np.zeros((64, 64), np.uint8))
    bench.points.add((10, 10))
    bench.session.accept()
    bench.viewer.layers.remove("SAM objects")
    bench.session.undo()
    assert "'SAM objects', got none: it was deleted" in bench.messages[-1]
    assert bench.points.data.tolist() == [[10, 10]]
    bench.session.accept()
    assert bench.controller.target_layer.data[10, 10] == 1


def test_a_layer_that_is_put_back_can_be_undone_again(bench: Bench) -> None:
    bench.open(np.zeros((64, 64), np.uint8))
    bench.points.add((10, 10))
    bench.session.accept()
    layer = bench.controller.target_layer
    bench.viewer.layers.remove(layer)
    bench.viewer.add_layer(layer)
    bench.session.undo()
    assert not layer.data.any()


def test_the_token_of_a_layer_that_is_gone_is_never_anothers() -> None:
    desk = Desk()
    seen: set[Any] = set()
    for _ in range(12):  # some of these have the address of one before
        layer = Labels(np.zeros((4, 4), int))
        token = desk.surfaces.token(layer)
        assert token == desk.surfaces.token(layer)
        assert token not in seen
        seen.add(token)
        del layer
        gc.collect()


def test_replaced_data_are_looked_at_anew() -> None:
    layer = Labels(np.zeros((20, 20), int))
    desk = Desk(layer)
    token = desk.surfaces.token(layer)
    desk.draw(layer, HERE, square(1, 1), 3)
    data = np.zeros((20, 20), int)
    data[10:12, 10:12] = 8
    layer.data = data
    surface = desk.surfaces.surface(token)
    assert (surface.find(3, HERE), surface.find(8, HERE)) == (None, (10, 10, 12, 12))
    step = desk.history.undo()
    step.apply()
    assert (layer.data == data).all()


def test_a_layer_that_became_read_only_is_told() -> None:
    layer = Labels(np.zeros((20, 20), int))
    desk = Desk(layer)
    desk.draw(layer, HERE, square(1, 1), 3)
    layer.data.flags.writeable = False
    with pytest.raises(ImageError, match="read-only"):
        desk.history.undo().apply()
