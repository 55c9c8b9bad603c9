"""Results of a batch as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_sam.stacks.image_io import ImageStack

__all__ = ["add_result"]


def add_result(viewer: Any, image: ImageStack, labels: ImageStack) -> tuple[Any, Any]:
    """Add an image and its labels to a viewer, one above the other.

    Parameters
    ----------
    viewer : napari.Viewer
    image, labels : ImageStack
        Of the same planes.

    Returns
    -------
    image, labels : layer
        Of an image with channels that are no colours the first channel's layer.
    """
    scale = tuple(image.scale.get(axis, 1.0) for axis in image.axes if axis != "C")
    options: dict[str, Any] = {"scale": scale, "name": image.name or "image"}
    if image.axes.endswith("C"):
        is_colour = image.data.shape[-1] == 3 and image.data.dtype == np.uint8
        options |= {"rgb": True} if is_colour else {"channel_axis": image.data.ndim - 1}
    added = viewer.add_image(image.data, **options)
    first = added[0] if isinstance(added, list) else added
    name = labels.name or f"{first.name} labels"
    return first, viewer.add_labels(labels.data, name=name, scale=scale)
