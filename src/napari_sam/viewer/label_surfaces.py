"""Labels layers as surfaces that edits are written to, each edit as one item of napari's own undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.viewer.label_index import LabelIndex
from napari_sam.viewer.silent_changes import SilentChanges

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.label_store import LabelStore
    from napari_sam.session.edits import LabelSurface, Write
    from napari_sam.session.patches import Box, Index
    from napari_sam.viewer.label_writer import LabelWriter
    from napari_sam.viewer.large_labels import LargeLabels

__all__ = ["LabelSurfaces", "LayerSurface", "StoreSurface"]


class LabelSurfaces:
    """Knows each Labels layer by a token, and where its objects are.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose layers they are.
    writer : LabelWriter
        Writes into layers and knows their ids.
    large : LargeLabels
        The pyramids on disk that were made here.
    """

    def __init__(self, viewer: Any, writer: LabelWriter, large: LargeLabels) -> None:
        self._viewer = viewer
        self._writer = writer
        self._large = large
        self._tokens: WeakKeyDictionary[Any, Hashable] = WeakKeyDictionary()
        self._layers: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        self._names: dict[Hashable, str] = {}
        self._used: dict[int, int] = {}  # how often an address was that of a layer that is gone
        self._indices: WeakKeyDictionary[Any, tuple[int, LabelIndex]] = WeakKeyDictionary()
        self._silent = SilentChanges(viewer)
        self._silent.noticed.connect(self._on_silent_noticed)

    def close(self) -> None:
        """Let go of every layer."""
        self._silent.close()
        for layer in list(self._indices):
            layer.events.paint.disconnect(self._on_labels_paint)
        self._indices.clear()
        self._layers.clear()
        self._tokens.clear()

    def token(self, layer: Any) -> Hashable:
        """What a layer is called in edits and records: its ``id``, unless that was another layer's once."""
        token = self._tokens.get(layer)
        if token is None:
            address = id(layer)
            again = self._used.get(address, 0)
            token = (address, again) if again else address
            self._tokens[layer] = token
            self._layers[token] = layer
            finalize(layer, _count_up, self._used, address).atexit = False
        self._names[token] = str(layer.name)
        return token

    def layer(self, token: Hashable) -> Any:
        """The layer of a token while it is in the viewer; else None."""
        layer = self._layers.get(token)
        return layer if layer is not None and layer in self._viewer.layers else None

    def surface(self, token: Hashable) -> LabelSurface:
        """The surface of a layer.

        Raises
        ------
        ImageError
            When the layer is gone or cannot be written.
        """
        layer = self.layer(token)
        if layer is None:
            name = self._names.get(token, "the layer")
            raise ImageError(
                f"Expected the layer {name!r}, got none: it was deleted, so its objects stay as they were."
            )
        if self._large.holds(layer):
            store = self._large.store(layer)
            return StoreSurface(layer, store, self._index(layer, store.levels[0], lambda: not store.largest))
        data = self._writer.writable(layer)
        index = self._index(layer, data, lambda: self._writer.ids.is_known_empty(layer))
        return LayerSurface(layer, data, self._writer, index)

    # ------------------------------------------------------------- where objects are
    def _index(self, layer: Any, data: Any, is_empty: Any) -> LabelIndex:
        identity, index = self._indices.get(layer, (None, None))
        if index is not None and identity == id(data):
            if not layer.visible and not self._large.holds(layer):
                index.doubt()  # of a hidden layer nobody tells whether it has changed
            return index
        if index is None:
            layer.events.paint.connect(self._on_labels_paint)
            self._silent.watch(layer)
        shape = tuple(data.shape)
        index = LabelIndex(shape, lambda where, box: read_box(data, where, box), empty=is_empty())
        self._indices[layer] = (id(data), index)
        return index

    def _on_labels_paint(self, event: Any) -> None:
        """Somebody painted: what is known of these planes is stale."""
        entry = self._indices.get(event.source)
        if entry is not None and not self._writer.is_writing:
            for ranges in _painted(event):
                entry[1].forget(ranges)

    def _on_silent_noticed(self, layer: Any) -> None:
        """Napari's undo, or a script: nobody knows where."""
        if not self._writer.is_writing and not self._large.holds(layer):
            self._indices[layer][1].doubt()


class _IndexedSurface:
    """What every layer answers from its index.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.
    index : LabelIndex
        Where its objects are.
    """

    def __init__(self, layer: Any, index: LabelIndex) -> None:
        self.index = index
        self._layer = layer

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self._layer.name)

    def look_again(self, index: Index) -> None:
        """Look through a plane before the next answer."""
        self.index.forget_plane(index)

    def find(self, label: int, index: Index) -> Box | None:
        """The box of an object in a plane."""
        return self.index.find(label, index)

    def planes_of(self, label: int, like: Index) -> Sequence[Index]:
        """The planes that hold an object."""
        return self.index.planes_of(label, like)

    def areas_in(self, index: Index) -> dict[int, int]:
        """Pixels of each object of a plane."""
        return self.index.areas_in(index)


