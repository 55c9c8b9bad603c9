"""A part of a plane to which automatic segmentation is restricted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Region", "read_region"]

Crop = tuple[int, int, int, int]
STRIPE = 1 << 22
"""Pixels of a mask that are read at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Where objects are looked for: those whose centre is outside are dropped, tiles outside seldom encoded.

    Make one with ``from_mask``, ``from_polygons`` or ``from_box``.

    Attributes
    ----------
    plane_shape : (H, W)
    box : (r0, c0, r1, c1)
        Half-open plane pixels that hold the whole region; empty (0, 0, 0, 0) when nothing is inside.

    Examples
    --------
    >>> region = Region.from_polygons([[(1, 1), (1, 5), (4, 5), (4, 1)]], (8, 8))
    >>> region.box
    (1, 1, 5, 6)
    >>> region.mask((0, 0, 3, 3)).astype(int).tolist()
    [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    """

    plane_shape: tuple[int, int]
    box: Crop
    _bits: NDArray[np.uint8] | None = None
    _cells: tuple[int, int] = (0, 0)
    _polygons: tuple[tuple[NDArray[np.float64], ...], ...] = ()

    @classmethod
    def from_mask(cls, mask: Any, plane_shape: tuple[int, int] | None = None) -> Region:
        """Everything that is not 0 in a mask or label image, copied as one bit a pixel.

        Parameters
        ----------
        mask : (h, w) array, also dask or zarr
            Of the plane's shape, or coarser: its cells then divide the plane evenly.
        plane_shape : (H, W), optional
            Default the mask's shape.

        Raises
        ------
        PromptError
            When the mask is not 2-D, is empty or has more cells than the plane.
        """
        shape = tuple(int(n) for n in mask.shape)
        if len(shape) != 2 or 0 in shape:
            raise PromptError(f"Expected a region mask of shape (H, W), got {shape}; pass one plane.")
        plane = shape if plane_shape is None else (int(plane_shape[0]), int(plane_shape[1]))
        if shape[0] > plane[0] or shape[1] > plane[1]:
            raise PromptError(
                f"Expected a region mask of at most the image's {plane[0]} x {plane[1]} pixels, "
                f"got {shape[0]} x {shape[1]}; crop or shrink it."
            )
        bits = np.zeros((shape[0], -(-shape[1] // 8)), np.uint8)
        rows, cols = np.zeros(shape[0], bool), np.zeros(shape[1], bool)
        step = max(1, STRIPE // shape[1])
        for start in range(0, shape[0], step):
            stripe = np.asarray(mask[start : start + step]) != 0
            bits[start : start + step] = np.packbits(stripe, axis=1)
            rows[start : start + step] = stripe.any(axis=1)
            cols |= stripe.any(axis=0)
        if not rows.any():
            return cls((plane[0], plane[1]), (0, 0, 0, 0))
        (r0, r1), (c0, c1) = (
            _first_pixels(np.flatnonzero(line), line.size, length)
            for line, length in zip((rows, cols), plane, strict=True)
        )
        return cls((plane[0], plane[1]), (r0, c0, r1, c1), bits, (shape[0], shape[1]))

    @classmethod
    def from_polygons(cls, polygons: Iterable[Any], plane_shape: tuple[int, int]) -> Region:
        """The union of polygons: pixels whose centre lies in one of them or on its edge.

        Parameters
        ----------
        polygons : iterable
            Each (N, 2) of (row, col) vertices in pixels, or a list of such rings: the outline, then its
            holes.
        plane_shape : (H, W)

        Raises
        ------
        PromptError
            When a polygon has fewer than three vertices or one that is not finite.
        """
        shape = int(plane_shape[0]), int(plane_shape[1])
        read = tuple(_read_rings(p) for p in polygons)
        if not read:
            return cls(shape, (0, 0, 0, 0))
        outlines = np.concatenate([rings[0] for rings in read])
        low = np.clip(np.ceil(outlines.min(axis=0)), 0, shape).astype(int)
        high = np.clip(np.floor(outlines.max(axis=0)) + 1, 0, shape).astype(int)
        if (low >= high).any():
            return cls(shape, (0, 0, 0, 0))
        return cls(shape, (int(low[0]), int(low[1]), int(high[0]), int(high[1])), _polygons=read)

    @classmethod
    def from_box(cls, box: Sequence[float], plane_shape: tuple[int, int]) -> Region:
        """A rectangle (r0, c0, r1, c1), half-open pixels, corners in any order."""
        corners = np.sort(np.asarray(box, np.float64).reshape(2, 2), axis=0)
        # Off the pixel centres, so that a rectangle of one row of pixels has an area.
        (r0, c0), (r1, c1) = np.ceil(corners) - [[0.25], [0.75]]
        ring = [(r0, c0), (r0, c1), (r1, c1), (r1, c0)]
        return cls.from_polygons([ring], plane_shape)

    @property
    def is_empty(self) -> bool:
        """Whether no pixel of the plane can be inside."""
        return self.box[0] >= self.box[2] or self.box[1] >= self.box[3]

    def covers(self, crop: Crop) -> bool:
        """Whether any pixel of ``crop`` (r0, c0, r1, c1) is inside."""
        r0, c0 = max(crop[0], self.box[0]), max(crop[1], self.box[1])
        r1, c1 = min(crop[2], self.box[2]), min(crop[3], self.box[3])
        return r0 < r1 and c0 < c1 and bool(self.mask((r0, c0, r1, c1)).any())

    def mask(self, crop: Crop) -> NDArray[np.bool_]:
        """Which pixels of ``crop`` are inside, (r1 - r0, c1 - c0) bool; False beyond the plane."""
        r0, c0, r1, c1 = crop
        out = np.zeros((max(0, r1 - r0), max(0, c1 - c0)), bool)
        top, left = max(r0, self.box[0]), max(c0, self.box[1])
        bottom, right = min(r1, self.box[2]), min(c1, self.box[3])
        if top < bottom and left < right:
            inner = (top, left, bottom, right)
            out[top - r0 : bottom - r0, left - c0 : right - c0] = (
                self._draw_polygons(inner) if self._bits is None else self._read_bits(inner)
            )
        return out

    def holds(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which points (N, 2) of (row, col) lie in a pixel that is inside, (N,) bool."""
        pixels = np.floor(np.asarray(points, np.float64).reshape(-1, 2) + 0.5)
        low, high = np.array(self.box[:2]), np.array(self.box[2:])
        found: NDArray[np.bool_] = np.all((pixels >= low) & (pixels < high), axis=1)
        near = np.flatnonzero(found)
        cells = pixels[near].astype(np.int64)
        if self._bits is not None:
            rows, cols = (cells[:, i] * self._cells[i] // self.plane_shape[i] for i in (0, 1))
            found[near] = (self._bits[rows, cols // 8] >> (7 - cols % 8)) & 1 != 0
            return found
        for i, (row, col) in zip(near, cells.tolist(), strict=True):
            found[i] = self.mask((row, col, row + 1, col + 1))[0, 0]
        return found

    def _read_bits(self, crop: Crop) -> NDArray[np.bool_]:
        assert self._bits is not None
        rows, cols = (np.arange(crop[i], crop[i + 2]) * self._cells[i] // self.plane_shape[i] for i in (0, 1))
        first, last = cols[0] // 8, cols[-1] // 8 + 1
        window = np.unpackbits(self._bits[rows[0] : rows[-1] + 1, first:last], axis=1).view(np.bool_)
        inside: NDArray[np.bool_] = window[np.ix_(rows - rows[0], cols - first * 8)]
        return inside

    def _draw_polygons(self, crop: Crop) -> NDArray[np.bool_]:
        # here, not above: the dock widget imports this file when it opens
        from skimage.draw import polygon2mask

        origin, shape = np.array(crop[:2]), (crop[2] - crop[0], crop[3] - crop[1])
        inside: NDArray[np.bool_] = np.zeros(shape, bool)
        for outline, *holes in self._polygons:
            drawn = polygon2mask(shape, outline - origin)
            for hole in holes:
                drawn &= ~polygon2mask(shape, hole - origin)
            inside |= drawn
        return inside


def read_region(region: Any, plane_shape: tuple[int, int]) -> Region | None:
    """A region of this very plane: as it is, or made of a mask.

    Parameters
    ----------
    region : Region or (H, W) array or None
    plane_shape : (H, W)

    Raises
    ------
    PromptError
        When it is of a plane of another shape, or neither a region nor a mask.
    """
    if region is None:
        return None
    is_region = isinstance(region, Region)
    shape = region.plane_shape if is_region else getattr(region, "shape", None)
    if shape is None:
        raise PromptError(
            f"Expected a Region or a mask of the plane, got {region!r:.60}; see Region.from_box."
        )
    if tuple(shape) != tuple(plane_shape):
        wanted, got = (" x ".join(map(str, sides)) for sides in (plane_shape, shape))
        raise PromptError(
            f"Expected a region of the image's {wanted} pixels, got one of {got}; make it for this image."
        )
    return region if is_region else Region.from_mask(region)


def _first_pixels(cells: NDArray[np.int64], count: int, length: int) -> tuple[int, int]:
    """Half-open pixels from the first to the last cell; pixel p is of cell ``p * count // length``."""
    return -(-int(cells[0]) * length // count), -(-(int(cells[-1]) + 1) * length // count)


def _read_rings(polygon: Any) -> tuple[NDArray[np.float64], ...]:
    nested = len(polygon) > 0 and np.ndim(polygon[0]) == 2
    rings = tuple(np.asarray(ring, np.float64) for ring in (polygon if nested else [polygon]))
    for ring in rings:
        if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
            raise PromptError(
                f"Expected polygons of at least three finite (row, col) vertices, got an array {ring.shape}; "
                "draw a closed shape."
            )
    return rings
