"""Labels layers into the files of other programs: napari's File > Save, and the jobs of the dock.

What is known of the objects goes along: the layer's ``features``, and the records of how they were made.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.types import Progress, finish

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.outputs import Content

__all__ = [
    "describe_objects",
    "iter_write_labels",
    "read_axes",
    "write_coco",
    "write_geojson",
    "write_rois",
    "write_table",
]

RECORDS: Final = "napari_sam_records"
"""In a layer's metadata: the records of its objects."""
ENDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "tiff": (".tif", ".tiff"),
    "ome-zarr": (".zarr",),
    "rois": (".zip",),
    "geojson": (".geojson", ".json"),
    "coco": (".json",),
    "csv": (".csv",),
}
"""Of the files of each format; the first is put behind names that have none of them."""


def write_rois(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer as ImageJ ROIs (npe2)."""
    return _write("rois", path, data, attributes)


def write_geojson(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer as GeoJSON polygons (npe2)."""
    return _write("geojson", path, data, attributes)


def write_coco(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer as COCO JSON (npe2)."""
    return _write("coco", path, data, attributes)


def write_table(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write measurements of a Labels layer (npe2)."""
    return _write("csv", path, data, attributes)


def _write(name: str, path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    job = iter_write_labels(name, Path(path), _read_layer(data, attributes), describe_objects(attributes))
    return [str(finish(job))]


def iter_write_labels(
    name: str,
    path: Path,
    labels: ImageStack,
    properties: Mapping[int, Mapping[str, Any]],
    image: ImageStack | None = None,
    *,
    volumes: bool = False,
) -> Generator[Progress, None, Path]:
    """Write labels in one format, as a job.

    Parameters
    ----------
    name : str
        Of the format: "rois", "geojson", "coco", "csv", "tiff" or "ome-zarr".
    path : Path
        The file; gets the format's ending where it has none of them. What is there is replaced: napari and
        the file dialog have asked.
    labels : ImageStack
        The labels.
    properties : mapping of int to mapping
        What is known of each object.
    image : ImageStack, optional
        For intensities.
    volumes : bool
        Whether tables measure objects along Z in 3-D.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    ImageError
        When it cannot be written.
    """
    from napari_sam.stacks.outputs import make_content, write_format

    endings = ENDINGS[name]
    if path.suffix.lower() not in endings:
        path = path.with_name(path.name + endings[0])
    yield Progress(0, 1, f"Writing {path.name}")
    content: Content = make_content(labels, records=properties, image=image, volumes=volumes)
    try:
        write_format(name, path, content, overwrite=True)
    except OSError as error:
        raise ImageError(f"Expected to write {path}, but: {error}. Choose another folder.") from error
    return path


def _read_layer(data: Any, attributes: Mapping[str, Any]) -> ImageStack:
    """A layer's labels as writers of npe2 get them."""
    from napari_sam.stacks.image_io import ImageStack

    level = data[0] if attributes.get("multiscale") or isinstance(data, list | tuple) else data
    axes, scale, unit = read_axes(level.ndim, attributes)
    return ImageStack(level, axes, scale, unit, str(attributes.get("name", "labels")))


def read_axes(ndim: int, attributes: Mapping[str, Any]) -> tuple[str, dict[str, float], str]:
    """Letters, scale and unit of a layer's axes.

    Parameters
    ----------
    ndim : int
        Of the layer.
    attributes : mapping
        ``scale``, and where napari has them ``units`` and ``axis_labels``.

    Returns
    -------
    axes : str
        By the axes' labels where these are letters or words of T, Z, Y and X; else the last of TZYX.
    scale : dict of str to float
        World units per step; empty where nothing is known.
    unit : str
        Of length; "pixel" where there is none.

    Raises
    ------
    ImageError
        When the layer has more than four axes.
    """
    from napari_sam.stacks.image_io.units import name_length, to_seconds

    if ndim > 4:
        raise ImageError(
            f"Expected labels with at most the axes T, Z, Y and X, got {ndim} axes; save the parts apart."
        )
    labels = [str(label).strip().upper()[:1] for label in attributes.get("axis_labels") or ()]
    axes = "TZYX"[4 - ndim :]
    if (
        len(labels) == ndim
        and len(set(labels)) == ndim
        and set(labels) <= set("TZYX")
        and labels[-2:] == ["Y", "X"]
    ):
        axes = "".join(labels)
    steps = [float(step) for step in attributes.get("scale") or [1.0] * ndim]
    units = [str(unit) for unit in attributes.get("units") or ["pixel"] * ndim]
    unit = name_length(units[-1])
    if unit == "pixel" and all(math.isclose(step, 1.0) for step in steps):
        return axes, {}, unit
    scale = dict(zip(axes, steps, strict=True))
    if "T" in scale:
        scale["T"] = to_seconds(scale["T"], units[axes.index("T")])
    return axes, scale, unit


def describe_objects(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What is known of a layer's objects, by id: rows of its table, scores and makers from its records.

    Parameters
    ----------
    attributes : mapping
        ``features`` with a column ``index``, and ``metadata``.
    """
    found: dict[int, dict[str, Any]] = {}
    table = attributes.get("features")
    if table is not None and "index" in table:
        names = [name for name in table if name != "index"]
        for label, *values in zip(table["index"], *(table[name] for name in names), strict=True):
            known = {str(n): _plain(v) for n, v in zip(names, values, strict=True)}
            found[int(label)] = {name: value for name, value in known.items() if value is not None}
    held = (attributes.get("metadata") or {}).get(RECORDS)
    for label, records in getattr(held, "page", {}).items():
        known = found.setdefault(int(label), {})
        for record in records[:1]:  # an object of several planes: as it began
            known |= {"source": record.source, "model": record.model}
            if record.model:
                known |= {"predicted_iou": record.predicted_iou, "stability": record.stability}
    return found


def _plain(value: Any) -> Any:
    """A value of JSON; None for what is unknown."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)
