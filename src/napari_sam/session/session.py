"""The session: the current prompts, their answer, their history, and what is being computed.

Signals are in the past tense and fire on the main thread. The session never touches a viewer; a
controller shows what it announces, and is its ``sink`` for accepted objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.accepting import AcceptStep, without_prompts
from napari_sam.session.editing import Editing
from napari_sam.session.edits import Edits
from napari_sam.session.history import FillStep, History, HistoryStep, Step
from napari_sam.session.hovering import Hovering
from napari_sam.session.long_work import LongWork
from napari_sam.session.models import Models
from napari_sam.session.predictors import PredictorPool
from napari_sam.session.prompting import Prompting
from napari_sam.session.provenance import ObjectBook
from napari_sam.session.rapid import Rapid
from napari_sam.session.reports import Reports
from napari_sam.session.settings import Settings
from napari_sam.session.warming import Aim, Rectangle, Warming
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari_sam.session.auto_requests import RegionChoice
    from napari_sam.session.drawing import Drawing
    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.requests import Engine, ModelChoice, ObjectSink, Plane, Preview
    from napari_sam.session.stack_segmenting import Axis

__all__ = ["Session"]


class Session:
    """What the user is doing.

    Parameters
    ----------
    engine : Engine
        Where models come from.
    runner : JobRunner
        What computes.
    model : ModelChoice
        The model to begin with.
    settings : Settings or None
        The user's; None for the defaults.

    Attributes
    ----------
    warming : Warming
        Encodes what is in view in the background.
    precomputing : Precomputing
        Encodes whole planes and stacks on request.
    propagating : Propagating
        Follows objects through the planes of a stack.
    stacks : StackSegmenting
        Segments all planes of a stack and links them to objects.
    book : ObjectBook
        What is known of each object.
    edits : Edits
        Through which everything that changes objects goes.
    editing : Editing
        The edit tools.
    prompting : Prompting
        The object at hand, and how it is accepted.
    rapid : Rapid
        Accepts the answer to every click at once.
    hovering : Hovering
        What a click under the cursor would give.
    """

    preview_changed = Signal(object)  # Preview | None
    prompts_restored = Signal(object)  # PromptState, to be put back into the prompt layers
    status_changed = Signal(str)
    warned = Signal(str)  # one clear message for the user
    progressed = Signal(object)  # Progress | None, of the long job
    state_changed = Signal()  # buttons may be enabled or disabled now
    models_listed = Signal(object, object)  # (ModelInfo, ...), (device, ...)
    settings_changed = Signal(object)  # Settings

    def __init__(
        self, engine: Engine, runner: JobRunner, model: ModelChoice, settings: Settings | None = None
    ) -> None:
        self.history = History()
        self.book = ObjectBook()
        self.edits = Edits(self.history, self.book)
        self.editing = Editing(self.edits)
        self.editing.said.connect(self.status_changed.emit)
        self._runner = runner
        self._closed = False
        self._pool = pool = PredictorPool(engine)
        pool.settings = settings or Settings()
        self._view: Rectangle | None = None
        self._models = Models(engine, runner, pool, model)
        self._models.listed.connect(self.models_listed.emit)
        self._models.failed.connect(self._on_failed)
        self._models.downloaded.connect(self._on_model_downloaded)
        self.prompting = prompting = Prompting(runner, pool, self._models, self.history, self.edits)
        prompting.failed.connect(self._on_failed)
        prompting.answered.connect(self._on_prompting_answered)
        self.rapid = Rapid(runner, pool, self._models, prompting, self.edits)
        self.rapid.failed.connect(self._on_failed)
        self.hovering = Hovering(runner, pool, self._models)
        self.warming = Warming(runner, pool)
        self.work = work = LongWork(engine, runner, pool, self._models, self.edits, self.history, self.book)
        self.precomputing, self.propagating = work.precomputing, work.propagating
        self.stacks, self.auto = work.stacks, work.auto
        for heard, told in (
            (prompting.preview_changed, self.preview_changed),
            (prompting.prompts_restored, self.prompts_restored),
            (prompting.said, self.status_changed),
            (prompting.warned, self.warned),
            (prompting.state_changed, self.state_changed),
            (self.rapid.said, self.status_changed),
            (self.rapid.warned, self.warned),
            (work.said, self.status_changed),
            (work.warned, self.warned),
            (work.progressed, self.progressed),
            (work.state_changed, self.state_changed),
        ):
            heard.connect(told.emit)
        work.failed.connect(self._on_failed)
        self._reports = Reports(self._models, prompting, self.warming, self.precomputing)
        self._reports.said.connect(self.status_changed.emit)

    # ---------------------------------------------------------------- what is
    @property
    def sink(self) -> ObjectSink | None:
        """Where accepted objects go; set by the viewer."""
        return self.prompting.sink

    @sink.setter
    def sink(self, sink: ObjectSink | None) -> None:
        self.prompting.sink = self.edits.surfaces = sink

    @property
    def model(self) -> ModelChoice:
        """Which model answers."""
        return self._models.choice

    @property
    def models(self) -> Models:
        """Those to choose from, and their downloads."""
        return self._models

    @property
    def plane(self) -> Plane | None:
        """The plane that is shown."""
        return self.prompting.plane

    @property
    def prompts(self) -> Prompts:
        """The prompts of the plane that is shown."""
        return self.prompting.prompts

    @property
    def preview(self) -> Preview | None:
        """The answer to the current prompts, once it is there."""
        return self.prompting.preview

    @property
    def target(self) -> Hashable | None:
        """Token of the layer that accepted objects go to; None where one will be made."""
        return None if self.sink is None else self.sink.chosen

    def layer_token(self, layer: object) -> Hashable:
        """What a Labels layer is called in edits and records.

        Raises
        ------
        SamError
            When there is no viewer.
        """
        if self.sink is None:
            raise SamError("Expected a viewer whose layers can be edited, got none.")
        return self.sink.token(layer)

    @property
    def is_segmenting(self) -> bool:
        """True while everything is being segmented."""
        return self.work.is_segmenting

    @property
    def is_busy(self) -> bool:
        """True while anything is queued or runs."""
        return self._runner.is_busy

    @property
    def is_closed(self) -> bool:
        """True once ``close`` was called."""
        return self._closed

    @property
    def settings(self) -> Settings:
        """What the user has set."""
        return self._pool.settings

    # ---------------------------------------------------------------- what the model sees
    def set_settings(self, settings: Settings) -> None:
        """Take other settings, and answer the current prompts anew where they change what the model sees."""
        before = self.settings
        if settings == before:
            return
        self._pool.settings = settings
        self.settings_changed.emit(settings)
        if not before.sees_as(settings):
            self.prompting.answer_anew()
        self._aim()

    def look_at(self, view: Rectangle | None) -> None:
        """The user sees this part of the plane, in its pixels; None when that is not known."""
        self._view = view
        self._aim()

    def encode_all(self, whole_stack: bool = False) -> None:
        """Encode the plane that is shown, or all planes of its stack, so that no click has to wait."""
        self.work.encode(self.plane, whole_stack)

    def _aim(self) -> None:
        """Have what is in view encoded, unless the model cannot be loaded."""
        plane = self.plane
        if plane is None or self._models.failure is not None:
            self.warming.aim(None)
        else:
            self.warming.aim(Aim(plane, self._view, self.model, self.settings))

    # ---------------------------------------------------------------- models
    def list_models(self) -> None:
        """Ask the engine which models and devices there are; ``models_listed`` answers."""
        self._models.list_all()

    def set_model(self, model: ModelChoice) -> None:
        """Use another model and answer the current prompts anew, or try again to load one that failed."""
        if not self._models.choose(model):
            return
        self.prompting.answer_anew()
        self.warm_up()
        if self._models.failure is not None:
            self.status_changed.emit(self._models.failure)

    def warm_up(self) -> None:
        """Load the model in the background, and then encode what is in view."""
        if self._models.failure is None:
            self._models.warm_up(None, 0)
        self._aim()

    # ---------------------------------------------------------------- prompts
    def show_plane(
        self, plane: Plane | None, prompts: Prompts | None = None, drawing: Drawing | None = None
    ) -> None:
        """Another plane is shown, with the prompts that lie on it; no step of the history."""
        if plane is None:
            self.prompting.show_nothing()
            self._aim()
            return
        moved = self.plane != plane
        self.prompting.show(plane, prompts or Prompts(), drawing)
        if moved:
            self.warm_up()

    def forget(self) -> None:
        """Another image: steps of the prompts end; what was done to objects that are there can be undone."""
        self.history.revise(without_prompts)
        self.history.drop(
            lambda step: isinstance(step, Step | AcceptStep) or (isinstance(step, FillStep) and step.is_gone)
        )
        self.work.forget()
        self._pool.forget()
        self._view = None
        self.rapid.forget()
        self.prompting.forget()
        self._aim()

    def set_prompts(self, prompts: Prompts, drawing: Drawing | None = None) -> None:
        """Take the user's prompts on the plane that is shown, and answer them; the latest win."""
        self.prompting.set_prompts(prompts, drawing)

    def clear(self) -> None:
        """Take all prompts of the plane away, as a step that can be undone."""
        self.prompting.clear()

    def accept(self) -> None:
        """Write the current object; when its mask is still being computed, as soon as it is there."""
        self.prompting.accept()

    def undo(self) -> None:
        """Take the last step back, whatever it was."""
        self._travel(self.history.undo())

    def redo(self) -> None:
        """Repeat the step that was undone last."""
        self._travel(self.history.redo())

    def _travel(self, step: HistoryStep | None) -> None:
        if step is None:
            self.status_changed.emit("Nothing to undo or redo.")
            return
        try:
            said = step.apply()
        except SamError as error:  # its layer is gone: the steps before it can still be taken back
            said = str(error)
            self.warned.emit(said)
        if said:
            self.status_changed.emit(said)
        self.state_changed.emit()

    # ---------------------------------------------------------------- everything
    def segment_everything(self, method: str = "auto", region: RegionChoice | None = None) -> None:
        """Segment every object of the plane that is shown, or of a region of it; ``auto`` shows them."""
        self.work.segment_plane(self.plane, method, region)

    def segment_stack(
        self, axis: Axis = "z", method: str = "auto", region: RegionChoice | None = None
    ) -> None:
        """Segment all planes of the stack that is shown, and link them to objects along z or t."""
        self.work.segment_stack(self.plane, axis, method, region)

    def cancel(self) -> None:
        """Cancel what runs, at its next step; prompts stay."""
        self.work.cancel()
        self.prompting.decoding.cancel()
        self.prompting.decoding.drop_sequels()
        self.rapid.cancel()
        self._models.cancel()

    def close(self) -> None:
        """Cancel everything; no signal fires any more."""
        if not self._closed:
            self._closed = True
            self._runner.close()
            self.prompting.decoding.clear()

    # ---------------------------------------------------------------- answers
    def _on_prompting_answered(self, _: object) -> None:
        cache = self.warming.cache
        if not self.warming.is_running and (cache is None or cache.missing):
            self.warming.retry()  # this click has encoded, or read what could not be read before

    def _on_failed(self, message: str) -> None:
        self.status_changed.emit(message)
        if self._models.is_news(message):
            self.warned.emit(message)

    def _on_model_downloaded(self, name: str) -> None:
        if name == self.model.name:
            self.prompting.answer_anew()
            self.warm_up()
