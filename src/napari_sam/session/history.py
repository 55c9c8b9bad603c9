"""Undo and redo of prompts, as steps that know their inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.session.auto_requests import Fill
    from napari_sam.session.requests import ObjectRef, Plane
    from napari_sam.types import ObjectMask, Prompts

__all__ = ["FillStep", "History", "PromptState", "Step"]


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
        The object that these prompts were accepted as. Accepting again replaces that object.
    """

    plane: Plane
    prompts: Prompts
    mask: ObjectMask | None = None
    accepted: ObjectRef | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A change from one state to another."""

    before: PromptState
    after: PromptState

    def inverse(self) -> Step:
        """The step that takes this one back."""
        return Step(self.after, self.before)


@dataclass(frozen=True, slots=True, eq=False)
class FillStep:
    """Automatic objects that were written, or with ``done`` False taken back."""

    fill: Fill
    done: bool = True

    def inverse(self) -> FillStep:
        """The step that takes this one back."""
        return FillStep(self.fill, not self.done)

    def apply(self) -> str:
        """Do it; what was done, for the status line."""
        return self.fill.redo() if self.done else self.fill.undo()


class History:
    """A stack of steps with a cursor.

    Parameters
    ----------
    limit : int
        Steps kept; masks are cropped to their objects, so a step costs a few kilobytes.
    """

    def __init__(self, limit: int = 200) -> None:
        self._limit = limit
        self._done: list[Step | FillStep] = []
        self._undone: list[Step | FillStep] = []

    @property
    def can_undo(self) -> bool:
        """True when there is a step to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """True when there is a step to repeat."""
        return bool(self._undone)

    def push(self, step: Step | FillStep) -> None:
        """Record a step that was just done; what was undone before is forgotten."""
        self._done.append(step)
        del self._done[: -self._limit]
        self._undone.clear()

    def undo(self) -> Step | FillStep | None:
        """Move back by one step and return its inverse, or None at the beginning."""
        if not self._done:
            return None
        step = self._done.pop()
        self._undone.append(step)
        return step.inverse()

    def redo(self) -> Step | FillStep | None:
        """Move forward by one step and return it, or None at the end."""
        if not self._undone:
            return None
        step = self._undone.pop()
        self._done.append(step)
        return step

    def substitute(self, old: PromptState, new: PromptState) -> None:
        """Put ``new`` wherever the very object ``old`` stands, for answers that arrive later."""
        for stack in (self._done, self._undone):
            for i, step in enumerate(stack):
                if isinstance(step, FillStep):
                    continue
                if step.before is old:
                    step = replace(step, before=new)
                if step.after is old:
                    step = replace(step, after=new)
                stack[i] = step

    def clear(self) -> None:
        """Forget everything."""
        self._done.clear()
        self._undone.clear()
