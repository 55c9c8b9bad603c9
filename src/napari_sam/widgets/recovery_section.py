"""The strip that offers unsaved work back, and the section "Save" with autosave's switch."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.session.left_session import LeftSession
    from napari_sam.session.session import Session
    from napari_sam.session.settings import Settings
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.recovery import Recovery

__all__ = ["RecoverySection", "RecoveryStrip", "describe_offer"]

REST_MS = 1000
"""So long after the first change that is not saved, it is."""


class RecoveryStrip(QFrame):
    """Asks what becomes of work that was left behind; hidden where there is none. Nothing waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.restore = _button(
            "Restore", "Bring back the objects, their prompts and the settings, as new layers."
        )
        self.later = _button("Later", "Keep it, and ask again at the next start.")
        self.discard = _button("Discard", "Delete it for good.")
        buttons = QHBoxLayout()
        for button in (self.restore, self.later, self.discard):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.text)
        layout.addLayout(buttons)
        self.hide()

    def show_offer(self, left: LeftSession | None) -> None:
        """Show what is offered; nothing for None."""
        if left is not None:
            self.text.setText(describe_offer(left))
        self.setVisible(left is not None)


def describe_offer(left: LeftSession, now: float | None = None) -> str:
    """One question about work that was left behind.

    Parameters
    ----------
    left : LeftSession
        The work.
    now : float, optional
        Seconds since 1970.
    """
    then, today = time.localtime(left.saved), time.localtime(now)
    when = time.strftime("%H:%M" if then[:3] == today[:3] else "%d %b, %H:%M", then)
    what = f"{left.count} objects" if left.count != 1 else "1 object"
    if not left.count:  # drawn with the brush, or of another tool
        what = "the labels" if left.has_labels else "the prompts"
    name = left.image.get("name")
    where = f" of {name}" if isinstance(name, str) and name else ""
    why = " that were not saved" if left.closed else ""
    return f"Recover {what}{where} from {when}{why}?"


class RecoverySection(QWidget):
    """Saves labels with what is known of their objects, and switches autosave on and off.

    Parameters
    ----------
    session : Session
        Whose settings are set.
    controller : Controller
        Knows the target.
    recovery : Recovery
        What saves and restores.
    set_settings : callable
        Takes settings that are to be kept.
    """

    def __init__(
        self,
        session: Session,
        controller: Controller,
        recovery: Recovery,
        set_settings: Callable[[Settings], None],
    ) -> None:
        super().__init__()
        self._session = session
        self._controller = controller
        self._recovery = recovery
        self._set_settings = set_settings
        self.strip = RecoveryStrip()
        self.save = _button(
            "Save labels and provenance…",
            "Write the layer that objects go to as TIFF, and beside it how each object was made (.sam.json): "
            "opened again, prompts can be corrected.",
        )
        self.autosave = QCheckBox("Autosave unsaved work")
        self.autosave.setToolTip(
            "Keeps what is not saved on disk while you work; after a crash it is offered at the next start."
        )
        self.note = QLabel("Nothing to save yet.")
        self.note.setWordWrap(True)
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.save, self.autosave, self.note):
            layout.addWidget(widget)
        self.box = Section("Save", content, "Labels with what is known of their objects, and autosave.")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.box)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)

    def enable(self) -> None:
        """Connect everything."""
        recovery, strip = self._recovery, self.strip
        self._rest.timeout.connect(self._on_rest_timeout)
        self.save.clicked.connect(self._on_save_clicked)
        self.autosave.toggled.connect(self._on_autosave_toggled)
        strip.restore.clicked.connect(lambda: recovery.restore())
        strip.discard.clicked.connect(lambda: recovery.discard())
        strip.later.clicked.connect(lambda: recovery.later())
        recovery.due.connect(self._on_recovery_due)
        recovery.offered.connect(strip.show_offer)
        recovery.autosave.saved.connect(self._on_autosave_saved)
        recovery.records.saved.connect(self._on_records_saved)
        self._session.settings_changed.connect(self._on_settings_changed)
        self._on_settings_changed(self._session.settings)

    def disable(self) -> None:
        """Do nothing any more; the rest is disconnected with session and recovery."""
        self._rest.stop()
        self.strip.hide()
        recovery = self._recovery
        recovery.due.disconnect()
        recovery.offered.disconnect()
        recovery.autosave.saved.disconnect()
        recovery.records.saved.disconnect()

    # ------------------------------------------------------------- handlers
    def _on_recovery_due(self) -> None:
        if not self._rest.isActive():
            self._rest.start()

    def _on_rest_timeout(self) -> None:
        self._recovery.autosave.save()

    def _on_save_clicked(self) -> None:
        layer = self._controller.target_layer
        if layer is None:
            self._session.warned.emit(
                "Nothing to save: accept an object first, or choose a layer to write to."
            )
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save labels and provenance", f"{layer.name}.tif", "TIFF (*.tif *.tiff)"
        )
        if path:
            self._recovery.records.save(layer, with_ending(Path(path)))

    def _on_autosave_toggled(self, checked: bool) -> None:
        self._set_settings(replace(self._session.settings, autosave=checked))

    def _on_settings_changed(self, settings: Settings) -> None:
        self.autosave.setChecked(settings.autosave)
        if not settings.autosave:
            self.note.setText("Autosave is off.")

    def _on_autosave_saved(self, when: float) -> None:
        if self._recovery.autosave.session is not None:
            self.note.setText(f"Unsaved work was kept at {time.strftime('%H:%M:%S', time.localtime(when))}.")

    def _on_records_saved(self, layer: Any, path: Path) -> None:
        self.note.setText(f"{layer.name}: saved to {path.name}.")


def with_ending(path: Path) -> Path:
    """The path as that of a TIFF file."""
    return path if path.suffix.lower() in (".tif", ".tiff") else path.with_name(path.name + ".tif")


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button
