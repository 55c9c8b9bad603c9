"""Small objects are shown to the bundled model enlarged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import LoadedModel, load_model
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.object_scale import MOST, SMALL, expected_object_size, measure_enlargement
from napari_sam.inference.predictor import Predictor, choose_enlargement
from napari_sam.inference.transforms import measure_normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.embedding import ImageEmbedding


@pytest.fixture(scope="module")
def nuclei() -> LoadedModel:
    return load_model("nuclei", device="cpu")


def draw_disks(side: int, diameter: float) -> NDArray[np.uint8]:
    """Soft bright disks on a grid, with a little noise."""
    pitch = 2.5 * diameter
    y, x = (np.mgrid[:side, :side] + pitch / 2) % pitch - pitch / 2
    soft = 1 / (1 + np.exp((np.hypot(y, x) - diameter / 2) / 0.5))
    noise = np.random.default_rng(0).normal(0, 3, (side, side))
    return np.clip(30 + 170 * soft + noise, 0, 255).astype(np.uint8)


def encode(model: LoadedModel, image: NDArray[np.uint8], adapt: bool) -> ImageEmbedding:
    predictor = Predictor(model)
    height, width = image.shape
    frame = predictor.make_frame((0, 0, height, width))
    return predictor.encode(image, measure_normalization(image), frame, (height, width), adapt=adapt)


@pytest.mark.parametrize(
    ("diameter", "enlarged"), [(7, True), (9, True), (24, False), (60, False)], ids=lambda v: str(v)
)
def test_only_small_objects_are_enlarged(nuclei: LoadedModel, diameter: int, enlarged: bool) -> None:
    image = draw_disks(192, diameter)
    embedding = encode(nuclei, image, adapt=True)
    assert (embedding.frame.scale > 1) == enlarged
    assert embedding.maps is not None
    assert embedding.maps.shape[1:] == embedding.frame.inner
    assert encode(nuclei, image, adapt=False).frame.scale == 1


def test_nothing_found_is_nothing_enlarged(nuclei: LoadedModel) -> None:
    assert encode(nuclei, np.zeros((128, 128), np.uint8), adapt=True).frame.scale == 1


@pytest.mark.parametrize(
    ("image_size", "expected"), [(1024, 3.0), (512, 3.0), (256, 2.0), (128, 1.0), (100, 1.0)], ids=str
)
def test_a_frame_stays_within_the_largest_image(
    nuclei: LoadedModel, image_size: int, expected: float
) -> None:
    embedding = encode(nuclei, draw_disks(192, 7), adapt=False)
    got = choose_enlargement(embedding, image_size)
    assert got <= expected
    assert got * 192 <= max(1.5 * image_size, 192)
    assert (got > 1) == (expected > 1)
    assert SMALL > 7


def test_clicks_are_answered_from_the_enlarged_frame(nuclei: LoadedModel) -> None:
    image = draw_disks(192, 8)
    predictor = CachedPredictor(nuclei)
    first = predictor.encode(image)
    assert first.frame.scale >= 2
    assert predictor.encode(image) is first  # known by the frame that was asked for


def test_a_size_that_is_set_is_kept(nuclei: LoadedModel) -> None:
    size = expected_object_size(nuclei)  # so that nothing is scaled
    predictor = CachedPredictor(nuclei, settings=EncodeSettings(object_size=size))
    assert predictor.encode(draw_disks(192, 8)).frame.scale == 1


def test_a_cache_tells_a_set_size_from_one_left_to_the_model(nuclei: LoadedModel) -> None:
    image = draw_disks(192, 8)
    first = CachedPredictor(nuclei)
    second = first.with_settings(EncodeSettings(object_size=expected_object_size(nuclei)))
    asked = [p.predictor.make_frame((0, 0, 192, 192), 1.0) for p in (first, second)]
    assert asked[0] == asked[1]
    assert first.encode(image).frame.scale >= 2
    assert second.encode(image).frame.scale == 1


@pytest.mark.parametrize("diameter", [1.0, 5.0, 9.0, 13.0, 19.9, 20.0, 80.0])
def test_enlargement_never_shrinks_and_has_an_end(diameter: float) -> None:
    found = measure_enlargement(diameter)
    assert 1 <= found <= MOST
    assert 4 * found == int(4 * found)
    assert measure_enlargement(diameter, room=0.5) == 1
