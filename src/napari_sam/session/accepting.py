"""How an accepted object is written: under which id, and what becomes of the objects that are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from psygnal import Signal

from napari_sam.errors import PromptError
from napari_sam.session.edit_builder import OVERLAP
from napari_sam.session.edits import EditStep, Keep, LabelEdit
from napari_sam.session.provenance import ObjectRecord
from napari_sam.session.requests import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from napari_sam.session.edit_builder import EditBuilder
    from napari_sam.session.edits import Edits
    from napari_sam.session.history import History, HistoryStep
    from napari_sam.session.prompt_state import PromptState
    from napari_sam.session.requests import Plane
    from napari_sam.types import ObjectMask

__all__ = [
    "AcceptRule",
    "AcceptStep",
    "Accepting",
    "Ids",
    "complete_accept",
    "refuse_accept",
    "without_prompts",
]

Ids = Literal["next", "same", "chosen", "class"]
"""The next free id, that of the object accepted last, a chosen one, or one for all objects of a class."""


@dataclass(frozen=True, slots=True)
class AcceptRule:
    """The user's choice of how objects are accepted.

    Attributes
    ----------
    ids : "next", "same", "chosen" or "class"
        Which id an object gets.
    label : int
        The chosen id, or that of the class.
    keep : "pixels", "objects" or "overwrite"
        What becomes of others: they keep their pixels; they keep them, and an object that covers them too
        much is refused; or they lose them.
    overlap : float
        With ``objects``: the share of an object, 0 to 1, that may lie on others.

    Raises
    ------
    PromptError
        When a value is impossible.
    """

    ids: Ids = "next"
    label: int = 1
    keep: Keep = "pixels"
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        for name, value, allowed in (("ids", self.ids, Ids), ("keep", self.keep, Keep)):
            if value not in get_args(allowed):
                raise PromptError(f"Expected {name} out of {get_args(allowed)}, got {value!r}.")
        if not 0 <= self.overlap <= 1:
            raise PromptError(f"Expected an overlap between 0 and 1, got {self.overlap!r}.")
        if self.label < 1:
            raise PromptError(f"Expected an id of 1 or more, got {self.label!r}; 0 is the background.")


class Accepting:
    """Writes accepted objects as the rule says.

    Parameters
    ----------
    edits : Edits
        What writes.
    """

    rule_changed = Signal(object)  # AcceptRule

    def __init__(self, edits: Edits) -> None:
        self._edits = edits
        self._rule = AcceptRule()
        self._last: dict[Hashable, int] = {}

    @property
    def rule(self) -> AcceptRule:
        """The rule."""
        return self._rule

    @rule.setter
    def rule(self, rule: AcceptRule) -> None:
        if rule != self._rule:
            self._rule = rule
            self.rule_changed.emit(rule)

    def write(self, state: PromptState, layer: Hashable) -> tuple[LabelEdit, ObjectRef]:
        """Write the object of a state, without a step of the history.

        Parameters
        ----------
        state : PromptState
            With a mask. Where it has ``accepted`` in this layer, that object makes room and lends its id.
        layer : Hashable
            Token of the target.

        Raises
        ------
        SamError
            When it cannot be written or there is no room for it; nothing has changed then.
        """
        mask, plane, rule = state.mask, state.plane, self._rule
        assert mask is not None
        replaced = state.accepted
        if replaced is not None and replaced.layer != layer:
            replaced = None
        builder = self._edits.begin(layer, "accept")
        label = self._label(builder, state) if replaced is None else replaced.label
        if replaced is not None:
            builder.erase(plane, replaced.mask, label)
        others = _covered(builder, plane, mask, label) if rule.keep == "overwrite" else ()
        written = builder.set(plane, mask, label, rule.keep, rule.overlap)
        if not written.area:
            raise PromptError(_refusal(builder, state, label, rule))
        for other in others:
            _shrink_records(builder, plane, other)
        record = ObjectRecord.of_mask(
            label,
            plane.index,
            mask,
            prompts=state.prompts,
            maker=state.maker,
            earlier=state.earlier,
            params={"keep": rule.keep, "choices": [*state.choices, state.choice]},
        )
        record = replace(record, area=written.area)  # neighbours may have kept some of it
        known = any(r.plane == plane.index for r in builder.records_of(label))
        if replaced is not None and state.maker is None and known:
            pass  # taken in hand and put back as it was: what made it is what made it before
        elif replaced is None and rule.ids in ("class", "chosen"):
            builder.records(label, (*builder.records_of(label), record))  # it joins what is there
        else:
            builder.add_record(record)
        builder.title = f"{'correct' if replaced is not None else 'accept'} object {label}"
        edit = builder.commit(push=False)
        self._last[layer] = label
        return edit, ObjectRef(layer, label, written)

    def _label(self, builder: EditBuilder, state: PromptState) -> int:
        rule = self._rule
        if rule.ids in ("chosen", "class"):
            return rule.label
        last = self._last.get(builder.layer)
        if rule.ids == "same" and last is not None:
            return last
        return builder.next_label(state.plane)


@dataclass(frozen=True, slots=True, eq=False)
class AcceptStep:
    """Accepting an object: it is written and its prompts go, in one step.

    Attributes
    ----------
    before, after : PromptState
        The prompts.
    edit : LabelEdit or None
        What was written; None while the mask is still being computed, or where it was refused.
    edits : Edits
        What writes.
    restore : callable
        Puts a state back where the user sees it.
    accept : callable
        Accepts a state whose object was never written.
    undone : bool
        This takes an accept back.
    """

    before: PromptState
    after: PromptState
    edit: LabelEdit | None
    edits: Edits
    restore: Callable[[PromptState], str]
    accept: Callable[[PromptState], None]
    undone: bool = False

    @property
    def title(self) -> str:
        """What was done."""
        return "accept" if self.edit is None else self.edit.title

    @property
    def nbytes(self) -> int:
        """Bytes of the edit."""
        return self.after.nbytes + (0 if self.edit is None else self.edit.nbytes)

    def inverse(self) -> AcceptStep:
        """The step that takes this one back."""
        edit = None if self.edit is None else self.edit.inverse()
        return replace(self, before=self.after, after=self.before, edit=edit, undone=not self.undone)

    def with_state(self, old: PromptState, new: PromptState) -> AcceptStep:
        """The same step with ``new`` where the very object ``old`` stands."""
        if self.before is not old and self.after is not old:
            return self
        return replace(
            self,
            before=new if self.before is old else self.before,
            after=new if self.after is old else self.after,
        )

    def apply(self) -> str:
        """Do it; what was done. The prompts change even where the layer cannot be written any more.

        Raises
        ------
        SamError
            When the layer is gone or cannot be written.
        """
        said = ""
        try:
            if self.edit is not None:
                skipped = self.edits.apply(self.edit, undone=self.undone)
                said = f"{'Undone' if self.undone else 'Redone'}: {self.title}."
                if skipped:
                    said += f" {skipped} pixels were changed by others since and stay as they are."
        finally:
            self.restore(self.after)
        if self.edit is None and not self.undone:
            self.accept(self.before)
        return said


def _covered(builder: EditBuilder, plane: Plane, mask: ObjectMask, label: int) -> list[int]:
    """Ids of other objects under a mask."""
    mask = builder.inside(plane, mask)
    there = builder.read(plane, mask.box)[mask.mask]
    return [int(other) for other in np.unique(there) if other not in (0, label)]


def _shrink_records(builder: EditBuilder, plane: Plane, label: int) -> None:
    """An object lost pixels to another: its record knows, and goes when nothing is left in the plane."""
    known = builder.records_of(label)
    if all(record.plane != plane.index for record in known):
        return
    area = builder.mask_of(plane, label).area
    kept = [r.touched(area=area) if r.plane == plane.index else r for r in known]
    builder.records(label, [r for r in kept if r.plane != plane.index or area])


def complete_accept(history: History, state: PromptState, edit: LabelEdit | None) -> bool:
    """An object that was accepted before its mask was there is written: its step knows the edit.

    Returns
    -------
    bool
        Whether the history still has that step.
    """
    known = False

    def complete(old: HistoryStep) -> HistoryStep:
        nonlocal known
        if isinstance(old, AcceptStep) and old.before is state and old.edit is None:
            known = True
            return replace(old, edit=edit)
        return old

    history.revise(complete)
    return known


def refuse_accept(history: History, state: PromptState) -> None:
    """An accept that was refused stays so: redo repeats what happened, not what was wanted."""

    def refuse(old: HistoryStep) -> HistoryStep:
        if isinstance(old, AcceptStep) and old.before is state and old.edit is None:
            return replace(old, accept=_refused)
        return old

    history.revise(refuse)


def _refused(_: PromptState) -> None:
    """Accepts nothing."""


def without_prompts(step: HistoryStep) -> HistoryStep:
    """What is left of a step when its image, and with it its prompts, are gone: the objects."""
    edits, edit = getattr(step, "edits", None), getattr(step, "edit", None)
    return step if edits is None or edit is None else EditStep(edits, edit)


def _refusal(builder: EditBuilder, state: PromptState, label: int, rule: AcceptRule) -> str:
    mask: ObjectMask | None = state.mask
    assert mask is not None
    name, share = builder.surface.name, builder.overlap(state.plane, mask, label)
    if rule.keep == "objects" and share < 1:
        return (
            f"Expected an object of which at most {rule.overlap:.0%} lie on others, got {share:.0%} on "
            f"objects of {name!r}; correct it, or choose to keep others' pixels only, or to overwrite."
        )
    return (
        f"Expected free pixels for the object, got none: it lies on objects of {name!r}; "
        "choose 'overwrite' to replace them."
    )
