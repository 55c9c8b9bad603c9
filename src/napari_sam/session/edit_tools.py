"""What the edit tools do to the pixels of one object: functions of small masks, never of a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.segmentation import watershed

from napari_sam.errors import PromptError
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["fill_holes", "keep_largest", "smooth", "split"]

NEIGHBOURS = np.ones((3, 3), bool)
Point = tuple[float, float]
RIM: Final = 1.5
"""Pixels from an object's outline within which edges of the image are those of the outline."""
EDGES: Final = 0.1
"""What the strongest edge counts beside the depth of the deepest pixel."""
FAR: Final = 30
"""By how many pixels the strongest edge separates its two sides."""


def fill_holes(mask: ObjectMask) -> ObjectMask:
    """The object with its holes filled: background that does not reach the rim of its box.

    Examples
    --------
    >>> import numpy as np
    >>> ring = np.ones((3, 3), bool)
    >>> ring[1, 1] = False
    >>> fill_holes(ObjectMask(ring, (0, 0))).area
    9
    """
    return ObjectMask.from_plane(ndimage.binary_fill_holes(mask.mask), mask.origin)


def keep_largest(mask: ObjectMask) -> ObjectMask:
    """The object's largest part; parts that touch by a corner are one."""
    parts, count = ndimage.label(mask.mask, NEIGHBOURS)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return ObjectMask.from_plane(parts == int(np.argmax(sizes)), mask.origin)


def smooth(mask: ObjectMask, sigma: float = 2.0) -> ObjectMask:
    """The object with a smoother boundary, about as large as before.

    Parameters
    ----------
    mask : ObjectMask
        The object.
    sigma : float
        Pixels: details smaller than about twice this go. An object that would vanish stays as it is.
    """
    if sigma <= 0 or not mask.area:
        return mask
    margin = int(np.ceil(3 * sigma))
    window = np.pad(mask.mask, margin).astype(np.float32)
    blurred = ndimage.gaussian_filter(window, sigma, mode="constant") > 0.5
    if not blurred.any():
        return mask
    return ObjectMask.from_plane(blurred, (mask.origin[0] - margin, mask.origin[1] - margin))


def split(
    mask: ObjectMask, one: Point, other: Point, image: NDArray[np.floating] | None = None
) -> tuple[ObjectMask, ObjectMask]:
    """Cut an object in two, between two points.

    Parameters
    ----------
    mask : ObjectMask
        The object.
    one, other : (row, col)
        A point in each half, in pixels of the plane; the nearest pixel of the object is taken.
    image : (h, w) float or None
        Pixels of the object's box: the cut then follows edges in the image. None cuts where the object is
        narrowest between both points, and halfway where nothing is narrow.

    Returns
    -------
    tuple of ObjectMask
        The half of ``one`` and that of ``other``; together they are the object.

    Raises
    ------
    PromptError
        When both points fall on the same pixel of the object, or it has one pixel only.
    """
    if mask.area < 2:
        raise PromptError(f"Expected an object of two or more pixels to split, got {mask.area}.")
    near = ndimage.distance_transform_edt(~mask.mask, return_distances=False, return_indices=True)
    seeds = [_nearest(near, point, mask) for point in (one, other)]
    if seeds[0] == seeds[1]:
        raise PromptError(
            "Expected two points in different places of the object, got the same pixel twice; "
            "put one into each half."
        )
    depth = ndimage.distance_transform_edt(np.pad(mask.mask, 1))[1:-1, 1:-1]
    halves = _cut(mask.mask, depth, _measure_edges(image, depth), seeds)
    rest = mask.mask & (halves == 0)  # parts that touch neither half go to the nearer one
    if rest.any():
        rows, cols = ndimage.distance_transform_edt(halves == 0, return_distances=False, return_indices=True)
        halves[rest] = halves[rows[rest], cols[rest]]
    first, second = (ObjectMask.from_plane(halves == number, mask.origin) for number in (1, 2))
    return first, second


def _measure_edges(image: NDArray[np.floating] | None, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """How strong edges are inside an object, 0 to 1; at its rim those beside it. Zeros without an image."""
    inside = depth > RIM
    if image is None or not inside.any():
        return np.zeros_like(depth)
    edges = ndimage.gaussian_gradient_magnitude(np.asarray(image, np.float32), 1.0)
    strongest = max(float(np.percentile(edges[inside], 99)), 1e-6)
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    found: NDArray[np.float64] = np.minimum(edges / strongest, 1.0)[tuple(nearest)]
    return found


def _cut(
    mask: NDArray[np.bool_],
    depth: NDArray[np.float64],
    edges: NDArray[np.float64],
    seeds: Sequence[tuple[int, int]],
) -> NDArray[np.int32]:
    """Halves 1 and 2; 0 for parts that touch neither."""
    basins = watershed(-depth, mask=mask, connectivity=2)
    numbers = [basins[seed] for seed in seeds]
    if numbers[0] == numbers[1]:  # no neck between the points: each pixel to the nearer one, edges are far
        if edges.any():
            cost = np.where(mask, 1 + FAR * edges**2, np.inf)
            far = [MCP_Geometric(cost).find_costs([seed])[0] for seed in seeds]
        else:
            rows, cols = np.indices(mask.shape)
            far = [np.hypot(rows - row, cols - col) for row, col in seeds]
        reached = np.isfinite(np.minimum(*far))
        return np.where(mask & reached, np.where(far[0] <= far[1], 1, 2), 0).astype(np.int32)
    # From the deepest place of each: a point at the rim would begin when the other has taken all.
    markers = np.zeros(mask.shape, np.int32)
    for half, number in enumerate(numbers, 1):
        markers[np.unravel_index(np.argmax(np.where(basins == number, depth, 0)), mask.shape)] = half
    surface = EDGES * edges - depth / depth.max()
    halves: NDArray[np.int32] = watershed(surface, markers, mask=mask, connectivity=2)
    return halves


def _nearest(near: NDArray[np.integer], point: Point, mask: ObjectMask) -> tuple[int, int]:
    """The object's pixel that is nearest to a point, in the box."""
    height, width = mask.mask.shape
    row = min(max(round(point[0]) - mask.origin[0], 0), height - 1)
    col = min(max(round(point[1]) - mask.origin[1], 0), width - 1)
    return int(near[0, row, col]), int(near[1, row, col])
