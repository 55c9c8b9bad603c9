"""Where embeddings are kept, and how much room they get."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.widgets.layer_combo import form_label, make_form

if TYPE_CHECKING:
    from napari_sam.session.settings import CacheChoice

__all__ = ["CachePanel"]

GIGABYTE = 1 << 30


class CachePanel(QWidget):
    """The controls of the cache; shows a choice and emits the one that the user wants.

    Parameters
    ----------
    cache : CacheChoice
        To begin with.
    """

    chosen = Signal(object)  # CacheChoice
    clear_asked = Signal()

    def __init__(self, cache: CacheChoice) -> None:
        super().__init__()
        self._cache = cache
        self.on_disk = QCheckBox("Keep embeddings on disk")
        self.on_disk.setToolTip(
            "An embedding is what encoding makes of a part of an image. With it on disk, an image that was "
            "encoded once is ready tomorrow too."
        )
        self.folder = QLabel()
        self.folder.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setToolTip("Keep them in another folder, such as one on a larger disk.")
        self.reset = QToolButton()
        self.reset.setText("↺")
        self.reset.setToolTip("Back to the usual folder.")
        self.disk = _budget("Beyond this the embeddings used least recently are deleted from disk.")
        self.memory = _budget("Beyond this the embeddings used least recently are dropped from memory.")
        self.clear = QPushButton("Clear cache")
        self.clear.setToolTip("Delete all embeddings on disk; they are made again when needed.")
        self.used = QLabel()
        self._lay_out()
        self.on_disk.clicked.connect(self._on_edited)
        self.disk.editingFinished.connect(self._on_edited)
        self.memory.editingFinished.connect(self._on_edited)
        self.browse.clicked.connect(self._on_browse_clicked)
        self.reset.clicked.connect(lambda: self._choose(folder=None))
        self.clear.clicked.connect(self._on_clear_clicked)
        self.show_choice(cache)

    def _lay_out(self) -> None:
        where = QHBoxLayout()
        where.setContentsMargins(0, 0, 0, 0)
        where.addWidget(self.folder, 1)
        where.addWidget(self.browse)
        where.addWidget(self.reset)
        form = make_form()
        form.addRow(self.on_disk)
        form.addRow(form_label("Folder"), where)
        form.addRow(form_label("On disk"), self.disk)
        form.addRow(form_label("Memory"), self.memory)
        clear = QHBoxLayout()
        clear.setContentsMargins(0, 0, 0, 0)
        clear.addWidget(self.used, 1)
        clear.addWidget(self.clear)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addLayout(clear)

    def show_choice(self, cache: CacheChoice) -> None:
        """Show a choice; emits nothing."""
        self._cache = cache
        self.on_disk.setChecked(cache.on_disk)
        self.disk.setValue(cache.disk_bytes / GIGABYTE)
        self.memory.setValue(cache.memory_bytes / GIGABYTE)
        for control in (self.folder, self.browse, self.disk, self.clear):
            control.setEnabled(cache.on_disk)
        self.reset.setEnabled(cache.on_disk and cache.folder is not None)

    def show_disk(self, folder: str, nbytes: int) -> None:
        """Show where the cache is and what it holds."""
        self.folder.setText(folder.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or folder)
        self.folder.setToolTip(folder)
        self.used.setText(f"{nbytes / GIGABYTE:.2f} GB used" if nbytes else "empty")

    def _on_edited(self, *_: Any) -> None:
        self._choose(
            on_disk=self.on_disk.isChecked(),
            disk_bytes=self._bytes(self.disk, self._cache.disk_bytes),
            memory_bytes=self._bytes(self.memory, self._cache.memory_bytes),
        )

    def _on_browse_clicked(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Keep embeddings in this folder")
        if folder:
            self._choose(folder=folder)

    def _on_clear_clicked(self) -> None:
        answer = QMessageBox.question(
            self, "Clear cache", "Delete all embeddings on disk? They are made again when they are needed."
        )
        if answer == QMessageBox.StandardButton.Yes:
            self.clear_asked.emit()

    def _choose(self, **changes: Any) -> None:
        cache = replace(self._cache, **changes)
        if cache != self._cache:
            self.show_choice(cache)
            self.chosen.emit(cache)

    @staticmethod
    def _bytes(spin: QDoubleSpinBox, before: int) -> int:
        """The budget shown; the one before where it only looks rounded."""
        if abs(spin.value() - before / GIGABYTE) < 10 ** -spin.decimals():
            return before
        return int(spin.value() * GIGABYTE)


def _budget(tip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(0, 100_000)
    spin.setDecimals(1)
    spin.setSuffix(" GB")
    spin.setKeyboardTracking(False)
    spin.setToolTip(tip)
    return spin
