"""What is not saved, from the layers to the disk and back, on a bare viewer model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from napari_sam.inference import label_store
from napari_sam.viewer import large_labels
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.record_files_npe2 import write_labels
from napari_sam.viewer.recovery import Recovery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Bench


class Life:
    """A viewer whose unsaved work is kept, and that may die."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.viewer, self.session, self.controller = bench.viewer, bench.session, bench.controller
        self.recovery = Recovery(bench.controller, bench.runner)

    def move_to(self, viewer: Any) -> None:
        """Live in the viewer of another."""
        self.bench.viewer = self.viewer = viewer
        self.bench.controller = self.controller = Controller(viewer, self.session)
        self.recovery = Recovery(self.controller, self.bench.runner)
        self.controller.enable()

    def begin(self, shape: tuple[int, ...] = (64, 64)) -> Any:
        """Open an image, and look for what was left behind."""
        image = self.bench.open(np.zeros(shape, np.uint8), name="cells")
        self.recovery.enable()
        return image

    def accept(self, *position: float) -> None:
        self.bench.points.add(position)
        self.session.accept()

    def paint(self, layer: Any, value: int, *index: int) -> None:
        """As the brush does."""
        layer.data_setitem(tuple(np.array([i]) for i in index), value)

    def save(self) -> None:
        """As about a second after a change."""
        self.recovery.autosave.save()

    def die(self) -> None:
        """As after a kill: only the operating system lets go."""
        self.recovery.autosave.session._lock.release()


