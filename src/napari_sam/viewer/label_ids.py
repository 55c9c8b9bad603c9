"""Which ids of a Labels layer are free: no other object's in any plane, nor one that undo brings back."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.viewer.silent_changes import SilentChanges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.session.patches import Index

__all__ = ["LabelIds", "select_plane_of"]

LOOK_SIDE = 1024
LOOKED_THROUGH = 1 << 26
"""Pixels of a layer in memory that are looked through where anything may have come back: 30 ms."""


@dataclass(slots=True)
class _Ids:
    """What is known of the ids of a layer.

    Attributes
    ----------
    identity : int
        Of the array that they were found in; 0 where it must be looked through.
    largest : int
        The largest in use.
    others : int
        The largest that others wrote, or that was found; ids up to it are never free again.
    ever : int
        The largest that ever was in use: napari's own undo may bring it back.
    """

    identity: int = 0
    largest: int = 0
    others: int = 0
    ever: int = 0

    def note(self, label: int) -> None:
        """An id is used from now on."""
        self.largest = max(self.largest, label)
        self.ever = max(self.ever, label)

    def note_others(self, label: int) -> None:
        """An id is used by others than us, nobody knows where."""
        self.note(label)
        self.others = max(self.others, label)


class LabelIds:
    """Knows the next free id of each layer.

    The largest id is looked up once per layer, then tracked: a maximum over a whole stack, or even over a
    large plane, at every accept would cost more than everything else together.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Which shows the layers.
    """

    def __init__(self, viewer: Any) -> None:
        self._ids: WeakKeyDictionary[Any, _Ids] = WeakKeyDictionary()
        self._stale: WeakSet[Any] = WeakSet()  # layers drawn anew since, perhaps because a script wrote
        self._doubted: WeakSet[Any] = WeakSet()  # where napari's own undo may have brought ids back
        self._silent = SilentChanges(viewer)
        self._silent.noticed.connect(self._on_silent_noticed)
        self._ours = False

    def close(self) -> None:
        """Let go of every layer."""
        self._silent.close()
        for layer in list(self._ids):
            layer.events.paint.disconnect(self._on_labels_paint)
            layer.events.set_data.disconnect(self._on_labels_set_data)
        self._ids.clear()
        self._stale.clear()
        self._doubted.clear()

    def know_empty(self, layer: Any) -> None:
        """Take a new layer for one without ids, so that nobody has to look through it."""
        self._listen(layer)
        self._ids[layer] = _Ids(id(layer.data))

    def is_known_empty(self, layer: Any) -> bool:
        """True for a new layer that nobody has written into."""
        return self._ids.get(layer) == _Ids(id(layer.data)) and layer not in self._stale

    @contextmanager
    def ours(self) -> Iterator[None]:
        """What layers tell meanwhile is our own doing, of which ``note`` or ``release`` says the ids."""
        self._ours = True
        try:
            yield
        finally:
            self._ours = False

    def note(self, layer: Any, label: int) -> None:
        """We wrote an id."""
        if layer in self._ids:
            self._ids[layer].note(label)

    def next(self, layer: Any, index: Index) -> int:
        """An id above all others.

        Raises
        ------
        ImageError
            When the layer's type has none left.
        """
        data = layer.data
        label = self._largest_label(layer, data, index) + 1
        if label > np.iinfo(data.dtype).max:
            raise ImageError(
                f"Expected a free id in {layer.name!r}, got {data.dtype} whose ids "
                "are used up; convert the layer to a larger type (right click on it)."
            )
        return label

    def release(self, layer: Any, first: int, last: int) -> None:
        """The ids ``first`` to ``last``, taken by an edit that was undone, are free again.

        Except those that others use too: nobody knows in which planes.
        """
        ids = self._ids.get(layer)
        if ids is not None and ids.largest == last and ids.identity == id(layer.data):
            ids.largest = max(first - 1, ids.others)

    def count_free(self, layer: Any, index: Index) -> int:
        """How many more objects the layer's integer type has ids for."""
        return int(np.iinfo(layer.data.dtype).max) - self._largest_label(layer, layer.data, index)

    def _largest_label(self, layer: Any, data: Any, index: Index) -> int:
        """The largest id in use, at least 0; at most the largest of the layer's type."""
        self._listen(layer)
        ids = self._ids.setdefault(layer, _Ids())
        if ids.identity != id(data):
            largest = max(_maximum(data), 0)
            ids = self._ids[layer] = _Ids(id(data), largest, others=largest, ever=largest)
        elif layer in self._stale or isinstance(data, np.ndarray):
            shown = data[select_plane_of(index)]
            if layer not in self._stale:
                # a script that writes into the array tells nobody: look at no more pixels than a click has
                # time for
                rows, cols = (-(-size // LOOK_SIDE) for size in shown.shape)
                shown = shown[::rows, ::cols]
            found = int(np.max(np.asarray(shown), initial=0))
            if found > ids.largest:
                ids.note_others(found)
        if layer in self._doubted or not layer.visible:  # of a hidden layer nobody tells what came back
            _look_for_more(ids, data)
        self._stale.discard(layer)
        self._doubted.discard(layer)
        return ids.largest

    def _listen(self, layer: Any) -> None:
        if layer not in self._ids:
            layer.events.paint.connect(self._on_labels_paint)
            layer.events.set_data.connect(self._on_labels_set_data)
            self._silent.watch(layer)

    def _on_labels_paint(self, event: Any) -> None:
        """Somebody painted, perhaps with a new id."""
        ids = self._ids.get(event.source)
        if self._ours or ids is None:
            return
        painted = _painted_label(event)
        if painted is None:
            ids.identity = 0
        else:
            ids.note_others(painted)

    def _on_labels_set_data(self, event: Any) -> None:
        """The layer is drawn anew: another plane of it, or somebody has written and refreshed it."""
        if not self._ours:
            self._stale.add(event.source)

    def _on_silent_noticed(self, layer: Any) -> None:
        """Napari's own undo perhaps, which brings any id back that ever was there."""
        if not self._ours:
            self._doubted.add(layer)


def select_plane_of(index: Index) -> tuple[int | slice, ...]:
    """Index of a plane in an array of the image's spatial shape."""
    return tuple(slice(None) if value is None else value for value in index)


def _painted_label(event: Any) -> int | None:
    """The largest id of a stroke, which tells its pieces; None where it does not."""
    try:
        return max(
            int(piece.new_value if hasattr(piece, "new_value") else np.max(piece[2])) for piece in event.value
        )
    except (TypeError, ValueError, IndexError):
        return None


def _look_for_more(ids: _Ids, data: Any) -> None:
    """Take account of ids that came back, as they are found, or where that takes long as they may be."""
    if not isinstance(data, np.ndarray) or data.size > LOOKED_THROUGH:
        ids.note(ids.ever)
        return
    found = _maximum(data)
    if found > ids.largest:
        ids.note_others(found)


def _maximum(data: Any) -> int:
    """The largest id, read plane by plane where the data are not in memory."""
    if isinstance(data, np.ndarray) or data.ndim <= 2:
        return int(np.max(np.asarray(data), initial=0))
    return max((int(np.max(np.asarray(data[i]), initial=0)) for i in range(data.shape[0])), default=0)
