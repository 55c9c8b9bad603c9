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

    def stroke(self, *places: tuple[float, float]) -> None:
        """Press at the first place, move over the others, and release."""
        plain = Qt.KeyboardModifier.NoModifier
        QTest.mouseMove(self.canvas, self.place(*places[0]))
        QTest.mousePress(self.canvas, LEFT, plain, self.place(*places[0]))
        for place in places[1:]:
            QTest.mouseMove(self.canvas, self.place(*place))
            QApplication.processEvents()
        QTest.mouseRelease(self.canvas, LEFT, plain, self.place(*places[-1]))
        assert self.window.widget.wait(20)
        self.window.settle()

    def move(self, row: float, col: float) -> None:
        QTest.mouseMove(self.canvas, self.place(row, col))
        self.window.settle()

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


def circle(row: float, col: float, radius: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 16)
    return [(row + radius * float(np.sin(a)), col + radius * float(np.cos(a))) for a in angles]


def ids(window: Desk) -> list[int]:
    layer = window.widget.target_layer
    return [] if layer is None else np.unique(layer.data[layer.data != 0]).tolist()


def test_a_scribble_and_an_outline_drawn_by_hand(hand: Hand) -> None:
    window, panel = hand.window, hand.window.widget._prompt_panel
    panel.scribble_tool.click()
    hand.stroke((20, 10), (20, 20), (20, 30), (20, 40), (20, 50))
    assert list(window.layer("SAM shapes").shape_type) == ["path"]
    asked = window.engine.asked[-1]
    assert len(asked.points) == 5
    np.testing.assert_allclose(asked.points[:, 0], 20, atol=0.2)
    assert asked.labels.tolist() == [1] * 5

    panel.background.click()
    hand.stroke((40, 10), (40, 20), (40, 30), (40, 40), (40, 50))
    assert window.engine.asked[-1].labels.tolist() == [1] * 5 + [0] * 5
    hand.press(Qt.Key.Key_U)
    assert list(window.layer("SAM shapes").shape_type) == ["path"]
    hand.press(Qt.Key.Key_N)
    assert ids(window) == [1]

    panel.polygon_tool.click()
    panel.foreground.click()
    hand.stroke(*circle(42, 32, 12))
    assert list(window.layer("SAM shapes").shape_type) == ["polygon"]
    asked = window.engine.asked[-1]
    assert asked.mask.area == pytest.approx(np.pi * 144, rel=0.15)
    assert asked.box is not None
    hand.press(Qt.Key.Key_N)
    assert ids(window) == [1, 2]
    assert panel.polygon_tool.isChecked()
    assert window.messages == []


def test_a_label_of_somebody_is_refined_by_clicks(hand: Hand) -> None:
    window, panel = hand.window, hand.window.widget._prompt_panel
    labels = np.zeros((64, 64), np.int32)
    labels[10:30, 10:30], labels[10:30, 30:50] = 4, 8
    layer = window.viewer.add_labels(labels.copy(), name="theirs")
    panel.refine_tool.click()
    hand.click(20, 20)
    assert window.covered == 400
    assert panel.click_tool.isChecked()
    hand.click(50, 20)
    assert window.engine.asked[-1].mask.area == 400
    hand.press(Qt.Key.Key_N)
    assert layer.data[50, 20] == 4
    np.testing.assert_array_equal(layer.data == 8, labels == 8)
    hand.press(Qt.Key.Key_U)
    np.testing.assert_array_equal(layer.data, labels)

    hand.press(Qt.Key.Key_U)
    hand.press(Qt.Key.Key_U)
    hand.move(20, 40)
    hand.press(Qt.Key.Key_W)
    assert window.layer("SAM preview").data[20, 40] == 1
    assert window.covered == 400


def test_each_stroke_is_an_object_in_rapid_mode(hand: Hand) -> None:
    window, panel = hand.window, hand.window.widget._prompt_panel
    panel.rapid.click()
    hand.click(10, 10)
    panel.box_tool.click()
    hand.drag((30, 30), (40, 40))
    window.settle()
    panel.scribble_tool.click()
    hand.stroke((55, 10), (55, 20), (55, 30), (55, 40))
    panel.polygon_tool.click()
    hand.stroke(*circle(15, 45, 10))
    assert ids(window) == [1, 2, 3, 4]
    assert len(window.layer("SAM shapes").data) == len(window.layer("SAM points").data) == 0
    for left in (3, 2, 1, 0):
        hand.press(Qt.Key.Key_U)
        assert len(ids(window)) == left
    assert window.messages == []


def test_the_mouse_shows_what_a_click_would_give(hand: Hand) -> None:
    window, panel = hand.window, hand.window.widget._prompt_panel
    panel.hover.click()
    hand.move(20, 20)
    window.wait_for(lambda: window.layer("SAM preview").data[20, 20] == 2)
    hand.click(20, 20)
    assert window.layer("SAM preview").data[20, 20] == 1
    hand.press(Qt.Key.Key_N)
    hand.move(40, 40)
    window.wait_for(lambda: window.layer("SAM preview").data[40, 40] == 2)
    panel.box_tool.click()
    assert window.covered == 0
