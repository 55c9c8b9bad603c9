"""Which objects of a Labels layer were reviewed: the column ``reviewed`` of its features table.

The table travels with the layer: into a saved file, and to whoever opens it next. Other columns stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

__all__ = ["REVIEWED", "read_column", "read_marks", "write_marks"]

REVIEWED = "reviewed"


def _read(layer: Any) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """The label of each row, and the other columns; without a column ``index`` row k is of label k."""
    table = layer.features
    columns = {str(name): np.asarray(table[name]) for name in table}
    count = len(next(iter(columns.values()), ()))
    index = columns.pop("index", np.arange(count))
    return np.asarray(index, np.int64), columns


def read_column(layer: Any, names: Sequence[str]) -> dict[int, float]:
    """Numbers that a features table has of labels, in the first of some columns that is there; else empty."""
    index, columns = _read(layer)
    for name in names:
        if name in columns and columns[name].dtype.kind in "biuf":
            return dict(zip(index.tolist(), columns[name].astype(float).tolist(), strict=True))
    return {}


def read_marks(layer: Any) -> frozenset[int]:
    """Labels that are marked as reviewed."""
    index, columns = _read(layer)
    if REVIEWED not in columns:
        return frozenset()
    return frozenset(index[_as_marks(columns[REVIEWED])].tolist())


def write_marks(layer: Any, labels: Collection[int], done: bool) -> None:
    """Mark labels as reviewed, or take their marks away.

    Parameters
    ----------
    layer : napari.layers.Labels
        Its table gets the column, and rows for labels that have none.
    labels : collection of int
        Which.
    done : bool
        Whether they are reviewed.
    """
    index, columns = _read(layer)
    wanted = np.unique(np.fromiter(labels, np.int64, len(labels)))
    new = wanted[~np.isin(wanted, index)]
    marks = columns.pop(REVIEWED, None)
    marks = np.zeros(len(index), bool) if marks is None else _as_marks(marks)
    marks = np.concatenate([marks, np.zeros(len(new), bool)])
    index = np.concatenate([index, new])
    marks[np.isin(index, wanted)] = done
    layer.features = {
        "index": index,
        **{name: _lengthen(values, len(new)) for name, values in columns.items()},
        REVIEWED: marks,
    }


def _as_marks(values: NDArray[Any]) -> NDArray[np.bool_]:
    """A column as it comes from a file or from rows that were joined: unknown is not reviewed."""
    if values.dtype.kind == "b":
        return values
    return np.array([str(value).strip().lower() in ("true", "1", "1.0") for value in values], bool)


def _lengthen(values: NDArray[Any], more: int) -> NDArray[Any]:
    """A column with rows at its end that are unknown."""
    if not more:
        return values
    if values.dtype.kind in "iuf":
        return np.concatenate([values.astype(float), np.full(more, np.nan)])
    return np.concatenate([values.astype(object), np.full(more, None, dtype=object)])
