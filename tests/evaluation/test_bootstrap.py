from __future__ import annotations

import math

import numpy as np
import pytest

from napari_sam.evaluation.bootstrap import bootstrap_ratio


@pytest.mark.parametrize(
    ("numerators", "denominators", "value"),
    [
        pytest.param([1, 3], [4, 4], 0.5, id="ratio of sums"),
        pytest.param([1, 9], [1, 99], 0.1, id="not the mean of ratios"),
        pytest.param([0.2, 0.4], [1, 1], 0.3, id="mean over images"),
        pytest.param([[1, 0], [1, 1]], [[2, 4], [2, 4]], (0.5 + 0.125) / 2, id="mean of columns"),
    ],
)
def test_value(numerators: list[float], denominators: list[float], value: float) -> None:
    assert bootstrap_ratio(numerators, denominators).value == pytest.approx(value)


def test_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    estimate = bootstrap_ratio(values, np.ones(400), repeats=4000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.03)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.03)


def test_equal_images_leave_no_doubt() -> None:
    estimate = bootstrap_ratio([2, 2, 2], [4, 4, 4])
    assert (estimate.low, estimate.high) == (0.5, 0.5)


def test_images_are_drawn_together_with_their_denominators() -> None:
    # Every image has the ratio 0.5 at very different sizes: no resample can give anything else.
    estimate = bootstrap_ratio([1, 10, 100], [2, 20, 200])
    assert (estimate.low, estimate.high) == (0.5, 0.5)


def test_seed_decides() -> None:
    values = np.random.default_rng(0).random(20)
    first, again, other = (bootstrap_ratio(values, np.ones(20), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_what_cannot_be_known_is_nan() -> None:
    single, nothing, none = (
        bootstrap_ratio([1], [2]),
        bootstrap_ratio([0, 0], [0, 0]),
        bootstrap_ratio([], []),
    )
    assert single.value == 0.5
    assert math.isnan(single.low)
    assert math.isnan(nothing.value)
    assert math.isnan(none.value)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="two equal shapes"):
        bootstrap_ratio([1, 2], [1, 2, 3])
