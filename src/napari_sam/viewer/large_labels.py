"""Objects of planes too large for one label array: written to a pyramid on disk, which napari shows."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_sam.inference.label_store import LabelStore
    from napari_sam.session.requests import Plane

__all__ = ["LARGEST_PLANE", "STORE", "LargeLabels", "is_large"]

STORE = "napari_sam_store"
"""In the metadata of a layer: the ``LabelStore`` that it shows, by which the next widget knows it."""

LARGEST_PLANE = 16384**2
"""Pixels, a gigabyte of labels. Most graphics cards show no larger texture: napari would thin it out."""


def is_large(shape: tuple[int, ...]) -> bool:
    """True when a plane of an image of this shape is more than one array can show."""
    return bool(np.prod(sorted(shape)[-2:], dtype=float) > LARGEST_PLANE)


class LargeLabels:
    """The stores behind the layers that were made here, by this widget or an earlier one."""

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
        layer.metadata[STORE] = store

    def holds(self, layer: Any) -> bool:
        """True for layers that show a pyramid made here; a copy of one has its metadata, but other arrays."""
        store = layer.metadata.get(STORE)
        return store is not None and bool(layer.multiscale) and layer.data[0] is store.levels[0]

    def store(self, layer: Any) -> LabelStore:
        """The store that a layer shows."""
        store: LabelStore = layer.metadata[STORE]
        return store
