"""A view of an array that is larger than memory: read by the crop, never whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LazyArray"]


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

    def __len__(self) -> int:
        return self.shape[0]

    def transpose(self, order: Sequence[int]) -> LazyArray:
        """The axes in another order."""
        return self._derive(list(self._chosen), [self._order[i] for i in order])

    def expand(self, places: Sequence[int]) -> LazyArray:
        """New axes of length 1, at these places among the axes of the result."""
        chosen, order = list(self._chosen), list(self._order)
        for place in sorted(places):
            order.insert(place, len(chosen))  # after all axes of the source
            chosen.append(np.arange(1))
        return self._derive(chosen, order)

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
        data = np.asarray(self._source[tuple(index[: len(self._source.shape)])])
        data = data.reshape(data.shape + (1,) * (len(picks) - data.ndim))
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
