"""The edit tools on objects of a layer: each one edit, one step of the history, with its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.errors import PromptError, SamError
from napari_sam.session.provenance import ObjectRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_sam.session.edit_builder import EditBuilder
    from napari_sam.session.edits import Edits, LabelEdit
    from napari_sam.session.patches import Index
    from napari_sam.types import ObjectMask

__all__ = ["Editing"]


class Editing:
    """Deletes, merges, splits and cleans objects.

    Every method takes the layer's token and the ``index`` of a plane as in ``Plane.index``, writes inside the
    objects' boxes only, and returns the edit, which is empty where there was nothing to change.

    Parameters
    ----------
    edits : Edits
        What writes.
    """

    said = Signal(str)

    def __init__(self, edits: Edits) -> None:
        self._edits = edits

    # ------------------------------------------------------------- many objects
    def delete(
        self, layer: Hashable, index: Index, labels: Iterable[int], *, everywhere: bool = False
    ) -> LabelEdit:
        """Take objects away.

        Parameters
        ----------
        layer : Hashable
            The layer's token.
        index : tuple of int or None
            The plane.
        labels : iterable of int
            Their ids.
        everywhere : bool
            In all planes of the layer instead of in this one.

        Raises
        ------
        SamError
            When the layer is gone or cannot be written.
        """
        wanted = _ids(labels)
        builder = self._edits.begin(layer, f"delete {_name(wanted)}")
        for label in wanted:
            for where in _planes(builder, label, index, everywhere):
                builder.erase(where, builder.mask_of(where, label))
                _forget(builder, label, where)
            if everywhere:
                builder.records(label, ())
        return self._done(builder, f"Deleted {_name(wanted)}", "there is no such object here")

    def merge(
        self, layer: Hashable, index: Index, labels: Sequence[int], *, everywhere: bool = False
    ) -> LabelEdit:
        """Make several objects one, under the id of the first.

        Parameters
        ----------
        layer, index, everywhere
            As in ``delete``.
        labels : sequence of int
            Two ids or more.

        Raises
        ------
        SamError
            When there are less than two objects, or the layer is gone or cannot be written.
        """
        wanted = _ids(labels)
        if len(wanted) < 2:
            raise PromptError(
                f"Expected two objects or more to merge, got {len(wanted)}; choose another one."
            )
        kept, others = wanted[0], wanted[1:]
        builder = self._edits.begin(layer, f"merge {_name(wanted)}")
        for label in others:
            for where in _planes(builder, label, index, everywhere):
                mask = builder.mask_of(where, label)
                if not mask.area:
                    continue
                builder.set(where, mask, kept, "overwrite")
                _forget(builder, label, where)
                _touch(builder, kept, where, builder.mask_of(where, kept), edit="merge", merged=list(others))
            if everywhere:
                builder.records(label, ())
        return self._done(builder, f"Merged {_name(wanted)} into {kept}", "the others are not in this plane")

    def remove_small(self, layer: Hashable, index: Index, area: int) -> LabelEdit:
        """Take away all objects of a plane with fewer than ``area`` pixels there.

        Raises
        ------
        SamError
            When the layer is gone or cannot be written.
        """
        builder = self._edits.begin(layer, f"remove objects under {area} pixels")
        count = 0
        for label, pixels in builder.surface.areas_in(index).items():
            if pixels < area:
                count += 1
                builder.erase(index, builder.mask_of(index, label))
                _forget(builder, label, index)
        objects = "1 object" if count == 1 else f"{count} objects"
        return self._done(
            builder, f"Removed {objects} under {area} pixels", f"no object has less than {area} pixels"
        )

    # ------------------------------------------------------------- one object
    def split(
        self,
        layer: Hashable,
        index: Index,
        label: int,
        points: tuple[tuple[float, float], tuple[float, float]],
        read: Callable[[tuple[int, int, int, int]], NDArray[Any]] | None = None,
    ) -> LabelEdit:
        """Cut an object in two; the larger half keeps the id, the other gets the next free one.

        Parameters
        ----------
        layer, index
            As in ``delete``.
        label : int
            Its id.
        points : two of (row, col)
            One in each half, in pixels of the plane.
        read : callable or None
            Returns the (h, w) image of a box, for a cut along edges; None cuts at the narrowest place.

        Raises
        ------
        SamError
            When the object is not there, the points do not tell halves apart, or no id is left.
        """
        builder = self._edits.begin(layer, f"split object {label}")
        mask = self._mask(builder, index, label)
        from napari_sam.session.edit_tools import split  # with scipy, when somebody edits

        halves = split(mask, *points, image=None if read is None else _gray(read(mask.box)))
        kept, cut = sorted(halves, key=lambda half: -half.area)
        fresh = builder.next_label(index)
        known = [r for r in builder.records_of(label) if r.plane == index]
        builder.set(index, cut, fresh, "overwrite")
        _touch(builder, label, index, kept, edit="split", into=fresh)
        for record in known[-1:]:
            builder.add_record(record.touched(label=fresh, area=cut.area))
        _touch(builder, fresh, index, cut, edit="split", of=label)
        return self._done(builder, f"Split object {label}: the other half is {fresh}", "nothing changed")

    def fill_holes(self, layer: Hashable, index: Index, label: int) -> LabelEdit:
        """Fill an object's holes; other objects inside stay."""
        from napari_sam.session.edit_tools import fill_holes

        return self._reshape(layer, index, label, fill_holes, "fill holes of", "it has no holes")

    def keep_largest(self, layer: Hashable, index: Index, label: int) -> LabelEdit:
        """Keep an object's largest part only."""
        from napari_sam.session.edit_tools import keep_largest

        return self._reshape(
            layer, index, label, keep_largest, "keep the largest part of", "it is in one piece"
        )

    def smooth(self, layer: Hashable, index: Index, label: int, sigma: float = 2.0) -> LabelEdit:
        """Smooth an object's boundary; neighbours keep their pixels."""
        from napari_sam.session.edit_tools import smooth

        return self._reshape(
            layer, index, label, lambda mask: smooth(mask, sigma), "smooth", "it is smooth already"
        )

    def _reshape(
        self,
        layer: Hashable,
        index: Index,
        label: int,
        change: Callable[[ObjectMask], ObjectMask],
        what: str,
        why: str,
    ) -> LabelEdit:
        builder = self._edits.begin(layer, f"{what} object {label}")
        mask = self._mask(builder, index, label)
        new = change(mask)
        r0, c0, _, _ = mask.box
        gone = mask.mask & ~new.shifted(-r0, -c0).paste(mask.mask.shape)
        builder.erase(index, type(mask).from_plane(gone, (r0, c0)), label)
        builder.set(index, new, label, "pixels")
        now = builder.mask_of(index, label)
        if now.area != mask.area or not np.array_equal(now.mask, mask.mask):
            _touch(builder, label, index, now, edit=what)
        said = f"{what[0].upper()}{what[1:]} object {label}: {now.area - mask.area:+d} pixels"
        return self._done(builder, said, why)

    def _mask(self, builder: EditBuilder, index: Index, label: int) -> ObjectMask:
        mask = builder.mask_of(index, label)
        if label == 0 or not mask.area:
            raise PromptError(
                f"Expected an object of {builder.surface.name!r} in this plane, got id {label}, which is not "
                "there; click on an object, or choose its id in the layer's controls."
            )
        return mask

    def _done(self, builder: EditBuilder, said: str, nothing: str) -> LabelEdit:
        edit = builder.commit()
        self.said.emit(f"Nothing changed: {nothing}." if edit.is_empty else f"{said}.")
        return edit


