"""The column in which the dock's parts are laid out, and what stands between them."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

__all__ = ["Column", "make_line", "pile"]


class Column(QScrollArea):
    """Scrolls up and down only, so it is never narrower than what it shows."""

    def __init__(self) -> None:
        super().__init__()
        inner = QWidget()
        self._layout = QVBoxLayout(inner)
        self._layout.setContentsMargins(6, 6, 6, 6)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inner)

    def add(self, *groups: tuple[QWidget, ...]) -> None:
        """Lay out groups of widgets from top to bottom, with a line between groups."""
        for number, group in enumerate(groups):
            if number:
                self._layout.addWidget(make_line())
            for widget in group:
                self._layout.addWidget(widget)
        self._layout.addStretch(1)

    def minimumSizeHint(self) -> QSize:
        """As wide as the content and the scroll bar."""
        content, bar, least = self.widget(), self.verticalScrollBar(), super().minimumSizeHint()
        if content is None or bar is None:
            return least
        return QSize(content.minimumSizeHint().width() + bar.sizeHint().width(), least.height())


def pile(*widgets: QWidget) -> QWidget:
    """Widgets one under the other, as one."""
    piled = QWidget()
    layout = QVBoxLayout(piled)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return piled


def make_line() -> QFrame:
    """A thin line between two groups."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line
