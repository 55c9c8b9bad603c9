"""What the model sees of the image: object size, channels, contrast; and what of it is encoded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_sam.errors import SamError
from napari_sam.widgets.layer_combo import form_label, make_form, narrow

if TYPE_CHECKING:
    from napari_sam.session.requests import Plane
    from napari_sam.session.settings import Settings
    from napari_sam.session.warming import ViewCache
    from napari_sam.types import Progress

__all__ = ["ImagePanel"]

CHANNEL_NAMES = ("R", "G", "B")
LARGE = 1e9


class ImagePanel(QWidget):
    """The controls of the section "Image"; shows settings and emits those that the user wants.

    Parameters
    ----------
    settings : Settings
        To begin with.
    """

    chosen = Signal(object)  # Settings
    refused = Signal(str)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._showing = False
        self._is_stack = False
        self._range = (0.0, 255.0)  # what a fixed range begins with
        self.object_size = _spin(0, 1e6, 1, "auto")
        self.object_size.setToolTip(
            "Typical diameter of the objects: the model then sees them at the size that it was trained on.\n"
            "0 is 'auto': the bundled model finds the size itself, others take the image as it is.\n"
            "Set it when objects are larger than about 100 pixels, or when outlines are wrong."
        )
        self.unit = QComboBox()
        self.unit.addItem("px", "px")
        self.unit.setToolTip("Pixels of the image, or its world units.")
        self.measure = _button(
            "Measure object",
            "Take the diameter of the object in the preview; without one, draw a line across an object.",
        )
        self.channels = [QCheckBox(name) for name in CHANNEL_NAMES]
        for name, box in zip(CHANNEL_NAMES, self.channels, strict=True):
            box.setToolTip(f"The model sees channel {name}.")
        self.contrast = narrow(QComboBox())
        self.contrast.setToolTip(
            "What becomes black and white to the model: percentiles of the intensities of the plane that is "
            "shown or of the whole stack, which hot pixels do not disturb, or a range that you fix. Your own "
            "contrast limits do not matter."
        )
        self.low, self.high = _spin(0, 100, 2), _spin(0, 100, 2)
        for bound in (self.low, self.high):  # arrows would be as wide as the number
            bound.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
            bound.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.low.setToolTip("This becomes black.")
        self.high.setToolTip("This becomes white.")
        self.show_input = _button(
            "Model's view",
            "Show what the model sees of the part that is in view, in a layer 'SAM model input'.",
        )
        self.cached = QLabel("nothing in view")
        self.cached.setToolTip("How much of what is in view is encoded: clicks there take no time.")
        self.encode_plane = _button(
            "Encode plane", "Encode all of the plane that is shown, before you click."
        )
        self.encode_stack = _button("Encode stack", "Encode all planes of the stack, one after the other.")
        self.cancel = _button("Cancel", "Stop encoding; what is encoded stays cached.")
        self.progress = QProgressBar()
        self.progress.setToolTip("How far the encoding is.")
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.warm = QCheckBox("Encode the visible part in advance")
        self.warm.setToolTip(
            "In the background, when nothing else is to be done, so that clicks there take no time; a click "
            "always goes first."
        )
        self._lay_out()
        self._connect()
        self.show_settings(settings)
        self.show_plane(None)
        self.show_progress(None)

    def _lay_out(self) -> None:
        form = make_form()
        form.addRow(form_label("Object"), _row(self.object_size, self.unit, stretch=0))
        self._channel_label, self._channel_row = form_label("Channels"), _row(*self.channels)
        form.addRow(self._channel_label, self._channel_row)
        form.addRow(form_label("Contrast"), self.contrast)
        form.addRow(form_label(""), _row(self.low, self.high))
        form.addRow(_row(self.measure, self.show_input))
        form.addRow(form_label("Cached"), self.cached)
        form.addRow(self.warm)
        form.addRow(_row(self.encode_plane, self.encode_stack))
        form.addRow(self.progress)
        form.addRow(self.cancel)
        self.setLayout(form)

    def _connect(self) -> None:
        for spin in (self.object_size, self.low, self.high):
            spin.editingFinished.connect(self._on_edited)
        self.unit.activated.connect(self._on_edited)
        self.contrast.activated.connect(self._on_contrast_activated)
        for box in (*self.channels, self.warm):
            box.clicked.connect(self._on_edited)

    # ------------------------------------------------------------- showing
    def show_settings(self, settings: Settings) -> None:
        """Show settings; emits nothing."""
        self._settings = settings
        self._showing = True
        try:
            self.object_size.setValue(settings.object_size or 0)
            self._select(self.unit, settings.object_unit)
            fixed = settings.limits is not None
            self._select(self.contrast, "limits" if fixed else settings.scope)
            low, high = settings.percentiles if settings.limits is None else settings.limits[0]
            self._show_range(low, high, fixed)
            chosen = settings.channels if settings.channels is not None else range(len(self.channels))
            for number, box in enumerate(self.channels):
                box.setChecked(number in chosen)
            self.warm.setChecked(settings.warm)
        finally:
            self._showing = False

    def show_plane(self, plane: Plane | None) -> None:
        """Offer what there is to choose on a plane."""
        self.setEnabled(plane is not None)
        count = 0 if plane is None else plane.channels
        for control in (self._channel_label, self._channel_row):
            control.setVisible(count > 1)
        is_stack = plane is not None and len(plane.index) > 2
        self._is_stack = is_stack
        self.encode_stack.setVisible(is_stack)
        kinds = [("percentiles", "plane"), ("fixed range", "limits")]
        if is_stack:
            kinds = [("percentiles of plane", "plane"), ("percentiles of stack", "stack"), kinds[1]]
        self.contrast.clear()
        for text, data in kinds:
            self.contrast.addItem(text, data)
        self._select(self.contrast, "limits" if self._settings.limits is not None else self._settings.scope)
        unit = "" if plane is None else plane.unit
        scaled = plane is not None and abs(plane.pixel_size - 1) > 1e-9
        if self.unit.count() > 1:
            self.unit.removeItem(1)
        if unit or scaled or self._settings.object_unit == "world":
            self.unit.addItem(_short(unit) or "world", "world")
        self.unit.setVisible(self.unit.count() > 1)
        self._select(self.unit, self._settings.object_unit)

    def show_cache(self, cache: ViewCache | None) -> None:
        """Show how much of what is in view is encoded."""
        self.cached.setText("nothing in view" if cache is None else cache.text)

    def show_progress(self, progress: Progress | None) -> None:
        """Show how far the encoding is; None when none runs."""
        running = progress is not None
        for control in (self.progress, self.cancel):
            control.setVisible(running)
        for control in (self.encode_plane, self.encode_stack):
            control.setEnabled(not running)
        if progress is not None:
            self.progress.setRange(0, progress.total)
            self.progress.setValue(min(progress.done, progress.total))

    def set_object_size(self, pixels: float, pixel_size: float) -> None:
        """Take a measured size, given in pixels, in the unit that is chosen."""
        factor = pixel_size if self._settings.object_unit == "world" else 1
        self._choose(object_size=round(pixels * factor, 2))

    # ------------------------------------------------------------- handlers
    def _on_edited(self, *_: Any) -> None:
        if self._showing:
            return
        channels = tuple(number for number, box in enumerate(self.channels) if box.isChecked())
        bounds = (self.low.value(), self.high.value())
        kind = self.contrast.currentData()
        fixed = kind == "limits"
        size = self.object_size.value() or None
        if size is not None and self._settings.object_size is not None:
            shown = round(self._settings.object_size, self.object_size.decimals())
            size = self._settings.object_size if size == shown else size  # not rounded by being looked at
        self._choose(
            object_size=size,
            object_unit=self.unit.currentData(),
            channels=None if channels == tuple(range(len(self.channels))) or not channels else channels,
            percentiles=self._settings.percentiles if fixed else bounds,
            limits=(bounds,) if fixed else None,
            scope=kind if kind != "limits" and self._is_stack else self._settings.scope,
            warm=self.warm.isChecked(),
        )

    def _on_contrast_activated(self, _index: int) -> None:
        fixed = self.contrast.currentData() == "limits"
        self._showing = True  # the numbers of the other kind are not an edit
        try:
            low, high = self._range if fixed else self._settings.percentiles
            self._show_range(low, high, fixed)
        finally:
            self._showing = False
        self._on_edited()

    def show_range(self, low: float, high: float) -> None:
        """What a fixed range begins with: the image's contrast limits."""
        self._range = (float(low), float(high)) if low < high else (0.0, 1.0)

    def _show_range(self, low: float, high: float, fixed: bool) -> None:
        for spin, value in ((self.low, low), (self.high, high)):
            spin.setSuffix("" if fixed else " %")
            spin.setRange(-LARGE if fixed else 0, LARGE if fixed else 100)
            spin.setValue(value)

    def _choose(self, **changes: Any) -> None:
        try:
            settings = replace(self._settings, **changes)
        except SamError as error:
            self.show_settings(self._settings)
            self.refused.emit(str(error))
            return
        if settings != self._settings:
            self.show_settings(settings)
            self.chosen.emit(settings)

    @staticmethod
    def _select(combo: QComboBox, data: str) -> None:
        combo.setCurrentIndex(max(combo.findData(data), 0))


def _short(unit: str) -> str:
    return {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm"}.get(unit, unit)


def _spin(low: float, high: float, decimals: int, zero: str = "") -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(low, high)
    spin.setDecimals(decimals)
    spin.setSpecialValueText(zero)
    spin.setKeyboardTracking(False)
    spin.setMinimumWidth(50)
    return spin


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _row(*controls: QWidget, stretch: int | None = None) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for index, control in enumerate(controls):
        layout.addWidget(control, 1 if stretch is None or index == stretch else 0)
    return row
