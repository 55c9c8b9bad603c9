"""Segmenting all planes of a stack and linking them to objects: a job whose planes are shown as they come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.inference.filter_params import FilterParams
from napari_sam.session.auto_records import make_stack_records
from napari_sam.session.auto_requests import WHAT_HELPS
from napari_sam.session.decoding import maker_of
from napari_sam.session.history import FillStep, History
from napari_sam.session.jobs import LONG, Job, JobRunner
from napari_sam.session.prompt_checks import check_plane
from napari_sam.session.propagation_tracks import PlaneImages, make_stack
from napari_sam.session.provenance import Maker, ObjectRecord, now
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from numpy.typing import NDArray

    from napari_sam.inference.encode_settings import EncodeSettings
    from napari_sam.session.auto_requests import Fill, RegionChoice
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.propagation_tracks import Stack
    from napari_sam.session.requests import Engine, ModelChoice, Plane

__all__ = ["LinkedStack", "StackRequest", "StackSegmenting", "StackSink", "find_stack"]

SLOT = "segment stack"
Axis = Literal["z", "t"]
Records = dict[int, tuple[ObjectRecord, ...]]


class LinkedStack(Protocol):
    """What the engine returns: ``napari_sam.stacks.segment_stack.StackLabels``."""

    labels: Any
    parents: dict[int, tuple[int, ...]]
    columns: dict[str, NDArray[Any]]
    settings: EncodeSettings | None

    @property
    def count(self) -> int:
        """Number of objects."""


@dataclass(frozen=True, slots=True, eq=False)
class StackRequest:
    """What the user asked for.

    Attributes
    ----------
    stack : Stack
        The planes.
    axis : "z" or "t"
        What they are: sections of a volume, or frames of a series.
    model : ModelChoice
        With what.
    method : str
        One of the engine's methods.
    region : RegionChoice or None
        Where in every plane; None for all of it.
    thresholds : dict
        Fields of ``FilterParams`` that the user has set.
    """

    stack: Stack
    axis: Axis
    model: ModelChoice
    method: str = "auto"
    region: RegionChoice | None = None
    thresholds: Mapping[str, Any] = field(default_factory=dict)


class StackSink(Protocol):
    """Where the labels are shown."""

    def begin(self, request: StackRequest) -> None:
        """Settle where the result goes; raise SamError where it cannot be."""

    def show_plane(self, number: int, labels: NDArray[np.int32]) -> None:
        """Show a plane that was finished, under ids that may still change."""

    def finish(self, result: LinkedStack, records: Records) -> Fill | None:
        """Show the final labels of all planes; what takes them back, None when there is no place."""

    def stop(self, records: Records) -> tuple[Fill | None, int]:
        """Nothing more comes: leave what is shown; what takes it back, and how many planes it is."""


@dataclass(eq=False, slots=True)
class _Run:
    request: StackRequest
    maker: Maker = field(default_factory=Maker)
    filters: FilterParams = field(default_factory=FilterParams)
    seen: list[tuple[int, NDArray[np.integer], NDArray[np.integer]]] = field(default_factory=list)
    records: Records = field(default_factory=dict)
    created: str = field(default_factory=now)
    shown: int = 0  # of the planes in ``seen``; a worker may be one ahead
    dropped: bool = False


class StackSegmenting:
    """Runs one such job at a time.

    Parameters
    ----------
    engine : Engine
        What segments and links.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds the predictor.
    history : History
        Where each result is one step.
    """

    progressed = Signal(object)  # Progress, or None when it is over
    said = Signal(str)
    warned = Signal(str)
    failed = Signal(str)

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool, history: History) -> None:
        self.sink: StackSink | None = None
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._history = history
        self._run: _Run | None = None

    @property
    def is_running(self) -> bool:
        """True while a stack is being segmented."""
        return self._run is not None

    def start(self, request: StackRequest) -> None:
        """Begin.

        Raises
        ------
        SamError
            When a stack is being segmented already, or the result could not be shown.
        """
        if self._run is not None:
            raise SamError("A stack is being segmented already: cancel it first.")
        check_plane(request.stack.planes[0])
        if self.sink is not None:
            self.sink.begin(request)
        self._run = run = _Run(request)
        self.progressed.emit(Progress(0, 0, "Segment the stack"))
        self._runner.submit(
            Job(
                "Segment the stack",
                lambda: self._steps(run),
                slot=SLOT,
                priority=LONG,
                on_progress=lambda progress: self._on_progress(run, progress),
                on_done=lambda result: self._on_done(run, result),
                on_failed=lambda message: self._on_stopped(run, message),
                on_cancelled=lambda _: self._on_stopped(run, ""),
            )
        )

    def cancel(self) -> None:
        """Stop at the next step; planes that are finished stay."""
        self._runner.cancel(SLOT)

    def end(self) -> None:
        """Stop now, for nobody waits for the next step any more; planes that are shown stay."""
        run = self._run
        if run is not None:
            self.cancel()
            self._on_stopped(run, "")

    def forget(self) -> None:
        """Another image, or its pixels are others: what comes has no place, what is finished stays."""
        if self._run is not None:
            self._run.dropped = True
            self.cancel()

    # ------------------------------------------------------------- in the worker
    def _steps(self, run: _Run) -> Generator[Progress, None, LinkedStack]:
        request = run.request
        yield Progress(0, 0, f"Loading model {request.model.name}")
        predictor = self._pool.predictor(request.model, request.stack.planes[0])
        run.maker = maker_of(request.model, predictor)
        filters = replace(self._engine.filter_defaults(predictor, request.method), **request.thresholds)
        run.filters = filters
        region, cut = (None, False) if request.region is None else (request.region.region, request.region.cut)
        images = PlaneImages(request.stack.planes)
        job = self._engine.iter_segment_stack(
            images, predictor, request.axis, request.method, region, filters, cut
        )
        try:
            while True:
                step = next(job)
                if step.partial is not None:
                    number, labels = step.partial
                    run.seen.append((number, *np.unique(labels[labels > 0], return_counts=True)))
                yield step
        except StopIteration as end:
            result: LinkedStack = end.value
        finally:
            job.close()
        yield Progress(len(request.stack), len(request.stack), "Keeping records")
        run.records = _make_records(run, result.columns, result.parents, result.settings)
        return result

    # ------------------------------------------------------------- answers
    def _on_progress(self, run: _Run, progress: Progress) -> None:
        if run is not self._run:
            return
        if progress.partial is not None and not run.dropped and self.sink is not None:
            number, labels = progress.partial
            try:
                self.sink.show_plane(number, labels)
                run.shown += 1
            except SamError as error:  # a result that cannot be shown is not worth computing
                run.dropped = True
                self.cancel()
                self.warned.emit(str(error))
        self.progressed.emit(replace(progress, partial=None))

    def _on_done(self, run: _Run, result: LinkedStack) -> None:
        if run.dropped or run is not self._run:
            self._on_stopped(run, "")
            return
        self._end()
        if self.sink is None:
            return
        try:
            fill = self.sink.finish(result, run.records)
        except SamError as error:
            self.warned.emit(str(error))
            return
        name = run.request.stack.planes[0].name
        if result.count == 0:
            self.said.emit(f"0 objects in {len(run.request.stack)} planes.")
            self.warned.emit(f"No objects were found in the planes of {name!r}. {WHAT_HELPS}")
            return
        self._push(fill)
        divided = len({mother for mothers in result.parents.values() for mother in mothers})
        more = f", {divided} divided" if divided else ""
        self.said.emit(f"{result.count} objects in {len(run.request.stack)} planes{more}.")

    def _on_stopped(self, run: _Run, message: str) -> None:
        if run is not self._run:  # it was ended before
            return
        self._end()
        if self.sink is not None:
            fill, planes = self.sink.stop(_make_records(run, _count_seen(run), {}, None))
            self._push(fill)
            ending = "Stopped" if message or run.dropped else "Cancelled"
            self.said.emit(
                f"{ending}; {planes} planes that were finished are kept." if planes else f"{ending}."
            )
        if message:
            self.failed.emit(message)

    def _end(self) -> None:
        self._run = None
        self.progressed.emit(None)

    def _push(self, fill: Fill | None) -> None:
        if fill is not None:
            self._history.push(FillStep(fill, title="segment the stack"))


def find_stack(plane: Plane, axis: Axis) -> Stack:
    """The planes that a plane is one of, along the image's z or t.

    Of several axes that are not shown, the last is taken for z and the first for t.

    Raises
    ------
    SamError
        When the image has no other planes.
    """
    others = [n for n, value in enumerate(plane.index) if value is not None]
    if not others:
        raise SamError(
            f"Expected a stack, got {plane.name!r} without further planes; choose 'this plane', or an image "
            "with z or t."
        )
    return make_stack(plane, others[-1] if axis == "z" else others[0])


def _count_seen(run: _Run) -> dict[str, NDArray[Any]]:
    """What is known of the planes that are shown, under the provisional ids."""
    seen = run.seen[: run.shown]
    numbers = [np.full(len(ids), number) for number, ids, _ in seen]
    nothing = np.zeros(0, np.int64)
    ids = np.concatenate([nothing, *(ids for _, ids, _ in seen)])
    areas = np.concatenate([nothing, *(areas for _, _, areas in seen)])
    unknown = np.full(len(ids), np.nan)
    return {
        "id": ids,
        "plane": np.concatenate([nothing, *numbers]),
        "area": areas,
        "predicted_iou": unknown,
        "stability": unknown,
    }


def _make_records(
    run: _Run,
    columns: Mapping[str, NDArray[Any]],
    families: Mapping[int, tuple[int, ...]],
    settings: EncodeSettings | None,
) -> Records:
    return make_stack_records(run.request, run.maker, run.filters, columns, families, settings, run.created)
