"""Progress of the long job in napari's activity dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils import progress as activity

if TYPE_CHECKING:
    from napari_sam.types import Progress

__all__ = ["ActivityBar"]


class ActivityBar:
    """One bar, there while a job runs.

    napari's bars pump the Qt loop, so that the next progress can arrive while the last one is being
    shown; only the newest counts.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._bar: Any = None
        self._newest: Progress | None = None
        self._showing = False

    def show(self, progress: Progress | None) -> None:
        """Show how far the job is; None when it is over."""
        self._newest = progress
        if self._showing:
            return
        self._showing = True
        try:
            shown: Progress | bool | None = False
            while shown is not self._newest:
                shown = self._newest
                self._update(self._newest)
        finally:
            self._showing = False

    def close(self) -> None:
        """Take the bar away."""
        self.show(None)

    def _update(self, progress: Progress | None) -> None:
        total = None if progress is None else progress.total
        if self._bar is not None and self._bar.total != total:
            bar, self._bar = self._bar, None
            bar.close()
        if progress is None:
            return
        if self._bar is None:
            self._bar = activity(total=total, desc=self._text)
        self._bar.update(progress.done - self._bar.n)
