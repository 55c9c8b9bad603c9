"""Working without a mouse: the order in which Tab goes through the dock, and a ring around the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLayout, QScrollArea, QWidget

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FOCUS_RING", "list_stops", "move_focus"]

FOCUS_RING = ", ".join(
    f"{kind}:focus"
    for kind in (
        "QPushButton",
        "QToolButton",
        "QComboBox",
        "QAbstractSpinBox",
        "QLineEdit",
        "QSlider",
        "QCheckBox::indicator",
        "QRadioButton::indicator",
        "QTableView",
    )
)
FOCUS_RING += " { border: 1px solid #1a8cff; }"
"""napari's themes do not show what has the focus; this blue is seen on both of them."""


def list_stops(root: QWidget) -> tuple[QWidget, ...]:
    """Where Tab stops: as it is read, from top to bottom, rows from left to right.

    Qt's own order is that in which widgets were made, and cannot be changed for parts of a compound widget.

    Parameters
    ----------
    root : QWidget
        Laid out by layouts and scroll areas; what is hidden now is left out.
    """
    tab = Qt.FocusPolicy.TabFocus
    return tuple(
        widget
        for widget in _walk(root)
        if widget.focusPolicy() & tab == tab
        and widget.focusProxy() is None
        and not isinstance(widget, QScrollArea)
        and widget.isVisible()
        and widget.isEnabled()
    )


def move_focus(root: QWidget, forward: bool) -> bool:
    """Give the focus to the next stop, after the last one to what comes after ``root`` in its window.

    Parameters
    ----------
    root : QWidget
        What holds the stops.
    forward : bool
        False for the stop before.

    Returns
    -------
    bool
        False when there is none.
    """
    stops, window = list_stops(root), root.window()
    now = None if window is None else window.focusWidget()
    reason = Qt.FocusReason.TabFocusReason if forward else Qt.FocusReason.BacktabFocusReason
    at = next((n for n, stop in enumerate(stops) if now is not None and _holds(stop, now)), None)
    step = 1 if forward else -1
    if at is not None and 0 <= at + step < len(stops):
        stops[at + step].setFocus(reason)
        return True
    outside = _next_outside(root, forward)
    goal = outside or (stops[0 if forward else -1] if stops else None)
    if goal is not None:
        goal.setFocus(reason)
    return goal is not None


def _holds(stop: QWidget, widget: QWidget) -> bool:
    return stop is widget or stop.isAncestorOf(widget)


def _next_outside(root: QWidget, forward: bool) -> QWidget | None:
    """The next widget of the window's own chain that is not part of ``root``."""
    tab = Qt.FocusPolicy.TabFocus
    widget: QWidget | None = root
    while True:
        widget = widget.nextInFocusChain() if forward else widget.previousInFocusChain()  # type: ignore[union-attr]
        if widget is None or widget is root:
            return None
        takes = widget.focusPolicy() & tab == tab and widget.isVisible() and widget.isEnabled()
        if takes and not root.isAncestorOf(widget) and not widget.isAncestorOf(root):
            return widget


def _walk(widget: QWidget) -> Iterator[QWidget]:
    yield widget
    inner = widget.widget() if isinstance(widget, QScrollArea) else None
    layout = widget.layout()
    if inner is not None:
        yield from _walk(inner)
    elif layout is not None:
        yield from _walk_layout(layout)


def _walk_layout(layout: QLayout) -> Iterator[QWidget]:
    numbers = list(range(layout.count()))
    if isinstance(layout, QGridLayout):
        numbers.sort(key=lambda number: layout.getItemPosition(number)[:2])
    for number in numbers:
        item = layout.itemAt(number)
        widget, inner = (None, None) if item is None else (item.widget(), item.layout())
        if widget is not None:
            yield from _walk(widget)
        elif inner is not None:
            yield from _walk_layout(inner)
