from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes, gaussian_filter
from scipy.ndimage import label as label_components
from torch.nn.functional import interpolate

from napari_sam.inference.mask_ops import (
    average_mask,
    clean_mask,
    resample_logits,
    stability_score,
    upscale_logits,
)
from napari_sam.types import LowResLogits, ObjectMask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.types import Box


def draw_logits(height: int, width: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(height, width)), 2.0)
    return (10 * (smooth - 0.005)).astype(np.float32)


def interpolate_plane(
    values: NDArray[np.float32], frame: Box, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Bilinear values at every pixel of a plane, one pixel at a time, and which pixels the frame covers."""
    h, w = values.shape
    full, covered = np.full(shape, -np.inf), np.zeros(shape, bool)
    for r in range(shape[0]):
        for c in range(shape[1]):
            y = (r + 0.5 - frame[0]) * h / (frame[2] - frame[0]) - 0.5
            x = (c + 0.5 - frame[1]) * w / (frame[3] - frame[1]) - 0.5
            if not (-0.5 <= y <= h - 0.5 and -0.5 <= x <= w - 0.5):
                continue
            y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            top = values[y0, x0] * (1 - (x - x0)) + values[y0, x1] * (x - x0)
            bottom = values[y1, x0] * (1 - (x - x0)) + values[y1, x1] * (x - x0)
            full[r, c], covered[r, c] = top * (1 - (y - y0)) + bottom * (y - y0), True
    return full, covered


def paste_upscaled(values: NDArray[np.float32], frame: Box, shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask, origin = upscale_logits(values, frame, (0, 0, *shape))
    return ObjectMask(mask, origin).paste(shape)


@pytest.mark.parametrize("factor", [1, 2, 4, 7])
def test_upscaling_equals_that_of_torch(factor: int) -> None:
    values = draw_logits(20, 26, seed=factor)
    shape = (20 * factor, 26 * factor)
    full = interpolate(torch.from_numpy(values)[None, None], shape, mode="bilinear", align_corners=False)
    expected = full[0, 0].numpy() > 0
    assert 0.05 < expected.mean() < 0.95
    doubtful = np.abs(full[0, 0].numpy()) < 1e-5
    np.testing.assert_array_equal(
        paste_upscaled(values, (0, 0, *shape), shape) | doubtful, expected | doubtful
    )


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param((0.0, 0.0, 40.0, 50.0), id="whole plane"),
        pytest.param((5.0, 8.0, 29.0, 32.0), id="window inside"),
        pytest.param((-7.5, -3.25, 31.7, 66.1), id="beyond the plane, fractional"),
        pytest.param((10.3, 11.8, 17.9, 22.2), id="logits finer than pixels"),
        pytest.param((100.0, 100.0, 120.0, 120.0), id="beside the plane"),
    ],
)
def test_upscaling_equals_a_naive_one(frame: Box) -> None:
    for seed in range(4):
        values = draw_logits(12, 12, seed)
        full, covered = interpolate_plane(values, frame, (40, 50))
        doubtful = np.abs(full) < 1e-4
        found = paste_upscaled(values, frame, (40, 50))
        np.testing.assert_array_equal(found | doubtful, (full > 0) | doubtful)
        assert not (found & ~covered).any()


def test_upscaling_stays_inside_its_limits() -> None:
    mask, origin = upscale_logits(np.ones((4, 4), np.float32), (0, 0, 32, 32), (10, 5, 20, 40))
    assert (mask.shape, origin, mask.all()) == ((10, 27), (10, 5), True)


def test_upscaling_touches_only_the_object() -> None:
    values = np.full((64, 64), -1, np.float32)
    values[30, 40] = 1
    mask, origin = upscale_logits(values, (0, 0, 6400, 6400), (0, 0, 6400, 6400))
    assert max(mask.shape) <= 302  # three cells of 100 pixels
    # From 1 to -1 the interpolated value is positive on half of the way, 50 pixels to each side.
    obj = ObjectMask.from_plane(mask, origin)
    assert obj.box == (3000, 4000, 3100, 4100)


@pytest.mark.parametrize("values", [np.full((4, 4), -1), np.zeros((4, 4))], ids=["negative", "zero"])
def test_nothing_positive_gives_an_empty_mask(values: NDArray[np.float64]) -> None:
    mask, _ = upscale_logits(values.astype(np.float32), (0, 0, 8, 8), (0, 0, 8, 8))
    assert mask.size == 0


# ---- feeding back -----------------------------------------------------------------------------------------


def test_resampling_onto_the_same_grid_changes_nothing() -> None:
    values = draw_logits(16, 24, 0)
    frame = (3.5, -8.0, 131.5, 184.0)
    np.testing.assert_allclose(
        resample_logits(LowResLogits(values, frame), frame, (16, 24), -6), values, atol=1e-5
    )


def test_resampling_onto_a_part_of_the_grid_cuts_it_out() -> None:
    values = draw_logits(16, 16, 1)
    part = resample_logits(LowResLogits(values, (0, 0, 64, 64)), (16, 32, 48, 64), (8, 8), -6)
    np.testing.assert_allclose(part, values[4:12, 8:16], atol=1e-5)


def test_resampling_says_nothing_outside() -> None:
    values = np.full((4, 4), 3, np.float32)
    grid = resample_logits(LowResLogits(values, (0, 0, 16, 16)), (-16, 0, 16, 32), (8, 8), -6)
    expected = np.full((8, 8), -6.0)
    expected[4:, :4] = 3
    np.testing.assert_allclose(grid, expected)
    beside = resample_logits(LowResLogits(values, (0, 0, 16, 16)), (100, 100, 132, 132), (8, 8), -6)
    np.testing.assert_array_equal(beside, -6)


def test_average_mask_is_the_covered_fraction() -> None:
    plane = np.random.default_rng(0).random((32, 32)) < 0.4
    plane[:, 20:] = False
    obj = ObjectMask.from_plane(plane)
    expected = plane.reshape(8, 4, 8, 4).mean((1, 3))
    np.testing.assert_allclose(average_mask(obj, (0, 0, 32, 32), (8, 8)), expected)
    np.testing.assert_allclose(average_mask(obj, (8, 0, 40, 32), (8, 8))[:6], expected[2:])
    assert not average_mask(obj, (8, 0, 40, 32), (8, 8))[6:].any()


def test_average_of_an_empty_mask_is_zero() -> None:
    obj = ObjectMask.from_plane(np.zeros((4, 4)))
    np.testing.assert_array_equal(average_mask(obj, (0, 0, 4, 4), (2, 3)), np.zeros((2, 3)))


# ---- scores and clean-up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.5, 1.0, 2.0])
def test_stability_score_equals_a_naive_one(offset: float) -> None:
    values = draw_logits(30, 30, 3)
    high, low = values > offset, values > -offset
    expected = (high & low).sum() / (high | low).sum()
    assert 0 < expected < 1
    assert stability_score(values, offset) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "expected"), [(-5, 0), (5, 1), (0, 0)], ids=["empty", "sure", "unsure"])
def test_stability_score_of_extremes(value: float, expected: float) -> None:
    assert stability_score(np.full((3, 3), value, np.float32)) == expected


def to_mask(drawing: str) -> NDArray[np.bool_]:
    return np.array([[c == "#" for c in line] for line in drawing.split()])


PARTS = "##...### ##...### .....### #....... .#......"


@pytest.mark.parametrize(
    ("drawing", "keep", "hole", "expected"),
    [
        pytest.param(PARTS, [], 0, ".....### .....### .....### ........ ........", id="the largest"),
        pytest.param(PARTS, [(0, 0)], 0, "##...... ##...... ........ ........ ........", id="the clicked"),
        pytest.param(
            PARTS, [(4, 1)], 0, "........ ........ ........ #....... .#......", id="diagonals belong together"
        ),
        pytest.param(PARTS, [(0, 0), (1, 6)], 0, "##...### ##...### .....### ........ ........", id="two"),
        pytest.param(PARTS, [(0, 3)], 0, ".....### .....### .....### ........ ........", id="click beside"),
        pytest.param(
            PARTS, [(-1, 0), (99, 2)], 0, ".....### .....### .....### ........ ........", id="click off mask"
        ),
        pytest.param("#### #..# #..# ####", [], 4, "#### #### #### ####", id="a hole of 4 filled"),
        pytest.param("#### #..# #..# ####", [], 3, "#### #..# #..# ####", id="a hole of 4 kept"),
        pytest.param("..... .###. .###. .....", [], 9, "..... .###. .###. .....", id="nothing to do"),
        pytest.param("... ...", [], 9, "... ...", id="empty"),
    ],
)
def test_clean_mask(drawing: str, keep: list[tuple[int, int]], hole: int, expected: str) -> None:
    clicks = np.array(keep, np.int64).reshape(-1, 2)
    np.testing.assert_array_equal(clean_mask(to_mask(drawing), clicks, hole), to_mask(expected))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (40, 60)], ids=str)
def test_small_holes_are_those_that_filling_finds(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for density in (0.3, 0.6, 0.8, 1.0):
        parts, count = label_components(rng.random(shape) < density, np.ones((3, 3)))
        mask = parts == 1 if count else parts > 0
        holes, _ = label_components(binary_fill_holes(mask) & ~mask)
        sizes = np.bincount(holes.ravel())
        small = (holes > 0) & (sizes <= 3)[holes]
        np.testing.assert_array_equal(clean_mask(mask, np.zeros((0, 2), np.int64), hole=3), mask | small)
