"""How an object came through a stack: area and overlap of every plane, and where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_sam.viewer.propagation_view import PropagationView

if TYPE_CHECKING:
    from napari_sam.inference.propagation_values import PlaneObject

__all__ = ["QualityStrip", "describe_plane"]

HEIGHT = 66
AREA = QColor("#1fb6ff")  # these read on dark and on light, and to every eye
FLAG = QColor("#ff6a00")
STOP = QColor("#e0307a")
WHY = {
    "area": "the area jumps",
    "overlap": "it hardly overlaps",
    "score": "the model is unsure",
    "faded": "it fades",
    "lost": "nothing was found",
}


class QualityStrip(QWidget):
    """A column for each plane: its area as a bar, its overlap as a line, a triangle where it is flagged.

    Click a column to go to its plane; with the keyboard, the arrows go from plane to plane, Page Up and
    Page Down from flag to flag.
    """

    plane_chosen = Signal(int)
    flag_asked = Signal(int)  # 1 for the next, -1 for the one before

    def __init__(self) -> None:
        super().__init__()
        self._view = PropagationView()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT)
        self.setMinimumWidth(120)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAccessibleName("Quality of each plane")
        self.show_view(PropagationView())

    def sizeHint(self) -> QSize:
        """Wide and low."""
        return QSize(240, HEIGHT)

    @property
    def view(self) -> PropagationView:
        """What is shown."""
        return self._view

    def show_view(self, view: PropagationView) -> None:
        """Show an object; emits nothing."""
        self._view = view
        self.setToolTip(
            "Area (bars) and overlap (line) of the object in every plane. Orange: look here. Click: go there."
            if view.results
            else "Area and overlap of an object in every plane; filled by propagation."
        )
        self.update()

    # ------------------------------------------------------------- places
    def column(self, number: int) -> QRectF:
        """Where a plane is drawn."""
        width = (self.width() - 2) / max(self._view.count, 1)
        return QRectF(1 + number * width, 0, width, self.height())

    def plane_at(self, x: float) -> int | None:
        """Which plane is drawn there."""
        count = self._view.count
        if not count:
            return None
        return min(max(int((x - 1) / (self.width() - 2) * count), 0), count - 1)

    # ------------------------------------------------------------- mouse and keys
    def mousePressEvent(self, event: Any) -> None:
        """Go to the plane."""
        number = self.plane_at(event.position().x())
        if number is not None and event.button() == Qt.MouseButton.LeftButton:
            self.plane_chosen.emit(number)

    def mouseMoveEvent(self, event: Any) -> None:
        """Go through the planes while the button is down, else say what is under the mouse."""
        number = self.plane_at(event.position().x())
        if number is None:
            return
        if event.buttons() & Qt.MouseButton.LeftButton:
            if number != self._view.shown:
                self.plane_chosen.emit(number)
        elif self._view.results:
            text = describe_plane(number, self._view)
            QToolTip.showText(event.globalPosition().toPoint(), text, self)

    def keyPressEvent(self, event: Any) -> None:
        """Arrows, Home and End for planes, Page Up and Page Down for flags."""
        view, keys = self._view, Qt.Key
        here = view.shown or 0
        steps = {
            keys.Key_Left: here - 1,
            keys.Key_Right: here + 1,
            keys.Key_Home: 0,
            keys.Key_End: view.count - 1,
        }
        flags = {keys.Key_PageUp: -1, keys.Key_PageDown: 1}
        key = event.key()
        if view.count and key in steps:
            self.plane_chosen.emit(min(max(steps[key], 0), view.count - 1))
        elif key in flags:
            self.flag_asked.emit(flags[key])
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: Any) -> None:
        """Show that the keys go here now."""
        super().focusInEvent(event)
        self.update()

    # ------------------------------------------------------------- painting
    def paintEvent(self, event: Any) -> None:
        """Bars, line, marks, and where the viewer is."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        view = self._view
        low, high = self.height() - 12.0, 10.0
        faint = QColor(text)
        faint.setAlpha(45)
        painter.fillRect(QRectF(0.5, high - 2, self.width() - 1, low - high + 2), faint)
        if view.shown is not None:
            cursor = QColor(text)
            cursor.setAlpha(90)
            column = self.column(view.shown)
            wide = max(column.width(), 3.0)
            painter.fillRect(QRectF(column.center().x() - wide / 2, high - 2, wide, low - high + 2), cursor)
        self._paint_areas(painter, low, high)
        self._paint_overlap(painter, text, low, high)
        for number, result in view.results.items():
            x = self.column(number).center().x()
            if result.is_suspicious:
                _triangle(painter, x, high - 3, FLAG)
            if result.is_anchor:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(text)
                painter.drawEllipse(QPointF(x, low + 5), 2.5, 2.5)
        painter.setPen(QPen(STOP, 2))
        for number in view.stops:
            x = self.column(number).center().x()
            painter.drawLine(QPointF(x, high - 2), QPointF(x, low))
        self._paint_ends(painter, text, low)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(AREA, 1))
            painter.drawRect(QRectF(0.5, high - 2.5, self.width() - 1, low - high + 3))
        painter.end()

    def _paint_areas(self, painter: QPainter, low: float, high: float) -> None:
        view = self._view
        largest = max((result.area for result in view.results.values()), default=0)
        for number, result in view.results.items():
            if not result.area:
                continue
            column = self.column(number)
            height = max((low - high) * result.area / largest, 1.5)
            gap = min(column.width() * 0.15, 1.0)
            colour = FLAG if result.is_suspicious else AREA
            bar = QRectF(column.left() + gap / 2, low - height, max(column.width() - gap, 1.0), height)
            painter.fillRect(bar, colour)

    def _paint_overlap(self, painter: QPainter, text: QColor, low: float, high: float) -> None:
        """The share of each mask that the one before has too: a line at the top is best."""
        line = QPolygonF()
        painter.setPen(QPen(text, 1.2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        last = None
        for number, result in sorted(self._view.results.items()):
            if result.mask is None:
                continue
            if last is not None and number != last + 1:
                painter.drawPolyline(line)
                line = QPolygonF()
            line.append(QPointF(self.column(number).center().x(), low - (low - high) * result.overlap))
            last = number
        if line.size() > 1:
            painter.drawPolyline(line)

    def _paint_ends(self, painter: QPainter, text: QColor, low: float) -> None:
        if not self._view.count:
            return
        font = painter.font()
        font.setPointSizeF(max(font.pointSizeF() * 0.75, 6))
        painter.setFont(font)
        painter.setPen(text)
        below = QRectF(0, low, self.width(), self.height() - low)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, str(self._view.count - 1))


def describe_plane(number: int, view: PropagationView) -> str:
    """What is known of an object in a plane, in a line."""
    result: PlaneObject | None = view.results.get(number)
    if number in view.stops:
        return f"Plane {number}: a stop"
    if result is None:
        return f"Plane {number}: not there"
    why = f", {WHY[result.flag]}" if result.flag else ""
    if result.mask is None:
        return f"Plane {number}: it ended{why}"
    if result.is_anchor:
        return f"Plane {number}: {result.area} px, yours{why}"
    return f"Plane {number}: {result.area} px (x {result.area_ratio:.2f}), overlap {result.overlap:.0%}{why}"


def _triangle(painter: QPainter, x: float, bottom: float, colour: QColor) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawPolygon(
        QPolygonF([QPointF(x - 4, bottom - 6), QPointF(x + 4, bottom - 6), QPointF(x, bottom)])
    )
