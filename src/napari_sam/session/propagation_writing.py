"""What a propagation found, written into a layer as one edit, and the step of the history that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_sam.inference.propagation_values import PlaneObject
from napari_sam.session.prompt_checks import same_prompts
from napari_sam.session.propagation_tracks import Track, is_same_mask
from napari_sam.session.provenance import ObjectRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from napari_sam.session.edit_builder import EditBuilder
    from napari_sam.session.edits import Edits, LabelEdit
    from napari_sam.session.propagating import PropagationRequest, Run
    from napari_sam.session.propagation_tracks import Stack
    from napari_sam.types import ObjectMask, Prompts

__all__ = ["Memory", "PropagationStep", "Wrote", "write_objects"]


@dataclass(frozen=True, slots=True, eq=False)
class Wrote:
    """What became of a run.

    Attributes
    ----------
    edit : LabelEdit
        What was written; may be empty.
    labels : dict of int to int
        The label of each object in the layer, by that of the request.
    tracks : dict of int to Track
        By label in the layer, what is known now.
    planes, flags : int
        In how many planes the objects are, and how many of them are flagged.
    gone : tuple of int
        Labels of objects that are not there any more, so that nothing of them was written.
    """

    edit: LabelEdit
    labels: dict[int, int]
    tracks: dict[int, Track]
    planes: int
    flags: int
    gone: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a run changes beside pixels and records, by layer, label and stack.

    Attributes
    ----------
    tracks : dict of key to Track or None
        What is known of the objects; None where nothing is.
    stops : dict of key to frozenset of int
        Planes that they do not enter.
    last : tuple or None
        Layer, labels and stack that the user looks at.
    """

    tracks: Mapping[Any, Track | None]
    stops: Mapping[Any, frozenset[int]]
    last: tuple[Hashable, tuple[int, ...], Stack] | None


@dataclass(frozen=True, slots=True, eq=False)
class PropagationStep:
    """A step of the history: objects in many planes, and what was known of them."""

    edits: Edits
    edit: LabelEdit
    before: Memory
    after: Memory
    put: Callable[[Memory], None]
    clear: Callable[[bool], None] | None = None
    undone: bool = False

    @property
    def title(self) -> str:
        """What was done."""
        return self.edit.title

    @property
    def nbytes(self) -> int:
        """Bytes of the edit; masks that tracks hold are shared with them."""
        return self.edit.nbytes

    def inverse(self) -> PropagationStep:
        """The step that takes this one back."""
        return replace(
            self, edit=self.edit.inverse(), before=self.after, after=self.before, undone=not self.undone
        )

    def apply(self) -> str:
        """Do it; what was done.

        Raises
        ------
        SamError
            When the layer is gone or cannot be written.
        """
        skipped = self.edits.apply(self.edit, undone=self.undone)
        self.put(self.after)
        if self.clear is not None:
            self.clear(self.undone)
        said = f"{'Undone' if self.undone else 'Redone'}: {self.title}."
        return said + (
            f" {skipped} pixels were changed by others since and stay as they are." if skipped else ""
        )


