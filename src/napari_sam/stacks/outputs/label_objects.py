"""The objects of label images, one after the other, each as its own pixels only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_sam.stacks.image_io import ImageStack

__all__ = ["check_labels", "find_boxes", "iter_objects"]

AT_ONCE: Final = 1 << 24
"""Pixels that are looked at together; of larger planes bands of rows."""

Box = tuple[tuple[int, int], ...]


def check_labels(labels: ImageStack) -> None:
    """Raise ImageError when these are no labels, which are integers without channels."""
    kind = np.dtype(labels.data.dtype).kind
    if kind not in "bui" or "C" in labels.axes:
        raise ImageError(
            f"Expected a label image, integers without channels, in {labels.name or 'the labels'}, got "
            f"{np.dtype(labels.data.dtype)} with axes {labels.axes}; is it the image itself?"
        )


def iter_objects(plane: Any) -> Iterator[tuple[int, ObjectMask]]:
    """Every object of a plane, in ascending order of ids.

    Parameters
    ----------
    plane : (H, W) integer array
        numpy, or anything that is read by slices; 0 is the background.

    Yields
    ------
    label : int
    mask : ObjectMask

    Raises
    ------
    ImageError
        When there are ids below 0.
    """
    small = math.prod(plane.shape) <= AT_ONCE
    pixels = np.asarray(plane) if small else plane
    for label, ((r0, r1), (c0, c1)) in sorted(find_boxes(pixels).items()):
        yield label, ObjectMask(np.asarray(pixels[r0:r1, c0:c1]) == label, (r0, c0))


def find_boxes(labels: Any) -> dict[int, Box]:
    """The box of every object of labels of any number of axes, read in slabs along the first axis.

    Parameters
    ----------
    labels : (..., Y, X) integer array
        0 is the background.

    Returns
    -------
    dict of int to tuple of (start, stop)
        A half-open range along each axis, by id.

    Raises
    ------
    ImageError
        When there are ids below 0.
    """
    boxes: dict[int, Box] = {}
    depth = max(1, AT_ONCE // max(1, math.prod(labels.shape[1:])))
    for start in range(0, labels.shape[0], depth):
        slab = np.asarray(labels[start : start + depth])
        for label, box in _list_boxes(slab):
            (low, high), rest = box[0], box[1:]
            found: Box = ((low + start, high + start), *rest)
            boxes[label] = _join(boxes[label], found) if label in boxes else found
    return boxes


def _list_boxes(slab: NDArray[Any]) -> Iterator[tuple[int, Box]]:
    from scipy import ndimage  # not at the top: the command line names the formats at once

    slab = slab.astype(np.uint8) if slab.dtype == np.bool_ else slab
    low, high = int(slab.min(initial=0)), int(slab.max(initial=0))
    if low < 0:
        raise ImageError(f"Expected ids from 0 in a label image, got {low}; relabel it first.")
    if high == 0:
        return
    names: Sequence[int] | NDArray[Any] = range(1, high + 1)
    if high > max(4096, slab.size // 16) or slab.dtype.itemsize > 4 or slab.dtype == np.uint32:
        # far-apart ids: number the ones that occur, for a table of all up to the largest may be huge
        rows = np.nonzero(slab)
        names, numbers = np.unique(slab[rows], return_inverse=True)
        slab = np.zeros(slab.shape, np.int32)
        slab[rows] = numbers.reshape(-1) + 1
    for label, box in zip(names, ndimage.find_objects(slab), strict=False):
        if box is not None:
            yield int(label), tuple((part.start, part.stop) for part in box)


def _join(one: Box, other: Box) -> Box:
    return tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, other, strict=True))
