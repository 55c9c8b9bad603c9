"""Where automatic objects are drawn, and a Labels layer of their own as such a place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.inference.candidates import Candidates, draw_with_indices
from napari_sam.session.auto_requests import Shown, Written, without_pixels
from napari_sam.session.patches import Patch
from napari_sam.viewer.auto_columns import ForeignColumns
from napari_sam.viewer.label_surfaces import read_box
from napari_sam.viewer.label_table import put_rows
from napari_sam.viewer.label_writer import LabelWriter, make_labels, plane_selection
from napari_sam.viewer.silent_changes import redraw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_sam.session.requests import Plane
    from napari_sam.session.session import Session
    from napari_sam.viewer.object_target import ObjectTarget

__all__ = ["Host", "NewLayer", "Numbers", "Place", "add_quietly", "put_rest"]


class Host(Protocol):
    """What a place needs of the controller."""

    viewer: Any
    target_layer: Any
    writer: LabelWriter
    target: ObjectTarget
    session: Session

    def add_labels(self, plane: Plane, data: NDArray[np.integer], name: str) -> Any:
        """Add a Labels layer that coincides with the plane's image; None when that is gone."""


class Place(Protocol):
    """Where one result is drawn; also the step that takes it back.

    Attributes
    ----------
    name : str
        For messages.
    layer : napari.layers.Labels or None
        The layer of its own; None where there is none, or not yet.
    """

    name: str
    layer: Any

    def add_part(self, part: Candidates, kept: NDArray[np.int64]) -> None:
        """Draw the objects of a part beside those that are there."""

    def show(self, shown: Shown) -> Written | None:
        """Draw exactly these objects; None when there is nothing to draw on."""

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Give each object its row in the layer's table."""

    def write_rest(self, written: Written, columns: Mapping[str, ArrayLike]) -> NDArray[np.integer]:
        """Give their rows to the objects that others have left; the ids of these."""

    def uses(self, layer: Any) -> bool:
        """True for layers that the objects are drawn in."""

    def drop(self) -> None:
        """One of these layers was removed: draw nothing more."""

    def close(self) -> None:
        """Listen to nothing any more."""

    def undo(self) -> str:
        """Take the objects back; raises ImageError where that cannot be."""

    def redo(self) -> str:
        """Write them again; raises ImageError where that cannot be."""


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
        self._plane = without_pixels(plane)
        self._shape = shape
        self._on_edited = on_edited
        self._data: Any = None
        self._drawn: Patch | None = None
        self._stood = 0, False  # where among the layers, and whether objects were accepted into it
        self._edited = False
        self._dropped = False
        self._away = False  # taken out of the viewer by undo
        self._count = 0
        self._numbers = Numbers()
        self._others = ForeignColumns()

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
        redraw(self.layer)

    def show(self, shown: Shown) -> Written | None:
        """Draw exactly these objects, in the layer's own array."""
        if (self.layer is None and not len(shown.kept)) or not self._ready():
            return None
        labels, indices = self._numbers.keep(*draw_with_indices(shown.candidates, shown.kept))
        self._data[plane_selection(self._plane)] = labels
        self._count = len(indices)
        self._drawn = Patch.between(self._plane.index, (0, 0), np.zeros_like(labels), labels)
        redraw(self.layer)
        token = self._host.target.token(self.layer)
        return Written(labels, np.arange(1, len(indices) + 1), indices, self, layer=token)

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Replace the layer's table, but for columns of others."""
        if self.layer is not None and not self._edited:
            self._others.collect(self.layer)
            self.layer.features = self._others.complete(written, columns)

    def write_rest(self, written: Written, columns: Mapping[str, ArrayLike]) -> NDArray[np.integer]:
        """Give their rows to the objects that others have left, beside rows of others; the ids of these."""
        return put_rest(self.layer, self._plane, self._others, written, columns)

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

    @property
    def nbytes(self) -> int:
        """Bytes of what undo needs: the layer, while it is not in the viewer."""
        layer = self.layer
        return 0 if layer is None or layer in self._host.viewer.layers else int(layer.data.nbytes)

    @property
    def is_gone(self) -> bool:
        """True when somebody else has taken the layer out of the viewer."""
        return not self._away and (self.layer is None or self.layer not in self._host.viewer.layers)

    def undo(self) -> str:
        """Take the layer out of the viewer.

        Raises
        ------
        ImageError
            When it is gone, or somebody has worked on it.
        """
        layer, layers = self.layer, self._host.viewer.layers
        if layer is None or layer not in layers:
            raise ImageError(f"{self.name!r} is gone already.")
        if not self._is_as_drawn():
            raise ImageError(f"{layer.name!r} was edited since, so it stays; delete it by hand.")
        self.close()
        self._stood = layers.index(layer), self._host.target_layer is layer
        self.layer = None  # so that its removal is not taken for the user's
        layers.remove(layer)
        self.layer, self._away = layer, True
        return f"{self._count} objects taken back; redo brings them."

    def redo(self) -> str:
        """Put the layer back; raises ImageError where it was not taken away."""
        if self.layer is None or self.layer in self._host.viewer.layers:
            raise ImageError(f"{self.name!r} was not taken back, so there is nothing to redo.")
        place, was_target = self._stood
        add_quietly(self._host.viewer, self.layer, place)
        if was_target:
            self._host.target_layer = self.layer
        self._dropped = self._away = False
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

    def _is_as_drawn(self) -> bool:
        """True when the layer holds our objects and nothing else, whatever happened to it in between."""
        drawn, data = self._drawn, self.layer.data
        if drawn is None or data is not self._data:
            return not self._is_changed()
        if np.count_nonzero(data) != np.count_nonzero(drawn.after):
            return False
        return bool((read_box(data, drawn.index, drawn.box) == drawn.after).all())

    def _on_layer_paint(self, event: Any) -> None:
        self._edited = True
        self._on_edited(f"{self.layer.name!r} was edited: the thresholds no longer apply to it.")


