"""The dock for everybody: told by tooltips, by keyboard alone, at 320 pixels, in both themes."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QScrollBar,
    QWidget,
)

from napari_sam.widgets.column import Column
from napari_sam.widgets.keyboard import list_stops
from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Desk

CONTROLS = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)
WIDTH = 320


def controls_of(widget: QWidget) -> list[QWidget]:
    """What a user can touch, less the inner parts that Qt makes of it."""
    found = [child for kind in CONTROLS for child in widget.findChildren(kind)]
    inner = (QComboBox, QAbstractSpinBox)
    return [
        control
        for control in found
        if not isinstance(control, QScrollBar)
        and not control.objectName().startswith("qt_")
        and not isinstance(control.parentWidget(), inner)
    ]


def unfold(widget: QWidget) -> None:
    for section in widget.findChildren(Section):
        section.open()


# ------------------------------------------------------------------ tooltips
def test_every_control_has_a_tooltip(desk: Desk) -> None:
    unfold(desk.widget)
    controls = controls_of(desk.widget)
    assert len(controls) > 40
    assert [(type(c).__name__, getattr(c, "text", str)()) for c in controls if not c.toolTip()] == []


def test_no_tooltip_is_one_endless_line(desk: Desk) -> None:
    unfold(desk.widget)
    lines = [line for c in controls_of(desk.widget) for line in c.toolTip().splitlines()]
    assert [line for line in lines if len(line) > 240] == []


# ------------------------------------------------------------------ keyboard
def shown(desk: Desk, qtbot: Any) -> QWidget:
    widget = desk.widget
    unfold(widget)
    widget.resize(WIDTH, 900)
    widget.show()
    qtbot.waitExposed(widget)
    desk.settle(0.1)
    return widget


def press(widget: QWidget, key: Any) -> None:
    target = widget.focusWidget() or widget
    QTest.keyClick(target, key)


def visit(widget: QWidget, key: Any, most: int = 400) -> list[QWidget]:
    """What has the focus after each press of Tab or Shift+Tab, until it is back at the first."""
    seen: list[QWidget] = []
    for _ in range(most):
        now = widget.focusWidget()
        assert now is not None
        if now in seen:
            assert now is seen[0], f"caught between {now} and {seen[-1]}"
            return seen
        seen.append(now)
        press(widget, key)
    raise AssertionError("the chain does not end")


def test_tab_visits_every_control_and_is_never_caught(desk: Desk, qtbot: Any) -> None:
    widget = shown(desk, qtbot)
    list_stops(widget)[0].setFocus()
    forth = visit(widget, Qt.Key.Key_Tab)
    reached = {id(part) for stop in forth for part in (stop, stop.parentWidget())}
    missed = [
        control
        for control in controls_of(widget)
        if control.isVisible() and control.isEnabled() and id(control) not in reached
    ]
    # of buttons that exclude each other Tab visits the checked one; arrows go to the others
    missed = [c for c in missed if not (isinstance(c, QAbstractButton) and c.group() and not c.isChecked())]
    assert [(type(c).__name__, c.toolTip()) for c in missed] == []
    back = visit(widget, Qt.Key.Key_Backtab)
    assert [id(stop) for stop in back[1:]] == [id(stop) for stop in reversed(forth[1:])]


def test_tab_goes_from_top_to_bottom(desk: Desk, qtbot: Any) -> None:
    widget = shown(desk, qtbot)
    list_stops(widget)[0].setFocus()
    column = widget.findChild(Column).widget()
    stops = [stop for stop in visit(widget, Qt.Key.Key_Tab) if column.isAncestorOf(stop)]
    tops = [stop.mapTo(column, QPoint(0, stop.height() // 2)).y() for stop in stops]
    jumps = [
        (stops[i].toolTip(), stops[i + 1].toolTip())
        for i in range(len(tops) - 1)
        if tops[i + 1] < tops[i] - 12  # the middles of one row differ by a few pixels
    ]
    assert jumps == []


def test_tab_leaves_the_dock_for_the_window(open_window: Callable[..., Desk]) -> None:
    desk = open_window(show=True)
    stops = list_stops(desk.widget)
    for stop, key in ((stops[-1], Qt.Key.Key_Tab), (stops[0], Qt.Key.Key_Backtab)):
        stop.setFocus()
        QTest.keyClick(stop, key)
        now = desk.widget.window().focusWidget()
        assert now is not None
        assert not desk.widget.isAncestorOf(now)


def test_keys_work_the_buttons(desk: Desk, qtbot: Any) -> None:
    widget = shown(desk, qtbot)
    desk.click(20, 20)
    assert widget.wait(20)
    section = widget._keys.section
    section.button.setFocus()
    press(widget, Qt.Key.Key_Space)
    assert not section.is_open
    widget._prompt_panel.accept.setFocus()
    press(widget, Qt.Key.Key_Space)
    assert widget.wait(20)
    assert widget.target_layer.data[20, 20] == 1
    widget._prompt_panel.undo.setFocus()
    press(widget, Qt.Key.Key_Space)
    assert not widget.target_layer.data.any()


# ------------------------------------------------------------------ room and colours
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_everything_fits_and_can_be_read(open_window: Callable[..., Desk], theme: str) -> None:
    desk = open_window(show=True)
    desk.viewer.theme = theme
    unfold(desk.widget)
    desk.settle(0.3)
    assert desk.widget.minimumSizeHint().width() <= WIDTH
    assert desk.dock.minimumSizeHint().width() <= WIDTH
    column = desk.widget.findChild(Column).widget()
    column.resize(WIDTH, column.height())
    desk.settle(0.1)
    visible = [control for control in controls_of(column) if control.isVisible()]
    wide = [c for c in visible if c.mapTo(column, QPoint(c.width(), 0)).x() > WIDTH]
    assert [(type(c).__name__, c.toolTip()) for c in wide] == []
    # text against its background, as they are drawn: the darkest and the lightest pixel of each
    drawn = column.grab().toImage()
    ratio = drawn.devicePixelRatio()
    for control in visible:
        if control.isEnabled() and getattr(control, "text", str)():
            area = QRect(control.mapTo(column, QPoint(0, 0)), control.size())
            part = drawn.copy(QRect(area.topLeft() * ratio, area.size() * ratio))
            pixels = product(range(part.width()), range(part.height()))
            values = [part.pixelColor(x, y).lightness() for x, y in pixels]
            assert max(values) - min(values) > 80, control.toolTip()


def test_status_breaks_long_paths(desk: Desk) -> None:
    desk.widget.resize(WIDTH, 700)
    desk.widget._status.say("Cannot read " + "/a_very_long_name_of_a_folder" * 9)
    assert desk.widget.minimumSizeHint().width() <= WIDTH


# ------------------------------------------------------------------ opening
def test_opening_loads_nothing_heavy() -> None:
    """Beyond what napari has loaded by then."""
    code = (
        "import sys, napari.layers, napari.qt, napari.viewer\n"
        "from napari._qt import qt_main_window\n"
        "before = set(sys.modules)\n"
        "import napari_sam.widgets.dock\n"
        "heavy = ('torch', 'scipy.ndimage', 'scipy.sparse', 'skimage', 'zarr', 'dask', 'tifffile', 'pooch')\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(name for name in heavy if name in new))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_application_s_own_style_stays(desk: Desk) -> None:
    application = QApplication.instance()
    assert isinstance(application, QApplication)
    assert "focus" not in application.styleSheet()
