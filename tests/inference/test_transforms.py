from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

from napari_sam.errors import ImageError
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.transforms import (
    Normalization,
    check_plane,
    measure_normalization,
    render_model_input,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RAMP = np.arange(100 * 100, dtype=np.float64).reshape(100, 100)  # 0 .. 9999


def normalize(image: Any, **options: Any) -> NDArray[np.float32]:
    return measure_normalization(image, **options).apply(np.asarray(image))


@pytest.mark.parametrize(
    ("image", "tolerance"),
    [
        pytest.param((RAMP / 9999 * 255).astype(np.uint8), 5e-3, id="uint8"),
        pytest.param((RAMP * 6).astype(np.uint16), 1e-4, id="uint16"),
        pytest.param((RAMP - 5000).astype(np.int16), 1e-4, id="int16"),
        pytest.param((RAMP * 1e5).astype(np.int32), 1e-4, id="int32"),
        pytest.param(RAMP.astype(np.uint64) + np.uint64(2**52), 1e-4, id="uint64 with a large offset"),
        pytest.param(RAMP.astype(np.float16) / 8, 2e-3, id="float16"),
        pytest.param(RAMP.astype(np.float32) - 1e4, 1e-4, id="float32, negative"),
        pytest.param(RAMP * 1e-30, 1e-4, id="float64, tiny"),
        pytest.param(RAMP * 1e300, 1e-4, id="float64, huge"),
    ],
)
def test_every_dtype_becomes_the_same_ramp(image: NDArray[Any], tolerance: float) -> None:
    # the first percentile of 0 .. 9999 is 99.99 and the 99.8th is 9979.002
    expected = np.clip((RAMP - 99.99) / (9979.002 - 99.99), 0, 1)
    result = normalize(image)
    assert result.dtype == np.float32
    assert result.shape == (100, 100, 3)
    np.testing.assert_allclose(result[..., 0], expected, atol=tolerance)
    np.testing.assert_array_equal(result[..., 1], result[..., 0])
    np.testing.assert_array_equal(result[..., 2], result[..., 0])


def test_bool_becomes_zero_and_one() -> None:
    image = np.zeros((30, 30), bool)
    image[0, :3] = True  # so few that the percentiles do not see them
    np.testing.assert_array_equal(normalize(image)[..., 0], image)


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf, -np.inf], ids=str)
def test_a_constant_image_is_black(value: float) -> None:
    assert not normalize(np.full((8, 9), value)).any()


def test_not_finite_pixels_do_not_matter_to_the_others() -> None:
    image = RAMP.copy()
    image[50, :10] = np.nan, np.inf, -np.inf, *[np.nan] * 7
    result = normalize(image)[..., 0]
    assert result[50, :3].tolist() == [0, 1, 0]
    good = np.isfinite(image)
    np.testing.assert_allclose(result[good], normalize(RAMP)[..., 0][good], atol=1e-3)


def test_hot_and_dead_pixels_do_not_darken_the_image() -> None:
    image = RAMP.copy()
    image[3, 3:8], image[9, 9] = 1e9, -1e9
    result = normalize(image)[..., 0]
    assert result[3, 3:8].tolist() == [1] * 5
    good = np.abs(image) < 1e8
    np.testing.assert_allclose(result[good], normalize(RAMP)[..., 0][good], atol=2e-3)


def test_colours_keep_one_range() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, (200, 100, 50), (64, 64, 3)).astype(np.uint8)
    norm = measure_normalization(image)
    assert len(set(norm.low)) == len(set(norm.high)) == 1
    np.testing.assert_allclose(norm.high[0], np.percentile(image, 99.8))
    with_alpha = np.dstack([image, np.full((64, 64), 255, np.uint8)])
    assert measure_normalization(with_alpha) == norm


def test_other_channels_are_stretched_one_by_one() -> None:
    image = np.stack([RAMP, RAMP * 10, RAMP + 5, np.ones_like(RAMP)], axis=-1)
    norm = measure_normalization(image)
    assert norm.channels == (0, 1, 2)
    result = norm.apply(image)
    for i in range(3):
        np.testing.assert_allclose(result[..., i], normalize(RAMP)[..., 0], atol=1e-6)


@pytest.mark.parametrize(
    ("count", "channels", "expected"),
    [
        pytest.param(None, None, (0, 0, 0), id="gray"),
        pytest.param(1, None, (0, 0, 0), id="one"),
        pytest.param(2, None, (0, 1, -1), id="two leave the third empty"),
        pytest.param(5, None, (0, 1, 2), id="first three of five"),
        pytest.param(5, (4,), (4, 4, 4), id="one chosen"),
        pytest.param(5, (3, 1), (3, 1, -1), id="two chosen"),
        pytest.param(5, (4, 0, 2), (4, 0, 2), id="three chosen"),
    ],
)
def test_channels(count: int | None, channels: tuple[int, ...] | None, expected: tuple[int, ...]) -> None:
    shape = (6, 7) if count is None else (6, 7, count)
    image = np.random.default_rng(0).normal(size=shape)
    norm = measure_normalization(image, channels)
    assert norm.channels == expected
    planes = norm.apply(image)
    assert [planes[..., i].any() for i in range(3)] == [c >= 0 for c in expected]


