"""Undo and redo, as steps of any kind that know their inverse.

A step is a value: ``inverse`` gives the step that takes it back, ``apply`` does it. The history neither
knows nor asks what a step is about; it only counts what the steps cost, and drops the oldest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from napari_sam.session.prompt_state import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.session.auto_requests import Fill
    from napari_sam.session.prompt_state import PromptState

__all__ = ["BUDGET", "FillStep", "History", "HistoryStep", "Step"]

BUDGET = 256 << 20
"""Bytes that the steps may take."""


class HistoryStep(Protocol):
    """One action of the user's, as it can be taken back and repeated."""

    @property
    def title(self) -> str:
        """What was done, in a few words: "accept object 5"."""

    @property
    def nbytes(self) -> int:
        """What it costs to remember."""

    def inverse(self) -> HistoryStep:
        """The step that takes this one back."""

    def apply(self) -> str:
        """Do it; what was done, as a sentence for the status line, or nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A change from one state of the prompts to another.

    Attributes
    ----------
    before, after : PromptState
        The two.
    restore : callable or None
        Puts a state back where the user sees it; what to say of it.
    title : str
        As ``HistoryStep.title``.
    """

    before: PromptState
    after: PromptState
    restore: Callable[[PromptState], str] | None = None
    title: str = "change the prompts"

    @property
    def nbytes(self) -> int:
        """Bytes; those of ``before`` are counted by the step that led there."""
        return self.after.nbytes

    def inverse(self) -> Step:
        """The step that takes this one back."""
        return replace(self, before=self.after, after=self.before)

    def apply(self) -> str:
        """Restore the state after it."""
        return "" if self.restore is None else self.restore(self.after)

    def with_state(self, old: PromptState, new: PromptState) -> Step:
        """The same step with ``new`` where the very object ``old`` stands."""
        if self.before is not old and self.after is not old:
            return self
        return replace(
            self,
            before=new if self.before is old else self.before,
            after=new if self.after is old else self.after,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FillStep:
    """Automatic objects that were written, or with ``done`` False taken back."""

    fill: Fill
    done: bool = True
    title: str = "segment everything"

    @property
    def nbytes(self) -> int:
        """Bytes that the fill says it keeps."""
        return SMALL + int(getattr(self.fill, "nbytes", 0))

    @property
    def is_gone(self) -> bool:
        """True when the fill says that its layer is gone."""
        return bool(getattr(self.fill, "is_gone", False))

    def inverse(self) -> FillStep:
        """The step that takes this one back."""
        return replace(self, done=not self.done)

    def apply(self) -> str:
        """Do it; what was done, for the status line."""
        return self.fill.redo() if self.done else self.fill.undo()


class History:
    """A stack of steps with a cursor.

    Parameters
    ----------
    limit : int
        Steps kept.
    budget : int
        Bytes that they may take; the oldest are dropped beyond it. The newest step is always kept.
    """

    def __init__(self, limit: int = 3000, budget: int = BUDGET) -> None:
        self.budget = budget
        self._limit = limit
        self._done: list[_Kept] = []
        self._undone: list[_Kept] = []
        self._nbytes = 0

    @property
    def can_undo(self) -> bool:
        """True when there is a step to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """True when there is a step to repeat."""
        return bool(self._undone)

    @property
    def undo_title(self) -> str:
        """What undo would take back; empty when nothing."""
        return self._done[-1].step.title if self._done else ""

    @property
    def redo_title(self) -> str:
        """What redo would repeat; empty when nothing."""
        return self._undone[-1].step.title if self._undone else ""

    @property
    def depth(self) -> int:
        """Number of steps that can be taken back."""
        return len(self._done)

    @property
    def nbytes(self) -> int:
        """Bytes of all steps, as they were when they were pushed or revised."""
        return self._nbytes

    def push(self, step: HistoryStep) -> None:
        """Record a step that was just done; what was undone before is forgotten."""
        self._forget(self._undone, len(self._undone))
        self._done.append(self._keep(step))
        self._forget(self._done, len(self._done) - self._limit)
        self._trim()

    def undo(self) -> HistoryStep | None:
        """Move back by one step and return its inverse, or None at the beginning."""
        if not self._done:
            return None
        kept = self._done.pop()
        self._undone.append(kept)
        return kept.step.inverse()

    def redo(self) -> HistoryStep | None:
        """Move forward by one step and return it, or None at the end."""
        if not self._undone:
            return None
        kept = self._undone.pop()
        self._done.append(kept)
        return kept.step

    def revise(self, change: Callable[[HistoryStep], HistoryStep]) -> None:
        """Put ``change(step)`` in the place of every step, for what is known only later."""
        for steps in (self._done, self._undone):
            for position, kept in enumerate(steps):
                changed = change(kept.step)
                if changed is not kept.step:
                    self._nbytes -= kept.nbytes
                    steps[position] = self._keep(changed)
        self._trim()

    def substitute(self, old: PromptState, new: PromptState) -> None:
        """Put ``new`` wherever the very object ``old`` stands, for answers that arrive later."""

        def change(step: HistoryStep) -> HistoryStep:
            with_state = getattr(step, "with_state", None)
            return step if with_state is None else with_state(old, new)

        self.revise(change)

    def drop(self, unwanted: Callable[[HistoryStep], bool]) -> None:
        """Forget the steps that can never be applied again."""
        self._done = [kept for kept in self._done if not unwanted(kept.step)]
        self._undone = [kept for kept in self._undone if not unwanted(kept.step)]
        self._nbytes = sum(kept.nbytes for kept in (*self._done, *self._undone))

    def clear(self) -> None:
        """Forget everything."""
        self._done.clear()
        self._undone.clear()
        self._nbytes = 0

    def _keep(self, step: HistoryStep) -> _Kept:
        """A step with what it costs, counted once: a click must not count all of them again."""
        kept = _Kept(step, step.nbytes)
        self._nbytes += kept.nbytes
        return kept

    def _forget(self, steps: list[_Kept], count: int) -> None:
        """Forget the oldest of some steps."""
        if count > 0:
            self._nbytes -= sum(kept.nbytes for kept in steps[:count])
            del steps[:count]

    def _trim(self) -> None:
        """Drop the oldest until the rest is within the budget."""
        over, count = self._nbytes - self.budget, 0
        while over > 0 and count < len(self._done) - 1:
            over -= self._done[count].nbytes
            count += 1
        self._forget(self._done, count)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A step and its bytes."""

    step: HistoryStep
    nbytes: int
