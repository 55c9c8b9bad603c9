"""Prompts as files: one CSV line or GeoJSON feature for each point, box or polygon of an object.

In CSV, ``row`` and ``col`` are pixels with centres at whole numbers, as everywhere here. In GeoJSON, x and y
count from the corner of the first pixel, as in QuPath: its point (0.5, 0.5) is the centre of pixel (0, 0).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import PromptError
from napari_sam.inference.whole_files import replace_file
from napari_sam.stacks.outputs.outlines import fill_polygons, trace_outlines
from napari_sam.stacks.prompt_csv import format_csv, read_csv_pieces
from napari_sam.stacks.prompt_geojson import format_geojson, read_geojson_pieces
from napari_sam.stacks.prompt_pieces import Piece
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from napari_sam.stacks.outputs.outlines import Polygon

__all__ = ["PromptRow", "gather_pieces", "read_prompt_table", "split_row", "write_prompt_table"]

GEOJSON = frozenset({".geojson", ".json"})


@dataclass(frozen=True, slots=True, eq=False)
class PromptRow:
    """What is said about one object in one plane of one file.

    Attributes
    ----------
    file : str
        The image, as the table calls it; "" where it does not.
    plane : tuple of int
        Index along ``axes``; () for the only plane.
    object : int
        Its id, from 1. The same id in several planes of a file is the same object.
    prompts : Prompts
        In pixels of the plane.
    axes : str
        Letters of the plane's index, e.g. "TZ".
    line : int
        Where it begins in the table, from 1; 0 when it comes from none.
    """

    file: str
    plane: tuple[int, ...]
    object: int
    prompts: Prompts
    axes: str = ""
    line: int = 0


@dataclass(slots=True, eq=False)
class _Object:
    """What has been read of one object in one plane."""

    first: Piece
    points: list[Any] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: Piece | None = None
    rings: dict[int, list[Any]] = field(default_factory=dict)


def read_prompt_table(path: str | os.PathLike[str], *, beside_alone: bool = False) -> list[PromptRow]:
    """Read prompts from a CSV or GeoJSON file.

    Parameters
    ----------
    path : path
        Ends in ``.csv``, ``.tsv``, ``.txt``, ``.geojson`` or ``.json``.
    beside_alone : bool
        Whether points beside an object may be all that is said of it in a plane, as where it is followed from
        other planes.

    Returns
    -------
    list of PromptRow
        In the order in which their objects first appear.

    Raises
    ------
    PromptError
        When something in it is wrong; the message names the line, or the feature.
    FileNotFoundError
        When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such table of prompts", str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"Expected a text file of prompts in {path}, got bytes that are no UTF-8 ({error.reason}); "
            "save it as CSV in UTF-8."
        ) from error
    pieces = (
        read_geojson_pieces(text, path) if path.suffix.lower() in GEOJSON else read_csv_pieces(text, path)
    )
    rows = gather_pieces(pieces, path.name, beside_alone=beside_alone)
    if not rows:
        raise PromptError(f"Expected prompts in {path}, got none.")
    return rows


def write_prompt_table(path: str | os.PathLike[str], rows: Iterable[PromptRow]) -> None:
    """Write prompts as CSV or GeoJSON, by the path's ending; whole or not at all.

    Read again they are the same, but for the logits of masks; from GeoJSON those without a plane are of the
    first plane.

    Parameters
    ----------
    path : path
        What is there is replaced.
    rows : iterable of PromptRow
        Those of one file and axes are written alike.
    """
    path = Path(path)
    pieces = [piece for row in rows for piece in split_row(row)]
    if path.suffix.lower() in GEOJSON:
        text = json.dumps(format_geojson(pieces), indent=1, allow_nan=False) + "\n"
    else:
        text = format_csv(pieces)
    replace_file(path, lambda temporary: temporary.write_bytes(text.encode("utf-8")))


