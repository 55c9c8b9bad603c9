"""Hover preview: what a click under the cursor would give, shown while the mouse moves.

One request at a time is asked, always the latest; those that come meanwhile replace each other. Only what is
in memory is used, so that moving the mouse never encodes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.session.decoding import clip_mask
from napari_sam.session.jobs import BACKGROUND, Job, JobRunner
from napari_sam.session.requests import DecodeRequest, Plane, Preview
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.session.models import Models
    from napari_sam.session.predictors import PredictorPool

__all__ = ["Hovering"]

SLOT = "hover"


class Hovering:
    """Answers the latest of many questions, and none that is stale.

    Parameters
    ----------
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.
    models : Models
        Which one answers.
    """

    changed = Signal(object)  # Preview | None: what a click would give, or nothing to show

    def __init__(self, runner: JobRunner, pool: PredictorPool, models: Models) -> None:
        self._runner = runner
        self._pool = pool
        self._models = models
        self._number = 0
        self._running: int | None = None
        self._next: DecodeRequest | None = None
        self._shown = False

    def look(self, plane: Plane, prompts: Prompts) -> None:
        """The cursor is where a click would make these the prompts."""
        if self._models.failure is not None or 0 in plane.shape:
            return
        self._number += 1
        self._next = DecodeRequest(self._number, plane, prompts, self._models.choice)
        if self._running is None:
            self._start()

    def stop(self) -> None:
        """The cursor is nowhere; what is on its way is not shown any more."""
        self._next = None
        self._number += 1
        if self._running is not None:
            self._runner.cancel(SLOT)  # its answer is dropped even where it is there already
            self._running = None
        self._show(None)

    def _start(self) -> None:
        request, self._next = self._next, None
        if request is None:
            return
        number = self._running = request.request_id
        self._runner.submit(
            Job(
                "Looking under the cursor",
                lambda: _peek(self._pool, request),
                slot=SLOT,
                priority=BACKGROUND,  # clicks go first, and nobody waits for this
                on_done=lambda mask: self._on_done(request, mask),
                on_failed=lambda _: self._on_ended(number),  # a click there would tell why
                on_cancelled=lambda _: self._on_ended(number),
            )
        )

    def _show(self, preview: Preview | None) -> None:
        if preview is not None or self._shown:
            self._shown = preview is not None
            self.changed.emit(preview)

    def _on_done(self, request: DecodeRequest, mask: ObjectMask | None) -> None:
        if self._running != request.request_id:
            return
        latest = self._next
        if latest is not None or request.request_id == self._number:
            mask = None if mask is None else clip_mask(mask, request.plane.shape)
            if mask is not None and latest is not None and not _holds(mask, latest):
                mask = None  # the mouse has left this object: what is there now is asked next
            self._show(None if mask is None or not mask.area else Preview(request.plane, mask))
        self._on_ended(request.request_id)

    def _on_ended(self, number: int) -> None:
        if self._running == number:
            self._running = None
            self._start()


def _holds(mask: ObjectMask, request: DecodeRequest) -> bool:
    """True when the place that is asked for lies on a mask."""
    row, col = (round(float(value)) for value in request.prompts.points[-1])
    r0, c0, r1, c1 = mask.box
    return r0 <= row < r1 and c0 <= col < c1 and bool(mask.mask[row - r0, col - c0])


def _peek(pool: PredictorPool, request: DecodeRequest) -> Generator[Progress, None, ObjectMask | None]:
    yield Progress(0, 1)  # where the mouse has moved on, it ends here
    predictor = pool.predictor(request.model, request.plane)
    return predictor.peek(pool.pixels(request.plane), request.prompts)
