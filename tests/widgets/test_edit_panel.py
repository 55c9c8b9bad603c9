from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QOpenGLWidget, QPushButton

from napari_sam.session.settings import SettingsFile
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Desk


def scene() -> np.ndarray:
    data = np.zeros((64, 64), np.int32)
    data[8:16, 8:16] = 1
    data[8:16, 16:24] = 2
    data[30:50, 30:50] = 3
    data[40, 40] = 0
    return data


def labels_of(layer: Any) -> list[int]:
    return np.unique(layer.data).tolist()


def add(desk: Desk) -> Any:
    layer = desk.viewer.add_labels(scene(), name="mine")
    desk.viewer.layers.selection.active = layer
    return layer


# ------------------------------------------------------------------ buttons
def test_buttons_are_for_a_layer_that_is_there(desk: Desk) -> None:
    panel = desk.widget._edit.panel
    assert not panel.fill.isEnabled()
    assert not panel.tools["merge"].isEnabled()
    assert "No Labels layer yet" in panel.object.text()
    layer = add(desk)
    layer.selected_label = 3
    assert panel.fill.isEnabled()
    assert panel.object.text() == "At hand: object 3 of 'mine'"
    layer.name = "theirs"
    layer.selected_label = 2
    assert panel.object.text() == "At hand: object 2 of 'theirs'"
    desk.viewer.layers.remove(layer)
    assert not panel.fill.isEnabled()


def test_each_button_is_one_step(desk: Desk) -> None:
    panel, layer = desk.widget._edit.panel, add(desk)
    layer.selected_label = 3
    for button in (panel.fill, panel.smooth):
        before = layer.data.copy()
        button.click()
        assert not np.array_equal(layer.data, before)
        desk.widget.undo()
        np.testing.assert_array_equal(layer.data, before)
    panel.area.setValue(100)
    panel.remove.click()
    assert labels_of(layer) == [0, 3]
    desk.widget.undo()
    np.testing.assert_array_equal(layer.data, scene())
    panel.largest.click()
    assert desk.widget.status == "Nothing changed: it is in one piece."


def test_a_script_edits_as_the_pages_tell(desk: Desk) -> None:
    layer = add(desk)
    session = desk.widget.session
    token = session.layer_token(layer)
    session.editing.merge(token, (None, None), [1, 2])
    assert labels_of(layer) == [0, 1, 3]
    mask = ObjectMask.from_plane(np.ones((5, 5), bool), (55, 0))
    builder = session.edits.begin(token, "draw my own")
    builder.set((None, None), mask, builder.next_label((None, None)), keep="pixels")
    builder.commit()
    assert (layer.data == 4).sum() == 25
    desk.widget.undo()
    desk.widget.undo()
    np.testing.assert_array_equal(layer.data, scene())


def test_undo_and_redo_say_what_they_would_do(desk: Desk) -> None:
    panel, layer = desk.widget._prompt_panel, add(desk)
    plain = panel.undo.toolTip()
    layer.selected_label = 3
    desk.widget._edit.panel.fill.click()
    assert panel.undo.toolTip() == f"Next: fill holes of object 3.\n{plain}"
    desk.widget.undo()
    assert panel.undo.toolTip() == plain
    assert panel.redo.toolTip().startswith("Next: fill holes of object 3.")


def test_a_tool_is_taken_up_and_put_down(desk: Desk) -> None:
    panel, layer = desk.widget._edit.panel, add(desk)
    panel.tools["merge"].click()
    assert panel.tools["merge"].isChecked()
    assert "one object after the other" in desk.widget.status
    panel.tools["split"].click()
    assert [name for name, button in panel.tools.items() if button.isChecked()] == ["split"]
    panel.tools["split"].click()
    assert not any(button.isChecked() for button in panel.tools.values())
    panel.tools["delete"].click()
    layer.mode = "paint"
    assert not panel.tools["delete"].isChecked()


