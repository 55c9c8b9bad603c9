"""What is measured of a stack, and what of it is in memory meanwhile."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.stacks.stack_planes import StackPlanes, measure_limits, measure_stack_limits

PERCENTILES = EncodeSettings().percentiles


def draw_few_planes(count, side, shown, channels=()):
    """Noise, and bright squares in some planes."""
    rng = np.random.default_rng(0)
    stack = rng.normal(100, 5, (count, side, side, *channels)).astype(np.float32)
    for k in shown:
        for r, c in rng.integers(0, side - 20, (20, 2)):
            stack[k, r : r + 20, c : c + 20] += 1000
    return stack


@pytest.mark.parametrize(
    ("count", "side", "shown"),
    [
        pytest.param(8, 256, range(2, 4), id="eight"),
        pytest.param(32, 256, range(10, 15), id="as-many-as-are-measured"),
        pytest.param(20, 128, [19], id="the-last"),
    ],
)
def test_every_plane_counts_where_objects_are_in_few(count, side, shown):
    stack = draw_few_planes(count, side, shown)
    limits = measure_stack_limits(StackPlanes(stack), EncodeSettings())
    assert limits == (pytest.approx(np.percentile(stack.astype(float), PERCENTILES).tolist()),)
    assert limits[0][1] > 1000


def test_planes_that_lie_between_are_left_out():
    stack = draw_few_planes(63, 64, range(0, 63, 10))
    limits = measure_stack_limits(StackPlanes(stack), EncodeSettings())
    assert limits == (pytest.approx(np.percentile(stack[::2].astype(float), PERCENTILES).tolist()),)


def test_of_many_pixels_every_other_one_is_measured_all_over_the_planes():
    stack = draw_few_planes(32, 384, range(10, 15))
    limits = measure_stack_limits(StackPlanes(stack), EncodeSettings())
    thinned = stack[:, ::2, ::2].astype(float)
    assert limits == (pytest.approx(np.percentile(thinned, PERCENTILES).tolist()),)


def test_channels_are_measured_each_by_itself():
    stack = draw_few_planes(32, 128, range(10, 15), (2,))
    stack[..., 1] *= 3
    found = measure_limits(list(stack), None, PERCENTILES)
    expected = [np.percentile(stack[..., c].astype(float), PERCENTILES).tolist() for c in range(2)]
    assert found == tuple(pytest.approx(pair) for pair in expected)


@pytest.mark.parametrize(
    ("shape", "axes", "leading", "plane", "channels"),
    [
        pytest.param((5, 40, 60), None, (5,), (40, 60), 0, id="planes"),
        pytest.param((50, 40, 12), None, (50,), (40, 12), 0, id="narrow planes"),
        pytest.param((50, 40, 5), "ZYX", (50,), (40, 5), 0, id="very narrow planes by name"),
        pytest.param((2, 40, 60, 4), None, (2,), (40, 60), 4, id="four channels"),
        pytest.param((2, 40, 60, 5), "ZYXC", (2,), (40, 60), 5, id="five channels by name"),
        pytest.param((2, 3, 40, 60), None, (2, 3), (40, 60), 0, id="volumes"),
        pytest.param((2, 3, 9, 9), None, (2, 3), (9, 9), 0, id="tiny volumes"),
        pytest.param((2, 3, 40, 60, 2), None, (2, 3), (40, 60), 2, id="volumes with channels"),
    ],
)
def test_what_the_axes_of_an_array_are(shape, axes, leading, plane, channels):
    found = StackPlanes(np.zeros(shape, np.uint8), axes)
    assert (found.leading, found.shape, found.channels) == (leading, plane, channels)


def test_one_plane_at_a_time_is_in_memory():
    read, most = [], []

    class Slow:
        shape, dtype, ndim = (12, 700, 700), np.dtype(np.uint16), 3

        def __getitem__(self, index):
            gc.collect()
            most.append(sum(plane() is not None for plane in read))
            plane = np.full((700, 700), index[0], np.uint16)
            read.append(weakref.ref(plane))
            return plane

    measure_stack_limits(StackPlanes(Slow()), EncodeSettings())
    assert len(read) == 12
    assert max(most) <= 1


def test_limits_are_in_the_order_of_the_channels() -> None:
    planes = [np.random.default_rng(0).integers(0, 100, (40, 50, 3)) + np.array([0, 1000, 5000])] * 2
    low, high = measure_limits(planes, (2, 0), (0.0, 100.0))
    assert low[0] >= 5000
    assert high[1] < 100
