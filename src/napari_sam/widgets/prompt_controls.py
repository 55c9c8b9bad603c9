"""Joins the prompt panel with the tools, the modes and the choice among masks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_sam.session.settings import Settings
    from napari_sam.viewer.controller import Controller
    from napari_sam.widgets.job_runner import QtJobRunner
    from napari_sam.widgets.prompt_panel import PromptPanel

__all__ = ["PromptControls"]


class PromptControls:
    """What the prompt panel's buttons and their keys do, and what they show.

    Parameters
    ----------
    panel : PromptPanel
        The buttons.
    controller : Controller
        Has the tools; its session the modes.
    runner : QtJobRunner
        Says whether anything runs.
    save : callable
        Takes settings and keeps them for tomorrow.
    cancel : QPushButton
        Enabled while something runs.
    """

    def __init__(
        self,
        panel: PromptPanel,
        controller: Controller,
        runner: QtJobRunner,
        save: Callable[[Settings], object],
        cancel: Any,
    ) -> None:
        self._panel = panel
        self._controller = controller
        self._session = session = controller.session
        self._runner = runner
        self._save = save
        self._cancel = cancel
        self._closed = False
        self.actions: Mapping[str, Callable[[], object]] = {
            "next_mask": self.next_mask,
            "previous_mask": lambda: session.prompting.choose_candidate(-1),
            "refine": self.refine,
            "rapid": lambda: self._set(mode="one" if session.settings.mode == "rapid" else "rapid"),
            "hover": lambda: self._set(hover=not session.settings.hover),
        }
        controller.call_soon = self._call_soon
        panel.tool_chosen.connect(controller.tools.choose)
        panel.mode_chosen.connect(lambda mode: self._set(mode=mode))
        panel.hover.clicked.connect(lambda checked: self._set(hover=bool(checked)))
        panel.rough_use_chosen.connect(lambda use: self._set(rough_use=use))
        panel.next_mask.clicked.connect(lambda _checked=False: self.next_mask())
        controller.tools.changed.connect(self._on_tools_changed)
        session.settings_changed.connect(self._on_settings_changed)
        session.state_changed.connect(self._on_session_changed)
        runner.busy_changed.connect(self._on_runner_changed)
        self._on_settings_changed(session.settings)
        self._on_session_changed()
        self._on_tools_changed(controller.tools.tool)
        self._on_runner_changed(runner.is_busy)

    def close(self) -> None:
        """Listen no more."""
        self._closed = True
        self._controller.tools.changed.disconnect(self._on_tools_changed)
        self._session.settings_changed.disconnect(self._on_settings_changed)
        self._session.state_changed.disconnect(self._on_session_changed)
        self._runner.busy_changed.disconnect(self._on_runner_changed)

    def next_mask(self) -> None:
        """Take the next of the model's masks."""
        self._session.prompting.choose_candidate()

    def refine(self) -> None:
        """Take the object under the cursor, else the selected label, into hand."""
        if self._controller.refiner.refine_here():
            self._controller.tools.choose("click")

    def _set(self, **changes: Any) -> None:
        self._save(replace(self._session.settings, **changes))

    def _call_soon(self, action: Callable[[], None]) -> None:
        def call() -> None:
            if not self._closed:
                action()

        QTimer.singleShot(0, call)

    def _on_tools_changed(self, tool: str) -> None:
        self._panel.show_tool(tool)

    def _on_settings_changed(self, settings: Settings) -> None:
        self._panel.show_mode(settings.mode, settings.hover, settings.rough_use)

    def _on_session_changed(self) -> None:
        state = self._session.prompting.state
        self._panel.show_masks(*((0, 0) if state is None else (state.choice, len(state.candidates))))

    def _on_runner_changed(self, busy: bool) -> None:
        self._cancel.setEnabled(busy)
