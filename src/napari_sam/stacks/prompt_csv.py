"""Prompts as a CSV table, one line for each point, box, or vertex of a polygon."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import PromptError
from napari_sam.stacks.csv_tables import name_cells, open_table
from napari_sam.stacks.prompt_pieces import Piece, read_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["format_csv", "read_csv_pieces"]

_POINT: Final = ("row", "col")
_BOX: Final = ("r0", "c0", "r1", "c1")
_KNOWN: Final = ("file", "object", "kind", *_POINT, *_BOX, "label", "ring")
_OTHER_NAMES: Final = {
    "y": "row",
    "x": "col",
    "y0": "r0",
    "x0": "c0",
    "y1": "r1",
    "x1": "c1",
    "image": "file",
}
_AXES: Final = "TZ"


def read_csv_pieces(text: str, path: Path) -> list[Piece]:
    """Read the lines of a table.

    Parameters
    ----------
    text : str
        Its first line names the columns; they are separated by commas, semicolons or tabs.
    path : Path
        For messages.

    Raises
    ------
    PromptError
        When a column is missing or a line is wrong.
    """
    header, reader = open_table(text)
    header = _rename(header)
    _check_header(header, path)
    axes = "".join(axis for axis in _AXES if axis.lower() in header)
    pieces = []
    for cells in reader:
        line = reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            raise PromptError(
                f"{path.name}, line {line}: expected {len(header)} cells, as in line 1, got {len(cells)}."
            )
        values = name_cells(header, cells)
        pieces.append(_read_line(values, axes, f"{path.name}, line {line}", line))
    return pieces


def _rename(header: list[str]) -> list[str]:
    """Other names of columns become ours; those of napari's points, axis-0 and so on, too."""
    numbered = sorted(name for name in header if name.startswith("axis-") and name[5:].isdigit())
    names = dict(zip(numbered[::-1], ["col", "row", "z", "t"], strict=False)) | _OTHER_NAMES
    return [names.get(name, name) for name in header]


def _check_header(header: Sequence[str], path: Path) -> None:
    has_points, has_boxes = (all(name in header for name in names) for names in (_POINT, _BOX))
    if not has_points and not has_boxes:
        raise PromptError(
            f"{path.name}, line 1: expected the columns row and col, or r0, c0, r1 and c1, got "
            f"{', '.join(header)[:80] or 'nothing'}; the first line names the columns."
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise PromptError(f"{path.name}, line 1: expected each column once, got {twice[0]!r} twice.")


def _read_line(values: Mapping[str, str], axes: str, where: str, line: int) -> Piece:
    kind = values.get("kind", "").lower()
    if not kind:
        kind = "point" if values.get("row") else "box"
    if kind == "rectangle":
        kind = "box"
    if kind not in ("point", "box", "polygon"):
        raise PromptError(f"{where}: expected kind point, box or polygon, got {values['kind']!r}.")
    names = _BOX if kind == "box" else _POINT
    numbers = [_read_number(values, name, where) for name in names]
    label = read_label(values.get("label"))
    if label is None:
        raise PromptError(
            f"{where}: expected label foreground (1) or background (0), got {values['label']!r}."
        )
    if label == 0 and kind != "point":
        raise PromptError(
            f"{where}: expected a {kind} around the object, got one beside it; use points there."
        )
    return Piece(
        file=values.get("file", ""),
        axes=axes,
        plane=tuple(_read_whole(values, axis.lower(), where, low=0) for axis in axes),
        object=_read_whole(values, "object", where, low=1) if values.get("object") else 0,
        kind=kind,
        values=np.reshape(numbers, (-1, 2)),
        label=label,
        ring=_read_whole(values, "ring", where, low=0) if values.get("ring") else 0,
        line=line,
    )


def _read_number(values: Mapping[str, str], name: str, where: str) -> float:
    text = values.get(name, "")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise PromptError(f"{where}: expected a number in column {name}, got {text!r}.")
    return number


def _read_whole(values: Mapping[str, str], name: str, where: str, low: int) -> int:
    number = _read_number(values, name, where)
    if number != int(number) or number < low:
        raise PromptError(
            f"{where}: expected a whole number from {low} in column {name}, got {values[name]!r}."
        )
    return int(number)


def format_csv(pieces: Iterable[Piece]) -> str:
    """The text of a table; axes and rings have columns only where there are some."""
    listed = list(pieces)
    axes = "".join(axis for axis in _AXES if any(axis in piece.axes for piece in listed))
    names = ["file", *axes.lower(), *_KNOWN[1:-1]]
    if any(piece.ring for piece in listed):
        names.append("ring")
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    for piece in listed:
        line: dict[str, Any] = {"file": piece.file, "object": piece.object, "kind": piece.kind}
        line |= {a.lower(): n for a, n in zip(piece.axes, piece.plane, strict=True)}
        if piece.kind == "box":
            writer.writerow(line | dict(zip(_BOX, map(_show, np.ravel(piece.values)), strict=True)))
            continue
        if piece.kind == "point":
            line["label"] = "foreground" if piece.label else "background"
        elif "ring" in names:
            line["ring"] = piece.ring
        for vertex in piece.values:
            writer.writerow(line | dict(zip(_POINT, map(_show, vertex), strict=True)))
    return stream.getvalue()


def _show(value: Any) -> str:
    """The shortest text that is read as the same number."""
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
