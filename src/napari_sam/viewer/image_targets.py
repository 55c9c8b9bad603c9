"""Which Labels layer takes the objects of which image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari.layers import Image

from napari_sam.viewer.planes import same_frame

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ImageTargets"]


class ImageTargets:
    """Remembers the target of every image, which all channels of an image share.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose layers they are.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layers: WeakKeyDictionary[Any, Callable[[], Any]] = WeakKeyDictionary()

    def clear(self) -> None:
        """Remember nothing any more."""
        self._layers.clear()

    def note(self, image: Any, layer: Any) -> None:
        """Objects of an image, and of its other channels, go to a layer; with None to a new one."""
        for channel in self._channels(image):
            self._layers[channel] = _nothing if layer is None else ref(layer)

    def knows(self, image: Any) -> bool:
        """True when the target of an image, or of another of its channels, was noted."""
        return any(channel in self._layers for channel in self._channels(image))

    def find(self, image: Any) -> Any:
        """The target of an image, or of another of its channels; None for a new layer."""
        known = (self._layers[channel] for channel in self._channels(image) if channel in self._layers)
        layer = next(known, _nothing)()
        return layer if layer is not None and layer in self._viewer.layers else None

    def shares(self, image: Any) -> bool:
        """True when another channel of an image has the same target."""
        layer = self.find(image)
        return any(self._layers.get(other, _nothing)() is layer for other in self._channels(image)[1:])

    def _channels(self, image: Any) -> list[Any]:
        """An image, and those that are open beside it and have the same frame."""
        others = (layer for layer in self._viewer.layers if isinstance(layer, Image) and layer is not image)
        return [image, *(other for other in others if same_frame(image, other))]


def _nothing() -> None:
    """What is remembered of an image whose objects go to a new layer."""
