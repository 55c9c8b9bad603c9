"""Labels with the records of their objects, for napari's own Save and Open: one file beside the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.session.record_files import SUFFIX, read_record_file
from napari_sam.types import finish
from napari_sam.viewer.label_places import is_in_memory
from napari_sam.viewer.record_keeping import iter_digest, iter_save_labels
from napari_sam.viewer.unsaved_work import RECORDS, HeldRecords

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_reader", "write_labels"]


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer as TIFF and the records of its objects beside it (npe2).

    Parameters
    ----------
    path : str
        A name that ends in ``.tif`` or ``.tiff``.
    data : array of int
        The labels.
    attributes : dict
        Of the layer: name, scale, units and metadata.

    Returns
    -------
    list of str
        Both files.

    Raises
    ------
    ImageError
        When they cannot be written.
    """
    held = attributes.get("metadata", {}).get(RECORDS)
    known = isinstance(held, HeldRecords)
    records = tuple(record for each in held.page.values() for record in each) if known else ()
    units = [str(unit) for unit in attributes.get("units") or ("pixel",)]
    labels = data[0] if isinstance(data, list | tuple) else data
    values = {
        "data": labels,
        "name": str(attributes.get("name", "labels")),
        "scale": [float(value) for value in attributes.get("scale", np.ones(labels.ndim))],
        "unit": units[-1],
    }
    written = finish(iter_save_labels(Path(path), values, records, held.describe_image if known else dict))
    if known:
        held.mark_saved(finish(iter_digest(labels)) if is_in_memory(labels) else None)
    return [str(written), str(Path(path).with_name(Path(path).stem + SUFFIX))]


def make_reader(path: str | list[str]) -> Callable[[str], list[tuple[Any, dict[str, Any], str]]] | None:
    """A reader for ``NAME.sam.json``, which opens the labels beside it (npe2); None for anything else."""
    if isinstance(path, str) and path.endswith(SUFFIX):
        return _read
    return None


def _read(path: str) -> list[tuple[Any, dict[str, Any], str]]:
    from napari_sam.stacks.image_io import open_image

    file, place = read_record_file(Path(path)), Path(path)
    name = file.labels.get("file")
    beside = place.with_name(
        Path(name).name if isinstance(name, str) else place.name[: -len(SUFFIX)] + ".tif"
    )
    if not beside.exists():
        raise ImageError(f"Expected the labels {beside.name} beside {place.name}, got none; put them there.")
    stack = open_image(beside)
    axes = [axis for axis in stack.axes if axis != "C"]
    scale = [float(stack.scale.get(axis, 1.0)) for axis in axes]
    title = file.labels.get("name")
    return [(np.asarray(stack.data), {"name": str(title or beside.stem), "scale": scale}, "labels")]
