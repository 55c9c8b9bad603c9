"""A lasso: which objects of a Labels layer lie inside an outline that the user draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from psygnal import Signal

from napari_sam.viewer.connections import Connections
from napari_sam.viewer.own_layers import OWN
from napari_sam.viewer.planes import full_resolution, layer_map, layer_transform, spatial_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Plane

__all__ = ["LASSO_NAME", "Lasso"]

LASSO_NAME = "SAM lasso"
LASSO_COLOUR = "#ff3df2"
SHARE = 0.5
"""An object belongs to the lasso when at least so much of it, in the plane, lies inside."""


class Lasso:
    """A Shapes layer that comes with the tool and goes with it; what was drawn last counts.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where it is drawn.
    """

    drawn = Signal()  # an outline was closed, changed or taken away

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._before: Any = None
        self._connections = Connections()

    @property
    def layer(self) -> Any:
        """The layer that is drawn in, or None."""
        if self._layer is not None and self._layer not in self._viewer.layers:
            self.forget()
        return self._layer

    def draw(self, labels: Any) -> None:
        """Put the tool into the user's hand, over a Labels layer; what was drawn before is taken away."""
        if self.layer is None:
            self._before = self._viewer.layers.selection.active
            self._layer = Shapes(
                ndim=labels.ndim,
                name=LASSO_NAME,
                edge_color=LASSO_COLOUR,
                face_color="#ff3df220",
                edge_width=max(1.0, max(spatial_shape(labels)[-2:]) / 400),
                metadata={OWN: True},
                **layer_transform(labels),
            )
            self._viewer.add_layer(self._layer)
            self._connections.add(self._layer.events.data, self._on_layer_data)
        elif len(self._layer.data):
            self._layer.data = []
        self._viewer.layers.selection.active = self._layer
        self._layer.mode = "add_polygon_lasso"

    def end(self) -> None:
        """Take the lasso away and give the layer in hand back; not to be called while it is being drawn."""
        layer, before = self.layer, self._before
        self.forget()
        layers = self._viewer.layers
        if layer is not None:
            layers.remove(layer)
            if before is not None and before in layers:
                layers.selection.active = before
            self.drawn.emit()

    def forget(self) -> None:
        """Let go of the layer, for a viewer that closes and takes its layers itself."""
        self._connections.clear()
        self._layer = self._before = None

    close = forget

    def outlines(self, labels: Any, plane: Plane) -> list[NDArray[np.float64]]:
        """(N, 2) the closed outlines on a plane of a Labels layer, in its pixels.

        Parameters
        ----------
        labels : napari.layers.Labels
            The layer.
        plane : Plane
            One of its planes; outlines on others do not count.
        """
        layer = self.layer
        if layer is None or not len(layer.data):
            return []
        to_labels = layer_map(layer, labels, self._viewer.dims.point)
        found = []
        for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
            inside = to_labels(vertices)
            here = all(
                value is None or (np.round(inside[:, axis]) == value).all()
                for axis, value in enumerate(plane.index)
            )
            if here and len(inside) > 2 and kind != "path":
                found.append(inside[:, plane.axes])
        return found

    def labels_inside(self, labels: Any, plane: Plane) -> tuple[int, ...]:
        """Objects of a Labels layer that lie inside what was drawn, for the most part; ascending.

        Parameters
        ----------
        labels : napari.layers.Labels
            The layer.
        plane : Plane
            The plane that is shown.
        """
        # scikit-image is imported when somebody draws, not when the widget opens
        from napari_sam.inference.region import Region

        outlines = self.outlines(labels, plane)
        if not outlines:
            return ()
        region = Region.from_polygons(outlines, plane.shape)
        if region.is_empty:
            return ()
        where: list[Any] = [slice(None) if value is None else value for value in plane.index]
        inside = self._read(labels, where, plane, region.box)[region.mask(region.box)]
        found, counts = np.unique(inside[inside != 0], return_counts=True)
        if not len(found):
            return ()
        sizes = self._measure(labels, where, plane, region.box, found)
        return tuple(found[counts >= SHARE * sizes].tolist())

    def _measure(
        self,
        labels: Any,
        where: list[Any],
        plane: Plane,
        box: tuple[int, int, int, int],
        wanted: NDArray[np.integer],
    ) -> NDArray[np.int64]:
        """Pixels of objects that reach into a box, found in a box that grows until all of them end inside."""
        height, width = plane.shape
        while True:
            r0, c0, r1, c1 = box
            around = self._read(labels, where, plane, box)
            edges = np.concatenate(
                [
                    around[0] if r0 else around[0][:0],
                    around[-1] if r1 < height else around[0][:0],
                    around[:, 0] if c0 else around[0][:0],
                    around[:, -1] if c1 < width else around[0][:0],
                ]
            )
            if not np.isin(wanted, edges).any():
                found, counts = np.unique(around[np.isin(around, wanted)], return_counts=True)
                return np.asarray(counts[np.searchsorted(found, wanted)], np.int64)
            high, wide = r1 - r0, c1 - c0
            box = (max(r0 - high, 0), max(c0 - wide, 0), min(r1 + high, height), min(c1 + wide, width))

    @staticmethod
    def _read(
        labels: Any, where: list[Any], plane: Plane, box: tuple[int, int, int, int]
    ) -> NDArray[np.integer]:
        """(h, w) labels of a box of the plane."""
        index = list(where)
        for axis, low, high in zip(plane.axes, box[:2], box[2:], strict=True):
            index[axis] = slice(low, high)
        return np.asarray(full_resolution(labels)[tuple(index)])

    def _on_layer_data(self, event: Any) -> None:
        action = getattr(event, "action", "")
        if str(getattr(action, "value", action)) in ("added", "changed", "removed"):
            self.drawn.emit()
