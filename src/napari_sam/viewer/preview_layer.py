"""The preview: a Labels layer of our own that changes only inside the masks' boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_sam.viewer.large_labels import is_large
from napari_sam.viewer.planes import layer_transform, place_crop, spatial_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Plane, Preview

__all__ = ["ANSWER", "HOVER", "PREVIEW_NAME", "make_preview", "paint_preview"]

PREVIEW_NAME = "SAM preview"
COLOUR = "#ffd400"
HOVER_COLOUR = "#00e5ff"
ANSWER, HOVER = 1, 2  # values of the layer: the answer to the prompts, and what a click would give
MAX_BYTES = 4 << 30
FEW_PIXELS = 200_000


def make_preview(image: Any) -> Labels:
    """An empty preview that coincides with an image; its pixels cost memory only once written.

    Parameters
    ----------
    image : napari.layers.Image
        The image; its transform is copied.

    Raises
    ------
    MemoryError
        When not even the address space for it can be had.
    """
    shape = spatial_shape(image)
    if is_large(shape):  # a patch that moves to where the mask is
        shape = (1,) * len(shape)
    data = np.zeros(shape, np.uint8) if np.prod(shape, dtype=float) <= MAX_BYTES else OnePlane(shape)
    layer = Labels(
        data,
        name=PREVIEW_NAME,
        opacity=0.5,
        colormap=DirectLabelColormap(
            color_dict={None: "transparent", 0: "transparent", ANSWER: COLOUR, HOVER: HOVER_COLOUR}
        ),
        **layer_transform(image),
    )
    layer.editable = False  # nobody paints here by accident, and Ctrl+Z stays with the real labels
    return layer


def paint_preview(
    layer: Any, old: Preview | None, new: Preview | None, image: Any, value: int = ANSWER
) -> None:
    """Replace one preview by another, touching only their boxes.

    Parameters
    ----------
    layer : napari.layers.Labels
        Made by ``make_preview``.
    old, new : Preview or None
        What the layer shows, and what it shall show.
    image : napari.layers.Image
        What the layer lies on.
    value : int
        ``ANSWER`` or ``HOVER``: in which colour the new one is shown.
    """
    if is_large(spatial_shape(image)):
        _move_patch(layer, new, image, value)
        return
    for plane, box in _boxes(old, new):
        wanted = np.zeros((box[2] - box[0], box[3] - box[1]), np.uint8)
        if new is not None and new.plane == plane:
            r0, c0, r1, c1 = new.mask.box
            wanted[r0 - box[0] : r1 - box[0], c0 - box[1] : c1 - box[1]] = new.mask.mask * np.uint8(value)
        _write_region(layer, plane, box, wanted)


def _move_patch(layer: Any, new: Preview | None, image: Any, value: int) -> None:
    """Make the layer the mask's box, and put it where that is."""
    mask = np.zeros((1,) * image.ndim, np.uint8)
    translate = image.translate
    if new is not None and new.mask.area:
        shape = np.ones(image.ndim, int)
        shape[list(new.plane.axes)] = new.mask.mask.shape
        mask = (new.mask.mask * np.uint8(value)).reshape(shape)
        translate = place_crop(image, new.plane, new.mask.box, new.mask.mask.shape)["translate"]
    layer.data = mask
    layer.translate = translate
    layer.editable = False


def _boxes(old: Preview | None, new: Preview | None) -> list[tuple[Plane, tuple[int, int, int, int]]]:
    found = [(preview.plane, preview.mask.box) for preview in (old, new) if preview and preview.mask.area]
    if len(found) == 2 and found[0][0] == found[1][0]:
        (plane, one), (_, two) = found
        return [(plane, (min(one[0], two[0]), min(one[1], two[1]), max(one[2], two[2]), max(one[3], two[3])))]
    return found


def _write_region(
    layer: Any, plane: Plane, box: tuple[int, int, int, int], wanted: NDArray[np.uint8]
) -> None:
    r0, c0, r1, c1 = box
    inside = iter((slice(r0, r1), slice(c0, c1)))
    region = tuple(next(inside) if value is None else value for value in plane.index)
    changed = np.nonzero(np.asarray(layer.data[region]) != wanted)
    if not len(changed[0]):
        return
    if len(changed[0]) > FEW_PIXELS or isinstance(layer.data, OnePlane) or not layer.visible:
        # napari slices no hidden layer, on which data_setitem fails; and index arrays of so many pixels cost
        # more than slicing the plane anew
        layer.data[region] = wanted
        layer.refresh()
        return
    rows_cols = iter((changed[0] + r0, changed[1] + c0))
    indices = tuple(
        next(rows_cols) if value is None else np.full(len(changed[0]), value, np.intp)
        for value in plane.index
    )
    layer.data_setitem(indices, wanted[changed])
    # the only public way to empty the layer's undo history, which would keep every preview alive
    layer.editable = True
    layer.editable = False


class OnePlane:
    """An array of any size that holds one plane and is 0 elsewhere, for images too large to mirror.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.ndim = len(shape)
        self.size = int(np.prod(shape, dtype=object))
        self._index: tuple[int | None, ...] = ()
        self._plane = np.zeros((0, 0), np.uint8)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Pixels by basic indexing."""
        key = self._full(key)
        picked = [np.atleast_1d(np.arange(size)[part]) for part, size in zip(key, self.shape, strict=True)]
        out = np.zeros([len(part) for part in picked], np.uint8)
        hits: list[Any] = []
        for part, value in zip(picked, self._index, strict=False):
            hits.append(slice(None) if value is None else np.flatnonzero(part == value)[:1])
        if self._index and all(isinstance(hit, slice) or len(hit) for hit in hits):
            inside = tuple(slice(None) if isinstance(hit, slice) else int(hit[0]) for hit in hits)
            rows, cols = (part for part, value in zip(picked, self._index, strict=True) if value is None)
            out[inside] = self._plane[np.ix_(rows, cols)]
        return np.asarray(out[tuple(slice(None) if isinstance(part, slice) else 0 for part in key)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole array, where it fits into memory."""
        return self[...].astype(dtype or self.dtype, copy=False)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write a region of one plane; what another plane held is forgotten."""
        key = self._full(key)
        index = tuple(None if isinstance(part, slice) else int(part) for part in key)
        if index != self._index:
            self._index = index
            shape = [size for size, part in zip(self.shape, index, strict=True) if part is None]
            self._plane = np.zeros(shape, np.uint8)
        self._plane[tuple(part for part in key if isinstance(part, slice))] = value

    def _full(self, key: Any) -> tuple[Any, ...]:
        key = key if isinstance(key, tuple) else (key,)
        at = next((i for i, part in enumerate(key) if part is Ellipsis), None)
        if at is not None:
            key = key[:at] + (slice(None),) * (self.ndim - len(key) + 1) + key[at + 1 :]
        return tuple(key) + (slice(None),) * (self.ndim - len(key))
