"""The button that has the fastest engine found, and cancels it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtWidgets import QPushButton

    from napari_sam.session.session import Session
    from napari_sam.types import Progress

__all__ = ["FastestEngine"]

TITLE = "Find fastest engine"
_TIP = (
    "Try what can run the chosen model on this computer, in several precisions, on sample images, and use\n"
    "the fastest whose masks are as good as those of PyTorch in float32, from now on. It takes a minute or,\n"
    "for large models, several; clicks go on."
)
_MORE = "\npip install napari-sam-workbench[openvino] may make it faster: OpenVINO would be tried too."


class FastestEngine:
    """Joins a button and the session.

    Parameters
    ----------
    button : QPushButton
    session : Session
    """

    def __init__(self, button: QPushButton, session: Session) -> None:
        self._button = button
        self._session = session
        button.setText(TITLE)
        button.setToolTip(_TIP + ("" if find_spec("openvino") is not None else _MORE))
        button.clicked.connect(self._on_button_clicked)
        session.work.tuning.progressed.connect(self._on_tuning_progressed)

    def close(self) -> None:
        """Let go of the session."""
        self._session.work.tuning.progressed.disconnect(self._on_tuning_progressed)

    def _on_button_clicked(self) -> None:
        if self._session.work.tuning.is_running:
            self._session.work.tuning.cancel()
        else:
            self._session.work.tune()

    def _on_tuning_progressed(self, progress: Progress | None) -> None:
        self._button.setText(TITLE if progress is None else "Cancel finding")
