"""Which plane of an image is shown, and how other layers' coordinates map into it.

Everything goes through the layers' public transforms: world coordinates are not data coordinates,
and neither is a slice index.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

from napari_sam.errors import ImageError
from napari_sam.session.requests import Crop, Plane
from napari_sam.viewer.plane_pixels import PlaneReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "full_resolution",
    "go_to_index",
    "go_to_plane",
    "layer_map",
    "layer_transform",
    "locate_plane",
    "place_crop",
    "same_frame",
    "same_transform",
    "spatial_shape",
    "turn_to_plane",
]


def full_resolution(layer: Any) -> Any:
    """The layer's data, of a multiscale layer the finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def spatial_shape(layer: Any) -> tuple[int, ...]:
    """Shape of an image without its colour axis."""
    return tuple(int(size) for size in full_resolution(layer).shape[: layer.ndim])


def layer_transform(layer: Any) -> dict[str, Any]:
    """The keyword arguments that make another layer coincide with ``layer``."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}


def same_transform(one: Any, other: Any) -> bool:
    """True when the data coordinates of two layers mean the same places."""
    if one.ndim != other.ndim:
        return False
    corners = np.vstack([np.zeros(one.ndim), np.eye(one.ndim)])
    return all(np.allclose(one.data_to_world(c), other.data_to_world(c)) for c in corners)


def same_frame(one: Any, other: Any) -> bool:
    """True when two images have the same pixels' places, such as two channels."""
    return spatial_shape(one) == spatial_shape(other) and same_transform(one, other)


def locate_plane(layer: Any, dims: Any, source: Any) -> Plane:
    """The plane of an image layer that the viewer shows.

    Parameters
    ----------
    layer : napari.layers.Image
        The image.
    dims : napari.components.Dims
        The viewer's dims.
    source : Hashable
        Identity of the image's present data.

    Raises
    ------
    ImageError
        When the view is 3-D, lies outside the image, or does not show two of its axes.
    """
    if dims.ndisplay != 2:
        raise ImageError("Expected the 2-D view, got the 3-D view; switch to 2-D (Ctrl+Y) to segment.")
    ndim = int(layer.ndim)
    if ndim < 2:
        raise ImageError(f"Expected an image of two or more dimensions, got {ndim} in {layer.name!r}.")
    offset = int(dims.ndim) - ndim  # a layer takes the last dimensions of the world
    axes = sorted(axis - offset for axis in dims.displayed)
    if axes[0] < 0:
        raise ImageError(
            f"Expected a view that shows two axes of {layer.name!r}, got axes {tuple(dims.displayed)} of "
            f"{dims.ndim}; roll the dimensions (Ctrl+E) until the image is seen as a plane."
        )
    centre = np.asarray(layer.world_to_data(np.asarray(dims.point, float)))
    shape = spatial_shape(layer)
    index: list[int | None] = []
    for axis in range(ndim):
        if axis in axes:
            index.append(None)
            continue
        position = int(np.round(centre[axis]))
        if not 0 <= position < shape[axis]:
            raise ImageError(
                f"Expected a slice of {layer.name!r} (0 to {shape[axis] - 1} on axis {axis}), got "
                f"{position}; move the slider to where the image is."
            )
        index.append(position)
    return _make_plane(layer, source, tuple(index))


def _make_plane(layer: Any, source: Any, index: tuple[int | None, ...]) -> Plane:
    """The plane of an image at an index, which is known to exist."""
    shape, levels = spatial_shape(layer), tuple(layer.data) if layer.multiscale else (layer.data,)
    rows, cols = (axis for axis, value in enumerate(index) if value is None)
    rgb = bool(getattr(layer, "rgb", False))  # Labels have none
    size, unit = _pixel_size(layer, (rows, cols))
    first = Plane(
        source=source,
        index=index,
        shape=(shape[rows], shape[cols]),
        read=_make_reader(levels, index, rgb),
        name=str(layer.name),
        channels=min(int(levels[0].shape[-1]), 3) if rgb else 0,
        pixel_size=size,
        unit=unit,
    )

    def stack() -> Sequence[Plane]:  # in the worker: without the layer
        others = product(
            *([None] if value is None else range(shape[axis]) for axis, value in enumerate(index))
        )
        return [replace(first, index=found, read=_make_reader(levels, found, rgb)) for found in others]

    return replace(first, stack=stack)


def _make_reader(levels: tuple[Any, ...], index: tuple[int | None, ...], rgb: bool) -> PlaneReader:
    return PlaneReader(levels, tuple(slice(None) if value is None else value for value in index), rgb)


