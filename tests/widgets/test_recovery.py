from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import napari
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_sam.session.autosave import LANE
from napari_sam.widgets.dock import SamWidget
from napari_sam.widgets.recovery_section import describe_offer, with_ending


def accept(desk, *position):
    desk.click(*position)
    desk.widget.accept()
    assert desk.widget.wait(20)


def kept(desk):
    """Wait until everything is kept."""
    recovery = desk.widget._recovery
    desk.wait_for(lambda: not recovery.autosave.is_dirty)


def again(qtbot, viewer, engine):
    """Another start of the widget; the offer, once it was looked for."""
    widget = SamWidget(viewer, engine=engine)
    qtbot.addWidget(widget)
    looked = []
    widget._recovery.autosave.found.connect(lambda left: looked.append(left))
    qtbot.waitUntil(lambda: bool(looked), timeout=20_000)
    return widget


def end(widget):
    widget.shutdown()
    assert widget._runner.join(20)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 200, (64, 64)).astype(np.uint8)


def test_objects_survive_kill_9_bit_for_bit(qtbot, tmp_path, image, make_napari_viewer):
    path, results = tmp_path / "cells.tif", tmp_path / "labels.npy"
    tifffile.imwrite(path, image)
    script = Path(__file__).with_name("dying_widget.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(path), str(results)], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    try:
        assert process.stdout.readline().strip() == b"ready"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    viewer = make_napari_viewer()
    viewer.add_image(image, name="the same", scale=(0.5, 0.25))
    widget = again(qtbot, viewer, None)
    strip = widget._recovery_section.strip
    assert not strip.isHidden()
    assert strip.text.text().startswith("Recover 2 objects of cells from ")
    strip.restore.click()
    qtbot.waitUntil(lambda: "SAM objects" in viewer.layers, timeout=20_000)
    layer = viewer.layers["SAM objects"]
    expected = np.load(results)
    assert expected[5, 5] == 9
    assert sorted(np.unique(expected)) == [0, 1, 2, 9]
    assert layer.data.dtype == expected.dtype
    assert np.array_equal(layer.data, expected)
    assert layer.scale.tolist() == [0.5, 0.25]
    assert widget.target_layer is layer
    assert strip.isHidden()
    book, token = widget._session.book, widget._controller.target.token(layer)
    assert book.get(token, 1)[0].prompts.points.tolist() == [[20, 20], [23, 20]]
    assert book.get(token, 2)[0].digest == "fa4e"
    assert widget._session.prompts.points.tolist() == [[50, 10]]
    np.testing.assert_allclose(viewer.layers["SAM points"].data, [[50, 10]], atol=1e-3)
    end(widget)


def test_work_goes_on_after_it_was_restored(qtbot, desk, monkeypatch, tmp_path):
    accept(desk, 20, 20)
    kept(desk)
    first = desk.widget._recovery.autosave.session
    first._lock.release()  # as after a kill
    viewer = ViewerModel()
    viewer.add_image(desk.image.data, name="cells")
    widget = again(qtbot, viewer, desk.engine)
    widget._recovery.restore()
    qtbot.waitUntil(lambda: "SAM objects" in viewer.layers, timeout=20_000)
    recovery = widget._recovery
    qtbot.waitUntil(lambda: not recovery.autosave.is_dirty and not first.path.exists(), timeout=20_000)
    assert recovery.autosave.session.path.exists()
    viewer.layers["SAM points"].add((50, 50))
    widget.accept()
    assert widget.wait(20)
    assert set(np.unique(viewer.layers["SAM objects"].data)) == {0, 1, 2}
    end(widget)


@pytest.mark.parametrize("choice", ["discard", "later"])
def test_an_offer_may_be_refused(qtbot, desk, choice):
    accept(desk, 20, 20)
    kept(desk)
    desk.widget._recovery.autosave.session._lock.release()
    offers = []
    for _ in range(2):
        widget = again(qtbot, ViewerModel(), desk.engine)
        strip = widget._recovery_section.strip
        offers.append(not strip.isHidden())
        if offers[-1]:
            getattr(strip, choice).click()
        assert strip.isHidden()
        qtbot.waitUntil(
            lambda w=widget: choice == "later" or not any(w._recovery.autosave.folder.path.iterdir())
        )
        assert len(widget._controller.viewer.layers) == 0
        end(widget)
    assert offers == [True, choice == "later"]


def test_a_session_of_a_living_widget_is_not_offered(qtbot, desk):
    accept(desk, 20, 20)
    kept(desk)
    widget = again(qtbot, ViewerModel(), desk.engine)
    assert widget._recovery.offer is None
    end(widget)


def test_closing_over_unsaved_objects_offers_them_once_more(qtbot, desk):
    accept(desk, 20, 20)
    desk.widget.shutdown()
    widget = again(qtbot, ViewerModel(), desk.engine)
    assert widget._recovery_section.strip.text.text().endswith("that were not saved?")
    end(widget)


def test_a_viewer_that_drops_its_layers_while_it_closes_loses_nothing(qtbot, desk):
    accept(desk, 20, 20)
    labels = desk.layer("SAM objects").data.copy()
    desk.viewer.layers.clear()
    desk.widget.shutdown()
    widget = again(qtbot, ViewerModel(), desk.engine)
    assert np.array_equal(widget._recovery.offer.layers[0].read(), labels)
    end(widget)


def test_a_layer_that_the_user_deleted_is_not_offered(qtbot, desk):
    accept(desk, 20, 20)
    kept(desk)
    desk.viewer.layers.remove("SAM objects")
    desk.wait_for(lambda: desk.widget._recovery.autosave.is_dirty)
    kept(desk)  # with it, and once more without
    desk.widget._recovery.work.changed.emit()
    kept(desk)
    desk.widget.shutdown()
    widget = again(qtbot, ViewerModel(), desk.engine)
    assert widget._recovery.offer is None
    end(widget)


def test_closing_after_saving_offers_nothing(qtbot, desk, tmp_path):
    accept(desk, 20, 20)
    saved = []
    desk.widget._recovery.records.save(desk.layer("SAM objects"), tmp_path / "a.tif", saved.append)
    desk.wait_for(lambda: bool(saved))
    desk.widget.shutdown()
    widget = again(qtbot, ViewerModel(), desk.engine)
    assert widget._recovery.offer is None
    end(widget)


def test_a_late_answer_does_not_end_a_newer_doubt(desk, tmp_path):
    accept(desk, 20, 20)
    layer, recovery, saved = desk.layer("SAM objects"), desk.widget._recovery, []
    recovery.records.save(layer, tmp_path / "a.tif", saved.append)
    desk.wait_for(lambda: bool(saved))
    desk.settle(0.2)
    layer.refresh()  # is compared; the answer waits for the main thread
    queue = desk.widget._runner._queues[LANE]
    end = time.monotonic() + 20
    while not queue.is_empty and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    layer.undo()
    desk.settle(0.5)
    assert recovery.work.is_unsaved(layer)


def test_the_next_widget_in_the_same_viewer_takes_over(qtbot, desk):
    accept(desk, 20, 20)
    kept(desk)
    desk.widget.shutdown()
    widget = again(qtbot, desk.viewer, desk.engine)
    layer = desk.layer("SAM objects")
    assert widget._recovery.offer is None
    (record,) = widget._session.book.get(widget._controller.target.token(layer), 1)
    assert record.prompts.points.tolist() == [[20, 20]]
    assert widget._recovery.work.is_unsaved(layer)
    recovery = widget._recovery
    qtbot.waitUntil(
        lambda: recovery.autosave.session is not None and not recovery.autosave.is_dirty, timeout=20_000
    )
    qtbot.waitUntil(lambda: len(list(recovery.autosave.folder.path.iterdir())) == 1, timeout=20_000)
    end(widget)


def test_autosave_can_be_switched_off(desk):
    accept(desk, 20, 20)
    kept(desk)
    folder = desk.widget._recovery.autosave.folder.path
    assert len(list(folder.iterdir())) == 1
    desk.widget._recovery_section.autosave.setChecked(False)
    desk.wait_for(lambda: not any(folder.iterdir()))
    accept(desk, 50, 50)
    desk.settle(1.3)
    assert not any(folder.iterdir())
    assert not desk.widget._session.settings.autosave


def test_a_folder_that_cannot_be_written_warns_once_and_stops_nothing(desk, tmp_path):
    recovery = desk.widget._recovery
    (tmp_path / "file").write_text("")
    recovery.autosave.folder.path = tmp_path / "file"
    for place in ((20, 20), (50, 50)):
        accept(desk, *place)
        recovery.autosave.save()
        desk.settle(0.2)
    assert len([message for message in desk.messages if "cannot be kept" in message]) == 1
    assert set(np.unique(desk.layer("SAM objects").data)) == {0, 1, 2}


def test_labels_and_records_are_saved_and_come_back_together(qtbot, desk, tmp_path):
    accept(desk, 20, 20)
    accept(desk, 50, 50)
    layer, path, saved = desk.layer("SAM objects"), tmp_path / "cells.tif", []
    desk.widget._recovery.records.save(layer, path, saved.append)
    desk.wait_for(lambda: bool(saved))
    assert sorted(p.name for p in tmp_path.glob("cells*")) == ["cells.sam.json", "cells.tif"]
    assert np.array_equal(tifffile.imread(path), layer.data)
    viewer = ViewerModel()
    viewer.add_image(desk.image.data, name="cells")
    widget = again(qtbot, viewer, desk.engine)
    (opened,) = viewer.open(path, plugin="napari", layer_type="labels")
    book, token = widget._session.book, widget._controller.target.token(opened)
    qtbot.waitUntil(lambda: len(book.labels(token)) == 2, timeout=20_000)
    assert book.get(token, 2)[0].prompts.points.tolist() == [[50, 50]]
    assert not widget._recovery.work.is_unsaved(opened)
    widget.target_layer = opened
    opened.selected_label = 2
    viewer.layers.selection.active = opened
    widget._bindings._run("refine")  # the prompts are there to be corrected
    assert widget.wait(20)
    assert widget._session.prompts.points.tolist() == [[50, 50]]
    widget.accept()  # as it is: nothing new is known of it
    assert widget.wait(20)
    assert book.get(token, 2)[0].digest == "fa4e"
    widget._bindings._run("refine")
    viewer.layers["SAM points"].add((44, 50))
    assert widget.wait(20)
    widget.accept()
    assert widget.wait(20)
    assert opened.data[42, 50] == 2
    assert set(np.unique(opened.data)) == {0, 1, 2}
    assert len(book.get(token, 2)[0].prompts.points) == 2
    end(widget)


@pytest.mark.usefixtures("npe2pm")
def test_napari_saves_and_opens_both_files(desk, tmp_path, npe2pm):
    accept(desk, 20, 20)
    accept(desk, 50, 50)
    layer, path = desk.layer("SAM objects"), tmp_path / "cells.tif"
    with npe2pm.tmp_plugin(package="napari-sam-workbench"):
        layer.save(str(path), plugin="napari-sam-workbench")  # napari 0.6 names one file of the two
        assert sorted(p.name for p in tmp_path.glob("cells*")) == ["cells.sam.json", "cells.tif"]
        assert not desk.widget._recovery.work.is_unsaved(layer)
        (opened,) = desk.viewer.open(tmp_path / "cells.sam.json", plugin="napari-sam-workbench")
    assert np.array_equal(opened.data, layer.data)
    assert opened.name.startswith("SAM objects")
    book, token = desk.widget._session.book, desk.widget._controller.target.token(opened)
    desk.wait_for(lambda: book.labels(token) == (1, 2))


def test_records_of_objects_that_were_edited_elsewhere_are_left_out(qtbot, desk, tmp_path):
    accept(desk, 20, 20)
    accept(desk, 50, 50)
    path, saved = tmp_path / "cells.tif", []
    desk.widget._recovery.records.save(desk.layer("SAM objects"), path, saved.append)
    desk.wait_for(lambda: bool(saved))
    labels = tifffile.imread(path)
    labels[20, 20] = 0
    tifffile.imwrite(path, labels)
    (opened,) = desk.viewer.open(path, plugin="napari", layer_type="labels")
    book, token = desk.widget._session.book, desk.widget._controller.target.token(opened)
    desk.wait_for(lambda: book.labels(token) == (2,))
    desk.wait_for(lambda: any("1 of 2 objects" in message for message in desk.messages))


def test_a_damaged_file_of_records_gives_one_clear_message(desk, tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint8))
    (tmp_path / "cells.sam.json").write_text('{"format": "napari-sam objects", "version": 1, "objects": [5]}')
    desk.viewer.open(path, plugin="napari", layer_type="labels")
    desk.wait_for(lambda: any("cells.sam.json cannot be used" in message for message in desk.messages))


