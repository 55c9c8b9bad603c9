"""Automatic objects in the gaps of a Labels layer of the user's, as one edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_sam.errors import ImageError
from napari_sam.inference.candidates import Candidates, draw_with_indices
from napari_sam.inference.fitting import fit_into_gaps
from napari_sam.session.auto_requests import Shown, Written, without_pixels
from napari_sam.viewer.auto_columns import ForeignColumns
from napari_sam.viewer.auto_places import Host, NewLayer, Numbers, add_quietly, put_rest
from napari_sam.viewer.label_surfaces import read_box
from napari_sam.viewer.label_table import put_rows
from napari_sam.viewer.label_writer import plane_selection
from napari_sam.viewer.planes import layer_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_sam.session.edits import LabelEdit
    from napari_sam.session.requests import Plane

__all__ = ["TargetGaps"]


class TargetGaps:
    """The free pixels of a Labels layer of the user's, written as one native undo item.

    Parameters
    ----------
    host : Host
        Knows writer and viewer.
    plane : Plane
        Where the objects lie.
    shape : tuple of int
        The image's spatial shape.
    target : napari.layers.Labels
        Whose gaps are filled.
    on_edited : callable
        Called with a sentence when somebody else changes the layer.

    Raises
    ------
    ImageError
        When the target cannot be written.
    """

    def __init__(
        self, host: Host, plane: Plane, shape: tuple[int, ...], target: Any, on_edited: Callable[[str], None]
    ) -> None:
        host.writer.check(target, shape)
        self.name = str(target.name)
        self.layer = None  # the target is the user's, and edits tell what becomes of it
        self._host = host
        self._plane = without_pixels(plane)
        self._shape = shape
        self._target = target
        self._narrow: Any = None  # the target whose type had no ids left
        self._on_edited = on_edited
        self._sketch = NewLayer(host, plane, shape, f"{target.name} gaps", lambda _: None)
        self._edit: LabelEdit | None = None  # the fill, whether it is there or taken back
        self._filled = False
        self._numbers = Numbers()
        self._others = ForeignColumns()
        self._edited = False
        self._dropped = False
        self._writing = False
        self._silent = False
        self._away = False  # taken out of the viewer by undo, a copy of a larger type
        target.events.paint.connect(self._on_target_paint)

    def add_part(self, part: Candidates, kept: NDArray[np.int64]) -> None:
        """Sketch the part in a layer of its own; the target is written to once, at the end."""
        self._sketch.add_part(part, kept)

    def show(self, shown: Shown) -> Written | None:
        """Fill the gaps with these objects, instead of those that were filled in before."""
        self._sketch.remove()
        if self._dropped:
            return None
        self._take_back()
        labels, indices = draw_with_indices(shown.candidates, shown.kept)
        taken = np.asarray(self._target.data[plane_selection(self._plane)])
        fitted, numbers = fit_into_gaps(labels, taken)
        fitted, indices = self._numbers.keep(fitted, indices[numbers - 1])
        note = self._widen(len(indices))
        token = self._host.target.token(self._target)
        first = self._fill(token, fitted, len(indices))
        placed = fitted.astype(np.int64)
        placed[placed > 0] += first - 1
        return Written(placed, np.arange(first, first + len(indices)), indices, self, note, token)

    @property
    def nbytes(self) -> int:
        """Bytes of what undo needs."""
        return 0 if self._edit is None else self._edit.nbytes

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Add the objects' rows to the target's table."""
        if not self._edited and not self._dropped:
            self._others.collect(self._target)
            put_rows(self._target, self._others.complete(written, columns))

    def write_rest(self, written: Written, columns: Mapping[str, ArrayLike]) -> NDArray[np.integer]:
        """Give their rows to the objects that others have left; the ids of these."""
        return put_rest(self._target, self._plane, self._others, written, columns)

    def uses(self, layer: Any) -> bool:
        """True for the target and for the sketch."""
        return not self._silent and (layer is self._target or self._sketch.uses(layer))

    def drop(self) -> None:
        """The target or the sketch was removed."""
        self.close()
        self._dropped = True
        self._sketch.remove()

    def close(self) -> None:
        """Listen no more."""
        self._sketch.close()
        self._target.events.paint.disconnect(self._on_target_paint)

    @property
    def is_gone(self) -> bool:
        """True when somebody else has taken the target out of the viewer."""
        return not self._away and self._target not in self._host.viewer.layers

    def undo(self) -> str:
        """Take the objects back; what somebody else has changed of them since stays.

        Raises
        ------
        ImageError
            When the target is gone.
        """
        layer, layers, edit = self._target, self._host.viewer.layers, self._edit
        if layer not in layers:
            raise ImageError(f"{self.name!r} is gone already.")
        if edit is None:
            return "Nothing to undo."
        count = len(self._ids)
        if self._narrow is not None and self._is_as_copied(edit):
            self._host.target_layer = self._narrow
            self._silent = True
            layers.remove(layer)
            self._silent, self._away = False, True
            return f"{count} objects taken back from {layer.name!r}; redo brings them."
        skipped = self._apply(edit.inverse(), undone=True)
        self._filled = False
        self._others.collect(layer)
        put_rows(layer, {}, gone=self._ids)
        note = f" {skipped} pixels were changed by others since and stay as they are." if skipped else ""
        return f"{count} objects taken back from {layer.name!r}; redo brings them.{note}"

    def redo(self) -> str:
        """Write the same objects again, under the same ids; raises ImageError when the target is gone."""
        layers, edit = self._host.viewer.layers, self._edit
        if self._narrow is not None and self._target not in layers:
            add_quietly(self._host.viewer, self._target)
            self._host.target_layer = self._target
            self._away = False
            return f"{len(self._ids)} objects are back in {self._target.name!r}."
        if self._target not in layers:
            raise ImageError(f"{self.name!r} is gone.")
        if edit is None:
            return "Nothing to redo."
        skipped = self._apply(edit)
        self._filled, self._edited = True, False
        note = f" {skipped} pixels were changed by others since and stay as they are." if skipped else ""
        return f"{len(self._ids)} objects are back in {self._target.name!r}.{note}"

    @property
    def _ids(self) -> NDArray[np.integer]:
        """The objects of the fill."""
        first, last = (0, 0) if self._edit is None else self._edit.fresh
        return np.arange(first, last + 1) if last else np.zeros(0, np.int64)

    def _fill(self, token: Hashable, fitted: NDArray[np.int32], count: int) -> int:
        """Write objects 1, 2, ... onto free pixels; the id of the first."""
        builder = self._host.session.edits.begin(token, "segment everything")
        if count == 0:
            self._edit = None
            return 1
        first = min([builder.next_label(self._plane) for _ in range(count)])
        there = builder.read(self._plane, (0, 0, *fitted.shape))
        new = np.where((fitted > 0) & (there == 0), fitted.astype(np.int64) + first - 1, there)
        builder.paint(self._plane, (0, 0), new)
        self._writing = True
        try:
            self._edit = builder.commit(push=False)
        finally:
            self._writing = False
        self._filled, self._edited = True, False
        return first

    def _apply(self, edit: LabelEdit, undone: bool = False) -> int:
        self._writing = True
        try:
            return self._host.session.edits.apply(edit, undone=undone)
        finally:
            self._writing = False

    def _take_back(self) -> None:
        """Undo the last fill; raises when that would undo somebody's work instead.

        By napari's own undo, so that a slider that moves leaves one item there and not hundreds.
        """
        edit = self._edit
        if edit is None or not self._filled:
            return
        if self._is_changed():
            raise ImageError(
                f"Expected {self._target.name!r} as it was filled, got one that was edited since: the "
                "thresholds no longer apply to it; segment again."
            )
        ids = self._ids
        self._host.writer.take_back(self._target, *edit.fresh)
        self._edit, self._filled = None, False
        self._others.collect(self._target)
        put_rows(self._target, {}, gone=ids)

    def _is_changed(self) -> bool:
        """True when the last item of the target's undo history need not be ours."""
        return self._edited or self._edit is None or not self._filled or not self._holds(self._edit)

    def _is_as_copied(self, edit: LabelEdit) -> bool:
        """True when the copy holds the fill and what was copied, whatever happened to it in between."""
        wide, narrow = np.asarray(self._target.data), np.asarray(self._narrow.data)
        if wide.shape != narrow.shape or not self._holds(edit):
            return False
        return bool(np.count_nonzero(wide != narrow) == sum(patch.area for patch in edit.patches))

    def _holds(self, edit: LabelEdit) -> bool:
        """True when every pixel of the fill is as it was filled."""
        return not any(
            ((read_box(self._target.data, patch.index, patch.box) != patch.after) & patch.changed).any()
            for patch in edit.patches
        )

    def _widen(self, count: int) -> str:
        """Take a copy of a larger type as target where the ids do not fit; a note for the user."""
        old = self._target
        if count <= self._host.writer.ids.count_free(old, self._plane.index):
            return ""
        try:
            data = np.asarray(old.data).astype(np.int32 if old.data.dtype.itemsize < 4 else np.int64)
        except MemoryError:
            raise ImageError(
                f"Expected memory for a copy of {old.name!r} with room for {count} more ids, got none; fill "
                "another layer."
            ) from None
        layer = Labels(data, name=f"{old.name} {data.dtype}", **layer_transform(old))
        layer.features = old.features.copy()
        add_quietly(self._host.viewer, layer)
        old.events.paint.disconnect(self._on_target_paint)
        self._narrow, self._target = old, layer
        self._host.target_layer = layer
        layer.events.paint.connect(self._on_target_paint)
        return (
            f"The ids do not fit into {old.data.dtype}: {old.name!r} stays as it was, and {layer.name!r} "
            "is a copy with the new objects."
        )

    def _on_target_paint(self, event: Any) -> None:
        if not self._writing:
            self._edited = True
            self._on_edited(f"{self._target.name!r} was edited: the thresholds no longer apply to it.")
