"""One point, box or polygon: what a line of a prompt table says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Piece", "read_label"]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One point, box or polygon, before those of an object are put together.

    Attributes
    ----------
    file, axes, plane, object, line
        As in ``PromptRow``; object 0 is one of its own.
    kind : "point", "box" or "polygon"
    values : (N, 2) float
        (row, col) of points, of the two corners of a box, or of a polygon's vertices; pixel centres are
        whole numbers.
    label : int
        Of points: 1 on the object, 0 beside it.
    ring : int
        Of a polygon: rings of one object are filled by even and odd, so that one inside another is a hole.
    """

    file: str
    axes: str
    plane: tuple[int, ...]
    object: int
    kind: str
    values: Any
    label: int = 1
    ring: int = 0
    line: int = 0


def read_label(value: Any) -> int | None:
    """1 for what is on the object, 0 for what is beside it, None for what says neither.

    Examples
    --------
    >>> [read_label(value) for value in ("", "foreground", 1, "negative", "0", "nucleus")]
    [1, 1, 1, 0, 0, None]
    """
    if isinstance(value, Mapping):  # QuPath's classification
        value = value.get("name")
    text = "" if value is None else str(value).strip().lower()
    if text in ("", "1", "1.0", "+", "foreground", "positive", "true"):
        return 1
    return 0 if text in ("0", "0.0", "-", "-1", "background", "negative", "false", "ignore*") else None
