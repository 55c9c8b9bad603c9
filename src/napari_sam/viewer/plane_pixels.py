"""The pixels of one plane, read where they are asked for and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

    from napari_sam.session.patches import Box
    from napari_sam.session.requests import Plane

__all__ = ["LazyPlane", "PlaneReader", "read_box", "select_plane"]

Selection = tuple[int | slice, ...]


def read_box(plane: Plane, box: Box) -> Any:
    """The pixels of a plane in a box (r0, c0, r1, c1), half-open: (h, w) or (h, w, C)."""
    pixels = plane.read()
    finest = pixels[0] if isinstance(pixels, list | tuple) else pixels
    return finest[box[0] : box[2], box[1] : box[3]]


@dataclass(frozen=True, slots=True, eq=False)
class PlaneReader:
    """Makes the image that the engine reads: one plane, or that plane of every level of a pyramid.

    Attributes
    ----------
    levels : tuple of array-like
        The layer's data, finest first; one where it is no pyramid.
    selection : tuple of int or slice
        Selects the plane at the finest level.
    rgb : bool
        True when the last axis holds colours; an alpha channel is left out.
    """

    levels: tuple[Any, ...]
    selection: Selection
    rgb: bool

    def __call__(self) -> Any:
        """(H, W) or (H, W, 3) array-like, or a list of them, finest first.

        Levels that are coarser along other axes only, so that the plane is no smaller, are left out.
        """
        planes: list[Any] = []
        for level in self.levels:
            selection = _at_level(self.selection, self.levels[0].shape, level.shape)
            plane = select_plane(level, selection, self.rgb)
            if not planes or plane.shape != planes[-1].shape:
                planes.append(plane)
        return planes[0] if len(planes) == 1 else planes


class LazyPlane:
    """One plane of an array that is not in memory (zarr, HDF5, ...), as an array of its own.

    Indexing reads what is indexed, every time: the array may be changed in place.

    Parameters
    ----------
    data : array-like
        The whole array.
    selection : tuple of int or slice
        Selects the plane; slices stand for its own axes.
    rgb : bool
        True when the last axis holds colours.
    """

    def __init__(self, data: Any, selection: Selection, rgb: bool) -> None:
        self._data = data
        self._selection = selection
        sizes = [int(n) for n, part in zip(data.shape, selection, strict=False) if isinstance(part, slice)]
        self.shape = (*sizes, min(int(data.shape[-1]), 3)) if rgb else tuple(sizes)
        self.dtype = np.dtype(data.dtype)
        self.ndim = len(self.shape)
        self._rgb = rgb

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Pixels by basic indexing of rows, columns and, where there are any, colours."""
        parts = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        parts += [slice(None)] * (self.ndim - len(parts))
        wanted = iter(parts)
        full = [next(wanted) if isinstance(part, slice) else part for part in self._selection]
        pixels = np.asarray(self._data[tuple(full)])
        if self._rgb:
            pixels = pixels[..., : self.shape[-1]][..., next(wanted)]
        return pixels

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole plane, where it fits into memory."""
        return self[...].astype(dtype or self.dtype, copy=False)


def select_plane(data: Any, selection: Selection, rgb: bool) -> Any:
    """The plane of an array, without reading any of it.

    Arrays in memory give views and dask arrays dask arrays; the engine knows by their names that they are
    unchanged. An array that is all plane is left as it is; of others a ``LazyPlane`` is made.
    """
    if isinstance(data, np.ndarray) or hasattr(data, "__dask_graph__"):
        plane = data[selection]
        return plane[..., :3] if rgb else plane
    if not rgb and all(isinstance(part, slice) for part in selection):
        return data
    return LazyPlane(data, selection, rgb)


def _at_level(selection: Selection, finest: Sequence[int], shape: Sequence[int]) -> Selection:
    """The selection on a coarser level, whose planes along other axes may be fewer."""
    found: list[int | slice] = []
    for part, fine, coarse in zip(selection, finest, shape, strict=False):
        if isinstance(part, slice):
            found.append(part)
        else:
            found.append(min(int((part + 0.5) * coarse / fine), int(coarse) - 1))
    return tuple(found)
