"""Rows of a Labels layer's ``features`` table: one for each object, beside those of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["put_rows"]


def put_rows(layer: Any, columns: Mapping[str, ArrayLike], gone: ArrayLike = ()) -> None:
    """Replace the rows of some labels, and leave other rows and columns as they are.

    Parameters
    ----------
    layer : napari.layers.Labels
        Whose column ``index`` names the label of each row; without it row k is of label k.
    columns : mapping of str to (N,) array
        The new rows; ``index`` among them. Empty when rows are only taken away.
    gone : (M,) int
        Labels whose rows are taken away.
    """
    table = layer.features
    old = {str(name): np.asarray(table[name]) for name in table}
    count = len(next(iter(old.values()), ()))
    index = np.asarray(old.pop("index", np.arange(count)))
    new = {name: np.asarray(values) for name, values in columns.items()}
    added = new.pop("index", np.zeros(0, np.int64))
    kept = ~np.isin(index, np.concatenate([np.asarray(gone, np.int64).ravel(), added]))
    if not kept.any() and not len(added):
        layer.features = {}
        return
    rows: dict[str, Any] = {"index": np.concatenate([index[kept], added])}
    for name in {**old, **new}:
        before = old[name][kept] if name in old else None
        rows[name] = _join(before, new.get(name), int(kept.sum()), len(added))
    layer.features = rows


def _join(before: NDArray[Any] | None, after: NDArray[Any] | None, old: int, new: int) -> NDArray[Any]:
    """One column; where one side does not have it, its rows are unknown."""
    parts = [_fill(before, after, old), _fill(after, before, new)]
    if not len(parts[0]) or not len(parts[1]):
        return parts[0] if len(parts[0]) else parts[1]
    if any(part.dtype.kind in "OUS" for part in parts):
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)


def _fill(values: NDArray[Any] | None, like: NDArray[Any] | None, count: int) -> NDArray[Any]:
    if values is not None:
        return values
    if like is not None and like.dtype.kind in "iufb":
        return np.full(count, np.nan)
    return np.full(count, None, dtype=object)
