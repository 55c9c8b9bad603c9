"""Guided first use, and the table of keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.action_manager import action_manager
from qtpy.QtWidgets import QWidget

from napari_sam.session.settings import SettingsFile
from napari_sam.viewer.shortcuts import KEYS, SHORTCUTS, action_id
from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Desk


@pytest.fixture
def open_empty(qtbot: Any, desk: Desk) -> Iterator[Callable[[], SamWidget]]:
    """Opens the widget in an empty viewer; the engine is that of the desk."""
    opened = []

    def open_one() -> SamWidget:
        widget = SamWidget(ViewerModel(), engine=desk.engine)
        qtbot.addWidget(widget)
        opened.append((widget, widget._runner))
        return widget

    yield open_one
    for widget, runner in opened:
        widget.shutdown()
        assert runner.join(20)


def marks(widget: SamWidget) -> str:
    """The first sign of each line."""
    return "".join(line[0] for line in widget._guide.panel.lines)


def test_three_lines_lead_to_the_first_object(open_empty: Callable[[], SamWidget], desk: Desk) -> None:
    widget = open_empty()
    assert widget.model_name == "nuclei"
    assert marks(widget) == "▸  "
    widget._guide.panel.sample.click()
    image = widget.image_layer
    assert image.name == "Nuclei 2-D"
    assert marks(widget) == "✓▸ "
    assert widget._guide.panel.sample.isHidden()
    desk.settle()
    points = widget._controller.viewer.layers["SAM points"]
    assert widget._controller.viewer.layers.selection.active is points
    assert points.mode == "add"
    points.add((100, 100))
    assert widget.wait(20)
    assert marks(widget) == "✓✓▸"
    widget.accept()
    assert widget.wait(20)
    assert marks(widget) == ""
    assert widget._guide.panel.isHidden()


def test_who_knows_is_offered_the_sample_only(open_empty: Callable[[], SamWidget], desk: Desk) -> None:
    desk.click(10, 10)
    desk.widget.accept()
    assert desk.widget.wait(20)
    assert SettingsFile().load()[0].guided
    widget = open_empty()
    assert marks(widget) == ""
    assert not widget._guide.panel.sample.isHidden()
    widget._controller.viewer.add_image(np.zeros((32, 32)))
    assert widget._guide.panel.isHidden()


def test_everything_segmented_is_a_first_object_too(desk: Desk) -> None:
    assert marks(desk.widget) == "✓▸ "
    desk.widget.segment_everything()
    assert desk.widget.wait(20)
    assert marks(desk.widget) == ""


# ------------------------------------------------------------------ keys
def test_the_table_lists_every_key_of_the_widget(desk: Desk) -> None:
    panel = desk.widget._keys.panel
    desk.widget._keys.section.open()
    assert panel.texts == {name: KEYS[name].replace("-", "+") for name in desk.widget._bindings.keys}
    assert panel.texts.keys() == SHORTCUTS.keys()


@pytest.mark.parametrize(
    ("text", "name"),
    [("ACCEPT the", "accept"), ("shift+u", "redo"), (" review", "review_next"), ("not done", "review_next")],
)
def test_a_key_is_found_by_its_key_its_words_or_its_group(desk: Desk, text: str, name: str) -> None:
    panel = desk.widget._keys.panel
    desk.widget._keys.section.open()
    panel.search.setText(text)
    assert name in panel.texts
    assert len(panel.texts) < len(SHORTCUTS)
    panel.search.setText("nothing is called so")
    assert panel.texts == {}
    panel.search.clear()
    assert len(panel.texts) == len(SHORTCUTS)


def test_the_table_shows_keys_that_were_changed(desk: Desk) -> None:
    panel = desk.widget._keys.panel
    desk.widget._keys.section.open()
    action_manager.unbind_shortcut(action_id("undo"))
    assert panel.texts["undo"] == "no key"
    action_manager.bind_shortcut(action_id("undo"), "Alt-J")
    action_manager.bind_shortcut(action_id("undo"), "Alt-K")
    assert panel.texts["undo"] == "Alt+J or Alt+K"


def test_tooltips_name_the_keys_that_are_bound(desk: Desk) -> None:
    accept, background = desk.widget._prompt_panel.accept, desk.widget._prompt_panel.background
    assert f"({KEYS['accept']})" in accept.toolTip()
    action_manager.unbind_shortcut(action_id("accept"))
    assert "(no key)" in accept.toolTip()
    action_manager.bind_shortcut(action_id("accept"), "Alt-J")
    assert "(Alt-J)" in accept.toolTip()
    action_manager.unbind_shortcut(action_id("toggle_label"))
    action_manager.bind_shortcut(action_id("toggle_label"), "Alt-K")
    assert "(Alt-K toggles)" in background.toolTip()


def test_every_tooltip_with_a_key_names_the_one_that_is_bound(desk: Desk) -> None:
    def tips() -> str:
        return "\n".join(child.toolTip() for child in desk.widget.findChildren(QWidget))

    assert all(re.search(rf"(\(|back with ){key}[ ),;:.]", tips()) for key in KEYS.values())
    for name in KEYS:
        action_manager.unbind_shortcut(action_id(name))
    for number, name in enumerate(KEYS):
        action_manager.bind_shortcut(action_id(name), f"Alt-{chr(65 + number)}")
    told = tips()
    assert [key for key in KEYS.values() if re.search(rf"(\(|back with ){key}[ ),;:.]", told)] == []
    assert "no key" not in told
    assert f"(Alt-{chr(65 + list(KEYS).index('edit_fill'))}: under the cursor)" in told


def test_the_lines_name_the_keys_that_are_bound(desk: Desk) -> None:
    lines = desk.widget._guide.panel.lines
    assert f"After {KEYS['toggle_label']}," in lines[1]
    for name, key in (("toggle_label", "Alt-J"), ("accept", "Alt-K")):
        action_manager.unbind_shortcut(action_id(name))
        action_manager.bind_shortcut(action_id(name), key)
    lines = desk.widget._guide.panel.lines
    assert "After Alt-J," in lines[1]
    assert "with Alt-K," in lines[2]
    assert marks(desk.widget) == "✓▸ "
    action_manager.unbind_shortcut(action_id("accept"))
    assert "with the button," in desk.widget._guide.panel.lines[2]


def test_keys_change_beside_what_undo_would_take_back(desk: Desk) -> None:
    undo = desk.widget._prompt_panel.undo
    plain = undo.toolTip()
    desk.click(10, 10)
    assert desk.widget.wait(20)
    before = undo.toolTip()
    assert before.startswith("Next: ")
    action_manager.unbind_shortcut(action_id("undo"))
    action_manager.bind_shortcut(action_id("undo"), "Alt-J")
    assert undo.toolTip() == before.replace(f"({KEYS['undo']})", "(Alt-J)")
    desk.widget.undo()
    action_manager.unbind_shortcut(action_id("undo"))
    action_manager.bind_shortcut(action_id("undo"), "Alt-K")
    assert undo.toolTip() == plain.replace(f"({KEYS['undo']})", "(Alt-K)")