class LayerSurface(_IndexedSurface):
    """A single-scale Labels layer.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.
    data : array-like
        Its array.
    writer : LabelWriter
        Writes, and knows the ids.
    index : LabelIndex
        Where its objects are.
    """

    def __init__(self, layer: Any, data: Any, writer: LabelWriter, index: LabelIndex) -> None:
        super().__init__(layer, index)
        self._data = data
        self._writer = writer

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the layer."""
        return tuple(self._data.shape)

    def read(self, index: Index, box: Box) -> NDArray[np.integer]:
        """(h, w) labels of a box."""
        return read_box(self._data, index, box)

    def write(self, writes: Sequence[Write]) -> None:
        """Write pixels as one item of the layer's undo."""
        self._writer.write_pixels(self._layer, writes)
        self.index.note(writes)

    def next_label(self, index: Index) -> int:
        """An id above all others."""
        return self._writer.ids.next(self._layer, index)

    def check_label(self, label: int) -> None:
        """Raise ImageError when an id does not fit."""
        check_label(label, self._data.dtype, self.name)

    def release(self, first: int, last: int) -> None:
        """These ids are free again."""
        self._writer.ids.release(self._layer, first, last)


class StoreSurface(_IndexedSurface):
    """A pyramid on disk, which napari shows but has no undo for.

    Parameters
    ----------
    layer : napari.layers.Labels
        What shows it.
    store : LabelStore
        The pyramid.
    index : LabelIndex
        Where its objects are.
    """

    def __init__(self, layer: Any, store: LabelStore, index: LabelIndex) -> None:
        super().__init__(layer, index)
        self._store = store

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the finest level."""
        return tuple(self._store.levels[0].shape)

    def read(self, index: Index, box: Box) -> NDArray[np.integer]:
        """(h, w) labels of a box."""
        return self._store.read(_region(index, box))

    def write(self, writes: Sequence[Write]) -> None:
        """Write pixels into every level."""
        for write in writes:
            (row, col), (height, width) = write.origin, write.mask.shape
            region = _region(write.index, (row, col, row + height, col + width))
            there = self._store.read(region)
            try:
                self._store.write(region, np.where(write.mask, write.values, there).astype(np.int32))
            except OSError as error:
                raise ImageError(
                    f"Expected to write into {self._store.folder}, got {type(error).__name__}: {error}; "
                    "free some room."
                ) from error
        self.index.note(writes)
        self._layer.refresh()

    def next_label(self, index: Index) -> int:
        """An id above all others."""
        self.check_label(self._store.largest + 1)
        return self._store.largest + 1

    def check_label(self, label: int) -> None:
        """Raise ImageError when an id does not fit."""
        check_label(label, np.dtype(np.int32), self.name)

    def release(self, first: int, last: int) -> None:
        """These ids are free again."""
        if self._store.largest == last:
            self._store.largest = first - 1


def read_box(data: Any, index: Index, box: Box) -> NDArray[np.integer]:
    """(h, w) labels of a box of a plane of any array."""
    return np.asarray(data[tuple(_region(index, box))])


def check_label(label: int, dtype: Any, name: str) -> None:
    """Raise ImageError when an id does not fit into a type."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if not low <= label <= high:
        raise ImageError(
            f"Expected an id of at most {high} in {name!r}, got {label}: its type is {dtype}; choose a "
            "smaller id, or convert the layer to a larger type (right click on it)."
        )


def _region(index: Index, box: Box) -> list[slice | int]:
    inside = iter((slice(box[0], box[2]), slice(box[1], box[3])))
    return [next(inside) if value is None else value for value in index]


def _painted(event: Any) -> list[list[tuple[int, int]] | None]:
    """The part of the layer that each piece of a stroke changed, as ranges; None where it does not say."""
    found: list[list[tuple[int, int]] | None] = []
    for atom in getattr(event, "value", None) or [None]:
        try:
            where = getattr(atom, "slice_key", None) or atom[0]
            found.append([_range(part) for part in where])
        except (TypeError, ValueError, IndexError, AttributeError):
            return [None]
    return found


def _range(part: Any) -> tuple[int, int]:
    if isinstance(part, slice):
        return int(part.start), int(part.stop)
    return int(np.min(part)), int(np.max(part)) + 1


def _count_up(used: dict[int, int], address: int) -> None:
    used[address] = used.get(address, 0) + 1
