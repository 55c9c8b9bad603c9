"""What others have written into the table of an automatic result, such as marks of the review, by candidate.

Thresholds number objects anew, and Undo takes their rows away; a candidate stays the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_sam.session.auto_requests import Written

__all__ = ["ForeignColumns"]


class ForeignColumns:
    """Columns that are not of the result, while it is drawn again and again."""

    def __init__(self) -> None:
        self._values: dict[str, dict[int, Any]] = {}  # by column and candidate
        self._own: frozenset[str] = frozenset()
        self._candidates: dict[int, int] = {}  # of the labels in the table

    @property
    def labels(self) -> tuple[int, ...]:
        """The objects that ``complete`` was called for last."""
        return tuple(self._candidates)

    def collect(self, layer: Any) -> None:
        """Remember what a layer's table has of the objects that ``complete`` was called for last."""
        table = layer.features
        if "index" not in table:
            return
        index = np.asarray(table["index"]).tolist()
        if not any(label in self._candidates for label in index):
            return  # their rows were taken away
        names = [str(name) for name in table if str(name) not in self._own]
        self._values = {name: self._values.get(name, {}) for name in names}
        for name in names:
            for label, value in zip(index, np.asarray(table[name]).tolist(), strict=True):
                if label in self._candidates:
                    self._values[name][self._candidates[label]] = value

    def complete(self, written: Written, columns: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
        """The columns of a result, with those of others beside them."""
        self._own = frozenset(columns)
        self._candidates = dict(zip(written.ids.tolist(), written.indices.tolist(), strict=True))
        rows = [self._candidates[label] for label in np.asarray(columns["index"]).tolist()]
        others = {name: _make_column(known, rows) for name, known in self._values.items()}
        return {**columns, **others}


def _make_column(known: Mapping[int, Any], rows: Collection[int]) -> NDArray[Any]:
    """The values of some candidates; of those that have none False, not a number, or None."""
    kinds = {type(value) for value in known.values()}
    if kinds == {bool}:
        return np.array([known.get(row, False) for row in rows], bool)
    if kinds <= {bool, int, float}:
        return np.array([known.get(row, np.nan) for row in rows], float)
    column = np.empty(len(rows), object)
    column[:] = [known.get(row) for row in rows]
    return column
