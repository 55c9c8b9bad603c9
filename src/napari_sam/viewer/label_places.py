"""Where the labels of a layer lie: in memory, or in a file or folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_sam.viewer.planes import full_resolution

__all__ = ["find_path", "is_in_memory"]


def is_in_memory(data: Any) -> bool:
    """True for labels that lie nowhere else."""
    return type(data) is np.ndarray


def find_path(layer: Any) -> str | None:
    """The file or folder that a layer's data lie in; None where they are in memory alone.

    A layer that a script or SAM has made of an array on disk has no source, but such arrays know their place:
    that of one among many in a zarr group, and of the levels of a pyramid the group.
    """
    data = full_resolution(layer)
    root, inside = getattr(getattr(data, "store", None), "root", None), getattr(data, "path", "")
    if root is not None:
        place = Path(root) / str(inside)
        return str(place.parent if layer.multiscale else place)
    path = layer.source.path or getattr(data, "filename", None)  # of a memory map
    return None if path is None else str(path)
