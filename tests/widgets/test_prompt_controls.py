from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.session.settings import SettingsFile
from napari_sam.viewer.tools import TOOLS

if TYPE_CHECKING:
    from conftest import Desk


def down(desk: Desk) -> list[str]:
    """Tools whose button is down."""
    panel = desk.widget._prompt_panel
    return [name for name in TOOLS if getattr(panel, f"{name}_tool").isChecked()]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tools_button_is_down_while_it_is_in_hand(desk: Desk, tool: str) -> None:
    panel = desk.widget._prompt_panel
    getattr(panel, f"{tool}_tool").click()
    assert down(desk) == [tool]
    getattr(panel, f"{tool}_tool").click()
    assert down(desk) == [tool]  # a second click does not put it away
    desk.viewer.layers.selection.active = desk.image
    assert down(desk) == []


def test_buttons_follow_napari_s_own_modes(desk: Desk) -> None:
    assert down(desk) == ["click"]
    desk.layer("SAM points").mode = "select"
    assert down(desk) == []
    desk.viewer.layers.selection.active = desk.layer("SAM shapes")
    desk.layer("SAM shapes").mode = "add_ellipse"
    assert down(desk) == ["polygon"]


def test_settings_persist(desk: Desk) -> None:
    panel = desk.widget._prompt_panel
    panel.rapid.click()
    panel.hover.click()
    panel.rough_use.setCurrentIndex(panel.rough_use.findData("box"))
    settings, _ = SettingsFile().load()
    assert (settings.mode, settings.hover, settings.rough_use) == ("rapid", True, "box")
    panel.one.click()
    panel.hover.click()
    settings, _ = SettingsFile().load()
    assert (settings.mode, settings.hover) == ("one", False)


def test_keys_switch_modes_and_the_buttons_follow(desk: Desk) -> None:
    keymap = {str(key): function for key, function in desk.viewer.keymap.items()}
    panel = desk.widget._prompt_panel
    keymap["Shift+N"](desk.viewer)
    keymap["H"](desk.viewer)
    assert (panel.rapid.isChecked(), panel.hover.isChecked()) == (True, True)
    keymap["Shift+N"](desk.viewer)
    assert panel.one.isChecked()


def test_the_button_shows_which_of_how_many_masks_it_is(desk: Desk) -> None:
    desk.engine.alternatives = 2
    panel = desk.widget._prompt_panel
    assert not panel.next_mask.isEnabled()
    desk.click(20, 20)
    assert desk.widget.wait(20)
    assert panel.next_mask.text() == "Mask 1 of 3"
    before = desk.covered
    panel.next_mask.click()
    assert panel.next_mask.text() == "Mask 2 of 3"
    assert desk.covered > before
    keymap = {str(key): function for key, function in desk.viewer.keymap.items()}
    keymap["Shift+Q"](desk.viewer)
    assert panel.next_mask.text() == "Mask 1 of 3"
    keymap["Q"](desk.viewer)
    desk.widget.accept()
    assert np.count_nonzero(desk.widget.target_layer.data) == 73
    assert not panel.next_mask.isEnabled()


def test_rapid_clicks_are_objects_and_their_points_go(desk: Desk) -> None:
    desk.widget._prompt_panel.rapid.click()
    for place in ((10, 10), (30, 30), (50, 50)):
        desk.click(*place)
    assert desk.widget.wait(20)
    desk.settle()
    assert np.unique(desk.widget.target_layer.data).tolist() == [0, 1, 2, 3]
    assert len(desk.layer("SAM points").data) == 0
    for left in (2, 1, 0):
        desk.widget.undo()
        assert len(np.unique(desk.widget.target_layer.data)) == left + 1


def test_a_widget_that_closes_at_once_takes_nothing_out_later(desk: Desk) -> None:
    desk.widget._prompt_panel.rapid.click()
    desk.click(10, 10)
    desk.widget.shutdown()
    desk.settle()
    assert len(desk.layer("SAM points").data) == 1


def test_cancel_can_be_pressed_only_while_something_runs(desk: Desk) -> None:
    cancel = desk.widget._auto_panel.cancel
    assert not cancel.isEnabled()
    desk.engine.gate = threading.Event()
    desk.click(20, 20)
    assert cancel.isEnabled()
    desk.engine.gate.set()
    assert desk.widget.wait(20)
    assert not cancel.isEnabled()
