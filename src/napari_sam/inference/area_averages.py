"""Pixels averaged over the cells of another grid, whose edges may lie anywhere in them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["average_area", "working_type"]


def average_area(
    pixels: NDArray[Any], rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> NDArray[np.floating]:
    """Averages of pixels over the cells of another grid.

    Parameters
    ----------
    pixels : (h, w) or (h, w, C)
    rows, cols : (n + 1,) and (m + 1,) ascending
        Edges of the cells; pixel 0 reaches from 0 to 1.

    Returns
    -------
    (n, m) or (n, m, C) float32, or float64 where pixels need it
        Pixels that are not finite count for nothing, except where there are no others.

    Examples
    --------
    >>> import numpy as np
    >>> average_area(np.array([[0, 2, 4, 6]]), np.array([0.0, 1.0]), np.array([0.0, 2.0, 4.0])).tolist()
    [[1.0, 5.0]]
    """
    mean = _weigh_area(pixels, rows, cols)
    if pixels.dtype.kind != "f" or np.isfinite(mean).all():  # as nearly always
        return mean
    known = np.isfinite(pixels)
    share = _weigh_area(known, rows, cols)
    total = _weigh_area(np.where(known, pixels, 0), rows, cols)
    holed = ~np.isfinite(mean) & (share > 0)
    np.divide(total, share, out=mean, where=holed)
    return mean


def _weigh_area(
    pixels: NDArray[Any], rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> NDArray[np.floating]:
    """Averages over cells in which all pixels count, whatever they are."""
    kind = working_type(pixels.dtype)
    height, width = pixels.shape[:2]
    down = _averaging(rows, height).astype(kind) @ pixels.reshape(height, -1).astype(kind)  # (n, w C)
    turned = down.reshape(len(rows) - 1, width, -1).transpose(1, 0, 2).reshape(width, -1)  # (w, n C)
    both = _averaging(cols, width).astype(kind) @ turned  # (m, n C)
    mean: NDArray[np.floating] = both.reshape(len(cols) - 1, len(rows) - 1, -1).transpose(1, 0, 2)
    return mean.reshape(*mean.shape[:2], *pixels.shape[2:])


def _averaging(edges: NDArray[np.float64], count: int) -> csr_matrix:
    """(cells, pixels) weights: the part of each cell that lies in each pixel."""
    # here, not above: the dock widget imports this file when it opens
    from scipy.sparse import csr_matrix

    inner = np.arange(math.floor(edges[0]) + 1, math.ceil(edges[-1]))
    cuts = np.unique(np.concatenate([edges, inner]))
    middle, length = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    cell = np.clip(np.searchsorted(edges, middle, "right") - 1, 0, len(edges) - 2)
    pixel = np.clip(middle.astype(np.int64), 0, count - 1)
    return csr_matrix((length / np.diff(edges)[cell], (cell, pixel)), shape=(len(edges) - 1, count))


def working_type(dtype: np.dtype[Any]) -> type[np.floating]:
    """The floating type that holds averages of pixels of a type."""
    return np.float32 if dtype.itemsize <= 2 else np.float64