@pytest.fixture
def lives(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Makes viewers, one after the other."""
    monkeypatch.setenv("NAPARI_SAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NAPARI_SAM_LABEL_DIR", str(tmp_path / "labels"))
    made: list[Life] = []

    def live(before: Life | None = None) -> Life:
        made.append(Life(bench if not made else type(bench)()))
        if before is not None:  # the dock is closed, and opened again in the same viewer
            before.recovery.close()
            before.session.close()
            before.controller.disable()
            made[-1].move_to(before.viewer)
        return made[-1]

    yield live
    for life in made:
        life.recovery.close()
        life.session.close()
        life.controller.disable()


def add_zarr(life: Life, path: Path) -> Any:
    """A Labels layer whose pixels lie in a folder."""
    data = zarr.open_array(path, mode="a", shape=(64, 64), chunks=(32, 32), dtype="uint16")
    return life.viewer.add_labels(data, name="on disk")


def crash(lives: Any, life: Life) -> Life:
    """Save, be killed, and begin again."""
    life.save()
    life.die()
    again: Life = lives()
    again.begin()
    return again


def work_in_memory_and_on_disk(lives: Any, path: Path) -> Life:
    """One object in a layer in memory, one in a layer whose labels lie in a folder."""
    life: Life = lives()
    life.begin()
    life.accept(20, 20)
    life.controller.target_layer = add_zarr(life, path / "a.zarr")
    life.accept(50, 50)
    return life


def test_a_layer_on_disk_keeps_nothing_else_from_being_recovered(lives: Any, tmp_path: Path) -> None:
    life = lives()
    life.begin()
    life.accept(20, 20)
    labels = life.viewer.layers["SAM objects"].data.copy()
    life.controller.target_layer = add_zarr(life, tmp_path / "a.zarr")
    life.accept(50, 50)
    again = crash(lives, life)
    left = again.recovery.offer
    assert left is not None
    in_memory, on_disk = left.layers
    np.testing.assert_array_equal(in_memory.read(), labels)
    assert (on_disk.read(), on_disk.shape, on_disk.dtype) == (None, (64, 64), np.uint16)
    assert on_disk.head["path"] == str(tmp_path / "a.zarr")


def test_records_of_a_layer_on_disk_wait_until_it_is_open(lives: Any, tmp_path: Path) -> None:
    life = work_in_memory_and_on_disk(lives, tmp_path)
    life.save()
    folder = life.recovery.autosave.session.path
    life.die()
    again = lives()
    again.begin()
    again.recovery.restore()
    again.save()
    assert folder.exists()
    assert any("restore again" in message for message in again.bench.messages)
    assert again.bench.status[-1] == "1 objects are back in 1 layers."
    layer = add_zarr(again, tmp_path / "a.zarr")
    again.recovery.restore()
    again.save()
    book, token = again.session.book, again.controller.target.token(layer)
    assert book.get(token, 1)[0].prompts.points.tolist() == [[50, 50]]
    assert sum(layer.name.startswith("SAM objects") for layer in again.viewer.layers) == 1
    assert not folder.exists()
    assert again.recovery.offer is None


def test_after_a_part_was_restored_only_the_rest_is_offered(lives: Any, tmp_path: Path) -> None:
    life = work_in_memory_and_on_disk(lives, tmp_path)
    again = crash(lives, life)
    again.recovery.restore()
    again.recovery.restore()  # before anything was saved
    save_labels(again, again.viewer.layers["SAM objects"], tmp_path)
    again.save()
    again.session.set_settings(replace(again.session.settings, object_size=40.0))
    again.recovery.restore()
    assert again.session.settings.object_size == 40.0
    again.recovery.close()
    third = lives()
    third.begin()
    (kept,) = third.recovery.offer.layers
    assert (kept.head["name"], kept.tiles, len(kept.records)) == ("on disk", None, 1)
    third.session.set_settings(replace(third.session.settings, object_size=50.0))
    layer = add_zarr(third, tmp_path / "a.zarr")
    third.recovery.restore()
    assert len(third.session.book.records(third.controller.target.token(layer))) == 1
    assert third.session.settings.object_size == 50.0


def test_what_was_not_restored_is_kept_whole_until_the_rest_is_saved(lives: Any, tmp_path: Path) -> None:
    life = work_in_memory_and_on_disk(lives, tmp_path)
    again = crash(lives, life)
    again.recovery.restore()
    third = lives()
    third.begin()
    assert [kept.head["name"] for kept in third.recovery.offer.layers] == ["SAM objects", "on disk"]


def test_what_came_back_is_not_forgotten_by_a_save_that_began_before(lives: Any) -> None:
    life = lives()
    life.begin()
    life.accept(20, 20)
    again = crash(lives, life)
    left = again.recovery.offer.folder
    again.accept(50, 50)
    again.bench.runner._automatic = False
    again.recovery.restore()
    again.save()
    again.bench.runner.run()
    assert left.exists()  # a crash now loses nothing
    again.save()
    again.bench.runner.run()
    assert not left.exists()


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_prompts_that_were_accepted_before_their_mask_was_there_come_back(lives: Any, how: str) -> None:
    life = lives()
    life.begin()
    life.accept(50, 50)
    life.bench.runner._automatic = False
    life.accept(20, 20)  # the model has not answered when all ends
    if how == "killed":
        for _ in life.recovery.autosave._iter_save(life.recovery.work.take(), closed=False):
            pass  # in a lane of its own, which does not wait for the model
        life.die()
    else:
        life.recovery.close()
    again = lives()
    again.begin()
    again.recovery.restore()
    assert again.session.prompts.points.tolist() == [[20, 20]]
    assert again.bench.points.data.tolist() == [[20, 20]]
    again.session.accept()
    assert len(again.recovery.work.take().layers[0].records) == 2


def test_records_go_to_their_own_array_of_a_group(lives: Any, tmp_path: Path) -> None:
    def add_both(life: Life, name: str) -> list[Any]:
        group = zarr.open_group(tmp_path / "g.zarr", mode="a")
        arrays = [group.require_array(each, shape=(64, 64), dtype="uint16") for each in "ab"]
        return [life.viewer.add_labels(array, name=name) for array in arrays]

    life = lives()
    life.begin()
    life.controller.target_layer = add_both(life, "mine")[1]
    life.accept(50, 50)
    again = crash(lives, life)
    a, b = add_both(again, "yours")
    again.recovery.restore()
    book, token = again.session.book, again.controller.target.token
    assert [len(book.records(token(layer))) for layer in (a, b)] == [0, 1]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [pytest.param((64, 60), "uint16", id="shape"), pytest.param((64, 64), "uint8", id="dtype")],
)
def test_records_wait_for_the_labels_that_were_there(
    lives: Any, tmp_path: Path, shape: tuple[int, int], dtype: str
) -> None:
    life = lives()
    life.begin()
    life.controller.target_layer = add_zarr(life, tmp_path / "a.zarr")
    life.accept(50, 50)
    again = crash(lives, life)
    data = zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype=dtype, overwrite=True)
    layer = again.viewer.add_labels(data, name="on disk")
    again.recovery.restore()
    assert not again.session.book.records(again.controller.target.token(layer))
    assert again.recovery.offer is not None


def test_objects_of_a_pyramid_are_offered_with_its_folder(
    lives: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(large_labels, "LARGEST_PLANE", 100)
    monkeypatch.setattr(label_store, "COARSEST", 100)
    life = lives()
    life.begin((300, 200))
    life.accept(250, 150)
    again = crash(lives, life)
    (layer,) = again.recovery.offer.layers
    (folder,) = (tmp_path / "labels").iterdir()
    assert (layer.read(), layer.shape, layer.head["path"]) == (None, (300, 200), str(folder))
    assert [record.label for record in layer.records] == [1]


@pytest.mark.parametrize("how", ["brush", "delete"])
def test_labels_without_records_are_offered_too(lives: Any, how: str) -> None:
    life = lives()
    life.begin()
    masks = np.zeros((64, 64), np.int32)
    masks[10:20, 10:20], masks[30:40, 30:40] = 1, 2
    layer = life.viewer.add_labels(masks, name="masks")
    life.controller.target_layer = layer
    if how == "brush":
        life.paint(layer, 7, 50, 50)
    else:
        life.session.editing.delete(life.session.layer_token(layer), (None, None), [2])
    again = crash(lives, life)
    assert again.recovery.offer.count == 0
    again.recovery.restore()
    np.testing.assert_array_equal(again.viewer.layers["masks"].data, layer.data)


def test_a_layer_without_labels_is_not_offered(lives: Any) -> None:
    life = lives()
    life.begin()
    life.accept(20, 20)
    life.session.undo()
    life.session.clear()
    again = crash(lives, life)
    assert again.recovery.offer is None


def test_an_object_in_a_stack_has_only_its_plane_read_again(lives: Any) -> None:
    life = lives()
    life.begin((5, 64, 64))
    life.viewer.dims.set_point(0, 3)
    life.accept(3, 20, 20)
    life.save()
    life.accept(3, 50, 50)
    (layer,) = life.recovery.work.take().layers
    assert layer.planes == {(3,)}
    life.recovery.work.put_back(None)
    life.session.undo()
    life.save()
    life.session.redo()
    (layer,) = life.recovery.work.take().layers
    assert layer.planes == {(3,)}
    life.paint(life.viewer.layers["SAM objects"], 7, 0, 5, 5)
    (layer,) = life.recovery.work.take().layers
    assert layer.planes is None


# ------------------------------------------------------------------ what is saved
def save_labels(life: Life, layer: Any, path: Path) -> None:
    life.recovery.records.save(layer, path / "labels.tif")


def accept_and_save(lives: Any, path: Path, objects: int = 1) -> tuple[Life, Any]:
    """Objects whose layer lies in a file."""
    life = lives()
    life.begin()
    for place in (20, 50)[:objects]:
        life.accept(place, place)
    layer = life.viewer.layers["SAM objects"]
    save_labels(life, layer, path)
    return life, layer


@pytest.mark.parametrize("how", ["accept", "brush", "undo", "ctrl-z"])
def test_what_is_done_while_labels_are_saved_is_not_saved(lives: Any, tmp_path: Path, how: str) -> None:
    life = lives()
    life.begin()
    life.accept(20, 20)
    layer, work = life.viewer.layers["SAM objects"], life.recovery.work
    life.bench.runner._automatic = False
    save_labels(life, layer, tmp_path)
    life.bench.runner.run(1)
    if how == "accept":
        life.accept(50, 50)
    elif how == "brush":
        life.paint(layer, 7, 50, 50)
    elif how == "undo":
        life.session.undo()
    else:
        layer.undo()
    life.bench.runner.run()
    assert work.is_unsaved(layer)
    assert any("changed meanwhile: save it again" in said for said in life.bench.status)
    save_labels(life, layer, tmp_path)
    life.bench.runner.run()
    assert not work.is_unsaved(layer)


@pytest.mark.parametrize("how", ["ctrl-z", "script"])
def test_what_nobody_tells_of_after_saving_is_noticed(lives: Any, tmp_path: Path, how: str) -> None:
    life, layer = accept_and_save(lives, tmp_path, objects=2)
    if how == "ctrl-z":
        layer.undo()
    else:
        layer.data[5, 5] = 9
        layer.refresh()
    assert life.recovery.work.is_unsaved(layer)
    life.recovery.close()
    again = lives()
    again.begin()
    np.testing.assert_array_equal(again.recovery.offer.layers[0].read(), layer.data)


def test_looking_at_labels_that_are_saved_does_not_make_them_unsaved(lives: Any, tmp_path: Path) -> None:
    life = lives()
    life.begin((3, 64, 64))
    life.viewer.dims.set_point(0, 0)
    life.accept(0, 20, 20)
    layer = life.viewer.layers["SAM objects"]
    save_labels(life, layer, tmp_path)
    layer.visible = False
    layer.visible = True
    layer.contour = 1
    layer.refresh()
    life.viewer.dims.set_point(0, 2)
    assert not life.recovery.work.is_unsaved(layer)
    life.recovery.close()
    again = lives()
    again.begin()
    assert again.recovery.offer is None


def test_closing_before_labels_were_compared_keeps_them(lives: Any, tmp_path: Path) -> None:
    life, layer = accept_and_save(lives, tmp_path, objects=2)
    life.bench.runner._automatic = False
    layer.undo()
    life.recovery.close()
    again = lives()
    again.begin()
    np.testing.assert_array_equal(again.recovery.offer.layers[0].read(), layer.data)


@pytest.mark.parametrize("when", ["before it was compared", "while the dock was closed"])
def test_what_was_taken_back_is_noticed_by_the_next_dock(lives: Any, tmp_path: Path, when: str) -> None:
    life, layer = accept_and_save(lives, tmp_path, objects=2)
    if when.startswith("before"):
        life.bench.runner._automatic = False
        layer.undo()
    second = lives(life)
    if when.startswith("while"):
        layer.undo()
    second.recovery.enable()
    assert second.recovery.work.is_unsaved(layer)
    second.save()
    second.die()
    third = lives()
    third.begin()
    np.testing.assert_array_equal(third.recovery.offer.layers[0].read(), layer.data)


def test_a_doubt_that_was_unfounded_leaves_nothing_behind(lives: Any, tmp_path: Path) -> None:
    life, layer = accept_and_save(lives, tmp_path)
    life.bench.runner._automatic = False
    layer.refresh()
    second = lives(life)
    second.recovery.enable()
    assert not second.recovery.work.is_unsaved(layer)
    second.save()
    assert list((tmp_path / "state").iterdir()) == []


def write(layer: Any, path: Path) -> None:
    """As napari's own *Save* does."""
    data, attributes, _ = layer.as_layer_data_tuple()
    write_labels(str(path / "napari.tif"), data, attributes)


def test_what_is_taken_back_after_saving_with_napari_is_noticed(lives: Any, tmp_path: Path) -> None:
    life = lives()
    life.begin()
    life.accept(20, 20)
    layer, work = life.viewer.layers["SAM objects"], life.recovery.work
    write(layer, tmp_path)
    layer.refresh()
    assert not work.is_unsaved(layer)
    layer.undo()
    assert work.is_unsaved(layer)


def test_saving_with_napari_ends_a_doubt(lives: Any, tmp_path: Path) -> None:
    life = lives()
    life.begin()
    life.accept(20, 20)
    layer, work = life.viewer.layers["SAM objects"], life.recovery.work
    save_labels(life, layer, tmp_path)
    life.bench.runner._automatic = False
    layer.undo()
    write(layer, tmp_path)
    assert not work.is_unsaved(layer)
    life.bench.runner.run()  # the comparison comes too late
    assert not work.is_unsaved(layer)
    layer.refresh()
    life.bench.runner.run()
    assert not work.is_unsaved(layer)


def accept_beside_a_series(lives: Any) -> Life:
    """An object in a stack, beside an image with an axis more."""
    life: Life = lives()
    life.begin((3, 64, 64))
    life.viewer.add_image(np.zeros((4, 3, 64, 64), np.uint8), name="series")
    life.controller.image_layer = life.viewer.layers["cells"]
    life.viewer.dims.set_point(1, 0)
    life.accept(0, 20, 20)
    return life


@pytest.mark.parametrize("how", ["other axis", "hidden"])
def test_what_is_taken_back_while_nothing_is_drawn_is_noticed(lives: Any, tmp_path: Path, how: str) -> None:
    life = accept_beside_a_series(lives)
    layer, work = life.viewer.layers["SAM objects"], life.recovery.work
    save_labels(life, layer, tmp_path)
    if how == "other axis":
        life.viewer.dims.set_point(0, 2)
        layer.undo()
    else:
        layer.visible = False
        layer.undo()
        life.viewer.dims.set_point(1, 1)
        layer.visible = True
    assert not layer.data.any()
    assert work.is_unsaved(layer)


def test_planes_are_read_again_after_ctrl_z_although_another_axis_moved(lives: Any) -> None:
    life = accept_beside_a_series(lives)
    life.save()
    life.viewer.dims.set_point(0, 2)
    life.viewer.layers["SAM objects"].undo()
    (layer,) = life.recovery.work.take().layers
    assert layer.planes is None


def test_an_object_has_only_its_plane_read_again_although_the_slider_moved(lives: Any) -> None:
    life = lives()
    life.begin((3, 64, 64))
    life.viewer.dims.set_point(0, 0)
    life.accept(0, 20, 20)
    life.save()
    life.viewer.dims.set_point(0, 2)
    life.accept(2, 20, 20)
    (layer,) = life.recovery.work.take().layers
    assert layer.planes == {(2,)}
