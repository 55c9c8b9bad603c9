"""Which image, which model, on which device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QToolButton, QWidget

from napari_sam.session.requests import ModelChoice
from napari_sam.widgets.layer_combo import LayerCombo, form_label, make_form, narrow

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ModelPanel"]


class ModelPanel(QWidget):
    """Image, model and device.

    Parameters
    ----------
    model : ModelChoice
        Shown until the engine has listed its models.
    """

    model_chosen = Signal(object)  # ModelChoice

    def __init__(self, model: ModelChoice) -> None:
        super().__init__()
        self.image = LayerCombo("choose an image …")
        self.image.setToolTip("The image layer to segment: 2-D, RGB, or the slice shown of a stack.")
        self.model = narrow(QComboBox())
        self.model.setToolTip("The model. The list is filled in the background when the widget opens.")
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setToolTip("Load a checkpoint file (.safetensors, .pt, .pth).")
        self.device = narrow(QComboBox())
        self.device.setToolTip("Where the model runs; 'auto' takes the fastest device there is.")
        self.model.addItem(model.name)
        self.device.addItem(model.device)

        models = QHBoxLayout()
        models.setContentsMargins(0, 0, 0, 0)
        models.addWidget(self.model, 1)
        models.addWidget(self.browse)
        form = make_form()
        form.addRow(form_label("Image"), self.image)
        form.addRow(form_label("Model"), models)
        form.addRow(form_label("Device"), self.device)
        self.setLayout(form)

        self.model.activated.connect(self._on_choice_activated)
        self.device.activated.connect(self._on_choice_activated)
        self.browse.clicked.connect(self._on_browse_clicked)

    @property
    def choice(self) -> ModelChoice:
        """What is chosen."""
        path = self.model.currentData()
        return ModelChoice(path or self.model.currentText(), self.device.currentText())

    def show_model(self, model: ModelChoice) -> None:
        """Mark a model and device as chosen, adding them where they are not listed; emits nothing."""
        _select(self.model, model.name)
        _select(self.device, model.device)

    def show_available(
        self, models: Iterable[tuple[str, str]], devices: Iterable[str], model: ModelChoice
    ) -> None:
        """List what there is and keep the choice; emits nothing."""
        self.model.clear()
        for index, (name, description) in enumerate(models):
            self.model.addItem(name, name)
            self.model.setItemData(index, description, Qt.ItemDataRole.ToolTipRole)
        self.device.clear()
        self.device.addItems(list(devices))
        self.show_model(model)

    def _on_choice_activated(self, _index: int) -> None:
        self.model_chosen.emit(self.choice)

    def _on_browse_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Load a checkpoint", "", "Checkpoints (*.safetensors *.pt *.pth);;All files (*)"
        )
        if path:
            self.model_chosen.emit(ModelChoice(path, self.device.currentText()))


def _select(combo: QComboBox, text: str) -> None:
    index = combo.findData(text)
    if index < 0:
        index = combo.findText(text)
    if index < 0:
        combo.addItem(text.replace("\\", "/").rsplit("/", 1)[-1], text)
        index = combo.count() - 1
        combo.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
    combo.setCurrentIndex(index)
