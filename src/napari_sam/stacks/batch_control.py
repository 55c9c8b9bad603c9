"""How a running batch is asked to end early."""

from __future__ import annotations

import threading

__all__ = ["BatchControl"]


class BatchControl:
    """Asks a running batch to end early; safe to use from signal handlers and other threads."""

    def __init__(self) -> None:
        self._finish = threading.Event()

    @property
    def is_finishing(self) -> bool:
        """Whether no new unit is begun any more."""
        return self._finish.is_set()

    def finish(self) -> None:
        """Begin no unit any more, and end when those in work are done."""
        self._finish.set()
