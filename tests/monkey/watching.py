"""Hears everything that goes wrong without anybody raising it, and counts what must not grow."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import notification_manager
from qtpy.QtCore import QtMsgType, qInstallMessageHandler
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Watch", "camera_of", "count_callbacks", "settle_garbage"]

HARMLESS = (
    "This plugin does not support",  # of Qt's offscreen platforms
    "propagateSizeHints",
    "/_themes/",  # two viewers that start at once write the same icons
    "QStandardPaths",
    "Wayland",
)


class _Listener(logging.Handler):
    def __init__(self, problems: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        self._problems.append(f"logged by {record.name}: {text}")


class Watch:
    """While it is entered, ``problems`` collects what nobody caught."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._listener = _Listener(self.problems)

    def __enter__(self) -> Watch:
        self._hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook = self._on_exception
        threading.excepthook = lambda args: self._on_exception(
            args.exc_type, args.exc_value, args.exc_traceback
        )
        sys.unraisablehook = lambda args: self._on_exception(
            args.exc_type, args.exc_value, args.exc_traceback
        )
        self._qt = qInstallMessageHandler(self._on_qt_message)
        logging.getLogger().addHandler(self._listener)
        self._seen = len(notification_manager.records)
        self._warnings = warnings.catch_warnings(record=True)
        self._caught = self._warnings.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self._warnings.__exit__(None, None, None)
        logging.getLogger().removeHandler(self._listener)
        qInstallMessageHandler(self._qt)
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._hooks

    def look(self) -> list[str]:
        """All problems so far."""
        for warning in self._caught:
            if "napari_sam" in str(warning.filename) or issubclass(
                warning.category, RuntimeWarning | ResourceWarning
            ):
                self.problems.append(
                    f"{warning.category.__name__} at {warning.filename}:{warning.lineno}: {warning.message}"
                )
        self._caught.clear()
        for note in list(notification_manager.records)[self._seen :]:
            if str(note.severity) == "error":
                self.problems.append(f"error notification: {note.message}")
        self._seen = len(notification_manager.records)
        return self.problems

    def _on_exception(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.problems.append("".join(traceback.format_exception(kind, error, trace)))

    def _on_qt_message(self, kind: Any, context: Any, message: str) -> None:
        if kind != QtMsgType.QtDebugMsg and not any(text in message for text in HARMLESS):
            self.problems.append(f"Qt said: {message}")


def camera_of(viewer: Any) -> Any:
    """The camera, which has moved in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def _is_overlay(callback: Any) -> bool:
    """True for a listener of napari's overlays, such as the brush's circle, made when first needed."""
    owner = callback[0]() if isinstance(callback, tuple) else callback
    module = getattr(owner, "__module__", None) or type(owner).__module__
    return str(module).startswith("napari._vispy.overlays")


def count_callbacks(viewer: Any) -> dict[str, int]:
    """How many listeners everything in an (empty) viewer has."""
    groups = {
        "viewer": viewer.events,
        "layers": viewer.layers.events,
        "selection": viewer.layers.selection.events,
        "dims": viewer.dims.events,
        "camera": camera_of(viewer).events,
        "cursor": viewer.cursor.events,
    }
    counts = {
        f"{name}.{event}": sum(not _is_overlay(callback) for callback in emitter.callbacks)
        for name, group in groups.items()
        if hasattr(group, "emitters")
        for event, emitter in group.emitters.items()
        if hasattr(emitter, "callbacks")
    }
    names = ("mouse_drag", "mouse_move", "mouse_wheel", "mouse_double_click")
    counts["mouse"] = sum(len(getattr(viewer, f"{name}_callbacks")) for name in names)
    counts["keys"] = len(viewer.keymap)
    return counts


def settle_garbage(rounds: int = 3) -> None:
    """Let Qt delete what it was told to, and Python what nobody holds."""
    from qtpy.QtCore import QCoreApplication, QEvent

    for _ in range(rounds):
        QApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.collect()
