"""Showing one object: its slice, the camera over it, its label selected, and a frame around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes

from napari_sam.session.requests import Plane
from napari_sam.viewer.own_layers import OWN
from napari_sam.viewer.planes import full_resolution, go_to_plane, layer_transform, spatial_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.review import ReviewItem

__all__ = ["FRAME_NAME", "ReviewFrame", "look_at", "plane_of_labels"]

FRAME_NAME = "SAM review"
FRAME_COLOUR = "#ffd500"
FILLS = 0.3
"""Share of the canvas that an object fills when the camera goes to it."""
COMFORT = (0.1, 0.6)
"""Shares at which the zoom stays as the user has it."""
CANVAS = (600, 800)
"""Assumed where the viewer does not say: a bare model, or napari before 0.9."""


def plane_of_labels(layer: Any, index: tuple[int | None, ...]) -> Plane:
    """The plane of a Labels layer at an index, as the engine's floor speaks of planes."""
    shape = spatial_shape(layer)
    rows, cols = (axis for axis, value in enumerate(index) if value is None)
    where = tuple(slice(None) if value is None else value for value in index)
    data = full_resolution(layer)
    return Plane(
        source=id(layer),
        index=index,
        shape=(shape[rows], shape[cols]),
        read=lambda: np.asarray(data[where]),
        name=str(layer.name),
    )


def look_at(viewer: Any, layer: Any, item: ReviewItem, *, move: bool = True) -> None:
    """Bring an object into view.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose sliders and camera move.
    layer : napari.layers.Labels
        The object's layer; its label is selected there.
    item : ReviewItem
        The object.
    move : bool
        Move the camera; the slice changes in any case.
    """
    layer.selected_label = item.label
    if viewer.dims.ndisplay != 2:
        return
    plane = plane_of_labels(layer, item.plane)
    go_to_plane(layer, viewer.dims, plane)
    if not move:
        return
    corners = _corners(viewer, layer, plane, item.box)
    sides = np.maximum(np.ptp(corners, axis=0), 1e-9)
    camera = getattr(viewer, "scene", viewer).camera
    camera.center = (0.0, *corners.mean(axis=0))
    size = getattr(getattr(viewer, "canvas", None), "size", None) or CANVAS
    share = float(np.max(sides * camera.zoom / np.asarray(size, float)))
    if not COMFORT[0] <= share <= COMFORT[1]:
        camera.zoom = float(FILLS * np.min(np.asarray(size, float) / sides))


def _corners(viewer: Any, layer: Any, plane: Plane, box: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """(4, 2) the corners of a box where the canvas shows them, in world units."""
    shown = list(viewer.dims.displayed)[-2:]
    missing = viewer.dims.ndim - layer.ndim
    found = []
    for corner in _outline(plane, box):
        world = np.asarray(viewer.dims.point, float)
        world[missing:] = layer.data_to_world(corner)
        found.append(world[shown])
    return np.array(found)


def _outline(plane: Plane, box: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """(4, D) the outer corners of a half-open box of pixels, in the layer's data coordinates."""
    r0, c0, r1, c1 = (value - 0.5 for value in box)
    corners = np.array([[0.0 if value is None else value for value in plane.index]] * 4)
    corners[:, plane.axes] = [(r0, c0), (r0, c1), (r1, c1), (r1, c0)]
    return corners


class ReviewFrame:
    """A frame around the object that is looked at, in a layer of its own that comes and goes.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where it is shown.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None

    def show(self, layer: Any, item: ReviewItem) -> None:
        """Frame an object of a Labels layer."""
        outline = _outline(plane_of_labels(layer, item.plane), item.box)
        width = max(1.0, float(np.ptp(outline, axis=0).max()) / 40)
        if self._layer is not None and self._layer.ndim != layer.ndim:
            self.hide()
        if self._layer is None or self._layer not in self._viewer.layers:
            active = self._viewer.layers.selection.active
            self._layer = Shapes(
                [outline],
                shape_type="rectangle",
                name=FRAME_NAME,
                edge_color=FRAME_COLOUR,
                face_color="transparent",
                edge_width=width,
                metadata={OWN: True},
                **layer_transform(layer),
            )
            self._viewer.add_layer(self._layer)
            # a frame is looked at, not worked with: neither the tool nor the layer in hand changes
            self._layer.editable = False
            self._viewer.layers.selection.active = active
            return
        for name, value in layer_transform(layer).items():
            if name not in ("units", "axis_labels"):
                setattr(self._layer, name, value)
        self._layer.data = [outline]
        self._layer.edge_width = width

    def hide(self) -> None:
        """Take the frame away."""
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def forget(self) -> None:
        """Let go of the layer, for a viewer that closes and takes its layers itself."""
        self._layer = None
