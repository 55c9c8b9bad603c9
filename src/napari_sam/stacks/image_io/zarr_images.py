"""Zarr arrays and OME-Zarr images, never read before they are sliced.

Format: OME-NGFF 0.1 to 0.5 (https://ngff.openmicroscopy.org), in zarr 2 and 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io.image_stack import ImageStack, arrange_axes
from napari_sam.stacks.image_io.lazy_array import LazyArray
from napari_sam.stacks.image_io.units import convert_length, name_length, to_seconds

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["list_members", "open_zarr"]

AXES: Final = "TCZYX"
"""What the axes of an array that does not say so are taken for, from the last backwards."""


def open_zarr(path: Path) -> ImageStack:
    """Open a folder that zarr wrote: an array, or an OME-Zarr image.

    Parameters
    ----------
    path : Path
        Also of an image inside: ``plate.zarr/A/1/0``, ``image.zarr/labels/nuclei``.

    Raises
    ------
    ImageError
        When it is neither, or several images.
    """
    node = _open_node(path)
    axes, scale, unit = "", dict[str, float](), "pixel"
    if not hasattr(node, "dtype"):
        metadata = _read_metadata(node)
        scales = metadata.get("multiscales") or []
        if not scales:
            members = list_members(path)
            if len(members) == 1:
                return open_zarr(members[0])
            if members:
                raise ImageError(
                    f"Expected one image in {path}, got a plate or collection of {len(members)}; name one "
                    f"of them, like {members[0]}."
                )
            raise ImageError(
                f"Expected a zarr array or an OME-Zarr image in {path}, got a group without one."
            )
        axes, scale, unit = _read_axes(scales[0])
        try:
            node = node[scales[0]["datasets"][0]["path"]]
        except (KeyError, IndexError, TypeError) as error:
            raise ImageError(
                f"Expected the finest level of the OME-Zarr image {path}, got none: its metadata name an "
                "array that is not there; the copy may be incomplete."
            ) from error
    if not hasattr(node, "dtype") or node.ndim < 2 or np.dtype(node.dtype).kind not in "uifb":
        raise ImageError(f"Expected an image of real numbers in {path}, got {node}.")
    if len(axes) != node.ndim or not {"Y", "X"} <= set(axes):
        if node.ndim > len(AXES):
            raise ImageError(f"Expected at most the axes {AXES} in {path}, got {node.ndim}.")
        axes, scale, unit = AXES[-node.ndim :], {}, "pixel"
        if node.ndim == 3 and node.shape[-1] in (3, 4) and node.shape[0] > 4:
            axes = "YXC"
    data, axes = arrange_axes(LazyArray(node, (axes.index("Y"), axes.index("X"))), axes, ())
    return ImageStack(data, axes, {a: s for a, s in scale.items() if a in axes}, unit, path.name)


def list_members(path: Path) -> list[Path]:
    """The images of a plate, of a well, or of a collection of series; none when it is none of these.

    Parameters
    ----------
    path : Path
        A zarr group.

    Returns
    -------
    list of Path
        In the order of the metadata, e.g. ``plate.zarr/A/1/0``.
    """
    try:
        node = _open_node(path)
    except ImageError:
        return []
    if hasattr(node, "dtype"):
        return []
    metadata = _read_metadata(node)
    if "plate" in metadata:
        wells = [path / str(well["path"]) for well in metadata["plate"].get("wells", [])]
        return [image for well in wells for image in list_members(well)]
    if "well" in metadata:
        return [path / str(image["path"]) for image in metadata["well"].get("images", [])]
    if metadata.get("multiscales"):
        return []
    if "series" in metadata:  # of the group OME that bioformats2raw writes
        return [path / str(name) for name in metadata["series"]]
    if "bioformats2raw.layout" in metadata:
        named = _read_metadata(node["OME"]).get("series") if "OME" in node else None
        names = named or sorted((n for n in node if str(n).isdigit()), key=int)
        return [path / str(name) for name in names]
    return []


def _open_node(path: Path) -> Any:
    import zarr

    try:
        return zarr.open(path, mode="r")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"Expected an image file or a zarr image, got the folder {path} without zarr's metadata."
        ) from error


def _read_metadata(node: Any) -> dict[str, Any]:
    attributes = dict(node.attrs)
    inner = attributes.get("ome", attributes)  # 0.5 has it all under "ome"
    return dict(inner) if isinstance(inner, dict) else {}


def _read_axes(multiscale: dict[str, Any]) -> tuple[str, dict[str, float], str]:
    """Letters, world units per step, and the unit of length of an image."""
    named = [a if isinstance(a, dict) else {"name": a} for a in multiscale.get("axes") or []]
    axes = "".join(str(axis["name"])[:1].upper() for axis in named)
    steps = np.ones(len(axes))
    known = False
    levels = multiscale.get("datasets") or [{}]
    for holder in (levels[0], multiscale):  # the level's own, then those of all levels
        for transform in holder.get("coordinateTransformations") or []:
            if transform.get("type") == "scale" and len(transform.get("scale", ())) == len(axes):
                steps, known = steps * np.asarray(transform["scale"], float), True
    if not known or not (np.isfinite(steps).all() and (steps > 0).all()):
        return axes, {}, "pixel"
    units = {letter: axis.get("unit") for letter, axis in zip(axes, named, strict=True)}
    unit = name_length(units.get("X") or units.get("Y"))
    scale = {}
    for letter, step in zip(axes, steps.tolist(), strict=True):
        if letter == "T":
            scale[letter] = to_seconds(step, units["T"])
        elif letter in "ZYX" and (unit != "pixel" or step != 1):
            scale[letter] = convert_length(step, name_length(units[letter]), unit)
    return axes, scale, unit
