"""GeoJSON polygons in QuPath's dialect: one feature per object and plane.

Coordinates are (x, y) in pixels from the corner of the first pixel, as QuPath counts. The plane stands beside
the geometry's coordinates; it is left out for the first, as QuPath does. Since QuPath 0.4 an id is a UUID and
measurements are a mapping. The properties ``label`` and ``object`` are both the id in the label image: tables
of prompts take a ``label`` of 1 for foreground.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

from napari_sam.stacks.outputs.label_objects import iter_objects
from napari_sam.stacks.outputs.outlines import trace_outlines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_sam.stacks.outputs.content import Content
    from napari_sam.stacks.outputs.outlines import Polygon
    from napari_sam.types import ObjectMask

__all__ = ["write_geojson"]

_NAMESPACE: Final = uuid.UUID("0b7a6a0c-7d52-4a55-9b25-5a7a5f5d7a3e")
"""Ids are made from the image's name, the plane and the label, so that writing twice gives equal files."""
CLASS: Final = "Object"


def write_geojson(path: Path, content: Content) -> None:
    """Write a feature collection.

    Parameters
    ----------
    path : Path
    content : Content
        Numbers among its properties become measurements, the rest goes into ``metadata``.
    """
    labels = content.labels
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        before = "\n"
        for index, plane in labels.planes():
            place = dict(zip(labels.leading, index, strict=True))
            for label, mask in iter_objects(plane):
                feature = _make_feature(label, mask, place, labels.name, content.properties.get(label, {}))
                file.write(before + json.dumps(feature, allow_nan=False))
                before = ",\n"
        file.write("\n]}\n")


def _make_feature(
    label: int, mask: ObjectMask, place: Mapping[str, int], name: str, properties: Mapping[str, Any]
) -> dict[str, Any]:
    polygons = [_list_rings(polygon) for polygon in trace_outlines(mask.mask, mask.origin)]
    alone = len(polygons) == 1
    geometry: dict[str, Any] = {
        "type": "Polygon" if alone else "MultiPolygon",
        "coordinates": polygons[0] if alone else polygons,
    }
    if any(place.values()):
        geometry["plane"] = {"c": -1, "z": place.get("Z", 0), "t": place.get("T", 0)}
    measurements: dict[str, float] = {"Area px^2": mask.area}
    metadata = {"label": str(label)}
    for key, value in properties.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            if value == value and abs(value) != float("inf"):  # JSON has neither
                measurements[key] = value
        elif value is not None:
            metadata[key] = value if isinstance(value, str) else json.dumps(value)
    where = "/".join(f"{axis}{number}" for axis, number in place.items())
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{name}/{where}/{label}")),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "name": str(label),
            "label": label,
            "object": label,
            "classification": {"name": CLASS, "color": [255, 200, 0]},
            "measurements": measurements,
            "metadata": metadata,
        },
    }


def _list_rings(polygon: Polygon) -> list[list[list[int]]]:
    """Rings of [x, y], each closed."""
    rings = [ring[:, ::-1].tolist() for ring in polygon]
    return [[*ring, ring[0]] for ring in rings]
