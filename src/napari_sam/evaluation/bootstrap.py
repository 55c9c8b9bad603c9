"""Estimates with bootstrap intervals over images (Efron & Tibshirani 1993, ch. 13, percentile method).

Images, not objects, are drawn: the objects of one image share its stain, focus and density, so
intervals over objects would be far too narrow. Every number of an evaluation is a ratio of two sums
over images (or a mean of such ratios), which makes one function enough for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Estimate", "bootstrap_ratio"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its bootstrap interval.

    Attributes
    ----------
    value : float
        The estimate on all images; nan when there is nothing to divide by.
    low, high : float
        Ends of the interval; nan for fewer than two images.
    """

    value: float
    low: float
    high: float


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Estimate ``sum(numerators) / sum(denominators)`` with an interval over the images.

    Parameters
    ----------
    numerators, denominators : (N,) or (N, K) array-like
        One row per image. With K columns the result is the mean of the K ratios (mSA is the mean of the
        APs at ten thresholds). With ones as denominators it is the mean over images.
    repeats : int
        Number of bootstrap samples.
    level : float
        Coverage of the interval, in (0, 1).
    seed : int
        Of the random numbers: the same input always gives the same interval.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        When the two shapes differ.

    Examples
    --------
    >>> bootstrap_ratio([1, 3], [4, 4]).value
    0.5
    """
    above = np.asarray(numerators, dtype=np.float64)
    below = np.asarray(denominators, dtype=np.float64)
    if above.shape != below.shape or above.ndim not in (1, 2):
        raise ValueError(f"Expected two equal shapes (N,) or (N, K), got {above.shape} and {below.shape}.")
    count = len(above)
    width = above.shape[1] if above.ndim == 2 else 1  # (0, -1) would be ambiguous
    above, below = above.reshape(count, width), below.reshape(count, width)  # (N, K)
    value = float(_mean_ratio(above.sum(axis=0)[None], below.sum(axis=0)[None])[0])
    if count < 2 or np.isnan(value):
        return Estimate(value, float("nan"), float("nan"))
    # How often each image is drawn is all that a sum needs to know: (repeats, N) @ (N, K).
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=repeats)
    ratios = _mean_ratio(draws @ above, draws @ below)
    ratios = ratios[~np.isnan(ratios)]
    if ratios.size == 0:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def _mean_ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the K columns of ``above / below``; nan where a denominator is 0."""
    ratios = np.full(above.shape, np.nan)
    np.divide(above, below, out=ratios, where=below != 0)
    return np.asarray(ratios.mean(axis=1), np.float64)