def test_the_rule_of_accepting_is_shown_and_chosen(desk: Desk) -> None:
    panel, accepting = desk.widget._accept_controls.panel, desk.widget._session.prompting.accepting
    assert panel.label.isHidden()
    panel.ids.setCurrentIndex(panel.ids.findData("class"))
    panel.ids.activated.emit(panel.ids.currentIndex())
    panel.label.setValue(7)
    panel.keep.setCurrentIndex(panel.keep.findData("objects"))
    panel.keep.activated.emit(panel.keep.currentIndex())
    rule = accepting.rule
    assert (rule.ids, rule.label, rule.keep) == ("class", 7, "objects")
    assert not panel.label.isHidden()
    assert not desk.widget.overwrite
    assert SettingsFile().load()[0].keep == "objects"  # what becomes of others is kept; an id is not
    for at in ((10, 10), (40, 40)):
        desk.click(*at)
        desk.widget.accept()
        assert desk.widget.wait(20)
    assert labels_of(desk.layer("SAM objects")) == [0, 7]


def test_every_control_says_what_it_does(desk: Desk) -> None:
    kinds = (QPushButton, QComboBox, QAbstractSpinBox)
    for panel in (desk.widget._edit.panel, desk.widget._accept_controls.panel):
        controls = [control for kind in kinds for control in panel.findChildren(kind)]
        assert controls
        assert [control for control in controls if not control.toolTip()] == []


# ------------------------------------------------------------------ mouse and keys
class Canvas:
    def __init__(self, window: Desk) -> None:
        self.window = window
        (self.widget,) = window.widget.window().findChildren(QOpenGLWidget)
        window.wait_for(lambda: self.widget.isVisible() and self.widget.width() > 100)
        window.settle()
        window.viewer.reset_view()

    def move(self, row: float, col: float) -> QPoint:
        camera = getattr(self.window.viewer, "scene", self.window.viewer).camera  # napari 0.9, before
        down, right = (np.array([row, col]) - np.array(camera.center[-2:])) * camera.zoom
        place = QPoint(round(self.widget.width() / 2 + right), round(self.widget.height() / 2 + down))
        QTest.mouseMove(self.widget, place)
        self.window.settle()
        return place

    def click(self, row: float, col: float) -> None:
        place = self.move(row, col)
        QTest.mouseClick(self.widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
        assert self.window.widget.wait(20)
        self.window.settle()

    def press(self, key: Any) -> None:
        QTest.keyClick(self.widget, key, Qt.KeyboardModifier.ShiftModifier)
        assert self.window.widget.wait(20)


@pytest.fixture
def canvas(open_window: Callable[..., Desk]) -> Canvas:
    return Canvas(open_window(show=True))


def test_objects_are_merged_split_and_deleted_by_mouse_and_keys(canvas: Canvas) -> None:
    window = canvas.window
    layer = add(window)
    canvas.press(Qt.Key.Key_M)
    canvas.click(12, 12)
    canvas.click(12, 20)
    assert labels_of(layer) == [0, 1, 3]
    canvas.press(Qt.Key.Key_M)
    canvas.press(Qt.Key.Key_S)
    canvas.click(33, 33)
    canvas.click(47, 47)
    assert labels_of(layer) == [0, 1, 3, 4]
    canvas.press(Qt.Key.Key_S)
    canvas.move(12, 12)
    canvas.press(Qt.Key.Key_X)
    assert labels_of(layer) == [0, 3, 4]
    for _ in range(3):
        window.widget.undo()
    np.testing.assert_array_equal(layer.data, scene())
    canvas.move(35, 35)
    canvas.press(Qt.Key.Key_F)
    assert layer.data[40, 40] == 3
    assert len(window.layer("SAM points").data) == 0
    assert window.messages == []


def test_with_a_tool_in_hand_no_click_is_a_prompt(canvas: Canvas) -> None:
    window = canvas.window
    layer = add(window)
    window.widget.target_layer = layer
    window.viewer.layers.selection.active = window.layer("SAM points")
    window.layer("SAM points").mode = "add"
    window.widget._edit.panel.tools["pick"].click()
    canvas.click(40, 35)
    assert layer.selected_label == 3
    assert len(window.layer("SAM points").data) == 0
    canvas.click(10, 40)
    assert len(window.layer("SAM points").data) == 1  # the tool before is back
