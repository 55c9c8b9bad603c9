"""Segmenting every object of a plane, one such job at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.session.jobs import LONG, Job, JobRunner
from napari_sam.session.requests import Engine, ModelChoice, Plane, check_plane
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.session.predictors import PredictorPool

__all__ = ["Segmenting"]

SLOT = "segment"


class Segmenting:
    """Runs the engine's automatic segmentation as a long job.

    Parameters
    ----------
    engine : Engine
        What segments.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.
    """

    progressed = Signal(object)  # Progress, or None when it is over
    done = Signal(object, object)  # Plane, (H, W) int32
    failed = Signal(str)
    cancelled = Signal()

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool) -> None:
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._running = False

    @property
    def is_running(self) -> bool:
        """True while a plane is being segmented."""
        return self._running

    def start(self, plane: Plane, model: ModelChoice, method: str) -> None:
        """Submit the job; ``done``, ``failed`` or ``cancelled`` follows.

        Parameters
        ----------
        plane : Plane
            What to segment.
        model : ModelChoice
            Which model segments.
        method : str
            One of the engine's methods.
        """
        self._running = True
        self.progressed.emit(Progress(0, 0, "Segment everything"))
        self._runner.submit(
            Job(
                "Segment everything",
                lambda: self._steps(plane, model, method),
                slot=SLOT,
                priority=LONG,
                on_progress=self.progressed.emit,
                on_done=lambda labels: self._end(self.done, plane, labels),
                on_failed=lambda message: self._end(self.failed, message),
                on_cancelled=lambda _: self._end(self.cancelled),
            )
        )

    def cancel(self) -> None:
        """Cancel the job at its next step."""
        self._runner.cancel(SLOT)

    def _steps(
        self, plane: Plane, model: ModelChoice, method: str
    ) -> Generator[Progress, None, NDArray[np.int32]]:
        check_plane(plane)
        yield Progress(0, 0, f"Loading model {model.name}")
        predictor = self._pool.predictor(model)
        return (yield from self._engine.iter_segment(self._pool.pixels(plane), predictor, method))

    def _end(self, signal: Any, *values: Any) -> None:
        self._running = False
        self.progressed.emit(None)
        signal.emit(*values)