def _pixel_size(layer: Any, axes: tuple[int, int]) -> tuple[float, str]:
    """World units per pixel (geometric mean of two axes), and the unit's name where it has one."""
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
    sides = [
        float(np.linalg.norm(np.asarray(layer.data_to_world(np.eye(layer.ndim)[axis]), float) - origin))
        for axis in axes
    ]
    size = float(np.sqrt(sides[0] * sides[1])) or 1.0
    unit = str(layer.units[axes[0]])
    return size, "" if unit in ("pixel", "dimensionless") else unit


def go_to_plane(layer: Any, dims: Any, plane: Plane) -> None:
    """Move the viewer's sliders to a plane of an image layer; the inverse of ``locate_plane``."""
    offset = dims.ndim - layer.ndim
    inside = np.asarray(layer.world_to_data(np.asarray(dims.point, float)))
    for axis, value in enumerate(plane.index):
        inside[axis] = inside[axis] if value is None else value
    world = layer.data_to_world(inside)
    for axis, value in enumerate(plane.index):
        if value is not None:
            dims.set_point(axis + offset, world[axis])


def turn_to_plane(layer: Any, dims: Any, plane: Plane) -> None:
    """Show a plane of an image layer, also where the view is 3-D or of other axes."""
    shown = [axis + dims.ndim - layer.ndim for axis in plane.axes]
    dims.ndisplay = 2
    if sorted(dims.displayed) != shown:
        dims.order = (*(axis for axis in dims.order if axis not in shown), *shown)
    go_to_plane(layer, dims, plane)


def go_to_index(layer: Any, dims: Any, index: tuple[int | None, ...]) -> None:
    """Move the viewer's sliders to another plane of a layer, where one along the same axes is shown."""
    try:
        shown = locate_plane(layer, dims, None)
    except ImageError:
        return
    there = replace(shown, index=index)
    if shown != there and shown.axes == there.axes:
        go_to_plane(layer, dims, there)


def layer_map(source: Any, target: Any, world: ArrayLike) -> Callable[[ArrayLike], NDArray[np.float64]]:
    """The affine map from one layer's data coordinates to another's.

    Parameters
    ----------
    source, target : napari.layers.Layer
        May have different numbers of dimensions; both take the last ones of the world.
    world : (D,) array-like
        The viewer's current point, which fills the dimensions that ``source`` does not have.

    Returns
    -------
    callable
        Maps (N, source.ndim) to (N, target.ndim).
    """
    point = np.asarray(world, float)

    def one(position: NDArray[np.float64]) -> NDArray[np.float64]:
        here = np.asarray(source.data_to_world(position), float)
        missing = max(len(point) - len(here), 0)
        return np.asarray(target.world_to_data(np.concatenate([point[:missing], here])), float)

    # layers offer the transform of one position only; an affine map is known from ndim + 1 of them
    origin = one(np.zeros(source.ndim))
    columns = [one(unit) - origin for unit in np.eye(source.ndim)]
    matrix = np.stack(columns)  # (source.ndim, target.ndim)

    def mapped(positions: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(positions, float).reshape(-1, source.ndim) @ matrix + origin

    return mapped


def place_crop(image: Any, plane: Plane, crop: Crop, size: tuple[int, ...]) -> dict[str, Any]:
    """The keyword arguments that put a picture of a crop, with as many dimensions as the image, in its place.

    Parameters
    ----------
    image : napari.layers.Image
        The image; all of its transform is kept.
    plane : Plane
        The plane that the crop belongs to.
    crop : (r0, c0, r1, c1)
        Half-open pixels of the plane.
    size : (h, w)
        Of the picture, which may be smaller than the crop.
    """
    options = layer_transform(image)
    # scale comes first in a layer's transform, so that a coarser picture differs in it and in translate alone
    factors, offset = np.ones(image.ndim), np.zeros(image.ndim)
    for axis, value in enumerate(plane.index):
        if value is not None:
            offset[axis] = value
    for axis, low, high, count in zip(plane.axes, crop[:2], crop[2:], size, strict=True):
        factors[axis] = (high - low) / count
        offset[axis] = low + (factors[axis] - 1) / 2  # the centre of the picture's first pixel
    linear = Affine(scale=image.scale, rotate=image.rotate, shear=image.shear)
    options["scale"] = np.asarray(image.scale) * factors
    options["translate"] = np.asarray(image.translate) + np.asarray(linear(offset))
    return options
