"""The dock widget in a real window: the whole way, and how it ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from conftest import Desk

AREA = 29  # pixels of a disc of radius 3


# ------------------------------------------------------------------ the whole way
def test_click_accept_undo_and_segment_everything(window: Desk) -> None:
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
    assert np.unique(window.layer("cells objects").data).tolist() == [1, 2]
    assert widget.status == "2 objects segmented."
    assert window.messages == []


def test_progress_is_shown_and_ends(window: Desk) -> None:
    from napari.utils import progress

    window.engine.steps, window.engine.step_delay = 2000, 0.02
    window.widget.segment_everything()
    panel = window.widget._auto_panel
    window.wait_for(lambda: panel.progress.value() > 3)
    assert len(progress._all_instances) == 1
    assert not panel.segment.isEnabled()
    window.widget.cancel()
    assert window.widget.wait(20)
    assert len(progress._all_instances) == 0
    assert panel.segment.isEnabled()


def test_choosing_in_combos_chooses_layers(window: Desk) -> None:
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


# ------------------------------------------------------------------ endings
def test_closing_the_dock_while_a_job_runs(window: Desk) -> None:
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


def test_closing_the_viewer_while_a_job_runs(window: Desk) -> None:
    window.engine.steps, window.engine.step_delay = 500, 0.02
    window.click(10, 10)
    window.widget.segment_everything()
    window.wait_for(lambda: len(window.engine.log) > 2)
    session, runner = window.widget._session, window.widget._runner
    window.viewer.close()
    window.settle()
    assert session._closed
    assert runner.join(20)


def test_reopening_finds_the_prompts_again(window: Desk) -> None:
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


def test_closing_the_dock_before_the_mask_of_an_accepted_object_is_there_brings_its_clicks_back(
    window: Desk,
) -> None:
    window.engine.gate = threading.Event()
    window.click(10, 10)
    window.widget.accept()
    assert len(window.layer("SAM points").data) == 0
    window.viewer.window.remove_dock_widget(window.dock)
    window.settle()
    window.engine.gate.set()
    assert window.layer("SAM points").data.tolist() == [[10, 10]]
    assert window.messages == []


def test_the_viewer_stays_responsive_while_the_model_works(window: Desk) -> None:
    window.engine.asked.clear()
    window.engine.gate = threading.Event()
    window.click(10, 10)
    window.wait_for(lambda: len(window.engine.asked) == 1)
    window.click(40, 40)  # the model still works; this returns at once
    for _ in range(10):
        QApplication.processEvents()
    assert window.widget._session.is_busy
    assert window.covered == 0
    assert len(window.layer("SAM points").data) == 2
    window.engine.gate.set()
    assert window.widget.wait(20)
    assert window.covered == 2 * AREA


def test_hidden_layers_are_written_to_as_well(window):
    """napari slices no hidden layer, and its ``data_setitem`` then fails half way."""
    window.viewer.add_image(np.zeros((6, 64, 64), np.uint8), name="stack")
    window.widget.image_layer = "stack"
    objects = None
    for z in (1, 3, 4):
        window.viewer.dims.set_current_step(0, z)
        window.click(z, 20, 20)
        assert window.widget.wait(20)
        window.widget.accept()
        assert window.widget.wait(20)
        objects = window.layer("SAM objects")
        objects.visible = False
        window.layer("SAM preview").visible = z != 3
    assert [int(plane.max()) for plane in objects.data] == [0, 1, 0, 2, 3, 0]
    assert not objects.visible
    window.widget.undo()
    assert [int(plane.max()) for plane in objects.data] == [0, 1, 0, 2, 0, 0]