def write_objects(edits: Edits, run: Run) -> Wrote | None:
    """Write what a run found as one edit, without a step of the history; None when it found nothing.

    A plane that is the user's, by an anchor that they drew or because they painted or erased there meanwhile,
    is left as it is. An object that was taken back or deleted meanwhile stays away, also where its id is
    another's now; one that was accepted from the same prompts goes on under its id.

    Raises
    ------
    SamError
        When the layer is gone or cannot be written.
    """
    request = run.request
    has_masks = any(result.mask is not None for found in run.found.values() for result in found.values())
    if not has_masks and not any(run.known[label].before for label in run.found):
        return None
    builder = edits.begin(request.layer, "propagate")
    labels: dict[int, int] = {}
    tracks: dict[int, Track] = {}
    gone = tuple(key for key in run.found if key and not _is_left(builder, run, key))
    # read before anything is written: what one object takes from another is not the user's doing
    now: dict[int, dict[int, ObjectMask]] = {}
    for key, found in run.found.items():
        if key in gone:
            continue
        label = key or _find_accepted(edits, request)
        now[key] = {n: builder.mask_of(request.stack.planes[n], label) for n in found} if label else {}
        labels[key] = label or builder.next_label(request.stack.planes[0])
    planes = flags = 0
    for key, label in labels.items():
        known, found = run.known[key], run.found[key]
        written, left = _write_object(builder, run, key, label, now[key])
        before = dict(known.before)
        kept = {n: mask for n, mask in before.items() if n not in found} | written
        # by these the next run sees what the user erased or painted meanwhile
        users = {n: mask for n, mask in before.items() if n in left}
        # what was not looked at again is as it was
        results = {n: r for n, r in run.earlier.get(key, {}).items() if n in kept}
        results |= {n: PlaneObject(label, n, m, is_anchor=True) for n, m in known.fixed.items() if m.area}
        results |= {n: replace(r, id=label) for n, r in found.items() if n in written or r.mask is None}
        tracks[label] = Track(
            {a.plane: a.prompts for a in known.anchors if a.prompts is not None},
            run.stops[key],
            kept | users,
            results,
            request.params,
        )
        planes += len(set(kept) | {n for n, mask in known.fixed.items() if mask.area})
        flags += sum(result.is_suspicious for result in results.values())
    names = sorted(labels.values())
    builder.title = f"propagate object {names[0]}" if len(names) == 1 else f"propagate {len(names)} objects"
    return Wrote(builder.commit(push=False), labels, tracks, planes, flags, gone)


def _is_left(builder: EditBuilder, run: Run, label: int) -> bool:
    """True while an object has a pixel where it had any when the run began."""
    there = run.known[label].there
    planes = run.request.stack.planes
    return not there or any(
        (builder.read(planes[number], mask.box)[mask.mask] == label).any() for number, mask in there.items()
    )


def _find_accepted(edits: Edits, request: PropagationRequest) -> int | None:
    """The object that the user has accepted from the same prompts meanwhile."""
    said = {request.stack.planes[number].index: prompts for number, prompts in request.prompts.items()}
    for record in edits.book.records(request.layer):
        prompts = said.get(record.plane)
        if prompts is not None and record.prompts is not None and same_prompts(prompts, record.prompts):
            return record.label
    return None


def _write_object(
    builder: EditBuilder,
    run: Run,
    key: int,
    label: int,
    now: Mapping[int, ObjectMask],
) -> tuple[dict[int, ObjectMask], set[int]]:
    """Write one object; its pixels by plane number, and the planes that are left to the user.

    ``now`` is what the layer has of it, before this edit.
    """
    request, known = run.request, run.known[key]
    said: dict[int, Prompts] = {a.plane: a.prompts for a in known.anchors if a.prompts is not None}
    records = {record.plane: record for record in builder.records_of(label)}
    written: dict[int, ObjectMask] = {}
    left: set[int] = set()
    for number, result in run.found[key].items():
        plane, there = request.stack.planes[number], now.get(number)
        is_erased = number in known.there
        if there is not None and there.area:
            ours = [mask for mask in (known.before.get(number), result.mask) if mask is not None]
            users = not any(is_same_mask(there, mask) for mask in ours)
            if users and not (key and number in said and result.is_anchor):
                left.add(number)
                continue
            builder.erase(plane, there, label)
            is_erased = False
        records.pop(plane.index, None)
        if is_erased:
            left.add(number)
            continue
        if result.mask is None:
            continue
        mask = builder.set(plane, result.mask, label, "overwrite" if request.overwrite else "pixels")
        if not mask.area:  # all of it lies on others
            continue
        written[number] = mask
        record = ObjectRecord.of_mask(
            label,
            plane.index,
            mask,
            source="prompts" if result.is_anchor else "propagated",
            prompts=said.get(number),
            maker=run.maker,
            params={
                "stack": request.stack.axis,
                "prompts": request.params.prompts,
                "overlap": round(result.overlap, 4),
                "area_ratio": round(result.area_ratio, 4),
                "flag": result.flag,
            },
        )
        records[plane.index] = record
    builder.records(label, records.values())
    return written, left
