"""Which model answers, which ones there are, and getting the chosen one ready before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.jobs import CLICK, WARM_UP, Job, JobRunner
from napari_sam.types import Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import Engine, ModelChoice, Plane

__all__ = ["Models"]


class Models:
    """The model in use and those to choose from.

    Parameters
    ----------
    engine : Engine
        Where models come from.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker keeps the loaded model.
    choice : ModelChoice
        The model to begin with.
    """

    listed = Signal(object, object)  # ((name, description), ...), (device, ...)
    warmed = Signal()  # the model is loaded, and the plane encoded if it was small enough
    progressed = Signal(object)  # Progress
    failed = Signal(str)

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool, choice: ModelChoice) -> None:
        self._choice = choice
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._told: str | None = None

    @property
    def choice(self) -> ModelChoice:
        """Which model answers."""
        return self._choice

    @property
    def failure(self) -> str | None:
        """Why the chosen model cannot answer and what to do; None while nothing speaks against it."""
        message = self._pool.failure(self._choice)
        return None if message is None else f"{message} Choose the model again to try once more."

    def choose(self, choice: ModelChoice) -> bool:
        """Take another model, or try one again that could not be loaded; False when nothing changes."""
        if choice == self._choice and self.failure is None:
            return False
        self._choice = choice
        self._told = None
        self._pool.retry()
        return True

    def is_news(self, message: str) -> bool:
        """False for the failure to load the chosen model, once it was told."""
        if message != self._pool.failure(self._choice):
            return True
        told, self._told = self._told, message
        return told != message

    def list_all(self) -> None:
        """Ask the engine which models and devices there are; ``listed`` answers."""

        def steps() -> Generator[Progress, None, tuple[Any, Any]]:
            yield Progress(0, 1, "Looking for models")
            return tuple(self._engine.list_models()), tuple(self._engine.list_devices())

        self._runner.submit(
            Job(
                "Looking for models",
                steps,
                priority=CLICK,
                on_done=lambda found: self.listed.emit(*found),
                on_failed=self.failed.emit,
            )
        )

    def warm_up(self, plane: Plane | None, max_side: int) -> None:
        """Load the model in the background, and encode the plane where no side is longer than a limit.

        Parameters
        ----------
        plane : Plane or None
            What is likely to be clicked on next.
        max_side : int
            Pixels.
        """
        choice, pool = self._choice, self._pool

        def steps() -> Generator[Progress, None, None]:
            yield Progress(0, 2, f"Loading model {choice.name}")
            predictor = pool.predictor(choice)
            if plane is None or 0 in plane.shape or max(plane.shape) > max_side:
                return
            yield Progress(1, 2, "Preparing the image")
            height, width = plane.shape
            centre = Prompts(points=np.array([((height - 1) / 2, (width - 1) / 2)], np.float32))
            try:
                predictor.predict(pool.pixels(plane), centre)
            except SamError:
                return  # the user hears of an unusable image when he asks something of it

        self._runner.submit(
            Job(
                f"Loading model {choice.name}",
                steps,
                slot="warm up",
                priority=WARM_UP,
                on_progress=self.progressed.emit,
                on_done=lambda _: self.warmed.emit(),
                on_failed=self.failed.emit,
            )
        )

    def cancel(self) -> None:
        """Cancel the warming up at its next step."""
        self._runner.cancel("warm up")