def gather_pieces(pieces: Iterable[Piece], name: str, *, beside_alone: bool = False) -> list[PromptRow]:
    """Put the pieces of each object and plane together.

    Parameters
    ----------
    pieces : iterable of Piece
        Those of object 0 are an object of their own for each line, numbered after the largest of their
        file.
    name : str
        Of the table, for messages.
    beside_alone : bool
        As of ``read_prompt_table``.

    Raises
    ------
    PromptError
        When an object has two boxes in a plane, or nothing that says where it is.
    """
    listed = list(pieces)
    largest: dict[str, int] = {}
    for piece in listed:
        largest[piece.file] = max(largest.get(piece.file, 0), piece.object)
    objects: dict[tuple[Any, ...], _Object] = {}
    unnamed: dict[tuple[str, int], int] = {}
    for piece in listed:
        number = piece.object or unnamed.get((piece.file, piece.line), 0)
        if not number:  # the rings of one feature are one object
            number = largest[piece.file] = largest[piece.file] + 1
            unnamed[piece.file, piece.line] = number
        key = piece.file, piece.axes, piece.plane, number
        found = objects.setdefault(key, _Object(piece))
        if piece.kind == "point":
            found.points += [tuple(point) for point in piece.values]
            found.labels += [piece.label] * len(piece.values)
        elif piece.kind == "polygon":
            found.rings.setdefault(piece.ring, []).extend(tuple(vertex) for vertex in piece.values)
        elif found.box is not None:
            raise PromptError(
                f"{name}, line {piece.line}: expected one box for object {number} in a plane, got another "
                f"after that of line {found.box.line}; give them different numbers."
            )
        else:
            found.box = piece
    return [_make_row(key, found, name, beside_alone) for key, found in objects.items()]


def _make_row(key: tuple[Any, ...], found: _Object, name: str, beside_alone: bool) -> PromptRow:
    file, axes, plane, number = key
    where = f"{name}, line {found.first.line}"
    short = [ring for ring, vertices in found.rings.items() if len(vertices) < 3]
    if short:
        raise PromptError(
            f"{where}: expected three or more vertices in a polygon of object {number}, got "
            f"{len(found.rings[short[0]])}; each vertex is a line of "
            "its own, with the object's number."
        )
    mask = _fill(list(found.rings.values())) if found.rings else None
    if mask is not None and not mask.area:
        raise PromptError(f"{where}: expected a polygon that holds a pixel's centre for object {number}.")
    box = None if found.box is None else [float(value) for value in np.ravel(found.box.values)]
    try:
        prompts = Prompts(found.points, found.labels or None, box, mask)
    except PromptError as error:
        raise PromptError(f"{where}, object {number}: {error}") from error
    if not (prompts.has_foreground or beside_alone):
        raise PromptError(
            f"{where}: expected a point on object {number}, a box or a polygon, got only points beside it."
        )
    return PromptRow(file, plane, number, prompts, axes, found.first.line)


def _fill(rings: list[list[Any]]) -> ObjectMask:
    """A polygon's pixels; what lies above or left of the plane is left out."""
    corners = [np.asarray(ring, float) + 0.5 for ring in rings]  # as outlines count
    everything = np.concatenate(corners)
    low = np.maximum(np.floor(everything.min(axis=0)), 0).astype(int)
    high = np.maximum(np.ceil(everything.max(axis=0)).astype(int), low)
    window = fill_polygons([[ring - low for ring in corners]], (int(high[0] - low[0]), int(high[1] - low[1])))
    return ObjectMask.from_plane(window, (int(low[0]), int(low[1])))


def split_row(row: PromptRow) -> list[Piece]:
    """The pieces that a row is written as: points, then the box, then the mask as polygons."""
    place: dict[str, Any] = {
        "file": row.file,
        "axes": row.axes,
        "plane": row.plane,
        "object": row.object,
        "line": row.line,
    }
    prompts = row.prompts
    pieces = [
        Piece(**place, kind="point", values=point[None].astype(float), label=int(label))
        for point, label in zip(prompts.points, prompts.labels, strict=True)
    ]
    if prompts.box is not None:
        pieces.append(Piece(**place, kind="box", values=np.reshape(prompts.box, (2, 2))))
    if prompts.mask is not None and prompts.mask.area:
        polygons: Sequence[Polygon] = trace_outlines(prompts.mask.mask, prompts.mask.origin)
        rings = [ring for polygon in polygons for ring in polygon]
        pieces += [
            Piece(**place, kind="polygon", values=ring - 0.5, ring=number)
            for number, ring in enumerate(rings)
        ]
    return pieces
