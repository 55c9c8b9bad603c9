"""The decode requests that have no answer yet: the latest wins, and those to be accepted are kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.inference.ambiguity import rank_candidates
from napari_sam.session.jobs import CLICK, Job, JobRunner
from napari_sam.session.provenance import Maker
from napari_sam.session.requests import DecodeRequest
from napari_sam.types import ObjectMask, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Sequence

    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.prompt_state import PromptState
    from napari_sam.session.requests import MaskPredictor, ModelChoice, ObjectRef
    from napari_sam.types import Prompts

__all__ = ["Acceptance", "Decoding", "clip_mask", "decode_steps", "do_nothing", "maker_of"]

SLOT = "decode"


def do_nothing(_: ObjectRef) -> None:
    """What follows on most objects that are written."""


@dataclass(frozen=True, slots=True, eq=False)
class Acceptance:
    """How an object is accepted whose mask may be on its way.

    Attributes
    ----------
    layer : Hashable
        Token of the layer that was chosen at the time, whatever is chosen when the mask is there.
    then : callable
        Is called for the object once it is written.
    """

    layer: Hashable
    then: Callable[[ObjectRef], None] = do_nothing


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request on its way: whose answer it is, and how that is accepted where it is to be."""

    state: PromptState
    job: Job
    accept: Acceptance | None = None
    earlier: tuple[Prompts, ...] = ()
    choices: tuple[int, ...] = ()


class Decoding:
    """Asks the model for masks and drops the answers that nobody waits for any more.

    Parameters
    ----------
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.
    """

    # PromptState that asked, the same with its masks, and its Acceptance where it is to be accepted
    answered = Signal(object, object, object)
    failed = Signal(str)
    progressed = Signal(object)  # Progress

    def __init__(self, runner: JobRunner, pool: PredictorPool) -> None:
        self._runner = runner
        self._pool = pool
        self._request_id = 0
        self._waiting: dict[int, _Waiting] = {}

    def ask(self, state: PromptState, model: ModelChoice, feedback: PromptState | None = None) -> None:
        """Submit the prompts of a state; ``answered`` or ``failed`` follows unless it is superseded.

        Parameters
        ----------
        state : PromptState
            Whose prompts to answer.
        model : ModelChoice
            Which model answers.
        feedback : PromptState or None
            The answer that these prompts correct; its logits are fed back.
        """
        prompts = state.prompts
        earlier: tuple[Prompts, ...] = ()
        choices: tuple[int, ...] = ()
        if feedback is not None and feedback.mask is not None and feedback.mask.logits is not None:
            prompts = replace(prompts, mask=feedback.mask)
            earlier = (*feedback.earlier, feedback.prompts)
            choices = (*feedback.choices, feedback.choice)
        self._request_id += 1
        request = DecodeRequest(self._request_id, state.plane, prompts, model)
        job = Job(
            "Predicting the mask",
            lambda: decode_steps(self._pool, request),
            slot=SLOT,
            priority=CLICK,
            on_progress=self.progressed.emit,
            on_done=lambda answer: self._on_decoded(request.request_id, *answer),
            on_failed=lambda message: self._on_failed(request.request_id, message),
            on_cancelled=lambda _: self._on_cancelled(request.request_id),
        )
        self._waiting[request.request_id] = _Waiting(state, job, earlier=earlier, choices=choices)
        self._runner.submit(job)

    @property
    def accepted(self) -> tuple[PromptState, ...]:
        """States that are to be accepted as soon as their answer is there, the oldest first."""
        return tuple(waiting.state for waiting in self._waiting.values() if waiting.accept is not None)

    def supersede(self) -> None:
        """Drop the requests that wait, except those that are to be accepted."""
        self.cancel()
        self._waiting = {
            number: waiting for number, waiting in self._waiting.items() if waiting.accept is not None
        }

    def is_asked(self, state: PromptState) -> bool:
        """True while the answer to a state is on its way."""
        return any(waiting.state is state for waiting in self._waiting.values())

    def accept_when_answered(self, state: PromptState, accept: Acceptance) -> bool:
        """Have the answer to a state accepted as soon as it is there; False when none is on its way.

        Parameters
        ----------
        state : PromptState
            Whose prompts were asked.
        accept : Acceptance
            Handed on with the answer.
        """
        waiting = next((waiting for waiting in self._waiting.values() if waiting.state is state), None)
        if waiting is None:
            return False
        waiting.job.slot = None  # later clicks must not cancel it
        waiting.accept = accept
        return True

    def withdraw(self, state: PromptState) -> None:
        """Do not accept the answer to a state after all."""
        for waiting in self._waiting.values():
            if waiting.state is state:
                waiting.accept = None

    def cancel(self) -> None:
        """Cancel what is computed, except what is to be accepted."""
        self._runner.cancel(SLOT)

    def drop_sequels(self) -> None:
        """What is to be accepted is accepted still, but nothing is done with it then."""
        for waiting in self._waiting.values():
            if waiting.accept is not None:
                waiting.accept = replace(waiting.accept, then=do_nothing)

    def clear(self) -> None:
        """Wait for nothing any more."""
        self._waiting.clear()

    def _on_decoded(self, request_id: int, masks: Sequence[ObjectMask], maker: Maker) -> None:
        waiting = self._waiting.pop(request_id, None)
        if waiting is not None:  # else it is stale
            clipped = tuple(clip_mask(mask, waiting.state.plane.shape) for mask in masks)
            answer = replace(
                waiting.state,
                mask=clipped[0],
                candidates=clipped,
                choice=0,
                maker=maker,
                earlier=waiting.earlier,
                choices=waiting.choices,
            )
            self.answered.emit(waiting.state, answer, waiting.accept)

    def _on_failed(self, request_id: int, message: str) -> None:
        if self._waiting.pop(request_id, None) is not None:
            self.failed.emit(message)

    def _on_cancelled(self, request_id: int) -> None:
        self._waiting.pop(request_id, None)


def maker_of(choice: ModelChoice, predictor: MaskPredictor) -> Maker:
    """Who answers, for the records of what it will have made."""
    return Maker(choice.name, predictor.digest, asdict(predictor.settings), predictor.device)


def decode_steps(
    pool: PredictorPool, request: DecodeRequest
) -> Generator[Progress, None, tuple[Sequence[ObjectMask], Maker]]:
    """A job that answers a request: all masks, the best first, and who made them."""
    yield Progress(0, 2, f"Loading model {request.model.name}")
    predictor = pool.predictor(request.model, request.plane)
    yield Progress(1, 2, "Predicting the mask")
    masks = predictor.predict_candidates(pool.pixels(request.plane), request.prompts)
    return rank_candidates(masks, request.prompts), maker_of(request.model, predictor)


def clip_mask(mask: ObjectMask, shape: tuple[int, int]) -> ObjectMask:
    """The mask without pixels outside the plane, which no layer could show."""
    r0, c0, r1, c1 = mask.box
    if r0 >= 0 and c0 >= 0 and r1 <= shape[0] and c1 <= shape[1]:
        return mask
    inside = ObjectMask.from_plane(mask.paste(shape))
    return replace(mask, mask=inside.mask, origin=inside.origin)
