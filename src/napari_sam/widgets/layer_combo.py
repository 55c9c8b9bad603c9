"""A combo box of layers that follows the layer list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LayerCombo", "form_label", "make_form", "narrow"]


def narrow(combo: QComboBox) -> QComboBox:
    """Let a combo box shrink below its longest entry, so that the dock fits into 320 pixels."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def make_form() -> QFormLayout:
    """A form without margins whose fields take the width there is; all forms have the same gaps."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setHorizontalSpacing(6)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return form


def form_label(text: str) -> QLabel:
    """A label as wide as the longest of the dock, so that the fields of all forms are in line."""
    label = QLabel(text)
    label.setFixedWidth(label.fontMetrics().horizontalAdvance("Write to") + 16)  # 16: napari's padding
    return label


class LayerCombo(QComboBox):
    """Shows layers by name and emits the layer that the user chose.

    Parameters
    ----------
    none_text : str
        The first entry, which stands for None.
    extras : tuple of (str, value)
        Entries before the layers that stand for something else.
    parent : QWidget or None
        Its parent.
    """

    chosen = Signal(object)  # a layer, or None

    def __init__(
        self, none_text: str, extras: tuple[tuple[str, Any], ...] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        narrow(self)
        self._fixed = ((none_text, None), *extras)
        self._layers: list[Any] = []
        self.show_layers((), None)
        self.activated.connect(self._on_activated)

    def show_layers(self, layers: Iterable[Any], current: Any) -> None:
        """List layers and mark the current one; emits nothing."""
        layers = list(layers)
        self._layers = [value for _, value in self._fixed] + layers
        self.blockSignals(True)
        try:
            self.clear()
            for text, _ in self._fixed:
                self.addItem(text)
            for layer in layers:
                self.addItem(layer.name)
            self.setCurrentIndex(self._layers.index(current) if current in self._layers else 0)
        finally:
            self.blockSignals(False)

    def forget(self) -> None:
        """Hold no layer any more."""
        self.show_layers((), None)

    def _on_activated(self, index: int) -> None:
        self.chosen.emit(self._layers[index])
