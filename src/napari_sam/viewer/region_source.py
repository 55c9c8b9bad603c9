"""Where to look for objects, read from the view or from a Shapes or Labels layer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes

from napari_sam.errors import PromptError
from napari_sam.inference.region import Region
from napari_sam.session.auto_requests import RegionChoice
from napari_sam.viewer.planes import full_resolution, layer_map, same_transform, spatial_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_sam.session.requests import Plane

__all__ = ["VISIBLE", "read_region", "read_view"]

VISIBLE = "visible"
CLOSED = ("rectangle", "ellipse", "polygon")
ELLIPSE_VERTICES = 64


def read_view(image: Any, plane: Plane) -> RegionChoice:
    """The part of a plane that is in view.

    Parameters
    ----------
    image : napari.layers.Image
        The image; napari notes on it which of its pixels are seen.
    plane : Plane
        The plane that is shown.
    """
    corners = np.asarray(image.corner_pixels, float)
    if image.multiscale:  # napari counts in pixels of the level that it shows
        corners = corners * np.asarray(image.downsample_factors[image.data_level])[: image.ndim]
    (r0, c0), (r1, c1) = corners[:, plane.axes]
    box = (np.floor(r0), np.floor(c0), np.ceil(r1) + 1, np.ceil(c1) + 1)
    region = Region.from_box([float(value) for value in box], plane.shape)
    return RegionChoice(f"view {region.box}", region, name="the visible region")


def read_region(layer: Any, image: Any, plane: Plane, world: Any, cut: bool = False) -> RegionChoice:
    """A layer as a region of a plane, wherever its own scale, place and rotation put it.

    Parameters
    ----------
    layer : napari.layers.Shapes or napari.layers.Labels
        Closed shapes on the plane, or everything that is not 0.
    image : napari.layers.Image
        The image that the plane belongs to.
    plane : Plane
        The plane that is shown.
    world : (D,) array-like
        The viewer's current point.
    cut : bool
        Cut objects at the region's edge.

    Raises
    ------
    PromptError
        When the layer has nothing on this plane.
    """
    if isinstance(layer, Shapes):
        rings = _read_shapes(layer, image, plane, world)
        if not rings:
            raise PromptError(
                f"Expected a closed shape of {layer.name!r} on the plane that is shown, got none; draw a "
                "polygon, rectangle or ellipse there, or choose the whole plane."
            )
        region = Region.from_polygons(rings, plane.shape)
        digest = _digest(*rings)
    elif isinstance(layer, Labels):
        mask = _PlaneOfLabels.make(layer, image, plane, world)
        region = Region.from_mask(mask)
        digest = _digest(*(np.packbits(part) for part in mask.stripes()))
    else:
        raise PromptError(f"Expected a Shapes or Labels layer as region, got {type(layer).__name__}.")
    if region.is_empty:
        raise PromptError(
            f"Expected a region with pixels of {plane.name!r}, got none in {layer.name!r} on the plane that "
            "is shown; draw it there, or choose the whole plane."
        )
    return RegionChoice(digest, region, cut, str(layer.name))


def _digest(*arrays: NDArray[Any]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _read_shapes(layer: Any, image: Any, plane: Plane, world: Any) -> list[NDArray[np.float64]]:
    """(N, 2) outlines, in plane coordinates, of the closed shapes that lie on the plane."""
    to_image = layer_map(layer, image, world)
    rings = []
    for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
        if kind not in CLOSED:
            continue
        outline = np.asarray(vertices, float)
        inside = to_image(_ellipse(outline) if kind == "ellipse" else outline)
        here = all(
            (np.round(inside[:, axis]) == value).all()
            for axis, value in enumerate(plane.index)
            if value is not None
        )
        if here:
            rings.append(inside[:, plane.axes])
    return rings


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on the ellipse that touches the sides of a (4, D) rectangle in their middle."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)
    centre = corners.mean(axis=0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(centre + np.cos(angles)[:, None] * one + np.sin(angles)[:, None] * other)


@dataclass(frozen=True, slots=True, eq=False)
class _PlaneOfLabels:
    """Labels seen from an image's plane, some rows at a time: nearest neighbours, False beyond them."""

    shape: tuple[int, int]
    data: Any
    selection: tuple[int | slice, ...] | None  # where the labels coincide with the image
    matrix: NDArray[np.float64]  # (2, D): what one row and one column are in the labels' indices
    origin: NDArray[np.float64]  # (D,): where pixel (0, 0) of the plane is

    @classmethod
    def make(cls, layer: Any, image: Any, plane: Plane, world: Any) -> _PlaneOfLabels:
        selection = None
        if same_transform(layer, image) and spatial_shape(layer) == spatial_shape(image):
            selection = tuple(slice(None) if value is None else value for value in plane.index)
        corners = np.array([[0.0 if value is None else value for value in plane.index]] * 3)
        corners[1, plane.axes[0]] += 1
        corners[2, plane.axes[1]] += 1
        origin, row, col = layer_map(image, layer, world)(corners)
        return cls(plane.shape, full_resolution(layer), selection, np.stack([row, col]) - origin, origin)

    def __getitem__(self, rows: slice) -> NDArray[np.bool_]:
        """Some rows of the plane."""
        start, stop, _ = rows.indices(self.shape[0])
        if self.selection is not None:
            plane = self.data[self.selection]
            return np.asarray(np.asarray(plane[start:stop]) != 0)
        at = np.arange(start, stop)[:, None] * self.matrix[0] + self.origin  # (rows, D)
        steps = np.arange(self.shape[1])[:, None] * self.matrix[1]  # (cols, D)
        inside = np.ones((stop - start, self.shape[1]), bool)
        indices = []
        for axis, size in enumerate(self.data.shape):
            index = np.rint(at[:, axis, None] + steps[None, :, axis]).astype(np.int64)
            inside &= (index >= 0) & (index < size)
            indices.append(index)
        out = np.zeros(inside.shape, bool)
        if inside.any():
            chosen = [index[inside] for index in indices]
            low = [int(index.min()) for index in chosen]
            box = tuple(slice(a, int(index.max()) + 1) for a, index in zip(low, chosen, strict=True))
            window = np.asarray(self.data[box])
            picked = window[tuple(index - a for a, index in zip(low, chosen, strict=True))]
            out[inside] = picked != 0
        return out

    def stripes(self, pixels: int = 1 << 22) -> Sequence[NDArray[np.bool_]]:
        """All rows, some at a time."""
        step = max(1, pixels // max(self.shape[1], 1))
        return [self[start : start + step] for start in range(0, self.shape[0], step)]