def test_a_copy_of_a_layer_keeps_its_records(desk):
    accept(desk, 20, 20)
    layer = desk.layer("SAM objects")
    data, state, kind = layer.as_layer_data_tuple()
    copy = napari.layers.Layer.create(data.copy(), {**state, "name": "copy"}, kind)
    desk.viewer.add_layer(copy)
    book, target = desk.widget._session.book, desk.widget._controller.target
    assert book.get(target.token(copy), 1) == book.get(target.token(layer), 1)
    book.change(target.token(copy), 1, ())
    assert len(book.get(target.token(layer), 1)) == 1


@pytest.mark.parametrize(
    ("count", "has_labels", "closed", "saved", "expected"),
    [
        (2, True, False, 1_000_000_000, "Recover 2 objects of cells from {hm}?"),
        (1, True, True, 1_000_000_000, "Recover 1 object of cells from {hm} that were not saved?"),
        (0, True, False, 1_000_000_000, "Recover the labels of cells from {hm}?"),
        (0, False, False, 1_000_000_000, "Recover the prompts of cells from {hm}?"),
        (2, True, False, 1_000_000_000 - 3 * 86400, "Recover 2 objects of cells from {day}, {hm}?"),
    ],
)
def test_the_question_says_what_and_from_when(count, has_labels, closed, saved, expected):
    left = SimpleNamespace(
        image={"name": "cells"}, count=count, has_labels=has_labels, closed=closed, saved=saved
    )
    moment = time.localtime(saved)
    text = expected.format(hm=time.strftime("%H:%M", moment), day=time.strftime("%d %b", moment))
    assert describe_offer(left, now=1_000_000_000) == text


@pytest.mark.parametrize(
    ("name", "expected"), [("a.tif", "a.tif"), ("a.TIFF", "a.TIFF"), ("a", "a.tif"), ("a.b", "a.b.tif")]
)
def test_files_get_their_ending(name, expected):
    assert with_ending(Path(name)) == Path(expected)
