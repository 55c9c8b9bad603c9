"""Everything that changes objects goes through here: built as one edit, written, recorded, undone.

An ``EditBuilder`` collects what one user action changes, in any number of planes. Committing it writes the
pixels (as one item of the viewer's own undo), changes the records of the objects, and pushes one step to
the history. Undo changes only pixels that still are as the edit left them, because the user may have
painted, or used the viewer's own undo, in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from psygnal import Signal

from napari_sam.errors import ImageError, SamError
from napari_sam.session.edit_builder import EditBuilder, Staged
from napari_sam.session.patches import Box, Index, Patch
from napari_sam.session.surfaces import LabelSurface, LabelSurfaces, RecordKeeper, Write

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari_sam.session.history import History
    from napari_sam.session.provenance import ObjectRecord

__all__ = [
    "Box",
    "EditBuilder",
    "EditStep",
    "Edits",
    "Index",
    "Keep",
    "LabelEdit",
    "LabelSurface",
    "LabelSurfaces",
    "Patch",
    "RecordChange",
    "RecordKeeper",
    "Write",
]

Keep = Literal["pixels", "objects", "overwrite"]
"""What a new object does to those that are there: takes free pixels only, is refused where it covers others
too much, or takes their pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordChange:
    """The records of one object before and after an edit."""

    label: int
    before: tuple[ObjectRecord, ...]
    after: tuple[ObjectRecord, ...]

    def inverse(self) -> RecordChange:
        """The change that takes this one back."""
        return RecordChange(self.label, self.after, self.before)