class Numbers:
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


def put_rest(
    layer: Any, plane: Plane, others: ForeignColumns, written: Written, columns: Mapping[str, ArrayLike]
) -> NDArray[np.integer]:
    """Put the rows of what others have left of a result into the table of its layer.

    Parameters
    ----------
    layer : napari.layers.Labels
        Where it was drawn.
    plane : Plane
        In which plane.
    others : ForeignColumns
        What others have written into the table.
    written : Written
        The result as it was drawn.
    columns : mapping of str to (N,) array
        Its table.

    Returns
    -------
    (K,) int
        Ids of the objects of which a pixel is as it was drawn.
    """
    try:
        there = np.asarray(layer.data[plane_selection(plane)])
    except IndexError:  # its labels are another array by now
        there = np.zeros((0, 0), written.labels.dtype)
    left = np.zeros(len(written.ids), bool)
    if left.size and there.shape == written.labels.shape:
        same = (there == written.labels) & (there > 0)
        left[written.labels[same] - written.ids.min()] = True  # the ids follow each other
    ids = np.sort(written.ids)[left]
    rows = np.isin(np.asarray(columns["index"]), ids)
    before = others.labels
    others.collect(layer)
    chosen = {name: np.asarray(values)[rows] for name, values in columns.items()}
    put_rows(layer, others.complete(written, chosen), gone=before)
    return ids


def add_quietly(viewer: Any, layer: Any, place: int | None = None) -> None:
    """Add a layer, on top or at a place; the one that is selected stays so, and with it the tool in hand."""
    active = viewer.layers.selection.active
    viewer.layers.insert(len(viewer.layers) if place is None else min(place, len(viewer.layers)), layer)
    if active is None or active in viewer.layers:  # a lasso goes when another layer is selected
        viewer.layers.selection.active = active
