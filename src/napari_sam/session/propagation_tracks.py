"""What propagation has written into a layer, so that the next run knows what is the user's and what its own.

A plane whose pixels are no longer as they were written was corrected by hand: nothing changes it any more,
and the object is followed from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import SamError
from napari_sam.inference.propagation_values import Anchor, PlaneObject, PropagationParams
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from napari_sam.session.edit_builder import EditBuilder
    from napari_sam.session.requests import Plane

__all__ = ["Known", "PlaneImages", "Stack", "Track", "is_same_mask", "make_stack", "read_object"]

NOTHING = ObjectMask(np.zeros((0, 0), bool), (0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Parallel planes of an image along one of its axes.

    Attributes
    ----------
    planes : tuple of Plane
        All of them, in order.
    axis : int
        The image's axis that they follow each other along.
    """

    planes: tuple[Plane, ...]
    axis: int

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def key(self) -> Hashable:
        """Equal for the same planes of the same image."""
        index = self.planes[0].index
        return self.planes[0].source, self.axis, index[: self.axis] + index[self.axis + 1 :]

    def number(self, index: tuple[int | None, ...]) -> int | None:
        """Which of the planes has an index; None when none has."""
        value = index[self.axis]
        if value is None or not 0 <= value < len(self.planes) or self.planes[value].index != index:
            return None
        return value


def make_stack(plane: Plane, axis: int | None = None) -> Stack:
    """The planes parallel to one along an axis, default the last that the plane does not have itself.

    Raises
    ------
    SamError
        When the image has no such axis.
    """
    others = [a for a, value in enumerate(plane.index) if value is not None]
    axis = others[-1] if axis is None and others else axis
    if axis not in others:
        raise SamError(
            f"Expected a stack, got {plane.name!r} without further planes"
            + (f" along axis {axis}; choose one of {others}." if others else "; open an image with z or t.")
        )
    planes = [p for p in plane.planes if all(p.index[a] == v for a, v in enumerate(plane.index) if a != axis)]
    return Stack(tuple(sorted(planes, key=lambda p: p.index[axis] or 0)), axis)


class PlaneImages(Sequence[Any]):
    """The images of planes, each read when it is asked for."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._planes = planes

    def __len__(self) -> int:
        return len(self._planes)

    def __getitem__(self, number: Any) -> Any:
        """The image of a plane, for the engine."""
        return self._planes[number].read()


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object as propagation left it.

    Attributes
    ----------
    prompts : dict of int to Prompts
        By plane number, what the user said, what says only where it is not included.
    stops : frozenset of int
        Planes that it does not enter.
    written : dict of int to ObjectMask
        By plane number, its pixels in the layer.
    results : dict of int to PlaneObject
        By plane number, how it was found; also where it ended.
    params : PropagationParams
        Of the last run.
    """

    prompts: Mapping[int, Prompts] = field(default_factory=dict)
    stops: frozenset[int] = frozenset()
    written: Mapping[int, ObjectMask] = field(default_factory=dict)
    results: Mapping[int, PlaneObject] = field(default_factory=dict)
    params: PropagationParams = field(default_factory=PropagationParams)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """One object before a run.

    Attributes
    ----------
    anchors : tuple of Anchor
        What the user said and drew.
    fixed : dict of int to ObjectMask
        By plane number, what nothing may change; empty masks where the object was erased.
    before : dict of int to ObjectMask
        By plane number, what an earlier run wrote and nobody has touched.
    changed : frozenset of int or None
        Planes where something is other than in the earlier run; None when all is to be done.
    there : dict of int to ObjectMask
        By plane number, its pixels in the layer.
    """

    anchors: tuple[Anchor, ...] = ()
    fixed: Mapping[int, ObjectMask] = field(default_factory=dict)
    before: Mapping[int, ObjectMask] = field(default_factory=dict)
    changed: frozenset[int] | None = None
    there: Mapping[int, ObjectMask] = field(default_factory=dict)


