"""Zarr arrays and OME-Zarr images, never read before they are sliced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io.image_stack import ImageStack, arrange_axes
from napari_sam.stacks.image_io.lazy_array import LazyArray

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_zarr"]

AXES: Final = "TCZYX"
"""What the axes of an array that does not say so are taken for, from the last backwards."""


def open_zarr(path: Path) -> ImageStack:
    """Open a folder that zarr wrote: an array, or an OME-Zarr image."""
    import zarr

    try:
        node = zarr.open(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"Expected an image file or a zarr image, got the folder {path}.") from error
    axes = ""
    if isinstance(node, zarr.Group):
        attributes = dict(node.attrs)
        scales = attributes.get("ome", attributes).get("multiscales") or []
        if not scales:
            raise ImageError(
                f"Expected a zarr array or an OME-Zarr image in {path}, got a group without one."
            )
        named = scales[0].get("axes") or []
        axes = "".join(str(a["name"] if isinstance(a, dict) else a).upper() for a in named)
        node = node[scales[0]["datasets"][0]["path"]]
    if not isinstance(node, zarr.Array) or node.ndim < 2 or np.dtype(node.dtype).kind not in "uifb":
        raise ImageError(f"Expected an image of real numbers in {path}, got {node}.")
    if len(axes) != node.ndim or not {"Y", "X"} <= set(axes):
        if node.ndim > len(AXES):
            raise ImageError(f"Expected at most the axes {AXES} in {path}, got {node.ndim}.")
        axes = AXES[-node.ndim :]
        if node.ndim == 3 and node.shape[-1] in (3, 4) and node.shape[0] > 4:
            axes = "YXC"
    data, axes = arrange_axes(LazyArray(node, (axes.index("Y"), axes.index("X"))), axes, ())
    return ImageStack(data, axes)
