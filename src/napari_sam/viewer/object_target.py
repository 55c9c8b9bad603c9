"""The session's ``ObjectSink``: the Labels layer that the user chose, or a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from napari.utils.notifications import show_info
from psygnal import Signal

from napari_sam.errors import ImageError
from napari_sam.viewer.label_writer import LabelWriter, make_labels
from napari_sam.viewer.large_labels import LargeLabels, is_large
from napari_sam.viewer.planes import spatial_shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.session.requests import ObjectRef, Plane, Preview

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
    overwrite : bool
        Write over other objects too.
    """

    changed = Signal(object)  # Labels | None

    def __init__(self, host: Host) -> None:
        self.overwrite = False
        self.writer = LabelWriter()
        self._host = host
        self._layer: Any = None
        self._large = LargeLabels()

    @property
    def layer(self) -> Any:
        """The chosen layer; None for a new one."""
        return self._layer

    @layer.setter
    def layer(self, layer: Any) -> None:
        if layer is not self._layer:
            self._layer = layer
            self.changed.emit(layer)

    def close(self) -> None:
        """Let go of every layer."""
        self.writer.close()
        self._layer = None

    def write_object(self, preview: Preview, replaces: ObjectRef | None) -> ObjectRef:
        """Write an accepted object into the target, or into a new layer when there is none.

        Parameters
        ----------
        preview : Preview
            The object.
        replaces : ObjectRef or None
            What it was accepted as before.

        Raises
        ------
        SamError
            When it cannot be written; nothing has changed then.
        """
        image = self._host.image_layer
        if image is None or not self._host.shows(preview.plane):
            raise ImageError("Expected the image that the object was found in, got none: it was removed.")
        shape = spatial_shape(image)
        if self._layer is None or self._layer not in list(self._host.viewer.layers):
            self._make(image, preview.plane, shape)
        if self._large.holds(self._layer):
            return self._large.write(
                self._layer, preview.plane, preview.mask, overwrite=self.overwrite, replaces=replaces
            )
        return self.writer.write(
            self._layer,
            preview.plane,
            preview.mask,
            shape=shape,
            overwrite=self.overwrite,
            replaces=replaces,
        )

    def _make(self, image: Any, plane: Plane, shape: tuple[int, ...]) -> None:
        """A new layer for objects: in memory, or on disk where the plane is too large for that."""
        if not is_large(shape):
            self.layer = self._host.add_labels(plane, make_labels(shape, many=False), OBJECTS_NAME)
            self.writer.know_empty(self._layer)
            return
        store = self._large.make(image, plane, shape)
        layer = self._host.add_labels(plane, store.levels, OBJECTS_NAME)
        self._large.adopt(layer, store)
        self.layer = layer
        show_info(
            f"The image is too large for labels in memory: objects are kept on disk, in {store.folder}. "
            "The brush and Ctrl+Z do not work there; SAM's own Undo brings prompts back."
        )
