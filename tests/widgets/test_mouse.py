"""What a user's hand does: mouse and keys of a window that is seen, through Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QOpenGLWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Desk

LEFT = Qt.MouseButton.LeftButton


class Hand:
    """Clicks, drags and types on the canvas of a window; positions are (row, col) of the image."""

    def __init__(self, window: Desk) -> None:
        self.window = window
        (self.canvas,) = window.widget.window().findChildren(QOpenGLWidget)
        window.wait_for(lambda: self.canvas.isVisible() and self.canvas.width() > 100)
        window.settle()
        window.viewer.reset_view()

    def place(self, row: float, col: float) -> QPoint:
        """Where on the canvas a position is seen."""
        camera = getattr(self.window.viewer, "scene", self.window.viewer).camera  # napari 0.9, before
        down, right = (np.array([row, col]) - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + right), round(self.canvas.height() / 2 + down))

    def click(self, row: float, col: float) -> None:
        place = self.place(row, col)
        QTest.mouseMove(self.canvas, place)
        QTest.mouseClick(self.canvas, LEFT, Qt.KeyboardModifier.NoModifier, place)
        assert self.window.widget.wait(20)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        QTest.mouseMove(self.canvas, self.place(*start))
        QTest.mousePress(self.canvas, LEFT, Qt.KeyboardModifier.NoModifier, self.place(*start))
        for part in (0.25, 0.5, 0.75, 1.0):
            step = np.array(start) + part * (np.array(end) - np.array(start))
            QTest.mouseMove(self.canvas, self.place(*step))
            QApplication.processEvents()
        QTest.mouseRelease(self.canvas, LEFT, Qt.KeyboardModifier.NoModifier, self.place(*end))
        assert self.window.widget.wait(20)

    def press(self, key: Any) -> None:
        QTest.keyClick(self.canvas, key)
        assert self.window.widget.wait(20)


@pytest.fixture
def hand(open_window: Callable[..., Desk]) -> Iterator[Hand]:
    return Hand(open_window(show=True))


def test_clicks_keys_and_a_dragged_box(hand: Hand) -> None:
    window, panel = hand.window, hand.window.widget._prompt_panel
    hand.click(10, 20)
    np.testing.assert_allclose(window.layer("SAM points").data, [(10, 20)], atol=0.2)
    assert window.layer("SAM preview").data[10, 20] == 1

    hand.press(Qt.Key.Key_T)
    assert panel.background.isChecked()
    hand.click(10, 23)
    assert window.engine.asked[-1].labels.tolist() == [1, 0]
    assert window.layer("SAM preview").data[10, 22] == 0

    hand.press(Qt.Key.Key_U)
    assert len(window.layer("SAM points").data) == 1
    hand.press(Qt.Key.Key_T)
    assert panel.foreground.isChecked()
    hand.press(Qt.Key.Key_N)
    assert window.layer("SAM objects").data[10, 20] == 1
    assert window.covered == 0

    panel.box_tool.click()
    hand.drag((30, 30), (50, 40))
    np.testing.assert_allclose(window.engine.asked[-1].box, (30, 30, 50, 40), atol=0.2)
    assert window.covered == 200
    hand.press(Qt.Key.Key_T)
    assert panel.background.isChecked()
    assert window.layer("SAM shapes").mode == "add_rectangle"
    hand.press(Qt.Key.Key_N)
    assert window.layer("SAM objects").data[40, 35] == 2
    assert window.messages == []
