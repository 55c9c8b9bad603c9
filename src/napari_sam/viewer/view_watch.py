"""What part of a plane the user sees, and when that changes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.viewer.connections import Connections

if TYPE_CHECKING:
    from napari_sam.session.requests import Plane

__all__ = ["ViewWatch", "read_view"]

Rectangle = tuple[float, float, float, float]


class ViewWatch:
    """Tells that the view moves; many times while it does, so whoever acts on it waits until it rests.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer.
    """

    moved = Signal()

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._connections = Connections()

    def enable(self) -> None:
        """Listen."""
        camera = _camera(self._viewer)
        signals = [camera.events.center, camera.events.zoom, self._viewer.dims.events.order]
        canvas = getattr(self._viewer, "canvas", None)  # since napari 0.9
        if canvas is not None:
            signals.append(canvas.events.size)
        for signal in signals:
            self._connections.add(signal, self._on_viewer_moved)

    def disable(self) -> None:
        """Listen no more."""
        self._connections.clear()

    def _on_viewer_moved(self, event: Any) -> None:
        self.moved.emit()


def read_view(viewer: Any, layer: Any, plane: Plane) -> Rectangle | None:
    """The part of a plane that lies within the canvas.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer.
    layer : napari.layers.Image
        The image that the plane belongs to.
    plane : Plane
        The plane that is shown.

    Returns
    -------
    (r0, c0, r1, c1) or None
        In pixels of the finest level, within the plane; None when the viewer does not say, or shows nothing
        of it.
    """
    size = getattr(getattr(viewer, "canvas", None), "size", None)
    found = _from_drawing(layer, plane) if size is None else _from_camera(viewer, layer, plane, size)
    if found is None:
        return None
    low = np.clip(found[0], 0, plane.shape)
    high = np.clip(found[1], 0, plane.shape)
    if not (low < high).all():
        return None
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _from_camera(viewer: Any, layer: Any, plane: Plane, size: tuple[int, int]) -> Any:
    """The box around the canvas's corners: exact, and known before anything is drawn."""
    camera, dims = _camera(viewer), viewer.dims
    half = np.asarray(size, float) / 2 / camera.zoom
    centre = np.asarray(camera.center, float)[-2:]
    shown = list(dims.displayed)[-2:]
    corners = []
    for signs in product((-1, 1), repeat=2):
        world = np.asarray(dims.point, float)
        world[shown] = centre + np.asarray(signs) * half
        corners.append(np.asarray(layer.world_to_data(world), float)[list(plane.axes)])
    if not np.isfinite(corners).all():
        return None
    return np.min(corners, axis=0), np.max(corners, axis=0)


def _from_drawing(layer: Any, plane: Plane) -> Any:
    """What the layer was last drawn with; of a pyramid, at the level that was drawn."""
    corners = np.asarray(layer.corner_pixels, float)[:, list(plane.axes)]
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors[layer.data_level])[list(plane.axes)]
    return corners[0], corners[1]


def _camera(viewer: Any) -> Any:
    """The camera, which napari keeps elsewhere since 0.9."""
    return getattr(viewer, "scene", viewer).camera
