"""Prompts as GeoJSON: points, rectangles and polygons, drawn in QuPath or written by us."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import PromptError
from napari_sam.stacks.prompt_pieces import Piece, read_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["format_geojson", "read_geojson_pieces"]


def read_geojson_pieces(text: str, path: Path) -> list[Piece]:
    """Read the features of a collection.

    Parameters
    ----------
    text : str
        A feature collection, one feature, or a list of features. Their ``properties`` may hold ``file``,
        ``object`` (or ``label`` where it is a whole number above 1), ``kind`` ("box" or "polygon"), and for
        points ``label`` or a ``classification`` of foreground or background. One without a plane is of the
        first.
    path : Path
        For messages.

    Raises
    ------
    PromptError
        When it is no GeoJSON, or a feature is wrong; features are counted from 1.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise PromptError(f"Expected GeoJSON in {path}, got something else: {error}") from error
    features = content if isinstance(content, list) else [content]
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        features = content.get("features") or []
    file = content.get("file") if isinstance(content, dict) else None
    pieces: list[Piece] = []
    for number, feature in enumerate(features, start=1):
        where = f"{path.name}, feature {number}"
        try:
            pieces += _read_feature(feature, str(file or ""), number, where)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise PromptError(
                f"{where}: expected a feature with a point or polygon, got {json.dumps(feature)[:80]} "
                f"({type(error).__name__}: {error})."
            ) from error
    return pieces


def _read_feature(feature: Mapping[str, Any], file: str, number: int, where: str) -> list[Piece]:
    geometry, properties = feature["geometry"], feature.get("properties") or {}
    kind, coordinates = geometry["type"], geometry["coordinates"]
    place = geometry.get("plane") or {}
    if any(properties.get(axis) is not None for axis in "tz"):
        place = properties  # QuPath's plane always has both
    elif not place:
        place = {"t": 0, "z": 0}  # which QuPath leaves out, and so do we
    axes = "".join(axis for axis in "TZ" if place.get(axis.lower()) is not None)
    common: dict[str, Any] = {
        "file": str(properties.get("file") or file),
        "axes": axes,
        "plane": tuple(int(place[axis.lower()]) for axis in axes),
        "object": _read_object(properties, where),
        "line": number,
    }
    if kind in ("Point", "MultiPoint"):
        label = read_label(properties.get("label", properties.get("classification")))
        points = _read_vertices([coordinates] if kind == "Point" else coordinates)
        return [Piece(**common, kind="point", values=points, label=1 if label is None else label)]
    if kind not in ("Polygon", "MultiPolygon"):
        raise PromptError(f"{where}: expected a point, rectangle or polygon, got {kind!r}.")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    rings = [_read_vertices(ring) for polygon in polygons for ring in polygon]
    rings = [ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring for ring in rings]
    wanted = str(properties.get("kind") or "").lower()
    if wanted not in ("", "box", "rectangle", "polygon"):
        raise PromptError(f"{where}: expected kind box or polygon, got {properties['kind']!r}.")
    if wanted in ("box", "rectangle") or (not wanted and len(rings) == 1 and _is_rectangle(rings[0])):
        corners = np.concatenate(rings)
        return [Piece(**common, kind="box", values=np.stack([corners.min(axis=0), corners.max(axis=0)]))]
    return [Piece(**common, kind="polygon", values=ring, ring=i) for i, ring in enumerate(rings)]


def _read_object(properties: Mapping[str, Any], where: str) -> int:
    """The id of a feature's object; 0 for one of its own."""
    value = properties.get("object")
    if value is None:
        label = properties.get("label")
        value = label if isinstance(label, int) and not isinstance(label, bool) and label > 1 else None
    if value is None:
        return 0
    number = float(value)
    if not number.is_integer() or number < 1:
        raise PromptError(f"{where}: expected an object with a whole number from 1, got {value!r}.")
    return int(number)


def _read_vertices(coordinates: Any) -> NDArray[np.float64]:
    """(N, 2) of (row, col) with pixel centres at whole numbers."""
    points = np.array([[float(y), float(x)] for x, y, *_ in coordinates])
    if not all(math.isfinite(value) for value in points.ravel().tolist()):
        raise ValueError("coordinates must be finite")
    return points.reshape(-1, 2) - 0.5


def _is_rectangle(ring: NDArray[np.float64]) -> bool:
    """Whether four corners follow each other along rows and columns."""
    if len(ring) != 4:
        return False
    steps = np.roll(ring, -1, axis=0) - ring
    along = steps != 0
    return bool(
        (along.sum(axis=1) == 1).all() and (along[0] != along[1]).all() and (along[0] == along[2]).all()
    )


def format_geojson(pieces: Iterable[Piece]) -> dict[str, Any]:
    """A feature collection with a feature for each object's points on it, beside it, its box and polygon."""
    groups: dict[tuple[Any, ...], list[Piece]] = {}
    for piece in pieces:
        kind = (piece.kind, piece.label) if piece.kind == "point" else (piece.kind, 1)
        groups.setdefault((piece.file, piece.axes, piece.plane, piece.object, *kind), []).append(piece)
    features = []
    geometry: dict[str, Any]
    for (file, axes, plane, number, kind, label), members in groups.items():
        properties: dict[str, Any] = {"file": file, "object": number, "kind": kind}
        if kind == "point":
            vertices = [_show(vertex) for piece in members for vertex in piece.values]
            alone = len(vertices) == 1
            geometry = {
                "type": "Point" if alone else "MultiPoint",
                "coordinates": vertices[0] if alone else vertices,
            }
            properties["label"] = "foreground" if label else "background"
        elif kind == "box":
            (r0, c0), (r1, c1) = members[0].values
            corners = [_show(v) for v in ((r0, c0), (r0, c1), (r1, c1), (r1, c0), (r0, c0))]
            geometry = {"type": "Polygon", "coordinates": [corners]}
        else:
            geometry = _draw_polygons([piece.values for piece in members])
        if axes:
            place = dict(zip(axes.lower(), plane, strict=True))
            properties |= place
            geometry["plane"] = {"c": -1, "z": place.get("z", 0), "t": place.get("t", 0)}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _draw_polygons(rings: list[Any]) -> dict[str, Any]:
    """Rings that run like outlines begin a polygon each, the holes in it follow."""
    polygons: list[list[Any]] = []
    for ring in rings:
        y, x = ring.T
        closed = [_show(vertex) for vertex in (*ring, ring[0])]
        if not polygons or (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0:
            polygons.append([])
        polygons[-1].append(closed)
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _show(vertex: Any) -> list[float]:
    """[x, y] from the corner of the first pixel."""
    return [float(vertex[1]) + 0.5, float(vertex[0]) + 0.5]
