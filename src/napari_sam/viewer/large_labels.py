"""Objects of planes too large for one label array: written to a pyramid on disk, which napari shows."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_sam.errors import PromptError
from napari_sam.session.requests import ObjectRef

if TYPE_CHECKING:
    from napari_sam.inference.label_store import LabelStore
    from napari_sam.session.requests import Plane
    from napari_sam.types import ObjectMask

__all__ = ["LARGEST_PLANE", "LargeLabels", "is_large"]

LARGEST_PLANE = 16384**2
"""Pixels; a graphics card shows no larger texture, so that napari would thin out a single array."""


def is_large(shape: tuple[int, ...]) -> bool:
    """True when a plane of an image of this shape is more than one array can show."""
    return bool(np.prod(sorted(shape)[-2:], dtype=float) > LARGEST_PLANE)


class LargeLabels:
    """The stores behind the layers that were made here."""

    def __init__(self) -> None:
        self._stores: WeakKeyDictionary[Any, LabelStore] = WeakKeyDictionary()

    def make(self, image: Any, plane: Plane, shape: tuple[int, ...]) -> LabelStore:
        """An empty pyramid for an image, on disk.

        Raises
        ------
        ImageError
            When the folder cannot be written.
        """
        from napari_sam.inference.label_store import LabelStore, default_label_dir

        name = re.sub(r"[^\w.-]+", "_", str(image.name)) or "image"
        folder = (
            default_label_dir() / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000:03d}.zarr"
        )
        return LabelStore(folder, shape, plane.axes, [float(s) for s in image.scale])

    def adopt(self, layer: Any, store: LabelStore) -> None:
        """Remember that a layer shows a store."""
        self._stores[layer] = store

    def holds(self, layer: Any) -> bool:
        """True for layers that show a pyramid made here."""
        return layer in self._stores

    def write(
        self, layer: Any, plane: Plane, mask: ObjectMask, *, overwrite: bool, replaces: ObjectRef | None
    ) -> ObjectRef:
        """Write one object; as ``LabelWriter.write``, but without napari's undo, which pyramids do not have.

        Raises
        ------
        PromptError
            When nothing of the object lies on free pixels.
        """
        store = self._stores[layer]
        if replaces is not None and replaces.layer != id(layer):
            replaces = None
        label = store.largest + 1 if replaces is None else replaces.label
        there = store.read(_region(plane, mask))
        free = np.ones(there.shape, bool) if overwrite else there == 0
        if replaces is not None:
            free |= there == label
        if not (mask.mask & free).any():
            raise PromptError(
                f"Expected free pixels for the object, got none: it lies on objects of {layer.name!r}; "
                "tick 'Overwrite existing objects' to replace them."
            )
        if replaces is not None:
            old = store.read(_region(plane, replaces.mask))
            store.write(_region(plane, replaces.mask), np.where(old == label, 0, old).astype(np.int32))
            there = store.read(_region(plane, mask))
        new = mask.mask & free
        store.write(_region(plane, mask), np.where(new, label, there).astype(np.int32))
        layer.refresh()
        return ObjectRef(id(layer), label, type(mask).from_plane(new, mask.origin))


def _region(plane: Plane, mask: ObjectMask) -> list[slice | int]:
    inside = iter(mask.slices)
    return [next(inside) if value is None else value for value in plane.index]
