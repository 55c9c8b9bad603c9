"""Connections to signals of napari and psygnal that are taken back together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.events import EventEmitter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Connections"]


class Connections:
    """What one object listens to; ``clear`` lets go of all of it."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., None]]] = []

    def add(self, signal: Any, handler: Callable[..., None]) -> None:
        """Connect a handler to a signal."""
        if isinstance(signal, EventEmitter):
            # napari calls the newest callback first; ours come after the viewer has done its own work
            signal.connect(handler, position="last")
        else:
            signal.connect(handler)
        self._made.append((signal, handler))

    def remove(self, signal: Any) -> None:
        """Disconnect what was connected to one signal."""
        for pair in [pair for pair in self._made if pair[0] is signal]:
            signal.disconnect(pair[1])
            self._made.remove(pair)

    def clear(self) -> None:
        """Disconnect everything."""
        for signal, handler in self._made:
            signal.disconnect(handler)
        self._made.clear()
