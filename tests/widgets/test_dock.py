from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox

from napari_sam.viewer.bindings import KEYS
from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from conftest import Window

AREA = 29  # pixels of a disc of radius 3


# ------------------------------------------------------------------ the whole way
def test_click_accept_undo_and_segment_everything(window: Window) -> None:
    widget = window.widget
    window.click(10, 10)
    assert widget.wait(20)
    assert window.covered == AREA
    widget.accept()
    assert widget.wait(20)
    assert widget.target_layer is window.layer("SAM objects")
    assert window.covered == 0
    widget.undo()
    assert widget.wait(20)
    assert window.covered == AREA
    widget.redo()
    widget.segment_everything()
    assert widget.wait(20)
    assert np.unique(window.layer("SAM labels").data).tolist() == [1, 2]
    assert widget.status == "2 objects segmented."
    assert window.messages == []


def test_requests_may_be_queued_without_waiting(window: Window) -> None:
    for position in ((10, 10), (40, 40), (10, 40)):
        window.click(*position)
        window.widget.accept()
    assert window.widget.wait(20)
    data = window.widget.target_layer.data
    assert [data[10, 10], data[40, 40], data[10, 40]] == [1, 2, 3]


def test_everything_is_computed_off_the_main_thread(window: Window) -> None:
    window.click(10, 10)
    window.widget.wait(20)
    assert window.engine.threads == {"napari-sam"}
    assert threading.current_thread().name not in window.engine.threads


def test_a_click_does_not_wait_for_a_segmentation(window: Window) -> None:
    window.engine.steps, window.engine.step_delay = 100, 0.05
    window.widget.segment_everything()
    window.wait_for(lambda: len(window.engine.log) > 2)
    window.click(10, 10)
    window.wait_for(lambda: window.covered == AREA)
    assert len(window.engine.log) < 100
    window.widget.cancel()
    assert window.widget.wait(20)
    assert "SAM labels" not in window.viewer.layers
    assert window.covered == AREA
    assert window.widget.status == "Cancelled; nothing was changed."


def test_progress_is_shown_and_ends(window: Window) -> None:
    from napari.utils import progress

    window.engine.steps, window.engine.step_delay = 20, 0.02
    window.widget.segment_everything()
    panel = window.widget._auto_panel
    window.wait_for(lambda: panel.progress.value() > 3)
    assert len(progress._all_instances) == 1
    assert not panel.segment.isEnabled()
    assert window.widget.wait(20)
    assert len(progress._all_instances) == 0
    assert panel.segment.isEnabled()


# ------------------------------------------------------------------ for scripts
def test_layers_are_set_by_layer_name_or_none(window: Window) -> None:
    widget = window.widget
    other = window.viewer.add_image(np.ones((64, 64)), name="other")
    labels = window.viewer.add_labels(np.zeros((64, 64), int), name="mine")
    widget.image_layer = "other"
    assert widget.image_layer is other
    widget.image_layer = window.image
    assert widget.image_layer is window.image
    widget.target_layer = "mine"
    assert widget.target_layer is labels
    widget.target_layer = None
    assert widget.target_layer is None
    widget.image_layer = None
    assert widget.image_layer is None
    with pytest.raises(ValueError, match=r"one of \['cells', 'other'\], got 'nothing'"):
        widget.image_layer = "nothing"
    with pytest.raises(ValueError, match="Expected a Labels layer"):
        widget.target_layer = "SAM preview"
    assert widget.wait(20)


def test_the_model_is_set_by_name(window: Window) -> None:
    widget = window.widget
    assert widget.model_name == "nuclei"
    widget.model_name = "vit_t"
    window.click(10, 10)
    assert widget.wait(20)
    assert window.engine.loads[-1].name == "vit_t"
    assert widget._model_panel.model.currentText() == "vit_t"
    widget.model_name = "broken"
    assert widget.wait(20)
    assert "Expected a checkpoint of a known architecture, got 'broken'." in window.messages


# ------------------------------------------------------------------ what users see
def test_combos_follow_the_layers(window: Window) -> None:
    image, target = window.widget._model_panel.image, window.widget._prompt_panel.target
    labels = window.viewer.add_labels(np.zeros((64, 64), int), name="mine")
    assert [target.itemText(i) for i in range(target.count())] == ["new layer", "mine"]
    labels.name = "renamed"
    window.image.name = "nuclei"
    assert target.itemText(1) == "renamed"
    assert image.currentText() == "nuclei"
    window.viewer.layers.remove(labels)
    assert target.count() == 1
    window.viewer.layers.remove(window.image)
    assert image.currentIndex() == 0
    assert window.widget.image_layer is None


def test_choosing_in_combos_chooses_layers(window: Window) -> None:
    labels = window.viewer.add_labels(np.zeros((64, 64), int), name="mine")
    points = window.viewer.add_points([(20, 20)], name="marks")
    panel = window.widget._prompt_panel
    panel.target.setCurrentIndex(1)
    panel.target.activated.emit(1)
    panel.points.setCurrentIndex(panel.points.findText("marks"))
    panel.points.activated.emit(panel.points.currentIndex())
    assert window.widget.wait(20)
    assert window.layer("SAM preview").data[20, 20] == 1
    panel.accept.click()
    assert window.widget.wait(20)
    assert labels.data[20, 20] == 1
    assert len(points.data) == 0  # accepted prompts are cleared, wherever they lie


