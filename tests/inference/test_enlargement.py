"""Tiny objects are shown to the bundled model enlarged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.inference.checkpoints import LoadedModel, load_model
from napari_sam.inference.predictor import TINY, Predictor, choose_enlargement
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
    ("diameter", "enlarged"), [(7, True), (9, True), (24, False), (40, False)], ids=lambda v: str(v)
)
def test_only_tiny_objects_are_enlarged(nuclei: LoadedModel, diameter: int, enlarged: bool) -> None:
    image = draw_disks(192, diameter)
    embedding = encode(nuclei, image, adapt=True)
    assert (embedding.frame.scale > 1) == enlarged
    assert embedding.maps is not None
    assert embedding.maps.shape[1:] == embedding.frame.inner
    assert encode(nuclei, image, adapt=False).frame.scale == 1


def test_nothing_found_is_nothing_enlarged(nuclei: LoadedModel) -> None:
    assert encode(nuclei, np.zeros((128, 128), np.uint8), adapt=True).frame.scale == 1


@pytest.mark.parametrize(
    ("image_size", "expected"), [(1024, 2.5), (512, 2.5), (384, 2.0), (192, 1.0), (100, 1.0)], ids=str
)
def test_a_frame_stays_within_the_largest_image(
    nuclei: LoadedModel, image_size: int, expected: float
) -> None:
    embedding = encode(nuclei, draw_disks(192, 7), adapt=False)
    got = choose_enlargement(embedding, image_size)
    assert got <= expected
    assert got * 192 <= max(image_size, 192)
    assert (got > 1) == (expected > 1)
    assert TINY > 7
