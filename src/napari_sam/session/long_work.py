"""What takes long: encoding ahead, segmenting everything, following objects, finding the fastest engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.auto_objects import AutoObjects
from napari_sam.session.auto_requests import AutoRequest
from napari_sam.session.engine_tuning import EngineTuning
from napari_sam.session.history import FillStep, History
from napari_sam.session.precomputing import Precomputing
from napari_sam.session.propagating import Propagating
from napari_sam.session.stack_segmenting import Axis, StackRequest, StackSegmenting, find_stack

if TYPE_CHECKING:
    from napari_sam.session.auto_fill import AutoFill
    from napari_sam.session.auto_requests import RegionChoice
    from napari_sam.session.edits import Edits
    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.models import Models
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.provenance import ObjectBook
    from napari_sam.session.requests import Engine, Plane
    from napari_sam.types import Progress

__all__ = ["LongWork"]


class LongWork:
    """Starts, reports and cancels long jobs; each is refused while it makes no sense, which is told.

    Parameters
    ----------
    engine : Engine
        What computes.
    runner : JobRunner
        Where.
    pool : PredictorPool
        Where the worker finds predictors and pixels.
    models : Models
        Which model answers.
    edits : Edits
        What writes objects.
    history : History
        Where steps go.
    book : ObjectBook
        What is known of each object.

    Attributes
    ----------
    precomputing, propagating, stacks, auto
        See ``Session``.
    tuning : EngineTuning
        Finds what runs the model fastest.
    """

    said = Signal(str)
    warned = Signal(str)
    failed = Signal(str)
    progressed = Signal(object)  # Progress | None
    state_changed = Signal()

    def __init__(
        self,
        engine: Engine,
        runner: JobRunner,
        pool: PredictorPool,
        models: Models,
        edits: Edits,
        history: History,
        book: ObjectBook,
    ) -> None:
        self._pool = pool
        self._models = models
        self._history = history
        self.precomputing = Precomputing(engine, runner, pool)
        self.precomputing.progressed.connect(lambda _: self.state_changed.emit())
        self.precomputing.failed.connect(self.failed.emit)
        self.propagating = Propagating(engine, runner, pool, edits, history)
        self.propagating.progressed.connect(self._on_propagating_progressed)
        self.stacks = StackSegmenting(engine, runner, pool, history)
        self.stacks.progressed.connect(self._on_segmenting_progressed)
        self.auto = AutoObjects(engine, runner, pool)
        self.auto.progressed.connect(self._on_segmenting_progressed)
        self.auto.filled.connect(self._on_auto_filled)
        self.auto.recorded.connect(book.change_many)
        self.tuning = EngineTuning(engine, runner, pool)
        self.tuning.said.connect(self.said.emit)
        self.tuning.failed.connect(self.failed.emit)
        for part in (self.propagating, self.stacks, self.auto):
            part.said.connect(self.said.emit)
            part.warned.connect(self.warned.emit)
            part.failed.connect(self.failed.emit)

    @property
    def is_segmenting(self) -> bool:
        """True while everything is being segmented."""
        return self.auto.is_running or self.stacks.is_running

    def encode(self, plane: Plane | None, whole_stack: bool = False) -> None:
        """Encode a plane, or all planes of its stack, so that no click has to wait."""
        if not self._may("encode", plane, "Encoding", self.precomputing.is_running) or plane is None:
            return
        self.precomputing.start(plane.planes if whole_stack else (plane,), self._models.choice)
        self.state_changed.emit()

    def segment_plane(self, plane: Plane | None, method: str, region: RegionChoice | None) -> None:
        """Segment every object of a plane, or of a region of it."""
        if not self._may("segment", plane, "Segmentation", self.is_segmenting) or plane is None:
            return
        try:
            self.auto.start(AutoRequest(plane, self._models.choice, method, region, self._pool.seen(plane)))
        except SamError as error:
            self.warned.emit(str(error))
        self.state_changed.emit()

    def segment_stack(
        self, plane: Plane | None, axis: Axis, method: str, region: RegionChoice | None
    ) -> None:
        """Segment all planes of the stack of a plane, and link them to objects along z or t."""
        if not self._may("segment", plane, "Segmentation", self.is_segmenting) or plane is None:
            return
        model = self._models.choice
        thresholds = self.auto.thresholds_of(model.name, method)
        try:
            stack = find_stack(plane, axis)
            self.stacks.start(StackRequest(stack, axis, model, method, region, thresholds))
        except SamError as error:
            self.warned.emit(str(error))
        self.state_changed.emit()

    def tune(self) -> None:
        """Find what runs the chosen model fastest on this computer, and use it."""
        if self._models.failure is not None:
            self.warned.emit(f"No engine was tried: {self._models.failure}")
        elif not self.tuning.is_running:
            self.tuning.start(self._models.choice)

    def cancel(self) -> None:
        """Cancel all of it, at its next step."""
        for part in (self.auto, self.stacks, self.precomputing, self.propagating, self.tuning):
            part.cancel()

    def forget(self) -> None:
        """Another image: nothing that was found may be used again."""
        for part in (self.auto, self.stacks, self.propagating):
            part.forget()

    def look_again(self) -> None:
        """The image was written while it is open: what was found in it is looked for again when asked."""
        self._pool.look_again()

    def _may(self, what: str, plane: Plane | None, running: str, is_running: bool) -> bool:
        """False, and a message, where a job cannot be started."""
        if plane is None:
            self.warned.emit(f"Nothing to {what}: choose an image layer that is shown in 2-D.")
        elif is_running:
            self.warned.emit(f"{running} is running already: cancel it first.")
        elif self._models.failure is not None:
            done = "encoded" if what == "encode" else "segmented"
            self.warned.emit(f"Nothing was {done}: {self._models.failure}")
        else:
            return True
        return False

    def _on_propagating_progressed(self, progress: Progress | None) -> None:
        self.state_changed.emit()
        if progress is not None:
            self.said.emit(f"{progress.description} {progress.done}/{progress.total or '?'} …")

    def _on_segmenting_progressed(self, progress: Progress | None) -> None:
        self.progressed.emit(progress)
        if progress is None:
            self.state_changed.emit()
        else:
            words = progress.description or "Segmenting"
            self.said.emit(f"{words} {progress.done}/{progress.total or '?'} …")

    def _on_auto_filled(self, fill: AutoFill) -> None:
        self._history.push(FillStep(fill))
        self.state_changed.emit()
