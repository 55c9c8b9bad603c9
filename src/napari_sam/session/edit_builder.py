"""Collects what one user action changes, window by window, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.session.patches import Box, Index, Patch
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from numpy.typing import NDArray

    from napari_sam.session.edits import Edits, Keep, LabelEdit, LabelSurface
    from napari_sam.session.provenance import ObjectRecord
    from napari_sam.session.requests import Plane

__all__ = ["OVERLAP", "EditBuilder", "Staged"]

OVERLAP = 0.1
"""With ``keep="objects"``: share of a new object that may lie on others without its being refused."""


@dataclass(eq=False, slots=True)
class Staged:
    """What a builder has collected; see ``LabelEdit`` for the fields."""

    layer: Hashable
    title: str
    patches: list[Patch] = field(default_factory=list)
    records: dict[int, tuple[ObjectRecord, ...]] = field(default_factory=dict)
    fresh: tuple[int, int] = (0, 0)


class EditBuilder:
    """One edit in the making; later changes see earlier ones.

    Parameters
    ----------
    edits : Edits
        Writes it.
    layer : Hashable
        Token of the layer.
    title : str
        What is done.
    surface : LabelSurface
        The layer.
    """

    def __init__(self, edits: Edits, layer: Hashable, title: str, surface: LabelSurface) -> None:
        self.surface = surface
        self._edits = edits
        self._staged = Staged(layer, title)
        self._planes: dict[Index, list[Patch]] = {}

    @property
    def layer(self) -> Hashable:
        """Token of the layer."""
        return self._staged.layer

    @property
    def title(self) -> str:
        """What is done; may be set until it is committed."""
        return self._staged.title

    @title.setter
    def title(self, title: str) -> None:
        self._staged.title = title

    # ------------------------------------------------------------- reading
    def read(self, plane: Plane | Index, box: Box) -> NDArray[np.integer]:
        """(h, w) labels of a box of a plane, with what was changed so far."""
        index = _index(plane)
        window = np.array(self.surface.read(index, box))
        for patch in self._planes.get(index, ()):
            shared = _shared(patch.box, box)
            if shared is not None:
                theirs, mine = _within(shared, patch.origin), _within(shared, box[:2])
                changed = patch.changed[theirs]
                window[mine][changed] = patch.after[theirs][changed]
        return window

    def mask_of(self, plane: Plane | Index, label: int) -> ObjectMask:
        """The pixels of an object in a plane; empty when it is not there."""
        index = _index(plane)
        box = self.surface.find(label, index)
        for patch in self._planes.get(index, ()):
            if label in patch.labels:
                box = patch.box if box is None else _union(box, patch.box)
        if box is None:
            return ObjectMask(np.zeros((0, 0), bool), (0, 0))
        return ObjectMask.from_plane(self.read(index, box) == label, box[:2])

    def next_label(self, plane: Plane | Index) -> int:
        """An id above all others, also above those that this edit has taken.

        Raises
        ------
        ImageError
            When the layer's type has none left.
        """
        first, last = self._staged.fresh
        if last:
            self.surface.check_label(last + 1)
            label = last + 1
        else:
            first = label = self.surface.next_label(_index(plane))
        self._staged.fresh = (first, label)
        return label

    def overlap(self, plane: Plane | Index, mask: ObjectMask, label: int = 0) -> float:
        """Share of an object's pixels that lie on objects other than ``label``."""
        mask = self.inside(plane, mask)
        if not mask.area:
            return 0.0
        there = self.read(plane, mask.box)[mask.mask]
        return float(np.count_nonzero((there != 0) & (there != label)) / len(there))

    def inside(self, plane: Plane | Index, mask: ObjectMask) -> ObjectMask:
        """The part of a mask inside the plane."""
        index = _index(plane)
        height, width = (n for n, value in zip(self.surface.shape, index, strict=True) if value is None)
        r0, c0, r1, c1 = mask.box
        if r0 >= 0 and c0 >= 0 and r1 <= height and c1 <= width:
            return mask
        top, left = max(r0, 0), max(c0, 0)
        crop = mask.mask[top - r0 : max(height - r0, 0), left - c0 : max(width - c0, 0)]
        scores = {"predicted_iou": mask.predicted_iou, "stability_score": mask.stability_score}
        return ObjectMask.from_plane(crop, (top, left), **scores)

    # ------------------------------------------------------------- changing
    def set(
        self,
        plane: Plane | Index,
        mask: ObjectMask,
        label: int,
        keep: Keep = "pixels",
        threshold: float = OVERLAP,
    ) -> ObjectMask:
        """Give pixels of a plane a label.

        Parameters
        ----------
        plane : Plane or its index
            Where.
        mask : ObjectMask
            The pixels; those outside the plane are left out.
        label : int
            Their label; 0 takes them away from whatever they belong to.
        keep : "pixels", "objects" or "overwrite"
            Take free pixels only; the same, but nothing at all where more than ``threshold`` of the object
            lies on others; or take all.
        threshold : float
            Share of the object, 0 to 1.

        Returns
        -------
        ObjectMask
            The pixels of ``mask`` that have the label now; empty when it found no room or was refused.

        Raises
        ------
        ImageError
            When the label does not fit into the layer's type.
        """
        index = _index(plane)
        self.surface.check_label(label)
        mask = self.inside(index, mask)
        if not mask.area:
            return mask
        there = self.read(index, mask.box)
        wanted = mask.mask
        if label != 0 and keep != "overwrite":
            wanted = mask.mask & ((there == 0) | (there == label))
            refused = keep == "objects" and wanted.sum() < (1 - threshold) * mask.area
            if refused or not wanted.any():
                return ObjectMask(np.zeros((0, 0), bool), mask.origin)
        self._change(index, mask.origin, there, np.where(wanted, label, there).astype(there.dtype))
        return ObjectMask.from_plane(
            wanted, mask.origin, predicted_iou=mask.predicted_iou, stability_score=mask.stability_score
        )

    def erase(self, plane: Plane | Index, mask: ObjectMask, label: int | None = None) -> None:
        """Set pixels of a plane to 0; with ``label`` only those that it has."""
        index = _index(plane)
        mask = self.inside(index, mask)
        if mask.area:
            there = self.read(index, mask.box)
            gone = mask.mask if label is None else mask.mask & (there == label)
            self._change(index, mask.origin, there, np.where(gone, 0, there).astype(there.dtype))

    def paint(self, plane: Plane | Index, origin: tuple[int, int], labels: NDArray[np.integer]) -> None:
        """Make a window of a plane exactly these labels.

        Parameters
        ----------
        plane : Plane or its index
            Where.
        origin : (row, col)
            Where the window begins; all of it lies inside the plane.
        labels : (h, w) int
            Its labels.
        """
        index = _index(plane)
        self.surface.check_label(int(labels.max(initial=0)))
        box = (*origin, origin[0] + labels.shape[0], origin[1] + labels.shape[1])
        there = self.read(index, box)
        self._change(index, origin, there, labels.astype(there.dtype))

    def records(self, label: int, records: Iterable[ObjectRecord]) -> None:
        """From this edit on, exactly these records describe an object; none where it is gone."""
        self._staged.records[label] = tuple(records)

    def add_record(self, record: ObjectRecord) -> None:
        """Describe an object in one plane; its records of other planes stay."""
        others = (r for r in self.records_of(record.label) if r.plane != record.plane)
        self.records(record.label, (*others, record))

    def records_of(self, label: int) -> tuple[ObjectRecord, ...]:
        """What is known of an object, with what was changed so far."""
        staged = self._staged.records.get(label)
        return tuple(self._edits.book.get(self.layer, label)) if staged is None else staged

    def commit(self, push: bool = True) -> LabelEdit:
        """Write it, as one item of the viewer's undo and one step of the history.

        Parameters
        ----------
        push : bool
            False when the caller makes it part of a step of its own.

        Returns
        -------
        LabelEdit
            What was written; where it is empty, nothing was, and there is no step.

        Raises
        ------
        SamError
            When the layer cannot be written; nothing has changed then.
        """
        self._staged.patches = [patch for patches in self._planes.values() for patch in patches]
        edit = self._edits.write(self._staged)
        if push and not edit.is_empty:
            self._edits.push(edit)
        return edit

    # ------------------------------------------------------------- windows
    def _change(
        self, index: Index, origin: tuple[int, int], there: NDArray[np.integer], new: NDArray[np.integer]
    ) -> None:
        """Stage a window; pixels that an earlier window changed stay that one's, with the new value."""
        box = (*origin, origin[0] + there.shape[0], origin[1] + there.shape[1])
        patches = self._planes.setdefault(index, [])
        kept: list[Patch] = []
        mine = new != there
        if not mine.any():
            return
        for patch in patches:
            shared = _shared(patch.box, box)
            part = None if shared is None else mine[_within(shared, box[:2])]
            if shared is None or part is None or not part.any():
                kept.append(patch)
                continue
            theirs = _within(shared, patch.origin)
            changed = patch.changed
            both = np.zeros_like(changed)
            both[theirs] = changed[theirs] & part
            if not both.any():
                kept.append(patch)
                continue
            after = patch.after.astype(there.dtype)
            after[both] = new[_within(shared, box[:2])][both[theirs]]
            revised = Patch.between(index, patch.origin, patch.before.astype(there.dtype), after)
            if revised is not None:
                kept.append(revised)
            mine[_within(shared, box[:2])] &= ~both[theirs]
        patch_of_mine = Patch.between(index, origin, there, np.where(mine, new, there).astype(there.dtype))
        if patch_of_mine is not None:
            kept.append(patch_of_mine)
        self._planes[index] = kept


def _index(plane: Plane | Index) -> Index:
    return plane if isinstance(plane, tuple) else plane.index


def _shared(one: Box, other: Box) -> Box | None:
    r0, c0, r1, c1 = (
        max(one[0], other[0]),
        max(one[1], other[1]),
        min(one[2], other[2]),
        min(one[3], other[3]),
    )
    return (r0, c0, r1, c1) if r0 < r1 and c0 < c1 else None


def _union(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _within(box: Box, origin: tuple[int, ...]) -> tuple[slice, slice]:
    """Index of a box in a window that begins at ``origin``."""
    r0, c0, r1, c1 = box
    return slice(r0 - origin[0], r1 - origin[0]), slice(c0 - origin[1], c1 - origin[1])
