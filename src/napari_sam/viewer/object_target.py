"""The session's ``ObjectSink``: the Labels layer that the user chose, or a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from napari.utils.notifications import show_info
from psygnal import Signal

from napari_sam.errors import ImageError
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.image_targets import ImageTargets
from napari_sam.viewer.label_surfaces import LabelSurfaces
from napari_sam.viewer.label_writer import LabelWriter, make_labels
from napari_sam.viewer.large_labels import LargeLabels, is_large
from napari_sam.viewer.planes import spatial_shape

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.session.edits import LabelSurface
    from napari_sam.session.requests import Plane

__all__ = ["ObjectTarget"]

OBJECTS_NAME = "SAM objects"


class Host(Protocol):
    """What the target needs of the controller."""

    viewer: Any

    @property
    def image_layer(self) -> Any:
        """The image that is segmented, or None."""

    def shows(self, plane: Plane) -> bool:
        """True while a plane is one of the image that is segmented."""

    def add_labels(self, plane: Plane, data: NDArray[np.integer] | list[Any], name: str) -> Any:
        """Add a Labels layer on the image of a plane; None when that is not the image any more."""


class ObjectTarget:
    """The layer that accepted objects are written into.

    Parameters
    ----------
    host : Host
        Whose image and layers are used.

    Attributes
    ----------
    writer : LabelWriter
        Writes into layers in memory.
    surfaces : LabelSurfaces
        All Labels layers, as what edits are applied to.
    """

    changed = Signal(object)  # Labels | None

    def __init__(self, host: Host) -> None:
        self.writer = LabelWriter(host.viewer)
        self._host = host
        self._layer: Any = None
        self._of_image = False  # whether an image was there when the layer was chosen or made
        self._made: WeakSet[Any] = WeakSet()  # layers that nobody has chosen
        self._images = ImageTargets(host.viewer)
        self._connections = Connections()
        self._pixels = 0  # identity of the image's array
        self._large = LargeLabels()
        self.surfaces = LabelSurfaces(host.viewer, self.writer, self._large)

    @property
    def layer(self) -> Any:
        """The chosen layer; None for a new one."""
        return self._layer

    @layer.setter
    def layer(self, layer: Any) -> None:
        if layer is not None:
            self._made.discard(layer)
        self._use(layer)

    def _use(self, layer: Any) -> None:
        image = self._host.image_layer
        self._of_image = image is not None
        if image is not None:
            self._images.note(image, layer)
        if layer is not self._layer:
            self._layer = layer
            self.changed.emit(layer)

    def follow(self, image: Any) -> None:
        """Another image is segmented: its objects go where they went before, and not to those of others."""
        self._connections.clear()
        if image is None:
            return
        self._connections.add(image.events.data, self._on_image_data)
        self._pixels = id(image.data)
        if self._images.knows(image):
            self._use(self._images.find(image))
        elif self._of_image:
            self._begin_new(image)
        else:
            self._use(self._layer)

    def _begin_new(self, image: Any) -> None:
        """Have the next object make a layer, and say so where another one was in use."""
        before = self._layer
        self._use(None)
        if before is not None and before in self._host.viewer.layers:
            show_info(
                f"Objects of {image.name!r} go into a new layer; to go on in {before.name!r}, choose it "
                "under 'Write to'."
            )

    def _on_image_data(self, event: Any) -> None:
        """Other pixels: a layer that was made for those before is not theirs."""
        image, before = event.source, self._pixels
        self._pixels = id(image.data)
        if before == self._pixels or self._images.shares(image):  # written in place; or another channel's too
            return
        if self._layer is not None and self._layer in self._made:
            self._begin_new(image)

    def discard(self, layer: Any) -> None:
        """A layer was removed from the viewer."""
        if layer is self._layer:
            self._use(None)

    def close(self) -> None:
        """Let go of every layer."""
        self._connections.clear()
        self._images.clear()
        self.surfaces.close()
        self.writer.close()
        self._layer, self._of_image = None, False

    @property
    def chosen(self) -> Hashable | None:
        """Token of the chosen layer; None for a new one."""
        return None if self._layer is None else self.surfaces.token(self._layer)

    def token(self, layer: object) -> Hashable:
        """What a Labels layer is called in edits and records."""
        return self.surfaces.token(layer)

    def target(self, plane: Plane) -> Hashable:
        """Token of the layer that takes objects of a plane; made where there is none.

        Raises
        ------
        ImageError
            When the image is gone, or the layer has another shape or cannot be written.
        """
        image = self._host.image_layer
        if image is None or not self._host.shows(plane):
            raise ImageError("Expected the image that the object was found in, got none: it was removed.")
        shape = spatial_shape(image)
        if self._layer is None or self._layer not in list(self._host.viewer.layers):
            self._make(image, plane, shape)
        if not self._large.holds(self._layer):
            self.writer.check(self._layer, shape)
        return self.surfaces.token(self._layer)

    def surface(self, layer: Hashable) -> LabelSurface:
        """A layer to be read and written.

        Raises
        ------
        ImageError
            When it is gone or cannot be written.
        """
        return self.surfaces.surface(layer)

    def _make(self, image: Any, plane: Plane, shape: tuple[int, ...]) -> None:
        """A new layer for objects: in memory, or on disk where the plane is too large for that."""
        if not is_large(shape):
            self.layer = self._host.add_labels(plane, make_labels(shape, many=False), OBJECTS_NAME)
            self._made.add(self._layer)
            self.writer.ids.know_empty(self._layer)
            return
        store = self._large.make(image, plane, shape)
        layer = self._host.add_labels(plane, store.levels, OBJECTS_NAME)
        self._large.adopt(layer, store)
        self.layer = layer
        self._made.add(layer)
        show_info(
            f"The image is too large for labels in memory: objects are kept on disk, in {store.folder}. "
            "The brush and Ctrl+Z do not work there; SAM's own Undo does."
        )
