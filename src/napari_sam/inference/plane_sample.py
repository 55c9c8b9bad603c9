"""Which pixels stand for a large plane when its intensities are measured: spots that show something.

Spots at even distances are enough for most planes. Those of a mosaic, or of a plane whose surroundings are
masked, may all lie in what was filled in; then they are moved to where an overview differs from the filling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_content", "find_filling", "spread_places", "spread_spots"]

SAMPLE_SIDE: Final = 512
"""Intensities are measured on at most this many rows and columns ..."""
STRIDE_SIDE: Final = 2048
"""... evenly spaced where the plane has no more than this many, else ..."""
SPOTS: Final = 5
"""... in this many places along each axis, so that few chunks of a lazy array are read."""
FEWEST: Final = 3
"""Of all spots, those that have to show something, or the plane is looked over ..."""
SHOWN: Final = 0.002
"""... and the part of a spot that has to; less may be hot pixels."""


def spread_places(length: int) -> list[slice]:
    """Where along an axis the sample is taken."""
    if length <= STRIDE_SIDE:
        return [slice(0, length, -(-length // SAMPLE_SIDE))]
    return spread_spots(length, SPOTS)


def spread_spots(length: int, count: int) -> list[slice]:
    """Spots in the middle of equal parts of an axis, together as long as a sample."""
    size = SAMPLE_SIDE // count
    starts = [(2 * n + 1) * length // (2 * count) - size // 2 for n in range(count)]
    return [slice(start, start + size, 1) for start in starts]


def find_filling(sample: NDArray[Any]) -> NDArray[Any] | None:
    """The one value of a sample that shows next to nothing else.

    Parameters
    ----------
    sample : (h, w) or (h, w, C)
        Spots side by side.

    Returns
    -------
    (1,) or (C,), or None
        NaN where nothing is finite; None where several spots show more than one value.

    Examples
    --------
    >>> sample = np.zeros((500, 500), np.uint8)
    >>> sample[:90, :90] = 7
    >>> find_filling(sample).tolist()
    [0]
    >>> sample[:, :90] = 7
    >>> find_filling(sample) is None
    True
    """
    stack = _with_channels(sample)
    few = stack[::32, ::32].reshape(-1, stack.shape[2])
    if few.dtype.kind == "f":
        few = np.where(np.isfinite(few), few, np.nan)
    ranked = np.sort(few, axis=0)  # NaN comes last
    finite = len(few) - np.count_nonzero(np.isnan(ranked), axis=0, keepdims=True)
    filling: NDArray[Any] = np.take_along_axis(ranked, finite // 2, axis=0)[0]
    if _differs(few, filling).mean() > FEWEST / SPOTS**2:  # as nearly always
        return None
    parts = np.array_split(_differs(stack, filling), SPOTS)
    spots = [spot for part in parts for spot in np.array_split(part, SPOTS, axis=1) if spot.size]
    return filling if sum(spot.mean() > SHOWN for spot in spots) < FEWEST else None


def find_content(
    overview: NDArray[Any],
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    filling: NDArray[Any],
    shape: tuple[int, int],
) -> list[tuple[int, int, int, int]]:
    """Spots where a plane shows something, from all over its content; as many as a sample has.

    Parameters
    ----------
    overview : (h, w) or (h, w, C)
        Pixels of the plane, or of a coarser level.
    rows, cols : (h,) and (w,)
        Where they lie in the plane.
    filling : (1,) or (C,)
        From ``find_filling``.
    shape : (H, W)
        Of the plane.

    Returns
    -------
    list of (r0, c0, r1, c1)
        Empty where there is nothing else.
    """
    shown = _differs(_with_channels(overview), filling)
    solid = shown[:-1, :-1] & shown[1:, :-1] & shown[:-1, 1:] & shown[1:, 1:]  # no hot pixels
    places = np.argwhere(solid if solid.any() else shown)
    if not len(places):
        return []
    chosen = places[np.linspace(0, len(places) - 1, SPOTS**2).round().astype(int)]
    size = SAMPLE_SIDE // SPOTS
    r, c = (
        np.clip(at[chosen[:, axis]].astype(int) - size // 2, 0, max(0, shape[axis] - size))
        for axis, at in enumerate((rows, cols))
    )
    height, width = (min(size, n) for n in shape)
    return [(r0, c0, r0 + height, c0 + width) for r0, c0 in zip(r.tolist(), c.tolist(), strict=True)]


def _with_channels(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _differs(stack: NDArray[Any], filling: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels (..., C) differ from the filling in any channel; what is not finite says nothing."""
    other = stack != filling
    if stack.dtype.kind == "f":
        other &= np.isfinite(stack)
    return np.asarray(other.any(axis=-1))