def _ids(labels: Iterable[int]) -> list[int]:
    """Ids in their order, once each, without the background."""
    wanted = [int(label) for label in dict.fromkeys(labels) if label != 0]
    if not wanted:
        raise SamError("Expected the id of an object, got none or 0, the background; click on an object.")
    return wanted


def _name(labels: Sequence[int]) -> str:
    if len(labels) == 1:
        return f"object {labels[0]}"
    if len(labels) <= 3:
        return f"objects {', '.join(map(str, labels[:-1]))} and {labels[-1]}"
    return f"{len(labels)} objects"


def _planes(builder: EditBuilder, label: int, index: Index, everywhere: bool) -> Sequence[Index]:
    return builder.surface.planes_of(label, index) if everywhere else (index,)


def _forget(builder: EditBuilder, label: int, index: Index) -> None:
    """An object is gone from a plane, and with it what is known of it there."""
    known = builder.records_of(label)
    left = tuple(record for record in known if record.plane != index)
    if len(left) != len(known):
        builder.records(label, left)


def _touch(builder: EditBuilder, label: int, index: Index, mask: ObjectMask, **params: Any) -> None:
    """An object was edited by hand: its records say so, and keep its prompts."""
    known = builder.records_of(label)
    here = [record for record in known if record.plane == index]
    if not here:
        builder.add_record(ObjectRecord.of_mask(label, index, mask, source="edited", params=params))
        return
    builder.records(
        label,
        (
            record.touched(area=mask.area, params={**record.params, **params})
            if record.plane == index
            else record
            for record in known
        ),
    )


def _gray(image: NDArray[Any]) -> NDArray[np.float32]:
    pixels = np.asarray(image, np.float32)
    return pixels if pixels.ndim == 2 else pixels.mean(axis=-1, dtype=np.float32)
