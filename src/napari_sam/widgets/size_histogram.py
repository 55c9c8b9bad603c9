"""How large the objects are, and where the limits lie."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SizeHistogram"]

BINS = 48
HEIGHT = 56
KEPT = QColor("#1fb6ff")  # reads on dark and on light


class SizeHistogram(QWidget):
    """Bars of all candidates, those that are objects in colour, over the logarithm of the area."""

    def __init__(self) -> None:
        super().__init__()
        self._all: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._kept: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._range = (1.0, 10.0)
        self._limits = (0.0, math.inf)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT)
        self.setMinimumWidth(120)

    def sizeHint(self) -> QSize:
        """Wide and low."""
        return QSize(240, HEIGHT)

    @property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of candidates and of objects in each bin."""
        return self._all, self._kept

    def show_areas(
        self, areas: NDArray[np.int64], kept: NDArray[np.bool_], limits: tuple[float, float]
    ) -> None:
        """Show sizes.

        Parameters
        ----------
        areas : (N,) int
            Pixels of every candidate.
        kept : (N,) bool
            Which are objects.
        limits : (low, high)
            Sizes that are let through.
        """
        positive = areas > 0
        areas, kept = areas[positive], kept[positive]
        low = float(areas.min(initial=1 << 62)) if len(areas) else 1.0
        high = max(float(areas.max(initial=0)) + 1, low * 2)
        edges = np.geomspace(low, high, BINS + 1)
        self._all, self._kept = np.histogram(areas, edges)[0], np.histogram(areas[kept], edges)[0]
        self._range, self._limits = (low, high), limits
        self.setToolTip(_describe(areas, kept))
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Bars, limits, and the sizes at both ends; the square root of the counts, lest few be lost."""
        painter = QPainter(self)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        if not self.isEnabled():
            text.setAlpha(110)
        font = painter.font()
        font.setPointSizeF(max(font.pointSizeF() * 0.8, 6))
        painter.setFont(font)
        line = painter.fontMetrics().height()
        field = QRectF(0.5, 1, self.width() - 1, self.height() - line - 3)
        if self._all.any():
            faint = QColor(text)
            faint.setAlpha(60)
            self._paint_bars(painter, field, self._all, faint)
            self._paint_bars(painter, field, self._kept, KEPT if self.isEnabled() else faint)
        painter.setPen(QPen(text, 1))
        painter.drawLine(field.bottomLeft(), field.bottomRight())
        if self._all.any():
            self._paint_limits(painter, field)
            below = QRectF(0, field.bottom() + 1, self.width(), line)
            painter.setPen(text)
            painter.drawText(below, Qt.AlignmentFlag.AlignLeft, _short(self._range[0]))
            painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, "size in pixels")
            painter.drawText(below, Qt.AlignmentFlag.AlignRight, _short(self._range[1] - 1))
        painter.end()

    def _paint_bars(
        self, painter: QPainter, field: QRectF, counts: NDArray[np.int64], colour: QColor
    ) -> None:
        heights = np.sqrt(counts / self._all.max()) * field.height()
        width = field.width() / BINS
        for i in np.flatnonzero(counts).tolist():
            height = max(float(heights[i]), 1.5)
            painter.fillRect(
                QRectF(field.left() + i * width, field.bottom() - height, max(width - 0.5, 1), height), colour
            )

    def _paint_limits(self, painter: QPainter, field: QRectF) -> None:
        low, high = self._range
        pen = QPen(QColor("#ff6a00"), 1.5)
        painter.setPen(pen)
        for limit in self._limits:
            if low <= limit <= high:
                x = field.left() + field.width() * math.log(limit / low) / math.log(high / low)
                painter.drawLine(QPointF(x, field.top()), QPointF(x, field.bottom()))


def _describe(areas: NDArray[np.int64], kept: NDArray[np.bool_]) -> str:
    if not len(areas):
        return "How large the objects are; filled by the next result."
    chosen = areas[kept]
    middle = f", median {_short(float(np.median(chosen)))} pixels" if len(chosen) else ""
    return (
        f"Sizes on a logarithmic scale: {len(chosen)} objects (blue){middle}, of {len(areas)} candidates "
        "(grey). Orange lines: the size limits."
    )


def _short(value: float) -> str:
    for limit, divisor, unit in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= limit:
            return f"{value / divisor:.3g}{unit}"
    return f"{value:.0f}"
