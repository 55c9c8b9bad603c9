"""The table of a batch: one line per image, with what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_sam.stacks.batch_plan import PlannedUnit
    from napari_sam.stacks.manifest import UnitEntry
    from napari_sam.stacks.work_units import Unit

__all__ = ["BatchTable", "Row"]

_SIGNS: Final = {"waiting": "", "running": "…", "done": "✓", "failed": "✗"}


class Row:
    """One image.

    Parameters
    ----------
    unit : Unit
    status : str
        "waiting", "running", "done" or "failed".
    text : str
        What is shown of it.
    """

    __slots__ = ("status", "text", "unit")

    def __init__(self, unit: Unit, status: str = "waiting", text: str = "waiting") -> None:
        self.unit, self.status, self.text = unit, status, text

    @classmethod
    def from_entry(cls, entry: UnitEntry) -> Row:
        """What a manifest says of an image."""
        if entry.result is None:
            return cls(entry.unit, "failed", entry.error)
        return cls(entry.unit, "done", f"{entry.result.objects} objects")

    @classmethod
    def from_plan(cls, planned: PlannedUnit) -> Row:
        """What a batch is going to do with an image."""
        if planned.to_do:
            return cls(planned.unit, "waiting", "waiting" if planned.why == "new" else planned.why)
        return cls(planned.unit) if planned.entry is None else cls.from_entry(planned.entry)

    @property
    def shown(self) -> str:
        """The second column."""
        return f"{_SIGNS[self.status]} {self.text}".strip()


class _Rows(QAbstractTableModel):
    """The rows, found by their images: a batch may have a hundred thousand."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._places: dict[str, int] = {}

    def set_rows(self, rows: Iterable[Row]) -> None:
        self.beginResetModel()
        self.rows = list(rows)
        self._places = {row.unit.source: i for i, row in enumerate(self.rows)}
        self.endResetModel()

    def update_row(self, unit: Unit, status: str, text: str) -> int:
        place = self._places.get(unit.source)
        if place is None:
            return -1
        row = self.rows[place]
        if (row.status, row.text) != (status, text):
            row.status, row.text = status, text
            self.dataChanged.emit(self.index(place, 0), self.index(place, 1))
        return place

    def rowCount(self, parent: Any = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: Any = None) -> int:
        return 0 if parent is not None and parent.isValid() else 2

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.shown if index.column() else row.unit.name
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{row.unit.source}\n{row.text}"
        return None

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return ("image", "state")[section]
        return None


class BatchTable(QTableView):
    """Shows rows; a double click asks for one's result."""

    chosen = Signal(object)  # Row

    def __init__(self) -> None:
        super().__init__()
        self._rows = _Rows()
        self.setModel(self._rows)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setMinimumHeight(140)
        self.setToolTip("Double-click an image that is done to see it with its objects.")
        vertical, horizontal = self.verticalHeader(), self.horizontalHeader()
        if vertical is not None and horizontal is not None:
            vertical.setVisible(False)
            vertical.setDefaultSectionSize(self.fontMetrics().height() + 6)
            horizontal.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)

    def currentChanged(self, current: Any, previous: Any) -> None:
        """Tell which row was selected."""
        super().currentChanged(current, previous)
        if self.current is not None:
            self.chosen.emit(self.current)

    @property
    def rows(self) -> list[Row]:
        """From top to bottom."""
        return self._rows.rows

    @property
    def current(self) -> Row | None:
        """The row that is selected."""
        index = self.currentIndex()
        return self.rows[index.row()] if index.isValid() and index.row() < len(self.rows) else None

    def set_rows(self, rows: Iterable[Row]) -> None:
        """Show other rows."""
        self._rows.set_rows(rows)

    def show_step(self, unit: Unit, status: str, text: str, *, follow: bool) -> None:
        """Show what became of an image, scrolling to it if asked to."""
        place = self._rows.update_row(unit, status, text)
        if follow and place >= 0:
            self.scrollTo(self._rows.index(place, 0))
