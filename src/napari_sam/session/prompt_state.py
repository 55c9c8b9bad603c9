"""What the user has said about one object and what the model answered, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.session.drawing import Drawing
    from napari_sam.session.provenance import Maker
    from napari_sam.session.requests import ObjectRef, Plane
    from napari_sam.types import ObjectMask, Prompts

__all__ = ["SMALL", "PromptState", "describe_answer", "next_candidate", "unanswered"]

SMALL = 500
"""Bytes of a state, or of a step of the history, beside its arrays, roughly."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptState:
    """What the user has said about one object, and the answer.

    Attributes
    ----------
    plane : Plane
        Where the prompts lie.
    prompts : Prompts
        May be empty.
    mask : ObjectMask or None
        The answer, once it is there.
    accepted : ObjectRef or None
        The object that these prompts correct. Accepting replaces that object.
    earlier : tuple of Prompts
        Prompts whose answers were fed back, one after the other, before these were answered.
    choices : tuple of int
        Which candidate of each of ``earlier`` was fed back.
    maker : Maker or None
        The model that answered.
    candidates : tuple of ObjectMask
        All masks that answer the prompts, the best first; ``mask`` is the one that was chosen.
    choice : int
        Which of them it is.
    drawing : Drawing or None
        What the user put on the plane to say so; None where only the prompts are known.
    """

    plane: Plane
    prompts: Prompts
    mask: ObjectMask | None = None
    accepted: ObjectRef | None = None
    earlier: tuple[Prompts, ...] = ()
    maker: Maker | None = None
    candidates: tuple[ObjectMask, ...] = ()
    choice: int = 0
    drawing: Drawing | None = None
    choices: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of its masks."""
        return SMALL + sum(_mask_bytes(mask) for mask in (self.mask, self.prompts.mask, *self.candidates))


def unanswered(state: PromptState) -> PromptState:
    """The state before the model has answered it; an object that is refined is still what it was."""
    mask = None if state.drawing is None else state.drawing.untouched
    return replace(state, mask=mask, candidates=(), choice=0)


def next_candidate(state: PromptState, by: int) -> PromptState:
    """The same with another of the masks that answer it, so many further on."""
    choice = (state.choice + by) % len(state.candidates)
    return replace(state, choice=choice, mask=state.candidates[choice])


def describe_answer(state: PromptState) -> str:
    """What the status line says of an answer."""
    mask, count = state.mask, len(state.candidates)
    if mask is None:
        return "No object found here; add a point or draw a box."
    which = f"mask {state.choice + 1} of {count}, " if count > 1 else ""
    return f"{mask.area} pixels, {which}predicted IoU {mask.predicted_iou:.2f}. Accept, or correct it."


def _mask_bytes(mask: ObjectMask | None) -> int:
    if mask is None:
        return 0
    return int(mask.mask.nbytes) + (0 if mask.logits is None else int(mask.logits.values.nbytes))
