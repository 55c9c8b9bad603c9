"""Sliders that choose which candidates are objects, at once and as often as one likes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_sam.inference.candidates import FilterParams
from napari_sam.session.auto_requests import AutoState
from napari_sam.widgets.layer_combo import make_form
from napari_sam.widgets.size_histogram import SizeHistogram
from napari_sam.widgets.value_slider import ValueSlider

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ThresholdPanel"]

REST = 300  # milliseconds without a change after which objects are measured
SCORES = {
    "predicted_iou": (
        "Pred. IoU",
        "Keep only objects whose outline the model itself rates at least this good (0 to 1).",
    ),
    "stability": (
        "Stability",
        "Keep only objects whose outline hardly changes when the model's answer is cut a little higher or "
        "lower: at least this much of it stays (0 to 1).",
    ),
    "foreground": (
        "Foreground",
        "Keep only objects that the model is at least this sure are no background (0 to 1).",
    ),
    "nms_iou": ("Overlap", "Of two candidates that overlap more (IoU), only the better one is kept."),
}
SIZES = {
    "min_area": ("Min. size", "Smaller objects are left out; pixels, on a logarithmic scale."),
    "max_area": ("Max. size", "Larger objects are left out; pixels, on a logarithmic scale."),
}


class ThresholdPanel(QWidget):
    """Emits changes while a slider moves, as fast as they are dealt with; the latest value wins."""

    thresholds_changed = Signal(object)  # dict of FilterParams' fields
    rested = Signal()
    reset_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.setToolTip("How many of the candidates pass the thresholds.")
        self.histogram = SizeHistogram()
        self.border = QCheckBox("Objects at the border")
        self.border.setToolTip("On: objects that touch the edge of the image are kept.")
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("Back to the thresholds that suit the model and method.")
        self.sliders = {name: ValueSlider(0, 1, tip) for name, (_, tip) in SCORES.items()}
        for name, (_, tip) in SIZES.items():
            infinite = name == "max_area"
            self.sliders[name] = ValueSlider(1, 10_000, tip, decimals=0, logarithmic=True, infinite=infinite)
        self._params = FilterParams()
        self._changes: dict[str, Any] = {}
        self._timer = _make_timer(self, 0, self._on_timer_over)
        self._rest = _make_timer(self, REST, self._on_rest_over)
        self._lay_out()
        for name, slider in self.sliders.items():
            slider.value_changed.connect(lambda value, name=name: self._on_slider_changed(name, value))
        self.border.clicked.connect(self._on_border_clicked)
        self.reset.clicked.connect(lambda: self.reset_asked.emit())
        self.show_state(AutoState("", False, FilterParams(), FilterParams()))

    def _lay_out(self) -> None:
        form = make_form()
        form.setVerticalSpacing(2)
        self._form = form
        texts = {name: text for name, (text, _) in {**SCORES, **SIZES}.items()}
        width = max(self.note.fontMetrics().horizontalAdvance(text) for text in texts.values()) + 16
        for name, slider in self.sliders.items():
            label = QLabel(texts[name])
            label.setFixedWidth(width)
            label.setToolTip(slider.toolTip())
            label.setBuddy(slider.slider)
            form.addRow(label, slider)
        last = QHBoxLayout()
        last.addWidget(self.border, 1)
        last.addWidget(self.reset)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self.note, self.histogram):
            layout.addWidget(part)
        layout.addLayout(form)
        layout.addLayout(last)

    def show_state(self, state: AutoState) -> None:
        """Show thresholds, count and sizes; emits nothing."""
        self.note.setText(state.note)
        params = self._params = state.params
        largest = max(int(state.areas.max(initial=0)), 1000)
        for name, slider in self.sliders.items():
            if name in SIZES:
                slider.show_range(1, largest)
            if name not in self._changes:
                slider.show_value(getattr(params, name))
            known = name not in ("predicted_iou", "stability", "foreground") or name in state.known
            slider.setEnabled(state.active and known)
            label = self._label(name)
            label.setEnabled(slider.isEnabled())
        self.border.setChecked(params.keep_border)
        self.border.setEnabled(state.active)
        self.histogram.setEnabled(state.active)
        self.histogram.show_areas(state.areas, state.kept, (params.min_area, params.max_area))
        self.reset.setEnabled(state.active and params != state.defaults)

    def _label(self, name: str) -> QWidget:
        label = self._form.labelForField(self.sliders[name])
        assert label is not None
        return label

    def _on_slider_changed(self, name: str, value: float) -> None:
        changes = {name: value}
        if name == "min_area" and value > self.sliders["max_area"].value:
            changes["max_area"] = value  # pushed along, since no object can be both
        elif name == "max_area" and value < self.sliders["min_area"].value:
            changes["min_area"] = value
        for other, number in changes.items():
            if other != name:
                self.sliders[other].show_value(number)
        self._collect(changes)

    def _on_border_clicked(self, checked: bool) -> None:
        self._collect({"keep_border": checked})

    def _collect(self, changes: dict[str, Any]) -> None:
        self._changes.update(changes)
        self._rest.start()
        if not self._timer.isActive():
            self._timer.start()

    def _on_rest_over(self) -> None:
        self.rested.emit()

    def _on_timer_over(self) -> None:
        changes, self._changes = self._changes, {}
        began = time.monotonic()
        self.thresholds_changed.emit(changes)
        # what takes long to draw leaves as much time again for the mouse and the rest of the window
        self._timer.setInterval(min(int((time.monotonic() - began) * 1000), 500))


def _make_timer(parent: QWidget, interval: int, action: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(interval)
    timer.timeout.connect(action)
    return timer
