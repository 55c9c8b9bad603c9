"""The object at hand: its prompts, their answer, and its way into a layer.

Every change of the prompts is a step of the history, and accepting is one too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.accepting import Accepting, AcceptStep, complete_accept, refuse_accept
from napari_sam.session.decoding import Acceptance, Decoding, do_nothing
from napari_sam.session.drawing import Drawing
from napari_sam.session.history import History, Step
from napari_sam.session.left_prompts import LeftPrompts
from napari_sam.session.prompt_checks import check_prompts, extends_prompts, refuse_to_accept, same_prompts
from napari_sam.session.prompt_state import PromptState, describe_answer, next_candidate, unanswered
from napari_sam.session.requests import Plane, Preview
from napari_sam.types import Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from napari_sam.session.edits import Edits
    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.models import Models
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import ObjectRef, ObjectSink

__all__ = ["Prompting"]


def _say_nothing(_: PromptState) -> str:
    return ""


class Prompting:
    """What the user says about one object, and what the model answers.

    Parameters
    ----------
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.
    models : Models
        Which one answers.
    history : History
        Where steps go.
    edits : Edits
        What writes accepted objects.

    Attributes
    ----------
    sink : ObjectSink or None
        Knows the layer that accepted objects go to.
    explain : callable
        What prompts that mean no object of their own are for; "" when they are a mistake.
    accepting : Accepting
        How they are written.
    decoding : Decoding
        The requests on their way.
    """

    preview_changed = Signal(object)  # Preview | None
    prompts_restored = Signal(object)  # PromptState, to be put back into the prompt layers
    accepted = Signal(object)  # ObjectRef that was just written
    answered = Signal(object)  # PromptState that has its answer now
    said = Signal(str)
    warned = Signal(str)
    failed = Signal(str)
    state_changed = Signal()

    def __init__(
        self, runner: JobRunner, pool: PredictorPool, models: Models, history: History, edits: Edits
    ) -> None:
        self.sink: ObjectSink | None = None
        self.explain: Callable[[PromptState], str] = _say_nothing
        self.accepting = Accepting(edits)
        self._models = models
        self._history = history
        self._edits = edits
        self._state: PromptState | None = None
        self._left = LeftPrompts()
        self.decoding = Decoding(runner, pool)
        self.decoding.answered.connect(self._on_decoding_answered)
        self.decoding.failed.connect(self.failed.emit)
        self.decoding.progressed.connect(self._on_decoding_progressed)

    # ------------------------------------------------------------- what is
    @property
    def state(self) -> PromptState | None:
        """The plane that is shown, its prompts and their answer; None where no plane is shown."""
        return self._state

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

    # ------------------------------------------------------------- planes
    def show(self, plane: Plane, prompts: Prompts, drawing: Drawing | None = None) -> None:
        """Another plane is shown, with the prompts that lie on it; no step of the history.

        Who comes back to a plane finds his object as he left it, with its answer.
        """
        self.decoding.supersede()
        self._left.leave(self._state)
        state = self._left.come_back(plane, prompts, drawing)
        self._become(state)
        if state.mask is None:
            self._decode()

    def show_nothing(self) -> None:
        """No plane is shown."""
        self.decoding.supersede()
        self._left.leave(self._state)
        self._state = None
        self.preview_changed.emit(None)
        self.state_changed.emit()

    def forget(self) -> None:
        """Another image: nothing of this one is come back to."""
        self._state = None
        self._left.clear()
        self.show_nothing()

    # ------------------------------------------------------------- prompts
    def set_prompts(self, prompts: Prompts, drawing: Drawing | None = None) -> None:
        """Take the user's prompts on the plane that is shown, and answer them; the latest win.

        Parameters
        ----------
        prompts : Prompts
            What the model is asked.
        drawing : Drawing or None
            What the user put on the plane to say so, for undo to bring back.
        """
        before = self._state
        if before is None or same_prompts(before.prompts, prompts):
            return
        self.decoding.supersede()
        after = PromptState(
            before.plane,
            prompts,
            accepted=None if prompts.is_empty else before.accepted,
            drawing=drawing,
            mask=None if drawing is None else drawing.untouched,
        )
        self._history.push(Step(before, after, self._restore))
        self._become(after)
        if after.mask is None:
            self._decode(feedback=before if extends_prompts(prompts, before.prompts) else None)

    def refine(self, state: PromptState, what: str = "the object") -> None:
        """Take an object that exists in hand, as one step; accepting it rewrites that object.

        Parameters
        ----------
        state : PromptState
            On the plane that is shown; ``mask`` is the object as it is, ``accepted`` what it is in its layer.
        what : str
            What the user calls it: "object 5".
        """
        before = self._state
        if before is None or before.plane != state.plane:
            return
        self.decoding.supersede()
        self._history.push(Step(before, state, self._restore, f"refine {what}"))
        self._become(state)
        self.prompts_restored.emit(state)
        self.said.emit(f"Correct {what} with clicks (+ and -), then accept: it keeps its id.")

    def choose_candidate(self, by: int = 1) -> None:
        """Take the next of the model's masks, or with -1 the one before, as a step that can be undone."""
        before = self._state
        if before is None or before.mask is None:
            self.said.emit("No masks to choose from yet: click on an object first.")
        elif len(before.candidates) < 2:
            self.said.emit("The model sees one object only here.")
        else:
            after = next_candidate(before, by)
            self.decoding.supersede()
            self._history.push(Step(before, after, self._restore, "choose another mask"))
            self._become(after)
            self.said.emit(describe_answer(after))

    def clear(self) -> None:
        """Take all prompts of the plane away, as a step that can be undone."""
        if self._state is None:
            return
        self.set_prompts(Prompts(), Drawing())
        self.prompts_restored.emit(self._state)

    def answer_anew(self) -> None:
        """Ask again for the mask of the current prompts."""
        self._left.unanswer()
        state = self._state
        if state is not None and not state.prompts.is_empty:
            self.decoding.supersede()
            self._become(unanswered(state))
            if self._state is not None and self._state.mask is None:
                self._decode()

    # ------------------------------------------------------------- accepting
    def accept(self, then: Callable[[ObjectRef], None] = do_nothing) -> None:
        """Write the current object; when its mask is still being computed, as soon as it is there.

        Parameters
        ----------
        then : callable
            Is called for the object once it is written, and never where it is refused or undone before.
        """
        state = self._state
        asked = state is not None and self.decoding.is_asked(state)
        refusal = refuse_to_accept(state, asked, self._models.failure)
        if state is None or refusal:
            self.warned.emit(refusal)
            return
        accept = self._acceptance(state, then)
        if accept is not None and asked:
            self.decoding.accept_when_answered(state, accept)
            self._start_next(self._step(state))
        elif accept is not None:
            written = self._written(self._step(state), accept.layer)
            if written is not None:
                self._start_next(written[0])
                then(written[1])

    def _acceptance(self, state: PromptState, then: Callable[[ObjectRef], None]) -> Acceptance | None:
        """Into the layer that is chosen now; None where that is refused."""
        if self.sink is None:
            return None
        try:
            return Acceptance(self.sink.target(state.plane), then)
        except SamError as error:
            self.warned.emit(str(error))
            return None

    def _step(self, state: PromptState) -> AcceptStep:
        return AcceptStep(
            state, PromptState(state.plane, Prompts()), None, self._edits, self._restore, self._accept_again
        )

    def _start_next(self, step: AcceptStep) -> None:
        """After an object was accepted: no prompts, ready for the next one."""
        self._history.push(step)
        self._become(step.after)
        self.prompts_restored.emit(step.after)

    def _written(self, step: AcceptStep, layer: Hashable) -> tuple[AcceptStep, ObjectRef] | None:
        """Write a step's object; the step that knows what was written, and that; None when it was refused."""
        state = step.before
        try:
            edit, ref = self.accepting.write(state, layer)
        except SamError as error:
            self.warned.emit(str(error))
            return None
        self.said.emit(f"Object {ref.label} accepted, {ref.mask.area} pixels.")
        self.accepted.emit(ref)
        return replace(step, edit=edit), ref

    def _accept_late(self, state: PromptState, accept: Acceptance) -> None:
        """Write an object that was accepted before its mask was there."""
        written = self._written(self._step(state), accept.layer)
        if written is None:
            refuse_accept(self._history, state)
            return
        edit = written[0].edit
        known = complete_accept(self._history, state, edit)
        if not known and edit is not None:  # the history was emptied meanwhile
            self._edits.push(edit)
        self.state_changed.emit()
        accept.then(written[1])

    def _accept_again(self, state: PromptState) -> None:
        """Repeat an accept whose object was never written."""
        accept = self._acceptance(state, do_nothing)
        if accept is not None and state.mask is not None:
            self._accept_late(state, accept)
        elif accept is not None and self._ask(state):
            self.decoding.accept_when_answered(state, accept)

    # ------------------------------------------------------------- steps
    def _become(self, state: PromptState) -> None:
        self._state = state
        self.preview_changed.emit(self.preview)
        self.state_changed.emit()

    def _restore(self, state: PromptState) -> str:
        """Go back, or forward again, to a state of the prompts."""
        self.decoding.supersede()
        if self._state is not None and self._state.plane != state.plane:
            self._left.leave(self._state)
        self._left.forget(state.plane)
        self.decoding.withdraw(state)  # undone before it was written
        self._become(state)
        self.prompts_restored.emit(state)
        if state.mask is not None:
            return describe_answer(state)
        self._decode()
        return ""

    def _decode(self, feedback: PromptState | None = None) -> None:
        state = self._state
        if state is None or state.prompts.is_empty:
            self.said.emit("Click on an object." if state is not None else "")
        else:
            self._ask(state, feedback)

    def _ask(self, state: PromptState, feedback: PromptState | None = None) -> bool:
        try:
            check_prompts(state.prompts, state.plane)
        except SamError as error:
            use = self.explain(state)
            self.said.emit(use or str(error))
            if not use:
                self.warned.emit(str(error))
            return False
        if self._models.failure is not None:
            self.said.emit(self._models.failure)  # in the status line only: it was told when it failed
            return False
        self.decoding.ask(state, self._models.choice, feedback)
        return True

    # ------------------------------------------------------------- answers
    def _on_decoding_answered(self, old: PromptState, answer: PromptState, accept: Acceptance | None) -> None:
        mask = answer.mask
        assert mask is not None
        state = answer if mask.area else replace(answer, mask=None)
        self.answered.emit(state)
        self._history.substitute(old, state)
        if self._state is old:
            self._become(state)
        if accept is not None and mask.area == 0:
            refuse_accept(self._history, state)
            self.warned.emit("Nothing was accepted: these prompts gave no mask; undo brings them back.")
        elif accept is not None:
            self._accept_late(state, accept)
        elif mask.area == 0:
            self.said.emit("No object found here; add a point or draw a box.")
        else:
            self.said.emit(describe_answer(state))

    def _on_decoding_progressed(self, progress: Progress) -> None:
        self.said.emit(f"{progress.description} …")
