"""Which image, which model, on which device; and what a model needs before it can be used."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QPushButton,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

from napari_sam.session.recent_files import RecentFiles
from napari_sam.session.requests import ModelChoice
from napari_sam.widgets.download_strip import DownloadStrip, describe_size
from napari_sam.widgets.layer_combo import LayerCombo, form_label, make_form, narrow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_sam.session.models import Download, ModelInfo

__all__ = ["ModelPanel"]

_OPEN = "\0open"
"""Stands for the entry that opens a file; no path holds that character."""
_DOWN = "   ↓ "
"""Between a title and what has to be downloaded."""


class ModelPanel(QWidget):
    """Image, model and device.

    Parameters
    ----------
    model : ModelChoice
        Shown until the engine has listed its models.
    recent : RecentFiles or None
        The files that were opened last.
    """

    model_chosen = Signal(object)  # ModelChoice

    def __init__(self, model: ModelChoice, recent: RecentFiles | None = None) -> None:
        super().__init__()
        self._shown = model
        self._recent = RecentFiles() if recent is None else recent
        self._infos: tuple[ModelInfo, ...] = ()
        self.image = LayerCombo("choose an image …")
        self.image.setToolTip("The image layer to segment: 2-D, RGB, or the slice shown of a stack.")
        self.model = narrow(_ModelCombo())
        self.model.setMaxVisibleItems(30)
        self.model.setToolTip("The model. The list is filled in the background when the widget opens.")
        self.device = narrow(QComboBox())
        self.device.setToolTip("Where the model runs; 'auto' takes the fastest device there is.")
        self.tune = QPushButton()  # see ``FastestEngine``
        self.strip = DownloadStrip()
        self.model.addItem(model.name, model.name)
        self.device.addItem(model.device)

        form = make_form()
        form.addRow(form_label("Image"), self.image)
        form.addRow(form_label("Model"), self.model)
        form.addRow(self.strip)
        form.addRow(form_label("Device"), self.device)
        form.addRow(self.tune)
        self.setLayout(form)

        self.model.activated.connect(self._on_choice_activated)
        self.device.activated.connect(self._on_choice_activated)

    @property
    def choice(self) -> ModelChoice:
        """What is chosen."""
        return ModelChoice(self.model.currentData() or self.model.currentText(), self.device.currentText())

    def show_model(self, model: ModelChoice) -> None:
        """Mark a model and device as chosen, adding them where they are not listed; emits nothing."""
        self._shown = model
        _select(self.model, model.name)
        _select(self.device, model.device)
        tip = self.model.itemData(self.model.currentIndex(), Qt.ItemDataRole.ToolTipRole)
        self.model.setToolTip(tip or model.name)

    def show_available(self, models: Iterable[ModelInfo], devices: Iterable[str], model: ModelChoice) -> None:
        """List what there is, by what it is for, and keep the choice; emits nothing."""
        self._infos = tuple(models)
        self._fill()
        self.device.clear()
        self.device.addItems(list(devices))
        self.show_model(model)

    def show_download(self, info: ModelInfo | None, download: Download) -> None:
        """Show what the chosen model needs before it can be used."""
        self.strip.show_state(info, download)

    def _fill(self) -> None:
        self.model.clear()
        for domain, infos in groupby(self._infos, key=lambda info: info.domain):
            if domain and domain != "bundled":
                self._add_heading(domain)
            for info in infos:
                self._add(_title(info), info.name, _tip(info))
        files = self._recent.read()
        if files:
            self._add_heading("files")
        for path in files:
            self._add(_base_name(path), path, path)
        if self._infos:
            self.model.insertSeparator(self.model.count())
        self._add("Open file …", _OPEN, "Load a checkpoint file (.safetensors, .pt, .pth).")

    def _add_heading(self, text: str) -> None:
        self.model.addItem(text.upper())
        entries = self.model.model()
        item = entries.item(self.model.count() - 1) if isinstance(entries, QStandardItemModel) else None
        if item is not None:
            item.setFlags(Qt.ItemFlag.NoItemFlags)

    def _add(self, text: str, data: str, tip: str) -> None:
        self.model.addItem(text, data)
        self.model.setItemData(self.model.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)

    def _on_choice_activated(self, _index: int) -> None:
        if self.model.currentData() == _OPEN:
            self.show_model(self._shown)
            self.open_file()
        else:
            self.model_chosen.emit(self.choice)

    def open_file(self) -> None:
        """Ask for a checkpoint file and choose it."""
        path, _ = QFileDialog.getOpenFileName(
            self, "Load a checkpoint", "", "Checkpoints (*.safetensors *.pt *.pth);;All files (*)"
        )
        if path:
            self._recent.add(path)
            if self._infos:
                self._fill()
            self.model_chosen.emit(ModelChoice(path, self.device.currentText()))


class _ModelCombo(QComboBox):
    """Closed, it shows both ends of a long title: the size of a model comes last in it."""

    def paintEvent(self, event: Any) -> None:
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        if style is not None:
            field = style.subControlRect(
                QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
            )
            title = self.currentText().split(_DOWN)[0]
            elide = Qt.TextElideMode.ElideMiddle
            option.currentText = self.fontMetrics().elidedText(title, elide, field.width() - 8)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


def _title(info: ModelInfo) -> str:
    title = info.title or info.name
    return title if info.is_here else f"{title}{_DOWN}{describe_size(info.megabytes)}"


def _tip(info: ModelInfo) -> str:
    lines = [info.description, f"Name: {info.name}"]
    if info.license:
        lines.append(f"Licence of the weights: {info.license}")
    if not info.is_here:
        lines.append(f"Not on this computer yet: {describe_size(info.megabytes)} to download.")
    return "\n".join(line for line in lines if line)


def _base_name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _select(combo: QComboBox, text: Any) -> None:
    index = combo.findData(text)
    if index < 0:
        index = combo.findText(text)
    if index < 0:
        combo.addItem(_base_name(text), text)
        index = combo.count() - 1
        combo.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
    combo.setCurrentIndex(index)
