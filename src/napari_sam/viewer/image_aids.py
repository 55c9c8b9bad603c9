"""What helps with an image: what is seen of it, a picture of the model's input, a line to measure with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from psygnal import Signal

from napari_sam.viewer.connections import Connections
from napari_sam.viewer.own_layers import OWN
from napari_sam.viewer.planes import layer_map, layer_transform, place_crop
from napari_sam.viewer.silent_changes import SilentChanges
from napari_sam.viewer.view_watch import ViewWatch, read_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Crop, Plane
    from napari_sam.viewer.controller import Controller

__all__ = ["INPUT_NAME", "MEASURE_NAME", "ImageAids"]

INPUT_NAME = "SAM model input"
MEASURE_NAME = "SAM measure"


class ImageAids:
    """Layers of ours that come and go: the model's input, and a line across an object.

    Parameters
    ----------
    controller : Controller
        Knows viewer, image and session.
    """

    measured = Signal(float)  # length of the line that was drawn, in pixels of the plane
    view_moved = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._watch = ViewWatch(controller.viewer)
        self._watch.moved.connect(self.view_moved.emit)
        self._written = SilentChanges(controller.viewer)
        self._written.noticed.connect(self._on_image_written)
        self._ruler: Any = None
        self._before: Any = None
        self._listening = Connections()
        self._connections = Connections()  # of the ruler

    # ------------------------------------------------------------- life
    def enable(self) -> None:
        """Listen to view and image, and have rendered pictures shown."""
        self._watch.enable()
        self._watch_image(self._controller.image_layer)
        session, controller = self._controller.session, self._controller
        self._listening.add(session.precomputing.input_rendered, self._on_input_rendered)
        self._listening.add(controller.image_changed, self._on_image_changed)

    def disable(self) -> None:
        """Let go of everything; the picture stays."""
        self._watch.disable()
        self._written.close()
        self._listening.clear()
        self._connections.clear()
        self._ruler = self._before = None

    def _on_image_changed(self, image: Any) -> None:
        """What was made of another image goes; but while a viewer closes, it takes its layers itself."""
        self._watch_image(image)
        if image is not None:
            self.end_measuring()
            if self.input_layer is not None:
                self._controller.viewer.layers.remove(self.input_layer)

    def _watch_image(self, image: Any) -> None:
        self._written.close()
        if image is not None:
            self._written.watch(image)

    def _on_image_written(self, image: Any) -> None:
        """A microscope or a script writes into it while it is open."""
        self._controller.session.work.look_again()

    # ------------------------------------------------------------- view
    def report_view(self) -> None:
        """Tell the session what is seen of the plane."""
        session, image = self._controller.session, self._controller.image_layer
        if image is not None and session.plane is not None:
            session.look_at(read_view(self._controller.viewer, image, session.plane))

    def visible_crop(self) -> Crop | None:
        """The pixels that are seen, half-open; the whole plane where the view is not known."""
        plane, image = self._controller.session.plane, self._controller.image_layer
        if plane is None or image is None or 0 in plane.shape:
            return None
        view = read_view(self._controller.viewer, image, plane)
        if view is None:
            return 0, 0, plane.shape[0], plane.shape[1]
        r0, c0 = (int(np.floor(value)) for value in view[:2])
        r1, c1 = (int(np.ceil(value)) for value in view[2:])
        return r0, c0, max(r1, r0 + 1), max(c1, c0 + 1)

    # ------------------------------------------------------------- the model's input
    @property
    def input_layer(self) -> Any:
        """The picture of the model's input, or None."""
        layers = self._controller.viewer.layers
        return next((layer for layer in layers if layer.name == INPUT_NAME and OWN in layer.metadata), None)

    def request_input(self) -> None:
        """Have what is seen rendered as the model sees it."""
        crop, plane = self.visible_crop(), self._controller.session.plane
        if crop is None or plane is None:
            self._controller.session.warned.emit("Nothing to show: choose an image layer shown in 2-D.")
            return
        session = self._controller.session
        session.precomputing.render_input(plane, crop, session.model)

    def _on_input_rendered(self, plane: Plane, crop: Crop, pixels: NDArray[np.uint8]) -> None:
        controller = self._controller
        image = controller.image_layer
        if image is None or plane != controller.session.plane:
            return
        layers = controller.viewer.layers
        active, old = layers.selection.active, self.input_layer
        shape = [1] * image.ndim
        for axis, size in zip(plane.axes, pixels.shape[:2], strict=True):
            shape[axis] = size
        layer = Image(
            pixels.reshape(*shape, 3),
            rgb=True,
            name=INPUT_NAME,
            metadata={OWN: True},
            **place_crop(image, plane, crop, pixels.shape[:2]),
        )
        at = layers.index(image) + 1
        if old is not None:
            at = layers.index(old)
            layers.remove(old)
        controller.viewer.add_layer(layer)
        layers.move(layers.index(layer), at)
        layers.selection.active = active if active in layers else layer

    # ------------------------------------------------------------- measuring
    def measure(self) -> None:
        """Take the diameter of the object in the preview; without one, have the user draw a line."""
        preview = self._controller.session.preview
        if preview is not None:
            self.measured.emit(float(np.sqrt(4 * preview.mask.area / np.pi)))
            return
        image, viewer = self._controller.image_layer, self._controller.viewer
        if image is None or self._controller.session.plane is None:
            self._controller.session.warned.emit("Nothing to measure: choose an image layer shown in 2-D.")
            return
        if self._ruler is not None and self._ruler not in viewer.layers:
            self.end_measuring()  # the user has deleted it
        if self._ruler is None:
            self._before = viewer.layers.selection.active
            self._ruler = Shapes(
                ndim=image.ndim,
                name=MEASURE_NAME,
                edge_color="#ff3df2",
                face_color="transparent",
                edge_width=max(1.0, max(self._controller.session.plane.shape) / 400),
                metadata={OWN: True},
                **layer_transform(image),
            )
            viewer.add_layer(self._ruler)
            self._connections.add(self._ruler.events.data, self._on_ruler_data)
        viewer.layers.selection.active = self._ruler
        self._ruler.mode = "add_line"
        self._controller.session.status_changed.emit(
            "Draw a line across a typical object: press at one edge, drag to the other."
        )

    def end_measuring(self) -> None:
        """Take the line away and give the tool back; not to be called while the line is being drawn."""
        ruler, before = self._ruler, self._before
        self._connections.clear()
        self._ruler = self._before = None
        layers = self._controller.viewer.layers
        if ruler is not None and ruler in layers:
            layers.remove(ruler)
        if before is not None and before in layers:
            layers.selection.active = before

    def _on_ruler_data(self, event: Any) -> None:
        action = getattr(event, "action", "")
        image, plane = self._controller.image_layer, self._controller.session.plane
        if str(getattr(action, "value", action)) != "added" or image is None or plane is None:
            return
        drawn = layer_map(self._ruler, image, self._controller.viewer.dims.point)(self._ruler.data[-1])
        inside = drawn[:, list(plane.axes)]
        kind = self._ruler.shape_type[-1]
        if kind in ("rectangle", "ellipse", "polygon"):  # the user took another tool of the layer
            length = float(np.sqrt(np.prod(np.ptp(inside, axis=0))))
        else:
            length = float(np.linalg.norm(inside[-1] - inside[0]))
        if length >= 1:
            self.measured.emit(length)
