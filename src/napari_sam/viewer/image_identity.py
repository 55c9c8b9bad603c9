"""By what an image is known again tomorrow: its file, its shape, and samples of its pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.viewer.planes import full_resolution, spatial_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["digest_samples", "identify_image", "same_image"]

SIDE = 48
"""Side of the samples: in the middle of the first, the middle and the last plane, and at their corners."""


def digest_samples(data: Any, ndim: int) -> str:
    """A digest of a few samples of an image; the same for numpy, dask and zarr.

    Parameters
    ----------
    data : array-like
        The finest level.
    ndim : int
        Axes without colours.
    """
    shape = tuple(int(size) for size in data.shape)
    digest = hashlib.blake2b(repr((shape, np.dtype(data.dtype).str)).encode(), digest_size=16)
    leading, (rows, cols) = shape[: ndim - 2], shape[ndim - 2 : ndim]
    first, middle, last = ([0] * len(leading), [n // 2 for n in leading], [n - 1 for n in leading])
    for place in dict.fromkeys(map(tuple, (first, middle, last))):
        for r in dict.fromkeys((0, max(rows // 2 - SIDE // 2, 0), max(rows - SIDE, 0))):
            c = min(r, max(cols - SIDE, 0)) if r else 0
            sample = np.asarray(data[(*place, slice(r, r + SIDE), slice(c, c + SIDE))])
            digest.update(np.ascontiguousarray(sample).tobytes())
    return digest.hexdigest()


def identify_image(layer: Any) -> Callable[[], Mapping[str, Any]]:
    """What identifies an image layer, as JSON; the samples are read when it is called, in the worker."""
    held, ndim, name = [full_resolution(layer)], int(layer.ndim), str(layer.name)
    path, shape = layer.source.path, spatial_shape(layer)
    found: dict[str, Any] = {}

    def describe() -> Mapping[str, Any]:
        if held:
            found.update(name=name, path=None if path is None else str(path), shape=list(shape))
            try:
                found["digest"] = digest_samples(held[0], ndim)
            except Exception:  # noqa: BLE001 - a lazy image raises whatever its reader does
                found["digest"] = ""
            held.clear()  # nobody's pixels are held longer than that
        return found

    return describe


def same_image(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True when two descriptions are of one image: the same samples, or without them the same file."""
    if one.get("shape") != other.get("shape"):
        return False
    if one.get("digest") and other.get("digest"):
        return bool(one["digest"] == other["digest"])
    return one.get("path") is not None and one.get("path") == other.get("path")
