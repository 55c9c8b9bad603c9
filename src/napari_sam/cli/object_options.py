"""Options of ``segment`` that say which objects are wanted, where, and what is written of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.options import add_threshold_options
from napari_sam.errors import ImageError
from napari_sam.inference.whole_files import replace_file
from napari_sam.stacks.image_io import fit_axes, list_by_stem, name_image, read_image

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.region import Region

__all__ = [
    "add_object_options",
    "choose_dtype",
    "find_companion",
    "name_table",
    "read_existing",
    "read_region",
    "write_table",
]

GEOJSON = frozenset({".geojson", ".json"})


def add_object_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the command's parser."""
    group = add_threshold_options(parser)
    group.add_argument(
        "--region",
        type=Path,
        metavar="FILE",
        help="look only where a label image is not 0, or inside the polygons of a GeoJSON file (x, y in "
        "pixels from the corner of the first one); or a folder with NAME_labels.tif for each NAME.tif",
    )
    group.add_argument(
        "--fill",
        type=Path,
        metavar="FILE",
        help="keep the objects of this label image and add new ones in its gaps; or a folder as for --region",
    )
    group.add_argument(
        "--table",
        action="store_true",
        help="also write NAME_objects.csv: a row for each object and plane with scores, area, centre, "
        "intensity; with --link z only id, place and area. --link t writes NAME_tracks.csv instead, with "
        "divisions, also without --table",
    )


def find_companion(path: Path, source: Path) -> Path:
    """The file that belongs to an image: ``path`` itself, or of a folder the one with the image's name.

    Raises
    ------
    FileNotFoundError
        When the folder has none.
    """
    if not path.is_dir():
        return path
    found = list_by_stem(path, labels=True).get(name_image(source))
    if found is None:
        raise FileNotFoundError(2, f"no label image for {source.name} in this folder", str(path))
    return found


def read_region(path: Path, plane_shape: tuple[int, int]) -> Region:
    """Read a label image or the polygons of a GeoJSON file.

    Raises
    ------
    ImageError
        When it is neither.
    PromptError
        When it does not fit the plane.
    """
    from napari_sam.inference.region import Region

    if path.suffix.lower() not in GEOJSON:
        return Region.from_mask(_read_plane(path), plane_shape)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        polygons = [
            [[(y - 0.5, x - 0.5) for x, y, *_ in ring] for ring in polygon]  # centres are whole here
            for polygon in _list_polygons(content)
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ImageError(f"Expected GeoJSON with polygons in {path}, got something else: {error}") from error
    if not polygons:
        raise ImageError(f"Expected GeoJSON with polygons in {path}, got none.")
    return Region.from_polygons(polygons, plane_shape)


def _list_polygons(content: dict[str, Any] | list[Any]) -> list[Any]:
    """Rings of every polygon, outline first; a list of features is what some programs write."""
    if isinstance(content, list):
        return [polygon for item in content for polygon in _list_polygons(item)]
    kind = content["type"]
    if kind == "FeatureCollection":
        return _list_polygons(content["features"])
    if kind == "Feature":
        return _list_polygons(content["geometry"])
    if kind == "GeometryCollection":
        return _list_polygons(content["geometries"])
    if kind == "Polygon":
        return [content["coordinates"]]
    return list(content["coordinates"]) if kind == "MultiPolygon" else []


def _read_plane(path: Path) -> NDArray[Any]:
    stack = read_image(path)
    if stack.axes != "YX":
        raise ImageError(f"Expected one plane without channels in {path}, got axes {stack.axes}.")
    return np.asarray(stack.data)


def read_existing(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read the labels whose gaps are filled.

    Raises
    ------
    ImageError
        When they are no labels of this shape.
    """
    labels: NDArray[Any] = fit_axes(np.array(read_image(path).data), shape)  # a copy: it is written to
    if labels.dtype.kind not in "bui" or labels.shape != shape or labels.min(initial=0) < 0:
        raise ImageError(
            f"Expected labels of shape {shape}, as the image has, in {path}, "
            f"got {labels.dtype} of shape {labels.shape}."
        )
    return labels


def choose_dtype(dtype: np.dtype[Any], largest: int) -> np.dtype[Any]:
    """``dtype``, or the next wider one that holds ids up to ``largest``.

    Examples
    --------
    >>> choose_dtype(np.dtype("uint8"), 255), choose_dtype(np.dtype("uint8"), 256)
    (dtype('uint8'), dtype('uint16'))
    """
    wider = [np.dtype(name) for name in ("uint16", "int32", "uint32", "int64")]
    usable = [] if dtype == np.bool_ else [dtype]
    usable += [d for d in wider if d.itemsize >= dtype.itemsize]
    return next(d for d in usable if np.iinfo(d).max >= largest)


def name_table(labels: Path) -> Path:
    """``NAME_objects.csv`` beside ``NAME_labels.tif``."""
    return labels.with_name(labels.stem.removesuffix("_labels") + "_objects.csv")


def write_table(
    path: Path,
    tables: Sequence[tuple[tuple[int, ...], dict[str, NDArray[Any]]]],
    axes: str,
    *,
    overwrite: bool,
) -> None:
    """Write the object tables of a file's planes as one CSV, whole or not at all.

    Parameters
    ----------
    path : Path
    tables : sequence of (index, columns)
        The plane's index along the leading axes, and what ``measure_objects`` gives.
    axes : str
        One letter for each number of the index; they become the first columns.
    overwrite : bool
        Whether an existing file may be replaced.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*axes, *(("label" if n == "index" else n) for n in tables[0][1])])
            for index, columns in tables:
                for row in zip(*columns.values(), strict=True):
                    writer.writerow([*index, *map(_show, row)])

    replace_file(path, write, overwrite=overwrite)


def _show(value: Any) -> str:
    """A cell: nothing for what is not known, six digits for fractions."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(int(value))
