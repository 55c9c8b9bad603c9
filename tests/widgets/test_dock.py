"""The dock widget on a bare viewer model: all that needs no window."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QComboBox

from napari_sam.viewer.bindings import KEYS

if TYPE_CHECKING:
    from conftest import Desk

AREA = 29  # pixels of a disc of radius 3


def test_requests_may_be_queued_without_waiting(desk: Desk) -> None:
    for position in ((10, 10), (40, 40), (10, 40)):
        desk.click(*position)
        desk.widget.accept()
    assert desk.widget.wait(20)
    data = desk.widget.target_layer.data
    assert [data[10, 10], data[40, 40], data[10, 40]] == [1, 2, 3]


def test_everything_is_computed_off_the_main_thread(desk: Desk) -> None:
    desk.click(10, 10)
    desk.widget.wait(20)
    assert desk.engine.threads == {"napari-sam"}
    assert threading.current_thread().name not in desk.engine.threads


def test_a_click_does_not_wait_for_a_segmentation(desk: Desk) -> None:
    desk.engine.steps, desk.engine.step_delay = 100, 0.05
    desk.widget.segment_everything()
    desk.wait_for(lambda: len(desk.engine.log) > 2)
    desk.click(10, 10)
    desk.wait_for(lambda: desk.covered == AREA)
    assert len(desk.engine.log) < 100
    desk.widget.cancel()
    assert desk.widget.wait(20)
    assert desk.covered == AREA
    assert desk.widget.status == "Cancelled; 2 objects of the finished part are kept."
    assert np.unique(desk.layer("cells objects").data).tolist() == [1, 2]


# ------------------------------------------------------------------ for scripts
def test_layers_are_set_by_layer_name_or_none(desk: Desk) -> None:
    widget = desk.widget
    other = desk.viewer.add_image(np.ones((64, 64)), name="other")
    labels = desk.viewer.add_labels(np.zeros((64, 64), int), name="mine")
    widget.image_layer = "other"
    assert widget.image_layer is other
    widget.image_layer = desk.image
    assert widget.image_layer is desk.image
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


def test_the_model_is_set_by_name(desk: Desk) -> None:
    widget = desk.widget
    assert widget.model_name == "nuclei"
    widget.model_name = "vit_t"
    desk.click(10, 10)
    assert widget.wait(20)
    assert desk.engine.loads[-1].name == "vit_t"
    assert widget._model_panel.choice.name == "vit_t"
    widget.model_name = "broken"
    assert widget.wait(20)
    assert "Expected a checkpoint of a known architecture, got 'broken'." in desk.messages


# ------------------------------------------------------------------ what users see
def test_combos_follow_the_layers(desk: Desk) -> None:
    image, target = desk.widget._model_panel.image, desk.widget._prompt_panel.target
    labels = desk.viewer.add_labels(np.zeros((64, 64), int), name="mine")
    assert [target.itemText(i) for i in range(target.count())] == ["new layer", "mine"]
    labels.name = "renamed"
    desk.image.name = "nuclei"
    assert target.itemText(1) == "renamed"
    assert image.currentText() == "nuclei"
    desk.viewer.layers.remove(labels)
    assert target.count() == 1
    desk.viewer.layers.remove(desk.image)
    assert image.currentIndex() == 0
    assert desk.widget.image_layer is None


def test_buttons_do_what_they_say(desk: Desk) -> None:
    panel = desk.widget._prompt_panel
    assert not panel.accept.isEnabled()
    desk.click(10, 10)
    panel.background.click()
    desk.click(10, 12)
    assert desk.widget.wait(20)
    assert desk.engine.asked[-1].labels.tolist() == [1, 0]
    panel.undo.click()
    assert len(desk.layer("SAM points").data) == 1
    panel.redo.click()
    assert len(desk.layer("SAM points").data) == 2
    panel.clear.click()
    assert len(desk.layer("SAM points").data) == 0
    assert not panel.clear.isEnabled()
    panel.foreground.click()
    panel.box_tool.click()
    assert desk.viewer.layers.selection.active is desk.layer("SAM shapes")
    desk.widget.overwrite = True
    assert desk.widget._accept_controls.panel.keep.currentText() == "are overwritten"
    panel.accept.click()
    assert desk.widget.wait(20)


def test_keys_do_what_the_tooltips_say(desk: Desk) -> None:
    keymap = {str(key): function for key, function in desk.viewer.keymap.items()}
    desk.click(10, 10)
    keymap["T"](desk.viewer)
    assert desk.widget._prompt_panel.background.isChecked()
    keymap["U"](desk.viewer)
    assert len(desk.layer("SAM points").data) == 0
    keymap["Shift+U"](desk.viewer)
    assert len(desk.layer("SAM points").data) == 1
    keymap["N"](desk.viewer)
    assert desk.widget.wait(20)
    assert desk.widget.target_layer.data[10, 10] == 1
    assert len(keymap) == len(KEYS)


def test_every_control_has_a_tooltip_and_fits_320_pixels(desk: Desk) -> None:
    desk.widget.resize(320, 700)
    controls = desk.widget.findChildren(QAbstractButton) + desk.widget.findChildren(QComboBox)
    named = [control for control in controls if not control.objectName().startswith("qt_")]
    assert len(named) > 15
    assert [control for control in named if not control.toolTip()] == []
    assert desk.widget.minimumSizeHint().width() <= 320
    desk.widget._status.say("Cannot read " + "/a_very_long_name_of_a_folder" * 9)
    inner = desk.widget._status.parentWidget()
    assert inner.minimumSizeHint().width() <= 320


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), ValueError("bad"), MemoryError()], ids=lambda error: type(error).__name__
)
def test_errors_of_the_worker_become_one_notification(desk: Desk, error: Exception) -> None:
    desk.engine.error = error
    desk.click(10, 10)
    assert desk.widget.wait(20)
    assert len(desk.messages) == 1
    desk.engine.error = None
    desk.click(40, 40)
    assert desk.widget.wait(20)
    assert desk.covered == 2 * AREA


def test_opening_the_widget_imports_no_torch_in_the_main_thread() -> None:
    code = "import sys, napari_sam.widgets.dock; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_warm_up_and_listing_happen_on_opening(desk: Desk) -> None:
    assert [choice.name for choice in desk.engine.loads] == ["nuclei"]
    assert desk.widget.status == "Ready: click on an object."
    model: Any = desk.widget._model_panel.model
    assert [model.itemData(i) for i in range(model.count())][::2] == ["nuclei", "vit_t", None]
