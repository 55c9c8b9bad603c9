from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

from napari_sam.inference import image_source
from napari_sam.inference.image_source import ImageSource
from napari_sam.inference.plane_sample import SAMPLE_SIDE, SPOTS, find_filling, spread_places
from napari_sam.inference.transforms import measure_normalization

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIDE = 2600
"""Spots lie in the middle of fifths: at 260, 780, ... The field lies between them."""
FIELD = slice(400, 656)
TEXTURE = np.random.default_rng(0).integers(50, 200, (256, 256)).astype(np.uint8)


def make_mosaic(filling: float = 0, dtype: Any = np.uint8, shape: tuple[int, ...] = (SIDE, SIDE)) -> Any:
    """A plane that is filled in but for one field."""
    image = np.full(shape, filling, dtype)
    image[FIELD, FIELD] = TEXTURE if len(shape) == 2 else TEXTURE[..., None]
    return image


def place_spots(image: NDArray[Any]) -> NDArray[Any]:
    """The sample of a plane that shows something everywhere."""
    rows, cols = (np.concatenate([np.r_[s] for s in spread_places(n)]) for n in image.shape[:2])
    return np.asarray(image[rows][:, cols])


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(make_mosaic(), id="zeros"),
        pytest.param(make_mosaic(255), id="white"),
        pytest.param(make_mosaic(np.nan, np.float32), id="NaN"),
        pytest.param(make_mosaic(0, np.uint8, (SIDE, SIDE, 4)), id="channels"),
        pytest.param(make_mosaic(0, np.uint8, (900, SIDE)), id="a strip"),
        pytest.param(da.from_array(make_mosaic(), chunks=512), id="dask"),
        pytest.param([make_mosaic(), make_mosaic()[::8, ::8]], id="pyramid"),
        pytest.param([da.from_array(make_mosaic(), chunks=512), make_mosaic()[::8, ::8]], id="lazy pyramid"),
    ],
)
def test_a_field_between_the_spots_is_what_is_measured(image: Any) -> None:
    sample = ImageSource(image).sample()
    assert sample.shape[:2] == (510, 510)
    inside = (sample >= 50) & (sample < 200)
    assert inside.mean() > 0.5
    measured = measure_normalization(image)
    assert measured.high[0] in (199, 255)


def test_flat_content_is_told_from_the_filling() -> None:
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[FIELD, FIELD] = 100
    image[FIELD, 656:2000] = 100
    measured = measure_normalization(image[:1000])
    assert (measured.low[0], measured.high[0]) == (0, 100)


def test_a_spot_that_grazes_the_field_is_not_all_that_is_measured() -> None:
    image = make_mosaic()
    image[300:310, 240:656] = 3
    assert np.percentile(place_spots(image), 99.8) == 3
    assert measure_normalization(image).high[0] == 199


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((SIDE, SIDE), np.uint8), id="empty"),
        pytest.param(np.full((SIDE, SIDE), np.nan, np.float32), id="all NaN"),
        pytest.param(
            np.random.default_rng(1).poisson(0.02, (SIDE, SIDE)).astype(np.uint8), id="sparse everywhere"
        ),
        pytest.param(np.random.default_rng(2).integers(0, 4, (SIDE, SIDE, 3), np.uint8), id="noise"),
    ],
)
def test_all_other_planes_are_measured_at_the_spots(image: NDArray[Any]) -> None:
    np.testing.assert_array_equal(ImageSource(image).sample(), place_spots(image))


def test_hot_pixels_are_no_content() -> None:
    image = make_mosaic()
    image[::97, ::101] = 255
    sample = ImageSource(image).sample()
    assert ((sample >= 50) & (sample < 200)).mean() > 0.5


def test_what_is_read_of_a_lazy_plane_is_bounded(
    recording: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_source, "LARGEST_READ", 1 << 20)
    image = recording(np.zeros((SIDE, SIDE), np.uint8))
    ImageSource(image).sample()
    assert sum(size for _, size in image.reads) <= 2 * SAMPLE_SIDE**2
    large = recording(make_mosaic())
    large.chunks = (2048, 2048)
    monkeypatch.setattr(image_source, "LARGEST_OVERVIEW", SPOTS**2 * 2048**2)
    ImageSource(large).sample()
    assert sum(size for _, size in large.reads) <= SAMPLE_SIDE**2  # its chunks are too large


def test_a_lazy_plane_of_any_size_is_looked_over(
    recording: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_source, "LARGEST_READ", 1 << 20)
    sample = ImageSource(recording(make_mosaic())).sample()
    assert ((sample >= 50) & (sample < 200)).mean() > 0.5


@pytest.mark.parametrize(
    ("spots", "found"), [(0, True), (2, True), (3, False), (25, False)], ids=["none", "two", "three", "all"]
)
def test_in_how_many_spots_something_has_to_show(spots: int, found: bool) -> None:
    sample = np.zeros((510, 510, 2), np.uint16)
    for n in range(spots):
        row, col = divmod(n, 5)
        sample[102 * row + 40 : 102 * row + 60, 102 * col + 40 : 102 * col + 60, 1] = 9
    assert (find_filling(sample) is not None) == found
