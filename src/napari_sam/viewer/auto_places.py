"""Where automatic objects are drawn: a Labels layer of their own, or the gaps of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from napari.layers import Labels

from napari_sam.errors import ImageError
from napari_sam.inference.candidates import Candidates, draw_with_indices
from napari_sam.inference.fitting import fit_into_gaps
from napari_sam.session.auto_requests import Shown, Written
from napari_sam.viewer.label_table import put_rows
from napari_sam.viewer.label_writer import LabelWriter, make_labels, plane_selection
from napari_sam.viewer.planes import layer_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_sam.session.requests import Plane
    from napari_sam.viewer.object_target import ObjectTarget

__all__ = ["Host", "NewLayer", "Place", "TargetGaps"]


class Host(Protocol):
    """What a place needs of the controller."""

    viewer: Any
    target_layer: Any
    writer: LabelWriter
    target: ObjectTarget

    def add_labels(self, plane: Plane, data: NDArray[np.integer], name: str) -> Any:
        """Add a Labels layer that coincides with the plane's image; None when that is gone."""


class Place(Protocol):
    """Where one result is drawn; also the step that takes it back."""

    name: str

    def add_part(self, part: Candidates, kept: NDArray[np.int64]) -> None:
        """Draw the objects of a part beside those that are there."""

    def show(self, shown: Shown) -> Written | None:
        """Draw exactly these objects; None when there is nothing to draw on."""

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Give each object its row in the layer's table."""

    def uses(self, layer: Any) -> bool:
        """True for layers that the objects are drawn in."""

    def drop(self) -> None:
        """One of these layers was removed: draw nothing more."""

    def close(self) -> None:
        """Listen to nothing any more."""

    def undo(self) -> str:
        """Take the objects back."""

    def redo(self) -> str:
        """Write them again."""


