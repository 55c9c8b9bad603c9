"""Which layers of a viewer may be chosen for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Shapes

from napari_sam.viewer.own_layers import OWN, OwnLayers

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LayerLists", "is_users_image"]


class LayerLists:
    """The layers of a viewer, without those that were made here.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self._own = OwnLayers(viewer)

    def images(self) -> Iterator[Image]:
        """Image layers that can be segmented."""
        return (layer for layer in self.viewer.layers if is_users_image(layer))

    def targets(self) -> Iterator[Labels]:
        """Labels layers that the user may choose."""
        preview = self._own.preview
        return (layer for layer in self.viewer.layers if isinstance(layer, Labels) and layer is not preview)

    def regions(self) -> Iterator[Any]:
        """Shapes and Labels layers that the user may choose as region."""
        labels = list(self.targets())
        return (
            layer
            for layer in self.viewer.layers
            if layer in labels or (isinstance(layer, Shapes) and OWN not in layer.metadata)
        )

    def owns(self, layer: Any) -> bool:
        """True for layers that were made here."""
        return self._own.owns(layer)


def is_users_image(layer: Any) -> bool:
    """True for images that can be segmented; a picture that we made of one cannot."""
    return isinstance(layer, Image) and layer.ndim >= 2 and OWN not in layer.metadata
