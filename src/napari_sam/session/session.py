"""The session: the current prompts, their answer, their history, and what is being computed.

Signals are in the past tense and fire on the main thread. The session never touches a viewer; a
controller shows what it announces, and is its ``sink`` for accepted objects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.history import History, PromptState, Step
from napari_sam.session.jobs import CLICK, LONG, WARM_UP, Job, JobRunner
from napari_sam.session.predictors import PredictorPool
from napari_sam.session.requests import (
    DecodeRequest,
    Engine,
    ModelChoice,
    ObjectSink,
    Plane,
    Preview,
    check_plane,
    check_prompts,
    same_prompts,
)
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

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
    """

    preview_changed = Signal(object)  # Preview | None
    prompts_restored = Signal(object)  # PromptState, to be put back into the prompt layers
    labels_made = Signal(object, object)  # Plane, (H, W) int32
    status_changed = Signal(str)
    warned = Signal(str)  # one clear message for the user
    progressed = Signal(object)  # Progress | None, of the long job
    state_changed = Signal()  # buttons may be enabled or disabled now
    models_listed = Signal(object, object)  # ((name, description), ...), (device, ...)

    def __init__(self, engine: Engine, runner: JobRunner, model: ModelChoice) -> None:
        self.sink: ObjectSink | None = None
        self.history = History()
        self._engine = engine
        self._runner = runner
        self._pool = PredictorPool(engine)
        self._model = model
        self._state: PromptState | None = None
        self._request_id = 0
        self._pending: dict[int, tuple[PromptState, Job]] = {}  # requests that have no answer yet
        self._accepting: set[int] = set()  # those among them to be accepted when answered
        self._segmenting = False
        self._closed = False

    # ---------------------------------------------------------------- what is
    @property
    def model(self) -> ModelChoice:
        """Which model answers."""
        return self._model

    @property
    def plane(self) -> Plane | None:
        """The plane that is shown."""
        return None if self._state is None else self._state.plane

    @property
    def prompts(self) -> Prompts:
        """The prompts of the plane that is shown."""
        return Prompts() if self._state is None else self._state.prompts

    @property
    def preview(self) -> Preview | None:
        """The answer to the current prompts, once it is there."""
        if self._state is None or self._state.mask is None:
            return None
        return Preview(self._state.plane, self._state.mask)

    @property
    def is_segmenting(self) -> bool:
        """True while everything is being segmented."""
        return self._segmenting

    @property
    def is_busy(self) -> bool:
        """True while anything is queued or runs."""
        return self._runner.is_busy

    @property
    def is_closed(self) -> bool:
        """True once ``close`` was called."""
        return self._closed

    # ---------------------------------------------------------------- models
    def list_models(self) -> None:
        """Ask the engine which models and devices there are; ``models_listed`` answers."""

        def steps() -> Generator[Progress, None, tuple[Any, Any]]:
            yield Progress(0, 1, "Looking for models")
            return tuple(self._engine.list_models()), tuple(self._engine.list_devices())

        self._runner.submit(
            Job(
                "Looking for models",
                steps,
                priority=CLICK,
                on_done=lambda found: self.models_listed.emit(*found),
                on_failed=self._on_failed,
            )
        )

    def set_model(self, model: ModelChoice) -> None:
        """Use another model, and answer the current prompts anew."""
        if model == self._model:
            return
        self._model = model
        state = self._state
        if state is not None and not state.prompts.is_empty:
            self._become(replace(state, mask=None))
            self._decode()
        self.warm_up()

    def warm_up(self, max_side: int = 1024) -> None:
        """Load the model in the background, and encode the plane if it is small enough."""
        model, plane, pool = self._model, self.plane, self._pool

        def steps() -> Generator[Progress, None, None]:
            yield Progress(0, 2, f"Loading model {model.name}")
            predictor = pool.predictor(model)
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
                f"Loading model {model.name}",
                steps,
                slot="warm up",
                priority=WARM_UP,
                on_progress=lambda progress: self._say(f"{progress.description} …"),
                on_done=self._on_warm,
                on_failed=self._on_failed,
            )
        )

    # ---------------------------------------------------------------- prompts
    def show_plane(self, plane: Plane | None, prompts: Prompts | None = None) -> None:
        """Another plane is shown, with the prompts that lie on it; no step of the history."""
        self._supersede()
        if plane is None:
            self._state = None
            self.preview_changed.emit(None)
            self.state_changed.emit()
            return
        moved = self._state is None or self._state.plane != plane
        self._become(PromptState(plane, prompts or Prompts()))
        self._decode()
        if moved:
            self.warm_up()

    def forget(self) -> None:
        """Another image: what was done before can no longer be undone."""
        self._supersede()
        self.history.clear()
        self._state = None
        self.preview_changed.emit(None)
        self.state_changed.emit()

    def set_prompts(self, prompts: Prompts) -> None:
        """Take the user's prompts on the plane that is shown, and answer them; the latest win."""
        before = self._state
        if before is None or same_prompts(before.prompts, prompts):
            return
        self._supersede()
        after = PromptState(before.plane, prompts, accepted=None if prompts.is_empty else before.accepted)
        self.history.push(Step(before, after))
        self._become(after)
        self._decode(feedback=before.mask if _extends(prompts, before.prompts) else None)

    def clear(self) -> None:
        """Take all prompts of the plane away, as a step that can be undone."""
        if self._state is None:
            return
        self.set_prompts(Prompts())
        self.prompts_restored.emit(self._state)

    def undo(self) -> None:
        """Go back to the prompts before the last change; an accepted object stays."""
        self._travel(self.history.undo())

    def redo(self) -> None:
        """Repeat the change that was undone last."""
        self._travel(self.history.redo())

    def accept(self) -> None:
        """Write the current object; when its mask is still being computed, as soon as it is there."""
        state = self._state
        if state is None or state.prompts.is_empty:
            self.warned.emit("Nothing to accept yet: click on an object first.")
            return
        request_id = next((i for i, (waiting, _) in self._pending.items() if waiting is state), None)
        if request_id is not None:
            self._pending[request_id][1].slot = None  # later clicks must not cancel it
            self._accepting.add(request_id)
            self._start_next(state)
        elif state.mask is None:
            self.warned.emit("Nothing to accept: these prompts gave no mask; change or clear them.")
        else:
            accepted = self._commit(state)
            if accepted is not None:
                self._start_next(accepted)

    # ---------------------------------------------------------------- everything
    def segment_everything(self, method: str = "auto") -> None:
        """Segment every object of the plane that is shown; ``labels_made`` answers."""
        plane, model, pool = self.plane, self._model, self._pool
        if plane is None:
            self.warned.emit("Nothing to segment: choose an image layer that is shown in 2-D.")
            return
        if self._segmenting:
            self.warned.emit("Segmentation is running already: cancel it first.")
            return

        def steps() -> Generator[Progress, None, NDArray[np.int32]]:
            check_plane(plane)
            yield Progress(0, 0, f"Loading model {model.name}")
            predictor = pool.predictor(model)
            return (yield from self._engine.iter_segment(pool.pixels(plane), predictor, method))

        self._segmenting = True
        self._runner.submit(
            Job(
                "Segment everything",
                steps,
                slot="segment",
                priority=LONG,
                on_progress=self._on_segment_progress,
                on_done=lambda labels: self._on_segment_done(plane, labels),
                on_failed=self._on_segment_failed,
                on_cancelled=lambda _: self._end_segmenting("Cancelled; nothing was changed."),
            )
        )
        self.progressed.emit(Progress(0, 0, "Segment everything"))
        self.state_changed.emit()

    def cancel(self) -> None:
        """Cancel what runs, at its next step; prompts stay."""
        self._runner.cancel("segment")
        self._runner.cancel("decode")
        self._runner.cancel("warm up")

    def close(self) -> None:
        """Cancel everything; no signal fires any more."""
        if not self._closed:
            self._closed = True
            self._runner.close()
            self._pending.clear()
            self._accepting.clear()

    # ---------------------------------------------------------------- steps
    def _become(self, state: PromptState) -> None:
        self._state = state
        self.preview_changed.emit(self.preview)
        self.state_changed.emit()

    def _start_next(self, done: PromptState) -> None:
        """After ``done`` was accepted: no prompts, ready for the next object."""
        empty = PromptState(done.plane, Prompts())
        self.history.push(Step(done, empty))
        self._become(empty)
        self.prompts_restored.emit(empty)

    def _travel(self, step: Step | None) -> None:
        if step is None:
            self._say("Nothing to undo or redo.")
            return
        self._supersede()
        for request_id in [i for i, (waiting, _) in self._pending.items() if waiting is step.after]:
            self._accepting.discard(request_id)  # undone before it was written
        self._become(step.after)
        self.prompts_restored.emit(step.after)
        if step.after.mask is None:
            self._decode()

    def _commit(self, state: PromptState) -> PromptState | None:
        """Write a state's object; the state that knows its label, or None when it was refused."""
        if state.mask is None or self.sink is None:
            return None
        try:
            ref = self.sink.write_object(Preview(state.plane, state.mask), state.accepted)
        except SamError as error:
            self.warned.emit(str(error))
            return None
        self._say(f"Object {ref.label} accepted, {state.mask.area} pixels.")
        accepted = replace(state, accepted=ref)
        self.history.substitute(state, accepted)
        return accepted

    def _supersede(self) -> None:
        """Drop unanswered requests, except those that are to be accepted."""
        self._runner.cancel("decode")
        for request_id in self._pending.keys() - self._accepting:
            del self._pending[request_id]

    def _decode(self, feedback: ObjectMask | None = None) -> None:
        state = self._state
        if state is None or state.prompts.is_empty:
            self._say("Click on an object." if state is not None else "")
            return
        try:
            check_plane(state.plane)
            check_prompts(state.prompts, state.plane)
        except SamError as error:
            self._say(str(error))
            self.warned.emit(str(error))
            return
        prompts = state.prompts
        if feedback is not None and feedback.logits is not None:
            prompts = replace(prompts, mask=feedback)
        self._request_id += 1
        request = DecodeRequest(self._request_id, state.plane, prompts, self._model)
        job = Job(
            "Predicting the mask",
            lambda: _decode_steps(self._pool, request),
            slot="decode",
            priority=CLICK,
            on_progress=lambda progress: self._say(f"{progress.description} …"),
            on_done=lambda mask: self._on_decoded(request.request_id, mask),
            on_failed=lambda message: self._on_decode_failed(request.request_id, message),
            on_cancelled=lambda _: self._on_decode_cancelled(request.request_id),
        )
        self._pending[request.request_id] = (state, job)
        self._runner.submit(job)

    # ---------------------------------------------------------------- answers
    def _on_decoded(self, request_id: int, mask: ObjectMask) -> None:
        waiting = self._pending.pop(request_id, None)
        if waiting is None:
            return  # stale
        old = waiting[0]
        mask = _clip(mask, old.plane.shape)
        state = replace(old, mask=mask if mask.area else None)
        self.history.substitute(old, state)
        if self._state is old:
            self._become(state)
        if request_id in self._accepting:
            self._accepting.discard(request_id)
            if mask.area == 0:
                self.warned.emit("Nothing was accepted: these prompts gave no mask; undo brings them back.")
            else:
                self._commit(state)
        elif mask.area == 0:
            self._say("No object found here; add a point or draw a box.")
        else:
            self._say(f"{mask.area} pixels, predicted IoU {mask.predicted_iou:.2f}. Accept, or correct it.")

    def _on_decode_failed(self, request_id: int, message: str) -> None:
        if self._pending.pop(request_id, None) is not None:
            self._accepting.discard(request_id)
            self._on_failed(message)

    def _on_decode_cancelled(self, request_id: int) -> None:
        self._pending.pop(request_id, None)
        self._accepting.discard(request_id)

    def _on_failed(self, message: str) -> None:
        self._say(message)
        self.warned.emit(message)

    def _on_warm(self, _: Any) -> None:
        if self.prompts.is_empty:
            self._say("Ready: click on an object." if self.plane is not None else "Ready.")

    def _on_segment_progress(self, progress: Progress) -> None:
        self.progressed.emit(progress)
        self._say(f"{progress.description or 'Segmenting'} {progress.done}/{progress.total or '?'} …")

    def _on_segment_done(self, plane: Plane, labels: NDArray[np.int32]) -> None:
        count = int(labels.max(initial=0))
        self._end_segmenting(f"{count} objects segmented.")
        if count == 0:
            self.warned.emit(f"No objects were found in {plane.name!r}; no layer was added.")
        else:
            self.labels_made.emit(plane, labels)

    def _on_segment_failed(self, message: str) -> None:
        self._end_segmenting(message)
        self.warned.emit(message)

    def _end_segmenting(self, message: str) -> None:
        self._segmenting = False
        self._say(message)
        self.progressed.emit(None)
        self.state_changed.emit()

    def _say(self, text: str) -> None:
        self.status_changed.emit(text)


def _decode_steps(pool: PredictorPool, request: DecodeRequest) -> Generator[Progress, None, ObjectMask]:
    yield Progress(0, 2, f"Loading model {request.model.name}")
    predictor = pool.predictor(request.model)
    yield Progress(1, 2, "Predicting the mask")
    return predictor.predict(pool.pixels(request.plane), request.prompts)


def _clip(mask: ObjectMask, shape: tuple[int, int]) -> ObjectMask:
    """The mask without pixels outside the plane, which no layer could show."""
    r0, c0, r1, c1 = mask.box
    if r0 >= 0 and c0 >= 0 and r1 <= shape[0] and c1 <= shape[1]:
        return mask
    inside = ObjectMask.from_plane(mask.paste(shape))
    return replace(mask, mask=inside.mask, origin=inside.origin)


def _extends(new: Prompts, old: Prompts) -> bool:
    """True when ``new`` only adds points to ``old``: a correction, so the last answer is fed back."""
    count = len(old.points)
    if not 0 < count < len(new.points):
        return False
    return same_prompts(replace(new, points=new.points[:count], labels=new.labels[:count]), old)
