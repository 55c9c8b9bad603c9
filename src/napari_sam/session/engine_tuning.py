"""Finding what runs the chosen model fastest on this computer, while clicks go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.session.jobs import LONG, Job, JobRunner
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import Engine, ModelChoice

__all__ = ["EngineTuning"]

SLOT = "tune"


class EngineTuning:
    """Runs the engine's trials as a long job.

    Parameters
    ----------
    engine : Engine
        What tries.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds the model.
    """

    progressed = Signal(object)  # Progress, or None when it is over
    said = Signal(str)
    failed = Signal(str)

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool) -> None:
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._running = False

    @property
    def is_running(self) -> bool:
        """True while engines are being tried."""
        return self._running

    def start(self, model: ModelChoice) -> None:
        """Try all engines for a model; ``said`` or ``failed`` follows."""
        self._running = True
        self._on_progressed(Progress(0, 0, "Trying engines"))
        self._runner.submit(
            Job(
                "Finding the fastest engine",
                lambda: self._steps(model),
                slot=SLOT,
                priority=LONG,
                on_progress=self._on_progressed,
                on_done=lambda words: self._end(self.said, f"Fastest for {model.name} here: {words}."),
                on_failed=lambda message: self._end(self.failed, message),
                on_cancelled=lambda _: self._end(self.said, "Trying engines was cancelled; nothing changed."),
            )
        )

    def cancel(self) -> None:
        """Stop at the next trial; nothing changes then."""
        self._runner.cancel(SLOT)

    def _steps(self, model: ModelChoice) -> Generator[Progress, None, str]:
        yield Progress(0, 0, f"Loading model {model.name}")
        return (yield from self._engine.iter_tune(self._pool.predictor(model)))

    def _on_progressed(self, progress: Progress) -> None:
        self.progressed.emit(progress)
        self.said.emit(f"{progress.description} {progress.done}/{progress.total or '?'} …")

    def _end(self, signal: Any, text: str) -> None:
        self._running = False
        self.progressed.emit(None)
        signal.emit(text)