@pytest.mark.parametrize("channels", [(), (5,), (-1,), (0, 1, 2, 3)], ids=str)
def test_impossible_channels(channels: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"one to three channels out of 0 \.\. 4"):
        measure_normalization(np.zeros((4, 4, 5)), channels)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(np.zeros((0, 5)), "with pixels", id="no rows"),
        pytest.param(np.zeros((5, 5, 0)), "with pixels", id="no channels"),
        pytest.param(np.zeros(5), "got 1-D", id="1-d"),
        pytest.param(np.zeros((1, 2, 3, 4)), "got 4-D", id="4-d"),
        pytest.param(np.zeros((1, 2, 3, 4, 5)), r"got 5-D \(1, 2, 3, 4, 5\)", id="5-d"),
        pytest.param(np.zeros((4, 4), np.complex64), "complex64; take the magnitude", id="complex"),
        pytest.param(np.zeros((4, 4), object), "object", id="objects"),
        pytest.param(np.zeros((4, 4), "M8[s]"), "datetime64", id="dates"),
        pytest.param(None, "got 0-D", id="nothing"),
        pytest.param([[1, 2], [3, 4]], "got 0-D", id="a list"),
    ],
)
def test_unusable_images(image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        check_plane(image)
    with pytest.raises(ImageError, match=message):
        measure_normalization(image)


@pytest.mark.parametrize(
    ("shape", "expected"), [((4, 5), (4, 5, 0)), ((4, 5, 1), (4, 5, 1)), ((1, 1, 9), (1, 1, 9))], ids=str
)
def test_check_plane(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert check_plane(np.zeros(shape)) == expected


def test_dask_gives_what_numpy_gives() -> None:
    assert measure_normalization(da.from_array(RAMP, chunks=33)) == measure_normalization(RAMP)


def test_a_large_image_is_only_sampled(recording: Callable[..., Any]) -> None:
    data = np.random.default_rng(0).integers(0, 4000, (3000, 5000), np.uint16)
    image = recording(data)
    norm = measure_normalization(image)
    assert sum(size for _, size in image.reads) <= 512 * 512
    np.testing.assert_allclose((norm.low[0], norm.high[0]), np.percentile(data, (1, 99.8)), atol=40)


@pytest.mark.parametrize(
    ("channels", "limits", "low", "high"),
    [
        pytest.param(None, ((10, 30),), (10, 10, 10), (30, 30, 30), id="one pair for all"),
        pytest.param((4, 1), ((0, 1), (5, 9)), (0, 5, 0), (1, 9, 0), id="one for each"),
        pytest.param((4,), ((0, 1),), (0, 0, 0), (1, 1, 1), id="one channel"),
    ],
)
def test_fixed_limits_read_nothing(
    recording: Callable[..., Any],
    channels: tuple[int, ...] | None,
    limits: tuple[tuple[float, float], ...],
    low: tuple[float, ...],
    high: tuple[float, ...],
) -> None:
    image = recording(np.zeros((6, 7, 5)))
    norm = measure_normalization(image, channels, limits=limits)
    assert (norm.low, norm.high) == (low, high)
    assert image.reads == []


def test_limits_for_other_channels_are_refused() -> None:
    with pytest.raises(ImageError, match=r"of 3 for the channels \[0, 1, 2\], got 2"):
        measure_normalization(np.zeros((4, 4, 5)), limits=((0, 1), (0, 1)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64], ids=lambda d: d.__name__)
def test_many_pixels_are_stretched_like_few(dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, 255, (300, 400)).astype(dtype)
    norm = Normalization((20.0,) * 3, (200.0,) * 3, (0, 0, 0))
    expected = np.clip((image.astype(float) - 20) / 180, 0, 1)
    np.testing.assert_allclose(norm.apply(image)[..., 2], expected, atol=1e-7)


def test_the_picture_shows_what_the_model_sees() -> None:
    image = np.zeros((40, 60), np.uint16)
    image[:, 30:] = 1000
    whole = render_model_input(image, EncodeSettings(limits=((0, 2000),)))
    assert (whole.shape, whole.dtype) == ((40, 60, 3), np.uint8)
    np.testing.assert_array_equal(np.unique(whole), [0, 128])
    part = render_model_input(image, crop=(0, 20, 40, 60), max_side=20)
    assert part.shape == (20, 20, 3)
    np.testing.assert_array_equal(part[0, :, 0], [0] * 5 + [255] * 15)


def test_apply_to_a_crop_equals_a_crop_of_the_whole() -> None:
    norm = measure_normalization(RAMP)
    np.testing.assert_array_equal(norm.apply(RAMP[20:40, 5:15]), norm.apply(RAMP)[20:40, 5:15])


def test_extremes_of_float64_do_not_overflow() -> None:
    norm = Normalization((-1e308,) * 3, (1e308,) * 3, (0, 0, 0))
    result = norm.apply(np.array([[-1e308, 1e308, 0.0]]))
    assert np.isfinite(result).all()