@dataclass(frozen=True, slots=True, eq=False)
class LabelEdit:
    """Everything that one user action changed in one layer.

    Attributes
    ----------
    layer : Hashable
        Token of the Labels layer, as in ``ObjectRef.layer``.
    title : str
        What was done: "accept object 5".
    patches : tuple of Patch
        The pixels; no pixel is in two of them.
    records : tuple of RecordChange
        What is known of the objects.
    fresh : (first, last)
        Ids that were never used before this edit; (0, 0) when there are none.
    """

    layer: Hashable
    title: str
    patches: tuple[Patch, ...] = ()
    records: tuple[RecordChange, ...] = ()
    fresh: tuple[int, int] = (0, 0)

    @property
    def is_empty(self) -> bool:
        """True when it changes nothing."""
        return not self.patches and not self.records

    @property
    def labels(self) -> frozenset[int]:
        """Ids of the objects that it changes."""
        found = {change.label for change in self.records}
        return frozenset(found.union(*(patch.labels for patch in self.patches)))

    @property
    def area(self) -> int:
        """Number of pixels that it changes."""
        return sum(patch.area for patch in self.patches)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        records = sum(len(change.before) + len(change.after) for change in self.records)
        return 500 + sum(patch.nbytes for patch in self.patches) + 1000 * records

    def inverse(self) -> LabelEdit:
        """The edit that takes this one back."""
        return replace(
            self,
            patches=tuple(patch.inverse() for patch in reversed(self.patches)),
            records=tuple(change.inverse() for change in reversed(self.records)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class EditStep:
    """A step of the history that writes or takes back an edit."""

    edits: Edits
    edit: LabelEdit
    undone: bool = False

    @property
    def title(self) -> str:
        """What was done."""
        return self.edit.title

    @property
    def nbytes(self) -> int:
        """Bytes of the edit."""
        return self.edit.nbytes

    def inverse(self) -> EditStep:
        """The step that takes this one back."""
        return EditStep(self.edits, self.edit.inverse(), not self.undone)

    def apply(self) -> str:
        """Do it; what was done.

        Raises
        ------
        SamError
            When the layer is gone or cannot be written.
        """
        skipped = self.edits.apply(self.edit, undone=self.undone)
        self.edits.travelled.emit(self.edit)
        said = f"{'Undone' if self.undone else 'Redone'}: {self.title}."
        if skipped:
            said += f" {skipped} pixels were changed by others since and stay as they are."
        return said


class Edits:
    """Makes, applies and remembers edits.

    Parameters
    ----------
    history : History
        Where each edit is pushed as one step.
    book : RecordKeeper
        What is known of the objects.

    Attributes
    ----------
    surfaces : LabelSurfaces or None
        Where layers are found; set by the viewer.
    """

    edited = Signal(object)  # LabelEdit that was just written, also by undo and redo
    travelled = Signal(object)  # LabelEdit that undo or redo just wrote, for the viewer to show where

    def __init__(self, history: History, book: RecordKeeper) -> None:
        self.surfaces: LabelSurfaces | None = None
        self.book = book
        self._history = history

    def surface(self, layer: Hashable) -> LabelSurface:
        """The surface of a layer.

        Raises
        ------
        SamError
            When there is no viewer, or the layer is gone or cannot be written.
        """
        if self.surfaces is None:
            raise SamError("Expected a viewer whose layers can be edited, got none.")
        return self.surfaces.surface(layer)

    def begin(self, layer: Hashable, title: str) -> EditBuilder:
        """Start an edit of a layer; nothing is written before ``commit``.

        Parameters
        ----------
        layer : Hashable
            Its token.
        title : str
            What is done, in a few words; shown beside Undo.

        Raises
        ------
        SamError
            When the layer is gone or cannot be written.
        """
        return EditBuilder(self, layer, title, self.surface(layer))

    def write(self, staged: Staged) -> LabelEdit:
        """Write what was staged, without a step of the history; the edit, which may be empty."""
        before = {label: tuple(self.book.get(staged.layer, label)) for label in staged.records}
        changes = tuple(
            RecordChange(label, before[label], tuple(after))
            for label, after in staged.records.items()
            if before[label] or after
        )
        edit = LabelEdit(staged.layer, staged.title, tuple(staged.patches), changes, staged.fresh)
        if not edit.is_empty:
            self.apply(edit)
        return edit

    def push(self, edit: LabelEdit) -> None:
        """Remember an edit that was written as one step."""
        self._history.push(EditStep(self, edit))

    def apply(self, edit: LabelEdit, *, undone: bool = False) -> int:
        """Write an edit where the pixels are as they were before it.

        Parameters
        ----------
        edit : LabelEdit
            The edit.
        undone : bool
            It is the inverse of one that was made before: its fresh ids are free again.

        Returns
        -------
        int
            Pixels that somebody else has changed, and that were left alone.

        Raises
        ------
        SamError
            When the layer is gone or cannot be written, or its array is another that the edit does not fit;
            nothing has changed then.
        """
        surface = self.surface(edit.layer)
        for patch in edit.patches:
            _check_fits(patch, surface)
        writes, skipped, whole = [], 0, True
        for patch in edit.patches:
            now, before, after = surface.read(patch.index, patch.box), patch.before, patch.after
            changed = before != after
            mask = changed & (now == before)
            skipped += int(np.count_nonzero(changed & ~mask & (now != after)))
            whole = whole and bool((mask == changed).all())
            if mask.any():
                writes.append(Write(patch.index, patch.origin, mask, after))
        if writes:
            surface.write(writes)
        first, last = edit.fresh
        if undone and last and whole:  # else the viewer's own undo was used, and may have moved the objects
            surface.release(first, last)
        if edit.records:
            self.book.change_many(edit.layer, {change.label: change.after for change in edit.records})
        self.edited.emit(edit)
        return skipped


def _check_fits(patch: Patch, surface: LabelSurface) -> None:
    """Raise ImageError when a layer's array was replaced by one that a patch does not fit into."""
    shape = surface.shape
    ends = iter(patch.box[2:])
    needed = [next(ends) if value is None else value + 1 for value in patch.index]
    if len(shape) != len(needed) or any(size < end for size, end in zip(shape, needed, strict=True)):
        raise ImageError(
            f"Expected labels in which the edit lies, got shape {shape} in {surface.name!r}: its array was "
            "replaced, so its objects stay as they are."
        )
    surface.check_label(int(patch.new[patch.old != patch.new].max()))
