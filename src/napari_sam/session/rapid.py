"""Rapid mode: every click is an object, which is accepted as soon as its answer is there.

Answers may come late, when another plane is shown: each is written to the plane that it was asked for. Each
object is one step of the history.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.decoding import clip_mask, decode_steps
from napari_sam.session.jobs import CLICK, Job, JobRunner
from napari_sam.session.prompt_checks import check_prompts
from napari_sam.session.prompt_state import PromptState
from napari_sam.session.requests import DecodeRequest, Plane

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from napari_sam.session.drawing import Drawing
    from napari_sam.session.edits import Edits
    from napari_sam.session.models import Models
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.prompting import Prompting
    from napari_sam.session.provenance import Maker
    from napari_sam.types import ObjectMask, Progress, Prompts

__all__ = ["Rapid"]


class Rapid:
    """Asks for objects and writes them, any number at a time.

    Parameters
    ----------
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.
    models : Models
        Which one answers.
    prompting : Prompting
        Knows where accepted objects go, and how.
    edits : Edits
        Remembers each as a step.
    """

    said = Signal(str)
    warned = Signal(str)
    failed = Signal(str)
    accepted = Signal(object)  # ObjectRef that was just written
    changed = Signal(int)  # how many are on their way

    def __init__(
        self, runner: JobRunner, pool: PredictorPool, models: Models, prompting: Prompting, edits: Edits
    ) -> None:
        self._runner = runner
        self._pool = pool
        self._models = models
        self._prompting = prompting
        self._edits = edits
        self._numbers = count(1)
        self._waiting: dict[int, str] = {}  # request, slot of its job

    @property
    def waiting(self) -> int:
        """How many objects are on their way."""
        return len(self._waiting)

    def ask(self, plane: Plane, prompts: Prompts, drawing: Drawing | None = None) -> None:
        """Have the object of these prompts written when it is answered, into the layer that is chosen now.

        Where a new layer is chosen it is made once there is an object.

        Parameters
        ----------
        plane : Plane
            Where it lies, and where it is written, whatever is shown by then.
        prompts : Prompts
            What says where the object is.
        drawing : Drawing or None
            What the user put on the plane to say so.
        """
        sink = self._prompting.sink
        if sink is None:
            return
        if self._models.failure is not None:
            self.warned.emit(f"No object was added: {self._models.failure}")
            return
        try:
            check_prompts(prompts, plane)
            layer = None if sink.chosen is None else sink.target(plane)
        except SamError as error:
            self.warned.emit(str(error))
            return
        number = next(self._numbers)
        state = PromptState(plane, prompts, drawing=drawing)
        request = DecodeRequest(number, plane, prompts, self._models.choice)
        self._waiting[number] = slot = f"rapid {number}"
        self._runner.submit(
            Job(
                "Predicting the mask",
                lambda: decode_steps(self._pool, request),
                slot=slot,
                priority=CLICK,
                on_progress=self._on_progress,
                on_done=lambda answer: self._on_decoded(number, state, layer, *answer),
                on_failed=lambda message: self._on_failed(number, message),
                on_cancelled=lambda _: self._on_cancelled(number),
            )
        )
        self._tell()

    def cancel(self) -> None:
        """Have nothing written any more of what is on its way."""
        for slot in list(self._waiting.values()):
            self._runner.cancel(slot)

    def forget(self) -> None:
        """Another image: the answers to come belong nowhere."""
        self.cancel()
        self._waiting.clear()
        self.changed.emit(0)

    def _tell(self) -> None:
        self.changed.emit(self.waiting)
        if self.waiting > 1:
            self.said.emit(f"{self.waiting} objects are on their way …")

    def _on_progress(self, progress: Progress) -> None:
        if self.waiting == 1:  # else it is said how many there are
            self.said.emit(f"{progress.description} …")

    def _on_decoded(
        self,
        number: int,
        state: PromptState,
        layer: Hashable | None,
        masks: Sequence[ObjectMask],
        maker: Maker,
    ) -> None:
        if self._waiting.pop(number, None) is None:
            return  # of an image that is gone
        self.changed.emit(self.waiting)
        mask = clip_mask(masks[0], state.plane.shape)
        sink = self._prompting.sink
        if mask.area == 0 or sink is None:
            self.said.emit("No object found there.")
            return
        state = PromptState(
            state.plane, state.prompts, mask, maker=maker, candidates=tuple(masks), drawing=state.drawing
        )
        try:
            where = sink.target(state.plane) if layer is None else layer
            edit, ref = self._prompting.accepting.write(state, where)
        except SamError as error:
            self.warned.emit(str(error))
            return
        self._edits.push(edit)
        more = f" {self.waiting} more on their way …" if self.waiting else ""
        self.said.emit(f"Object {ref.label}, {ref.mask.area} pixels.{more}")
        self.accepted.emit(ref)
        self._prompting.state_changed.emit()

    def _on_failed(self, number: int, message: str) -> None:
        if self._waiting.pop(number, None) is not None:
            self.changed.emit(self.waiting)
            self.failed.emit(message)

    def _on_cancelled(self, number: int) -> None:
        if self._waiting.pop(number, None) is not None:
            self.changed.emit(self.waiting)
            self.said.emit("Cancelled.")
