"""What the user asks for about embeddings: encode a stack, show the model's input, look at the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.session.jobs import CLICK, LONG, Job, JobRunner
from napari_sam.session.prompt_checks import check_plane
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import Crop, Engine, ModelChoice, Plane
    from napari_sam.session.settings import CacheChoice

__all__ = ["Precomputing"]

SLOT = "precompute"
MAX_SIDE = 2048
"""The model's input is shown with at most so many pixels a side."""


class Precomputing:
    """Encodes ahead of the clicks, and tells what there is.

    Parameters
    ----------
    engine : Engine
        What encodes.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.
    """

    progressed = Signal(object)  # Progress, or None when it is over
    done = Signal(int, int)  # tiles encoded now, planes
    failed = Signal(str)
    cancelled = Signal()
    input_rendered = Signal(object, object, object)  # Plane, crop, (h, w, 3) uint8
    cache_measured = Signal(str, object)  # folder, bytes

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool) -> None:
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._running = False

    @property
    def is_running(self) -> bool:
        """True while planes are being encoded."""
        return self._running

    def start(self, planes: Sequence[Plane], model: ModelChoice) -> None:
        """Encode planes one after the other; ``done``, ``failed`` or ``cancelled`` follows.

        Parameters
        ----------
        planes : sequence of Plane
            What to encode.
        model : ModelChoice
            With which model.
        """
        self._running = True
        self.progressed.emit(Progress(0, 0, "Encoding"))
        self._runner.submit(
            Job(
                "Encoding the image",
                lambda: self._steps(planes, model),
                slot=SLOT,
                priority=LONG,
                on_progress=self.progressed.emit,
                on_done=lambda count: self._end(self.done, count, len(planes)),
                on_failed=lambda message: self._end(self.failed, message),
                on_cancelled=lambda _: self._end(self.cancelled),
            )
        )

    def cancel(self) -> None:
        """Stop at the next tile; what is encoded stays."""
        self._runner.cancel(SLOT)

    def render_input(self, plane: Plane, crop: Crop, model: ModelChoice) -> None:
        """Have a crop shown as the model sees it; ``input_rendered`` or ``failed`` follows."""

        def steps() -> Generator[Progress, None, Any]:
            yield Progress(0, 1, f"Loading model {model.name}")
            predictor = self._pool.predictor(model, plane)
            return self._engine.render_input(self._pool.pixels(plane), predictor, crop, MAX_SIDE)

        self._runner.submit(
            Job(
                "Showing what the model sees",
                steps,
                slot="render",
                priority=CLICK,
                on_done=lambda pixels: self.input_rendered.emit(plane, crop, pixels),
                on_failed=self.failed.emit,
            )
        )

    def measure_cache(self, cache: CacheChoice, clear: bool = False) -> None:
        """Look how much is on disk, after emptying it where asked; ``cache_measured`` answers."""

        def steps() -> Generator[Progress, None, tuple[str, int]]:
            yield Progress(0, 1, "Looking at the cache")
            if clear:
                self._engine.clear_cache(cache)
            return self._engine.measure_cache(cache)

        self._runner.submit(
            Job(
                "Emptying the cache" if clear else "Looking at the cache",
                steps,
                slot="measure cache",
                priority=LONG,
                on_done=lambda found: self.cache_measured.emit(*found),
                on_failed=self.failed.emit,
            )
        )

    def _steps(self, planes: Sequence[Plane], model: ModelChoice) -> Generator[Progress, None, int]:
        count = 0
        for number, plane in enumerate(planes):
            check_plane(plane)
            name = f"Encoding plane {number + 1} of {len(planes)}" if len(planes) > 1 else "Encoding"
            yield Progress(number, len(planes), name)
            job = self._pool.predictor(model, plane).embed(plane.read())
            while True:
                try:
                    step = next(job)
                except StopIteration as stop:
                    count += stop.value
                    break
                tiles = max(step.total, 1)
                yield Progress(number * tiles + step.done, len(planes) * tiles, name)
        return count

    def _end(self, signal: Any, *values: Any) -> None:
        self._running = False
        self.progressed.emit(None)
        signal.emit(*values)
