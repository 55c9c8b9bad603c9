"""Tables as people save them: separated by commas, semicolons or tabs, names of columns in any case."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["name_cells", "open_table"]


def open_table(text: str) -> tuple[list[str], Any]:
    r"""Names of the columns, in lower case, and a ``csv.reader`` of the lines that follow.

    Examples
    --------
    >>> columns, lines = open_table("Id; Split\na;train")
    >>> columns, list(lines)
    (['id', 'split'], [['a', 'train']])
    """
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    return [name.strip().lower() for name in next(reader, [])], reader


def name_cells(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """The cells of a line by column; those that it lacks are empty."""
    padded = [*cells, *[""] * len(columns)]
    return {name: cell.strip() for name, cell in zip(columns, padded, strict=False)}
