"""Finding the candidates of a plane, one such job at a time; what is finished is told as it comes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.inference.candidates import Candidates, FilterParams
from napari_sam.inference.fitting import cut_candidates
from napari_sam.session.decoding import maker_of
from napari_sam.session.jobs import LONG, Job, JobRunner
from napari_sam.session.prompt_checks import check_plane
from napari_sam.session.provenance import Maker, now
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from napari_sam.session.auto_requests import AutoRequest
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import Engine

__all__ = ["Run", "Segmenting"]

SLOT = "segment"


@dataclass(eq=False, slots=True)
class Run:
    """One automatic segmentation.

    Attributes
    ----------
    request : AutoRequest
        What is looked for, and where; with the settings of the moment when it begins.
    defaults : FilterParams
        Thresholds of the method; known once the model is loaded.
    parts : list of Candidates
        What was finished so far.
    maker : Maker or None
        Who finds them; known once the model is loaded.
    created : str
        When it was asked for, as records write it.
    """

    request: AutoRequest
    defaults: FilterParams = field(default_factory=FilterParams)
    parts: list[Candidates] = field(default_factory=list)
    maker: Maker | None = None
    created: str = ""

    @property
    def so_far(self) -> Candidates:
        """All parts together."""
        return Candidates.concatenate(self.parts or [Candidates.empty(self.request.plane.shape)])


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
    grown = Signal(object, object)  # Run, Candidates of the part that was finished
    done = Signal(object, object)  # Run, Candidates, all of them
    failed = Signal(object, str)  # Run, which knows what was finished before
    cancelled = Signal(object)  # Run, likewise

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool) -> None:
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._running = False

    @property
    def is_running(self) -> bool:
        """True while a plane is being segmented."""
        return self._running

    def start(self, request: AutoRequest) -> None:
        """Submit the job; ``done``, ``failed`` or ``cancelled`` follows."""
        self._running = True
        run = Run(request, created=now())
        self.progressed.emit(Progress(0, 0, "Segment everything"))
        self._runner.submit(
            Job(
                "Segment everything",
                lambda: self._steps(run),
                slot=SLOT,
                priority=LONG,
                on_progress=lambda progress: self._on_progress(run, progress),
                on_done=lambda found: self._end(lambda: self.done.emit(run, found)),
                on_failed=lambda message: self._end(lambda: self.failed.emit(run, message)),
                on_cancelled=lambda _: self._end(lambda: self.cancelled.emit(run)),
            )
        )

    def cancel(self) -> None:
        """Cancel the job at its next step."""
        self._runner.cancel(SLOT)

    def _steps(self, run: Run) -> Generator[Progress, None, Candidates]:
        plane, model = run.request.plane, run.request.model
        check_plane(plane)
        yield Progress(0, 0, f"Loading model {model.name}")
        settings = self._pool.settings  # perhaps others than when it was asked for
        predictor = self._pool.predictor(model, plane, settings)
        request = run.request = replace(run.request, settings=self._pool.seen(plane, settings))
        run.maker = maker_of(model, predictor)
        run.defaults = self._engine.filter_defaults(predictor, request.method)
        region = None if request.region is None else request.region.region
        pixels = self._pool.pixels(plane)
        job = self._engine.iter_candidates(pixels, predictor, request.method, region)
        found = yield from _cut(job, request)
        found.find_overlaps()  # counted here, so that the first threshold is as quick as the others
        return found

    def _on_progress(self, run: Run, progress: Progress) -> None:
        self.progressed.emit(progress)
        if isinstance(progress.partial, Candidates) and len(progress.partial):
            run.parts.append(progress.partial)
            self.grown.emit(run, progress.partial)

    def _end(self, tell: Callable[[], None]) -> None:
        self._running = False
        self.progressed.emit(None)
        tell()


def _cut(
    job: Generator[Progress, None, Candidates], request: AutoRequest
) -> Generator[Any, None, Candidates]:
    """The same job; where the request says so, of every object only what lies in the region."""
    if request.region is None or not request.region.cut:
        return (yield from job)
    region = request.region.region
    try:
        while True:
            progress = next(job)
            if isinstance(progress.partial, Candidates):
                cut = cut_candidates(progress.partial, region)
                progress = Progress(progress.done, progress.total, progress.description, cut)
            yield progress
    except StopIteration as stop:
        return cut_candidates(stop.value, region)
    finally:
        job.close()
