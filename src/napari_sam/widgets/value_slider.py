"""A slider with its value beside it, on a linear or a logarithmic scale."""

from __future__ import annotations

import math

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QHBoxLayout, QSizePolicy, QSlider, QWidget

__all__ = ["ValueSlider"]

STEPS = 200


class ValueSlider(QWidget):
    """A value that is dragged or typed; both ways are reached by the keyboard.

    Parameters
    ----------
    low, high : float
        Ends of the scale.
    tip : str
        Tooltip of both parts.
    decimals : int
        Digits shown after the point.
    logarithmic : bool
        Whether equal distances are equal factors; ``low`` must be above 0 then, and the left end of the
        scale stands for 0.
    infinite : bool
        Whether the right end stands for "no limit".
    """

    value_changed = Signal(float)  # by the user only

    def __init__(
        self,
        low: float,
        high: float,
        tip: str,
        *,
        decimals: int = 2,
        logarithmic: bool = False,
        infinite: bool = False,
    ) -> None:
        super().__init__()
        self._low, self._high = low, high
        self._logarithmic = logarithmic
        self._infinite = infinite
        self._value = low
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self._last = STEPS if logarithmic else round((high - low) * 10**decimals)
        self.slider.setRange(0, self._last)
        self.slider.setPageStep(max(self._last // 20, 1))
        self.slider.setMinimumWidth(48)
        self.slider.setToolTip(tip)
        self.box = _NumberBox(infinite)
        self.box.setDecimals(decimals)
        self.box.setSingleStep(10.0**-decimals if decimals else 1)
        self.box.setToolTip(tip)
        self.setFocusProxy(self.slider)
        self.setToolTip(tip)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.box)
        self._set_box_range()
        self.show_value(low)
        self.slider.valueChanged.connect(self._on_slider_moved)
        self.box.valueChanged.connect(self._on_box_changed)

    @property
    def value(self) -> float:
        """What is chosen; infinity for "no limit"."""
        return self._value

    def show_value(self, value: float) -> None:
        """Show a value; emits nothing."""
        self._value = value
        if self._at(self.slider.value()) != value:  # else an arrow key would not get beyond its neighbour
            self._show(self.slider, self._position(value))
        self._show(self.box, min(value, self.box.maximum()))

    @staticmethod
    def _show(part: QSlider | QDoubleSpinBox, value: float) -> None:
        part.blockSignals(True)
        try:
            part.setValue(value)  # type: ignore[arg-type]
        finally:
            part.blockSignals(False)

    def show_range(self, low: float, high: float) -> None:
        """Change the ends of the scale and keep the value; emits nothing."""
        if (low, high) != (self._low, self._high):
            self._low, self._high = low, high
            self._set_box_range()
            self.show_value(self._value)

    def _set_box_range(self) -> None:
        self.box.blockSignals(True)
        self.box.setRange(0 if self._logarithmic else self._low, self._top())
        self.box.blockSignals(False)

    def _top(self) -> float:
        """The number that stands for "no limit" in the box: one beyond what the scale can say."""
        return self._high + 1 if self._infinite else self._high

    def _position(self, value: float) -> int:
        if self._infinite and value >= self._top():
            return self._last
        if self._logarithmic:
            if value < self._low:
                return 0
            part = math.log(value / self._low) / math.log(self._high / self._low)
        else:
            part = (value - self._low) / (self._high - self._low)
        last = self._last - 1 if self._infinite else self._last
        first = 1 if self._logarithmic else 0
        return min(max(first + round(part * (last - first)), first), last)

    def _at(self, position: int) -> float:
        if self._infinite and position == self._last:
            return math.inf
        if self._logarithmic and position == 0:
            return 0.0
        last = self._last - 1 if self._infinite else self._last
        first = 1 if self._logarithmic else 0
        part = (position - first) / (last - first)
        if self._logarithmic:
            return float(round(self._low * (self._high / self._low) ** part))
        return round(self._low + part * (self._high - self._low), self.box.decimals())

    def _on_slider_moved(self, position: int) -> None:
        value = self._at(position)
        if value == self._value:
            return  # where steps are finer than whole pixels
        self._value = value
        self._show(self.box, min(value, self.box.maximum()))
        self.value_changed.emit(value)

    def _on_box_changed(self, value: float) -> None:
        self.show_value(math.inf if self._infinite and value >= self._top() else value)
        self.value_changed.emit(self._value)


class _NumberBox(QDoubleSpinBox):
    """The number beside the slider; the highest one reads "any" where it stands for no limit.

    A word is no number, so what is typed beside digits leaves the value as it was.
    """

    def __init__(self, infinite: bool) -> None:
        super().__init__()
        self._infinite = infinite
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setKeyboardTracking(False)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFixedWidth(self.fontMetrics().horizontalAdvance("00000") + 16)

    def textFromValue(self, value: float) -> str:
        """The number, or "any"."""
        if self._infinite and value >= self.maximum():
            return "any"
        return str(super().textFromValue(value)).replace(self.locale().groupSeparator(), "")
