"""The layers that the widget makes on top of an image: made, found again, moved along, taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Points, Shapes

from napari_sam.viewer.planes import layer_transform, same_transform, spatial_shape
from napari_sam.viewer.preview_layer import ANSWER, HOVER, PREVIEW_NAME, make_preview, paint_preview
from napari_sam.viewer.prompt_layers import POINTS_NAME, make_points
from napari_sam.viewer.shape_layers import SHAPES_NAME, make_shapes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.session.requests import Preview

__all__ = ["OwnLayers"]

OWN = "napari_sam"  # in the metadata of layers made here, by which the next widget knows them


class OwnLayers:
    """Our layers in a viewer; the user's are never touched.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.preview: Any = None
        self._shown: Preview | None = None
        self._image: Any = None
        self._ids: set[int] = set()

    def owns(self, layer: Any) -> bool:
        """True for layers that were made, or found again, here."""
        return id(layer) in self._ids

    def complete(self, image: Any, points: Any, shapes: Any) -> tuple[Any, Any]:
        """Add those layers that are missing, and put the points tool into the user's hand.

        Parameters
        ----------
        image : napari.layers.Image
            What they lie on.
        points, shapes : napari.layers.Points, napari.layers.Shapes or None
            The prompt layers in use; None for ours.

        Returns
        -------
        points, shapes : napari.layers.Points, napari.layers.Shapes
            The prompt layers to use.
        """
        made = []
        self._image = image
        preview = self.preview or self._adopt(PREVIEW_NAME, Labels, image)
        shapes = shapes or self._adopt(SHAPES_NAME, Shapes, image)
        points = points or self._adopt(POINTS_NAME, Points, image)
        if preview is None:
            made.append(preview := make_preview(image))
        if shapes is None:
            made.append(shapes := make_shapes(image))
        if points is None:
            made.append(points := make_points(image))
        self.preview = preview
        for layer in made:
            self._ids.add(id(layer))
            layer.metadata[OWN] = True
            self.viewer.add_layer(layer)
        if made:
            points.mode = "add" if self.owns(points) else points.mode
            self.viewer.layers.selection.active = points
        return points, shapes

    def show(self, preview: Preview | None, hover: bool = False) -> None:
        """Show a mask in the preview layer, or none; in cyan where it is what a click would give."""
        old, self._shown = self._shown, preview
        if self.preview is not None:
            paint_preview(self.preview, old, preview, self._image, HOVER if hover else ANSWER)

    def follow(self, image: Any) -> None:
        """Give our layers the transform that the image has now."""
        for layer in filter(self.owns, self.viewer.layers):
            for name, value in layer_transform(image).items():
                if name not in ("units", "axis_labels"):
                    setattr(layer, name, value)
        if self.preview is not None:
            paint_preview(self.preview, None, self._shown, image)

    def add_labels(self, image: Any, data: NDArray[np.integer] | list[Any], name: str) -> Labels:
        """Add a Labels layer under ours, which is the user's from now on; his tool stays in his hand.

        Parameters
        ----------
        image : napari.layers.Image
            What it lies on.
        data : array of int32, or list of them
            Labels of the image's spatial shape, or the levels of a pyramid, finest first.
        name : str
            The layer's name.
        """
        layers = self.viewer.layers
        active = layers.selection.active
        layer = Labels(data, name=name, multiscale=isinstance(data, list), **layer_transform(image))
        self.viewer.add_layer(layer)
        below = [index for index, other in enumerate(layers) if self.owns(other)]
        if below:
            layers.move(layers.index(layer), below[0])
        if active is None or active in layers:  # a lasso goes when another layer is selected
            layers.selection.active = active
        return layer

    def remove(self) -> None:
        """Take our layers out of the viewer."""
        for layer in list(filter(self.owns, self.viewer.layers)):
            self.viewer.layers.remove(layer)
        self.forget()

    def discard(self, layer: Any) -> None:
        """Somebody removed a layer, perhaps one of ours."""
        self._ids.discard(id(layer))
        if layer is self.preview:
            self.preview = self._shown = None

    def forget(self) -> None:
        """Own nothing any more; the layers stay for the next widget."""
        self._ids.clear()
        self.preview = self._shown = self._image = None

    def _adopt(self, name: str, kind: type, image: Any) -> Any:
        """A layer that an earlier widget left here, where it fits the image; else None."""
        for layer in [layer for layer in self.viewer.layers if layer.name == name and OWN in layer.metadata]:
            fits = isinstance(layer, kind) and same_transform(layer, image)
            if fits and (kind is not Labels or layer.data.shape == spatial_shape(image)):
                self._ids.add(id(layer))
                return layer
            self.viewer.layers.remove(layer)
        return None
