"""How long something took, and how long it will still take, for the status line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.types import Progress

__all__ = ["JobClock"]

NOTICED = 0.1
"""Seconds below which nobody wonders how long it took."""
PATIENCE = 2.0
"""Seconds after which the rest of a long job is estimated."""


class JobClock:
    """Measures from the moment something was asked for until nothing is computed any more.

    Parameters
    ----------
    now : callable
        Seconds of a clock that goes forward only.

    Examples
    --------
    >>> from napari_sam.types import Progress
    >>> times = iter([10.0, 14.0, 16.0])
    >>> clock = JobClock(lambda: next(times))
    >>> clock.begin()
    >>> clock.estimate(Progress(1, 3))
    'about 8 s left'
    >>> clock.end()
    '6.0 s'
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began: float | None = None

    def begin(self) -> None:
        """Something is computed from now on."""
        self._began = self._now()

    def end(self) -> str:
        """Nothing is computed any more: how long it took, empty where that is not worth telling."""
        began, self._began = self._began, None
        took = 0.0 if began is None else self._now() - began
        return "" if took < NOTICED else _format(took)

    def estimate(self, progress: Progress | None) -> str:
        """How long the rest of a job will take at the pace so far; empty while that is not known."""
        if progress is None or self._began is None or not 0 < progress.done < progress.total:
            return ""
        elapsed = self._now() - self._began
        if elapsed < PATIENCE:
            return ""
        return f"about {_format(elapsed / progress.done * (progress.total - progress.done), 0)} left"


def _format(seconds: float, digits: int = 1) -> str:
    if seconds < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
