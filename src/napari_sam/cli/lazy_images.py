"""Images of the command line that are larger than memory: read by the crop, never whole."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.cli.image_files import TIFF_SUFFIXES, ImageStack, arrange_axes, read_image
from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LARGE", "LazyArray", "open_image"]

LARGE: Final = 1 << 28
"""Bytes; smaller TIFF files are read at once."""
AXES: Final = "TCZYX"
"""What the axes of a zarr array that does not say so are taken for, from the last backwards."""


class LazyArray:
    """A view of an array that is read only where it is sliced along rows or columns.

    Integers, and anything along the other axes, give another view; a slice along Y or X reads.

    Parameters
    ----------
    source : array
        With ``shape``, ``dtype`` and slices of positive step.
    spatial : sequence of int
        The axes Y and X of ``source``.
    """

    def __init__(self, source: Any, spatial: Sequence[int]) -> None:
        self._source = source
        self._spatial = frozenset(spatial)
        self._chosen: list[int | NDArray[np.int64]] = [np.arange(n) for n in source.shape]
        self._order = list(range(len(source.shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the view."""
        return tuple(len(self._line(axis)) for axis in self._order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the source."""
        dtype: np.dtype[Any] = np.dtype(self._source.dtype)
        return dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._order)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def transpose(self, order: Sequence[int]) -> LazyArray:
        """The axes in another order."""
        return self._derive(list(self._chosen), [self._order[i] for i in order])

    def __getitem__(self, key: Any) -> Any:
        keys = list(key) if isinstance(key, tuple) else [key]
        rest = self.ndim - sum(k is not Ellipsis for k in keys)
        if Ellipsis in [k for k in keys if isinstance(k, type(Ellipsis))]:
            place = next(i for i, k in enumerate(keys) if k is Ellipsis)
            keys[place : place + 1] = [slice(None)] * rest
        else:
            keys += [slice(None)] * rest
        chosen, order, reads = list(self._chosen), [], False
        for axis, k in zip(self._order, keys, strict=True):
            picked = self._line(axis)[k]
            if np.ndim(picked) == 0:
                chosen[axis] = int(picked)
                continue
            reads |= axis in self._spatial and isinstance(k, slice) and k != slice(None)
            chosen[axis] = picked
            order.append(axis)
        view = self._derive(chosen, order)
        return np.asarray(view) if reads else view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        index: list[Any] = []
        picks: list[Any] = []
        for chosen in self._chosen:
            if isinstance(chosen, int):
                index.append(chosen)
                continue
            first = int(chosen.min()) if chosen.size else 0
            index.append(slice(first, int(chosen.max()) + 1 if chosen.size else 0))
            picks.append(chosen - first)
        data = np.asarray(self._source[tuple(index)])
        for axis, pick in enumerate(picks):
            if not np.array_equal(pick, np.arange(data.shape[axis])):
                data = data.take(pick, axis=axis)
        kept = sorted(self._order)
        data = data.transpose([kept.index(axis) for axis in self._order])
        return data if dtype is None else data.astype(dtype)

    def _line(self, axis: int) -> NDArray[np.int64]:
        chosen = self._chosen[axis]
        assert not isinstance(chosen, int)
        return chosen

    def _derive(self, chosen: list[int | NDArray[np.int64]], order: list[int]) -> LazyArray:
        view = LazyArray.__new__(LazyArray)
        view._source, view._spatial = self._source, self._spatial
        view._chosen, view._order = chosen, order
        return view


def open_image(path: Path) -> ImageStack:
    """Open an image file; large TIFF files and zarr folders are not read before they are sliced.

    Parameters
    ----------
    path : Path
        What ``read_image`` takes, or a folder that zarr wrote: an array, or an OME-Zarr image.

    Returns
    -------
    ImageStack

    Raises
    ------
    ImageError
        When it cannot be opened.
    FileNotFoundError
        When there is nothing.
    """
    if path.is_dir():
        return _open_zarr(path)
    if path.is_file() and path.suffix.lower() in TIFF_SUFFIXES and path.stat().st_size > LARGE // 8:
        stack = _open_tiff(path)
        if stack is not None:
            return stack
    return read_image(path)


def _open_tiff(path: Path) -> ImageStack | None:
    """Nothing for a file that is small, damaged, or that can only be read whole."""
    import tifffile
    import zarr

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            axes, shape, size = str(series.axes), tuple(series.shape), int(series.nbytes)
            extra = tuple(getattr(series.keyframe, "extrasamples", ()))
            in_one_piece = series.dataoffset is not None
        if size <= LARGE or not {"Y", "X"} <= set(axes):
            return None
        if in_one_piece:
            source = tifffile.memmap(path, mode="r")
        else:
            store = tifffile.imread(path, aszarr=True, series=0, level=0)
            source = zarr.open_array(store, mode="r")
            weakref.finalize(source, store.close)  # the store holds the file open
        if tuple(source.shape) != shape:
            return None
    except (ValueError, TypeError, ImportError, IndexError, tifffile.TiffFileError):
        return None
    data, axes = arrange_axes(LazyArray(source, (axes.index("Y"), axes.index("X"))), axes, extra)
    return ImageStack(data, axes)


def _open_zarr(path: Path) -> ImageStack:
    import zarr

    try:
        node = zarr.open(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"Expected an image file or a zarr image, got the folder {path}.") from error
    axes = ""
    if isinstance(node, zarr.Group):
        attributes = dict(node.attrs)
        scales = attributes.get("ome", attributes).get("multiscales") or []
        if not scales:
            raise ImageError(
                f"Expected a zarr array or an OME-Zarr image in {path}, got a group without one."
            )
        named = scales[0].get("axes") or []
        axes = "".join(str(a["name"] if isinstance(a, dict) else a).upper() for a in named)
        node = node[scales[0]["datasets"][0]["path"]]
    if not isinstance(node, zarr.Array) or node.ndim < 2 or np.dtype(node.dtype).kind not in "uifb":
        raise ImageError(f"Expected an image of real numbers in {path}, got {node}.")
    if len(axes) != node.ndim or not {"Y", "X"} <= set(axes):
        if node.ndim > len(AXES):
            raise ImageError(f"Expected at most the axes {AXES} in {path}, got {node.ndim}.")
        axes = AXES[-node.ndim :]
        if node.ndim == 3 and node.shape[-1] in (3, 4) and node.shape[0] > 4:
            axes = "YXC"
    data, axes = arrange_axes(LazyArray(node, (axes.index("Y"), axes.index("X"))), axes, ())
    return ImageStack(data, axes)
