"""What there is to do before a model can be used: a question, a progress bar, or what went wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from napari_sam.session.models import Download, ModelInfo

__all__ = ["DownloadStrip", "describe_size"]


def describe_size(megabytes: int) -> str:
    """A size for people."""
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


class DownloadStrip(QWidget):
    """Shown below the model while it is not on this computer; nothing at all otherwise."""

    download_asked = Signal(str)  # name of the model
    cancel_asked = Signal(str)
    look_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._info: ModelInfo | None = None
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.bar = QProgressBar()
        self.bar.setToolTip("How much has arrived.")
        self.download = QPushButton("Download")
        self.download.setToolTip("Get the model's weights.")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; what has arrived is kept for the next time.")
        self.copy = QPushButton("Copy link")
        self.copy.setToolTip("Copy the address and the folder.")
        self.look = QPushButton("Look again")
        self.look.setToolTip("See whether the file is in the folder now.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.text)
        for row in ((self.download, self.bar, self.cancel), (self.copy, self.look)):
            line = QHBoxLayout()
            line.setContentsMargins(0, 0, 0, 0)
            for widget in row:
                line.addWidget(widget)
            layout.addLayout(line)
        self.hide()
        self.download.clicked.connect(self._on_download_clicked)
        self.cancel.clicked.connect(self._on_cancel_clicked)
        self.copy.clicked.connect(self._on_copy_clicked)
        self.look.clicked.connect(self._on_look_clicked)

    def show_state(self, info: ModelInfo | None, download: Download) -> None:
        """Show what there is to do for a model; None, or one that is here, for nothing."""
        self._info = info
        needed = info is not None and not info.is_here
        if info is None or not needed:
            self.hide()
            return
        running = download.progress is not None
        size = describe_size(info.megabytes)
        if download.progress is not None:
            progress = download.progress
            text = progress.description
            self.bar.setRange(0, progress.total)
            self.bar.setValue(progress.done)
        elif download.error is not None:
            text = download.error
        else:
            text = f"Not on this computer yet: {size}, licence {info.license}."
        self.text.setText(_breakable(text))
        self.text.setToolTip(text)
        self.download.setText("Try again" if download.error is not None else f"Download {size}")
        self.download.setToolTip(f"Get {info.title} from\n" + "\n".join(info.urls))
        self.copy.setToolTip(
            "Copy the address and the folder: behind a firewall, get the file on another computer and put "
            f"it, under any name, into\n{info.folder}"
        )
        self.look.setToolTip(f"See whether the file is in the folder now:\n{info.folder}")
        for widget, visible in (
            (self.download, not running),
            (self.bar, running),
            (self.cancel, running),
            (self.copy, not running),
            (self.look, not running),
        ):
            widget.setVisible(visible)
        self.show()

    def _on_download_clicked(self) -> None:
        if self._info is not None:
            self.download_asked.emit(self._info.name)

    def _on_cancel_clicked(self) -> None:
        if self._info is not None:
            self.cancel_asked.emit(self._info.name)

    def _on_copy_clicked(self) -> None:
        clipboard = QApplication.clipboard()
        if self._info is not None and clipboard is not None:
            clipboard.setText("\n".join([*self._info.urls, self._info.folder]))

    def _on_look_clicked(self) -> None:
        self.look_asked.emit()


def _breakable(text: str) -> str:
    """Let addresses and paths be broken rather than widen the dock."""
    return re.sub(r"([/\\._-])(?=\w)", "\\1\u200b", text)