def test_buttons_do_what_they_say(window: Window) -> None:
    panel = window.widget._prompt_panel
    assert not panel.accept.isEnabled()
    window.click(10, 10)
    panel.background.click()
    window.click(10, 12)
    assert window.widget.wait(20)
    assert window.engine.asked[-1].labels.tolist() == [1, 0]
    panel.undo.click()
    assert len(window.layer("SAM points").data) == 1
    panel.redo.click()
    assert len(window.layer("SAM points").data) == 2
    panel.clear.click()
    assert len(window.layer("SAM points").data) == 0
    assert not panel.clear.isEnabled()
    panel.foreground.click()
    panel.box_tool.click()
    assert window.viewer.layers.selection.active is window.layer("SAM shapes")
    panel.overwrite.click()
    assert window.widget._controller.overwrite
    panel.accept.click()
    assert window.widget.wait(20)


def test_keys_do_what_the_tooltips_say(window: Window) -> None:
    keymap = {str(key): function for key, function in window.viewer.keymap.items()}
    window.click(10, 10)
    keymap["T"](window.viewer)
    assert window.widget._prompt_panel.background.isChecked()
    keymap["U"](window.viewer)
    assert len(window.layer("SAM points").data) == 0
    keymap["Shift+U"](window.viewer)
    assert len(window.layer("SAM points").data) == 1
    keymap["N"](window.viewer)
    assert window.widget.wait(20)
    assert window.widget.target_layer.data[10, 10] == 1
    assert len(keymap) == len(KEYS)


def test_every_control_has_a_tooltip_and_fits_320_pixels(window: Window) -> None:
    window.widget.resize(320, 700)
    controls = window.widget.findChildren(QAbstractButton) + window.widget.findChildren(QComboBox)
    named = [control for control in controls if not control.objectName().startswith("qt_")]
    assert len(named) > 15
    assert [control for control in named if not control.toolTip()] == []
    assert window.widget.minimumSizeHint().width() <= 320
    window.widget._on_status_changed("Cannot read " + "/a_very_long_name_of_a_folder" * 9)
    inner = window.widget._status.parentWidget()
    assert inner.minimumSizeHint().width() <= 320


# ------------------------------------------------------------------ endings
def test_closing_the_dock_while_a_job_runs(window: Window) -> None:
    window.engine.steps, window.engine.step_delay = 500, 0.02
    users = window.viewer.add_labels(np.ones((64, 64), int), name="mine")
    window.widget.segment_everything()
    window.wait_for(lambda: len(window.engine.log) > 2)
    window.viewer.window.remove_dock_widget(window.dock)
    window.settle()
    assert window.widget._runner.join(20)
    assert users in window.viewer.layers
    assert len(window.viewer.keymap) == 0
    window.click(10, 10)
    window.viewer.layers.remove(window.image)
    for action in (
        window.widget.accept,
        window.widget.clear,
        window.widget.undo,
        window.widget.segment_everything,
    ):
        action()
    assert window.widget.wait(1)
    assert window.messages == []


def test_closing_the_viewer_while_a_job_runs(window: Window) -> None:
    window.engine.steps, window.engine.step_delay = 500, 0.02
    window.click(10, 10)
    window.widget.segment_everything()
    window.wait_for(lambda: len(window.engine.log) > 2)
    session, runner = window.widget._session, window.widget._runner
    window.viewer.close()
    window.settle()
    assert session._closed
    assert runner.join(20)


def test_reopening_finds_the_prompts_again(window: Window) -> None:
    window.click(10, 10)
    window.widget.wait(20)
    window.viewer.window.remove_dock_widget(window.dock)
    window.settle()
    assert window.covered == 0
    names = [layer.name for layer in window.viewer.layers]
    again = SamWidget(window.viewer, engine=window.engine)
    window.viewer.window.add_dock_widget(again, name="SAM")
    assert again.wait(20)
    assert [layer.name for layer in window.viewer.layers] == names
    assert window.covered == AREA
    again.shutdown()
    assert again._runner.join(20)


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), ValueError("bad"), MemoryError()], ids=lambda error: type(error).__name__
)
def test_errors_of_the_worker_become_one_notification(window: Window, error: Exception) -> None:
    window.engine.error = error
    window.click(10, 10)
    assert window.widget.wait(20)
    assert len(window.messages) == 1
    window.engine.error = None
    window.click(40, 40)
    assert window.widget.wait(20)
    assert window.covered == 2 * AREA


def test_the_viewer_stays_responsive_while_the_model_works(window: Window) -> None:
    window.engine.delay = 0.5
    window.click(10, 10)
    pumps, longest, last = 0, 0.0, time.monotonic()
    while window.widget._session.is_busy:
        QApplication.processEvents()
        now = time.monotonic()
        pumps, longest, last = pumps + 1, max(longest, now - last), now
        time.sleep(0.005)
    assert pumps > 10
    assert longest < 0.4  # the model alone takes 0.5 s; here it would block if it ran in this thread


def test_opening_the_widget_imports_no_torch_in_the_main_thread() -> None:
    code = "import sys, napari_sam.widgets.dock; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_warm_up_and_listing_happen_on_opening(window: Window) -> None:
    assert [choice.name for choice in window.engine.loads] == ["nuclei"]
    assert window.widget.status == "Ready: click on an object."
    model: Any = window.widget._model_panel.model
    assert [model.itemText(i) for i in range(model.count())] == ["nuclei", "vit_t"]