def read_object(
    builder: EditBuilder,
    stack: Stack,
    label: int,
    track: Track | None,
    said: Mapping[int, Prompts],
    stops: frozenset[int],
) -> Known:
    """What is known of an object of a layer: drawn, corrected, propagated, and said just now.

    Parameters
    ----------
    builder : EditBuilder
        Reads the layer.
    stack : Stack
        The planes.
    label : int
        The object's id.
    track : Track or None
        What propagation knows of it from before.
    said : mapping of int to Prompts
        By plane number, new prompts.
    stops : frozenset of int
        Where it ends from now on.
    """
    there = _read_masks(builder, stack, label)
    if track is None or not _is_there(track, there):  # the id is another object's now, or one begun anew
        track = _remember(builder, stack, label, there)
    fixed, before = {}, {}
    for number, mask in there.items():
        written = track.written.get(number)
        if written is not None and is_same_mask(mask, written):
            before[number] = written
        else:
            fixed[number] = mask
    erased = {number for number in track.written if number not in there}
    fixed |= dict.fromkeys(erased, NOTHING)
    prompts = {n: p for n, p in track.prompts.items() if n not in fixed}
    fresh = {n: _correction(_join(prompts.get(n), p), there.get(n)) for n, p in said.items()}
    prompts |= fresh
    for number in fresh:  # what is said now counts, also where something was drawn before
        fixed.pop(number, None)
    if not prompts and not any(mask.area for mask in fixed.values()):
        fixed, before = {**before, **fixed}, {}  # nobody knows how it came about: all of it is the user's
    changed: frozenset[int] | None = frozenset(fixed) | frozenset(fresh) | (stops ^ track.stops)
    if not changed or not before:
        changed = None
    anchors = tuple(Anchor(n, prompts=p) for n, p in sorted(prompts.items()))
    return Known(anchors, fixed, before, changed, there)


def _read_masks(builder: EditBuilder, stack: Stack, label: int) -> dict[int, ObjectMask]:
    found = {}
    for index in builder.surface.planes_of(label, stack.planes[0].index):
        number = stack.number(tuple(index))
        mask = None if number is None else builder.mask_of(tuple(index), label)
        if number is not None and mask is not None and mask.area:
            found[number] = mask
    return found


def _is_there(track: Track, there: Mapping[int, ObjectMask]) -> bool:
    """True while a plane, any of those that were written, is as propagation left it."""
    written = track.written
    return not written or any(n in there and is_same_mask(there[n], mask) for n, mask in written.items())


def _remember(builder: EditBuilder, stack: Stack, label: int, there: Mapping[int, ObjectMask]) -> Track:
    """What the records of an object say was propagated, for layers that were opened again."""
    written: dict[int, ObjectMask] = {}
    prompts: dict[int, Prompts] = {}
    for record in builder.records_of(label):
        number = stack.number(record.plane)
        if (
            number is None
            or number not in there
            or record.area != there[number].area
            or "stack" not in record.params
        ):
            continue
        written[number] = there[number]
        if record.source == "prompts" and record.prompts is not None:
            prompts[number] = record.prompts
    return Track(prompts=prompts, written=written)


def _join(old: Prompts | None, new: Prompts) -> Prompts:
    """What was said of a plane before and now; the newer box and mask count."""
    if old is None:
        return new
    return Prompts(
        np.concatenate([old.points, new.points]),
        np.concatenate([old.labels, new.labels]),
        new.box or old.box,
        new.mask or old.mask,
    )


def _correction(prompts: Prompts, there: ObjectMask | None) -> Prompts:
    """Prompts with foreground correct what is there; negative ones alone join what is asked anyway."""
    if not prompts.has_foreground or prompts.mask is not None or there is None:
        return prompts
    return replace(prompts, mask=there)


def is_same_mask(one: ObjectMask, other: ObjectMask) -> bool:
    """True when two masks have the same pixels."""
    return one.box == other.box and bool(np.array_equal(one.mask, other.mask))
