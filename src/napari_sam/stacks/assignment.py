"""Optimal one-to-one assignment of sparse pairs, and the chains that links make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["assign", "number_chains"]


def assign(
    first: NDArray[np.int64], second: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Choose pairs, so that nobody is in two of them and the sum of weights is the largest possible.

    Solved for each group of connected pairs on its own, so it costs what the largest group costs.

    Parameters
    ----------
    first, second : (p,) int
        Who is paired, counted from 0 on either side.
    weights : (p,) float
        Pairs of a weight of 0 or less are never chosen.

    Returns
    -------
    (k,) int64
        Indices of the chosen pairs, ascending.

    Examples
    --------
    >>> import numpy as np
    >>> pairs = np.array([0, 0, 1]), np.array([0, 1, 0])
    >>> assign(*pairs, np.array([0.9, 0.6, 0.7])).tolist()  # 0.6 + 0.7 is more than 0.9
    [1, 2]
    """
    usable = np.flatnonzero(weights > 0)
    if usable.size == 0:
        return usable
    left, rows = np.unique(first[usable], return_inverse=True)
    right, cols = np.unique(second[usable], return_inverse=True)
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(cols)[cols] == 1)
    chosen = [usable[alone]]
    size = len(left) + len(right)
    graph = coo_matrix((np.ones(len(rows)), (rows, cols + len(left))), shape=(size, size))
    group = connected_components(graph, directed=False)[1][rows]
    contested = np.flatnonzero(~alone)
    contested = contested[np.argsort(group[contested], kind="stable")]
    bounds = np.flatnonzero(np.diff(group[contested])) + 1
    for pairs in np.split(contested, bounds) if contested.size else ():
        row_ids, row = np.unique(rows[pairs], return_inverse=True)
        col_ids, col = np.unique(cols[pairs], return_inverse=True)
        gain = np.zeros((len(row_ids), len(col_ids)))
        which = np.full(gain.shape, -1)
        gain[row, col] = weights[usable[pairs]]
        which[row, col] = usable[pairs]
        found = which[linear_sum_assignment(gain, maximize=True)]
        chosen.append(found[found >= 0])
    return np.sort(np.concatenate(chosen))


def number_chains(count: int, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    """Number the groups that links make, by the first member of each.

    Parameters
    ----------
    count : int
        Number of objects.
    first, second : (p,) int
        The two ends of each link.

    Returns
    -------
    (count,) int64
        Chains 0, 1, ... in the order of their first members.
    """
    if count == 0:
        return np.zeros(0, np.int64)
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    groups = connected_components(graph, directed=False)[1]
    _, start, which = np.unique(groups, return_index=True, return_inverse=True)
    order = np.empty(len(start), np.int64)
    order[np.argsort(start)] = np.arange(len(start))
    return np.asarray(order[which.reshape(-1)])
