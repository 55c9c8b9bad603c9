"""A part of the dock that folds away under its title."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_sam.widgets.keyboard import FOCUS_RING

__all__ = ["Section"]


class Section(QWidget):
    """A title that shows or hides what is under it; folded to begin with.

    Parameters
    ----------
    title : str
        Shown with an arrow.
    content : QWidget
        What folds away.
    tip : str
        What is in there.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, content: QWidget, tip: str) -> None:
        super().__init__()
        self.button = QToolButton()
        self.button.setCheckable(True)
        self.button.setText(title)
        self.button.setToolTip(tip)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setArrowType(Qt.ArrowType.RightArrow)
        # napari fills checked buttons with its highlight, which would shout here
        self.button.setStyleSheet(
            "QToolButton { background: transparent; border: none; text-align: left; }" + FOCUS_RING
        )
        self.button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.content = content
        content.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.button)
        layout.addWidget(content)
        self.button.toggled.connect(self._on_button_toggled)

    @property
    def is_open(self) -> bool:
        """True while the content is shown."""
        return self.button.isChecked()

    def open(self, is_open: bool = True) -> None:
        """Show the content, or fold it away."""
        self.button.setChecked(is_open)

    def set_title(self, title: str) -> None:
        """Change the title."""
        self.button.setText(title)

    def _on_button_toggled(self, is_open: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self.content.setVisible(is_open)
        self.toggled.emit(is_open)
