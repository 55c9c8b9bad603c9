"""CSV tables of measurements: one row per object and plane, or per object of a volume.

Sizes and places are in pixels, and once more in world units where the scale is known: their columns end in
the unit (``area_um2``; ``area_world2`` where it has no name). What an object is too small for stays empty.
"""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.stacks.image_io.units import imagej_unit
from napari_sam.stacks.outputs.label_objects import find_boxes, iter_objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.outputs.content import Content

__all__ = ["iter_measurements", "write_measurements"]

Row = dict[str, Any]
_PLANE_SHAPES: Final = ("eccentricity", "orientation", "solidity")
_LENGTHS: Final = ("axis_major_length", "axis_minor_length", "equivalent_diameter_area")


def write_measurements(path: Path, content: Content) -> None:
    """Write the table; an image without objects gives its first line alone.

    Parameters
    ----------
    path : Path
    content : Content
        With ``image``, intensities are measured; with ``volumes``, objects along Z are one. Its properties
        become further columns.
    """
    names = sorted({name for known in content.properties.values() for name in known})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        header: list[str] | None = None
        for row in iter_measurements(content):
            if header is None:
                header = list(row)
                writer.writerow([*header, *(name for name in names if name not in header)])
            known = content.properties.get(row["label"], {})
            more = [known.get(name) for name in names if name not in header]
            writer.writerow([_show(value) for value in [*row.values(), *more]])
        if header is None:
            writer.writerow([*content.labels.leading.lower(), "label", "area"])


def iter_measurements(content: Content) -> Iterator[Row]:
    """One row of the table after the other: its columns by name, the same in every row."""
    labels, image = content.labels, content.image
    if content.volumes and "Z" in labels.axes:
        yield from _measure_volumes(labels, image)
        return
    for index, plane in labels.planes():
        picture = None if image is None else image.plane(index)
        place = {axis.lower(): number for axis, number in zip(labels.leading, index, strict=True)}
        for label, mask in iter_objects(plane):
            pixels = None if picture is None else np.asarray(picture[mask.slices])
            yield {**place, "label": label, **_measure(mask.mask, mask.origin, pixels, labels, plane.shape)}


def _measure_volumes(labels: ImageStack, image: ImageStack | None) -> Iterator[Row]:
    for time in range(labels.data.shape[0]) if labels.leading[:1] == "T" else [None]:
        volume = labels.data if time is None else labels.data[time]
        picture = None if image is None else image.data if time is None else image.data[time]
        for label, box in sorted(find_boxes(volume).items()):
            slices = tuple(slice(*sides) for sides in box)
            mask = np.asarray(volume[slices]) == label
            pixels = None if picture is None else np.asarray(picture[slices])
            place = {} if time is None else {"t": time}
            origin = tuple(start for start, _ in box)
            yield {**place, "label": label, **_measure(mask, origin, pixels, labels, volume.shape)}


def _measure(
    mask: NDArray[np.bool_],
    origin: tuple[int, ...],
    pixels: NDArray[Any] | None,
    labels: ImageStack,
    shape: Sequence[int],
) -> Row:
    from skimage.measure import regionprops

    flat, axes = mask.ndim == 2, labels.axes[-mask.ndim :]
    size = "area" if flat else "volume"
    region = regionprops(mask.astype(np.uint8))[0]
    centroid = [float(c) + o for c, o in zip(region.centroid, origin, strict=True)]
    row: Row = {size: int(np.count_nonzero(mask))}
    row.update(zip(_name_axes(axes), centroid, strict=True))
    row.update({f"first-{n}": o for n, o in zip(_short(axes), origin, strict=True)})
    row.update({f"size-{n}": int(s) for n, s in zip(_short(axes), mask.shape, strict=True)})
    ends = zip(origin, mask.shape, shape, strict=True)
    row["on_border"] = int(any(o == 0 or o + n == full for o, n, full in ends))
    row.update({name: _ask(region, name) for name in _LENGTHS})
    if flat:
        row["perimeter"] = _ask(region, "perimeter")
        row.update({name: _ask(region, name) for name in _PLANE_SHAPES})
    if all(axis in labels.scale for axis in axes):
        row.update(_measure_world(mask, row, labels))
    if pixels is not None:
        row.update(_measure_intensity(pixels, mask))
    return row


def _measure_world(mask: NDArray[np.bool_], row: Mapping[str, Any], labels: ImageStack) -> Row:
    """The same in world units; what depends on directions is measured anew where pixels are not square."""
    from skimage.measure import regionprops

    axes = labels.axes[-mask.ndim :]
    unit = "world" if labels.unit == "pixel" else imagej_unit(labels.unit)
    steps = tuple(labels.scale[axis] for axis in axes)
    size = "area" if mask.ndim == 2 else "volume"
    world: Row = {f"{size}_{unit}{mask.ndim}": row[size] * math.prod(steps)}
    places = zip(axes.lower(), _name_axes(axes), steps, strict=True)
    world.update({f"{axis}_{unit}": row[name] * step for axis, name, step in places})
    if np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        world.update({f"{name}_{unit}": row[name] * steps[0] for name in _LENGTHS})
        perimeter = row.get("perimeter", math.nan) * steps[0]
    else:
        region = regionprops(mask.astype(np.uint8), spacing=steps)[0]
        world.update({f"{name}_{unit}": _ask(region, name) for name in _LENGTHS})
        perimeter = math.nan  # skimage defines it for square pixels only
    return world | ({f"perimeter_{unit}": perimeter} if mask.ndim == 2 else {})


def _measure_intensity(pixels: NDArray[Any], mask: NDArray[np.bool_]) -> Row:
    inside = pixels[mask].astype(np.float64)  # (N,) or (N, C)
    channels: Mapping[str, Any] = {"": inside}
    if inside.ndim == 2:
        channels = {f"-{number}": inside[:, number] for number in range(inside.shape[1])}
    row: Row = {}
    for ending, values in channels.items():
        finite = values[np.isfinite(values)]
        for name, measure in (("mean", np.mean), ("min", np.min), ("max", np.max), ("std", np.std)):
            row[f"{name}_intensity{ending}"] = float(measure(finite)) if finite.size else math.nan
    return row


def _ask(region: Any, name: str) -> float:
    """A property; NaN where an object is too small or thin to have it."""
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(getattr(region, name))
    except (ValueError, ZeroDivisionError):
        return math.nan


def _name_axes(axes: str) -> list[str]:
    return [f"centroid-{name}" for name in _short(axes)]


def _short(axes: str) -> list[str]:
    return [{"Y": "row", "X": "col", "Z": "plane"}.get(axis, axis.lower()) for axis in axes]


def _show(value: Any) -> str:
    """A cell: nothing for what is not known, six digits for fractions."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)
