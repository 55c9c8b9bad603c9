"""The status line, which wraps at any width."""

from __future__ import annotations

import re

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

__all__ = ["StatusLine"]


class StatusLine(QLabel):
    """Shows what is going on; long names and paths are broken rather than widening the dock."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._said = ""
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
        self.setMinimumHeight(3 * self.fontMetrics().lineSpacing())
        self.say(text)

    @property
    def said(self) -> str:
        """The text as it was said."""
        return self._said

    def note(self, text: str) -> None:
        """Add something to what was said last, such as how long it took; empty for nothing."""
        said = self._said
        self.say(f"{said} {text}" if text and said else said)
        self._said = said

    def say(self, text: str) -> None:
        """Show a text; its tooltip holds all of it."""
        self._said = text
        short = text if len(text) <= 240 else text[:239] + "…"
        self.setText(re.sub(r"([/\\._-])(?=\w)", "\\1\u200b", short))  # where a line may break
        self.setToolTip(text or "What is going on.")