class NewLayer:
    """A Labels layer that is made when the first object comes, and redrawn in place.

    Parameters
    ----------
    host : Host
        Adds the layer.
    plane : Plane
        Where the objects lie.
    shape : tuple of int
        The image's spatial shape.
    name : str
        The layer's name.
    on_edited : callable
        Called with a sentence when somebody else changes the layer.
    """

    def __init__(
        self, host: Host, plane: Plane, shape: tuple[int, ...], name: str, on_edited: Callable[[str], None]
    ) -> None:
        self.name = name
        self.layer: Any = None
        self._host = host
        self._plane = plane
        self._shape = shape
        self._on_edited = on_edited
        self._data: Any = None
        self._edited = False
        self._dropped = False
        self._count = 0
        self._numbers = _Numbers()

    def add_part(self, part: Candidates, kept: NDArray[np.int64]) -> None:
        """Draw the objects of a part on free pixels, under the next ids."""
        if not len(kept) or not self._ready():
            return
        plane = self._data[plane_selection(self._plane)]
        for i in kept.tolist():
            obj = part.mask(i)
            window = plane[obj.slices]
            free = obj.mask & (window == 0)
            if free.any():
                self._count += 1
                window[free] = self._count
        self.layer.refresh(extent=False)

    def show(self, shown: Shown) -> Written | None:
        """Draw exactly these objects, in the layer's own array."""
        if (self.layer is None and not len(shown.kept)) or not self._ready():
            return None
        labels, indices = self._numbers.keep(*draw_with_indices(shown.candidates, shown.kept))
        self._data[plane_selection(self._plane)] = labels
        self._count = len(indices)
        self.layer.refresh(extent=False)
        token = self._host.target.token(self.layer)
        return Written(labels, np.arange(1, len(indices) + 1), indices, self, layer=token)

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Replace the layer's table."""
        if self.layer is not None and not self._edited:
            self.layer.features = dict(columns)

    def uses(self, layer: Any) -> bool:
        """True for the layer."""
        return layer is not None and layer is self.layer

    def drop(self) -> None:
        """The layer was removed."""
        self.close()
        self._dropped = True

    def close(self) -> None:
        """Listen no more."""
        if self.layer is not None:
            self.layer.events.paint.disconnect(self._on_layer_paint)

    def remove(self) -> None:
        """Take the layer out of the viewer again."""
        self.close()
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._host.viewer.layers:
            self._host.viewer.layers.remove(layer)

    def undo(self) -> str:
        """Take the layer out of the viewer, unless somebody has worked on it."""
        layer, layers = self.layer, self._host.viewer.layers
        if layer is None or layer not in layers:
            return f"{self.name!r} is gone already."
        if self._is_changed():
            return f"{layer.name!r} was edited since, so it stays; delete it by hand."
        self.close()
        self.layer = None  # so that its removal is not taken for the user's
        layers.remove(layer)
        self.layer = layer
        return f"{self._count} objects taken back; redo brings them."

    def redo(self) -> str:
        """Put the layer back."""
        if self.layer is None or self.layer in self._host.viewer.layers:
            return "Nothing to redo."
        add_quietly(self._host.viewer, self.layer)
        self._dropped = False
        self.layer.events.paint.connect(self._on_layer_paint)
        return f"{self._count} objects are back."

    def _ready(self) -> bool:
        """True when there is a layer to draw in, made now if need be."""
        if self._dropped:
            return False
        if self.layer is not None and self._is_changed():
            self.close()  # somebody works on what was drawn so far: all of it goes to a layer of its own
            self.layer = None
        if self.layer is None:
            self.layer = self._host.add_labels(self._plane, make_labels(self._shape), self.name)
            if self.layer is None:
                return False
            self._data, self._edited, self._count = self.layer.data, False, 0
            self.layer.events.paint.connect(self._on_layer_paint)
        return True

    def _is_changed(self) -> bool:
        return self._edited or self.layer.data is not self._data

    def _on_layer_paint(self, event: Any) -> None:
        self._edited = True
        self._on_edited(f"{self.layer.name!r} was edited: the thresholds no longer apply to it.")


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
        self._host = host
        self._plane = plane
        self._shape = shape
        self._target = target
        self._narrow: Any = None  # the target whose type had no ids left
        self._on_edited = on_edited
        self._sketch = NewLayer(host, plane, shape, f"{target.name} gaps", lambda _: None)
        self._fitted = np.zeros((0, 0), np.int32)
        self._ids: NDArray[np.integer] = np.zeros(0, np.int64)
        self._numbers = _Numbers()
        self._after: NDArray[np.integer] | None = None  # the whole plane as it was left here
        self._edited = False
        self._dropped = False
        self._writing = False
        self._silent = False
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
        self._fitted, indices = self._numbers.keep(fitted, indices[numbers - 1])
        note = self._widen(len(indices))
        self._fill()
        placed = self._fitted.astype(np.int64)
        if len(self._ids):
            placed[placed > 0] += int(self._ids[0]) - 1
        return Written(placed, self._ids, indices, self, note, self._host.target.token(self._target))

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Add the objects' rows to the target's table."""
        if not self._edited and not self._dropped:
            put_rows(self._target, columns)

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

    def undo(self) -> str:
        """Take the objects back, by napari's own undo where nothing was done since."""
        layer, layers = self._target, self._host.viewer.layers
        if layer not in layers:
            return f"{self.name!r} is gone already."
        count, ids = len(self._ids), self._ids
        if self._is_changed():
            plane = np.asarray(layer.data[plane_selection(self._plane)])
            ours = (plane >= ids[0]) & (plane <= ids[-1]) if count else np.zeros(plane.shape, bool)
            self._host.writer.erase(layer, self._plane, ours)
            put_rows(layer, {}, gone=ids)
            self._after, self._ids = None, ids[:0]
        elif self._narrow is not None:
            self._host.target_layer = self._narrow
            self._silent = True
            layers.remove(layer)
            self._silent = False
        else:
            self._take_back()
        return f"{count} objects taken back from {layer.name!r}; redo brings them."

    def redo(self) -> str:
        """Fill the gaps again, with ids that are free now."""
        layers = self._host.viewer.layers
        if self._narrow is not None and self._target not in layers:
            add_quietly(self._host.viewer, self._target)
            self._host.target_layer = self._target
            return f"{len(self._ids)} objects are back in {self._target.name!r}."
        if self._target not in layers:
            return f"{self.name!r} is gone."
        self._fill()
        return f"{len(self._ids)} objects are back in {self._target.name!r}."

    def _fill(self) -> None:
        self._writing = True
        try:
            self._ids = self._host.writer.fill(self._target, self._plane, self._fitted, shape=self._shape)
        finally:
            self._writing = False
        self._edited = False
        self._after = np.array(self._target.data[plane_selection(self._plane)])

    def _take_back(self) -> None:
        """Undo the last fill; raises when that would undo somebody's work instead."""
        if self._after is None:
            return
        if self._is_changed():
            raise ImageError(
                f"Expected {self._target.name!r} as it was filled, got one that was edited since: the "
                "thresholds no longer apply to it; segment again."
            )
        ids, self._after, self._ids = self._ids, None, self._ids[:0]
        if len(ids):
            self._host.writer.take_back(self._target, int(ids[0]))
            put_rows(self._target, {}, gone=ids)

    def _is_changed(self) -> bool:
        """True when the last item of the target's undo history need not be ours."""
        if self._edited or self._after is None:
            return True
        return not np.array_equal(np.asarray(self._target.data[plane_selection(self._plane)]), self._after)

    def _widen(self, count: int) -> str:
        """Take a copy of a larger type as target where the ids do not fit; a note for the user."""
        old = self._target
        if count <= self._host.writer.count_free_ids(old, self._plane):
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


class _Numbers:
    """Numbers of objects, which change as little as can be: with them their colours would."""

    def __init__(self) -> None:
        self._before: dict[int, int] = {}

    def keep(
        self, labels: NDArray[np.int32], indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Number objects 1, 2, ... anew, so that each keeps the number that it had the last time.

        Where there are fewer objects now, those whose number is too high take the free ones.
        """
        count = len(indices)
        old = np.array([self._before.get(i, 0) for i in indices.tolist()], np.int64)
        stays = (old > 0) & (old <= count)
        numbers = np.where(stays, old, 0)
        numbers[~stays] = np.setdiff1d(np.arange(1, count + 1), old[stays])
        ordered = np.empty_like(indices)
        ordered[numbers - 1] = indices
        self._before = dict(zip(indices.tolist(), numbers.tolist(), strict=True))
        return np.concatenate([[0], numbers]).astype(np.int32)[labels], ordered


def add_quietly(viewer: Any, layer: Any) -> None:
    """Add a layer; the one that is selected stays so, and with it the tool in the user's hand."""
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    viewer.layers.selection.active = active
