"""Small objects are shown to the bundled model enlarged, large ones shrunk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import LoadedModel, load_model
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.object_scale import (
    LARGE,
    MOST,
    SMALL,
    WANTED,
    expected_object_size,
    measure_rescale,
)
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.scale_search import (
    CLEAR,
    ROOM,
    Look,
    choose_rescale,
    find_crowd,
    find_crowded_size,
    measure_look,
)
from napari_sam.inference.segment_image import segment_image
from napari_sam.inference.transforms import measure_normalization
from napari_sam.training.synthetic import make_synthetic_image
from napari_sam.types import Prompts

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


def encode(model: LoadedModel, image: NDArray[Any], adapt: bool) -> ImageEmbedding:
    predictor = Predictor(model)
    height, width = image.shape[:2]
    frame = predictor.make_frame((0, 0, height, width))
    return predictor.encode(image, measure_normalization(image), frame, (height, width), adapt=adapt)


@pytest.mark.parametrize(
    ("diameter", "side"), [(7, 192), (9, 192), (24, 192), (34, 256), (60, 320), (120, 640), (200, 1024)]
)
def test_objects_of_any_size_are_shown_at_a_size_that_the_model_knows(
    nuclei: LoadedModel, diameter: int, side: int
) -> None:
    image = draw_disks(side, diameter)
    embedding = encode(nuclei, image, adapt=True)
    scale = embedding.frame.scale
    assert 16 < diameter * scale < 56
    assert (scale > 1) == (diameter < SMALL)
    assert (scale < 1) == (diameter > LARGE)
    assert embedding.maps is not None
    assert embedding.maps.shape[1:] == embedding.frame.inner
    assert encode(nuclei, image, adapt=False).frame.scale == 1


@pytest.mark.parametrize(("diameter", "side"), [(100, 512), (160, 900)])
def test_large_objects_are_found_and_outlined_without_a_size_set(
    nuclei: LoadedModel, diameter: int, side: int
) -> None:
    image = draw_disks(side, diameter)
    truth = image > 115
    predictor = CachedPredictor(nuclei)
    labels = segment_image(image, predictor)
    parts, count = label(truth)
    assert abs(labels.max() - count) <= 1
    assert ((labels > 0) & truth).sum() / ((labels > 0) | truth).sum() > 0.9
    first = parts == parts[parts > 0][0]
    row, col = np.argwhere(first).mean(axis=0)
    answer = predictor.predict(image, Prompts([(row, col)])).paste(image.shape)
    assert (answer & first).sum() / (answer | first).sum() > 0.85


def test_nothing_is_looked_at_from_nearer_where_nothing_is(
    nuclei: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    plain = Predictor._encode

    def encode_and_note(self: Predictor, *args: Any) -> ImageEmbedding:
        looks.append(args[2].scale)
        return plain(self, *args)

    monkeypatch.setattr(Predictor, "_encode", encode_and_note)
    plane = np.hstack(
        [draw_disks(256, 28), np.random.default_rng(1).normal(30, 3, (256, 256)).astype(np.uint8)]
    )
    predictor = Predictor(nuclei)
    frame = predictor.make_frame((0, 256, 256, 512))
    found = predictor.encode(plane[:, 256:], measure_normalization(plane), frame, plane.shape, adapt=True)
    assert found.frame.scale == 1
    assert looks == [1.0, 0.5, 0.25]


def test_nothing_found_is_nothing_enlarged(nuclei: LoadedModel) -> None:
    assert encode(nuclei, np.zeros((128, 128), np.uint8), adapt=True).frame.scale == 1


@pytest.mark.parametrize(
    ("image_size", "most"), [(1024, 3.0), (512, 3.0), (256, 2.0), (128, 1.0), (104, 1.0), (64, 1.0)], ids=str
)
def test_a_frame_is_not_enlarged_without_end(nuclei: LoadedModel, image_size: int, most: float) -> None:
    small = replace(nuclei, config=replace(nuclei.config, image_size=image_size, decode_window=8))
    predictor, image = Predictor(small), draw_disks(192, 7)
    frame = predictor.make_frame((0, 0, 192, 192), 1.0)
    found = predictor.encode(image, measure_normalization(image), frame, (192, 192), adapt=True)
    assert most - 0.75 < found.frame.scale <= most
    assert (found.frame.scale > 1) == (most > 1)
    assert max(found.frame.inner) <= max(ROOM * image_size, 192)


@pytest.mark.parametrize(
    ("image_size", "diameter", "is_crowded"),
    [
        pytest.param(192, 9, True, id="no room"),
        pytest.param(1024, 9, False, id="room"),
        pytest.param(192, 24, False, id="large enough"),
    ],
)
def test_objects_of_a_full_frame_are_too_small_or_not(
    nuclei: LoadedModel, image_size: int, diameter: float, is_crowded: bool
) -> None:
    model = replace(nuclei, config=replace(nuclei.config, image_size=image_size))
    image = draw_disks(192, diameter)
    embedding = encode(model, image, adapt=True)
    size = find_crowded_size(embedding, image_size, WANTED)
    assert size == (pytest.approx(diameter, rel=0.15) if is_crowded else None)
    assert find_crowded_size(embedding, image_size, 10) is None  # a model that has learned from small ones


@pytest.mark.parametrize("count", [0, 2])
def test_a_full_frame_with_few_objects_says_nothing_of_their_size(nuclei: LoadedModel, count: int) -> None:
    image = draw_disks(192, 9)
    image[:11] = image[34:] = image[:, :11] = image[:, 11 + 23 * count :] = 30
    predictor = Predictor(nuclei)
    frame = predictor.make_frame((0, 0, 192, 192), 1.5)
    embedding = predictor.encode(image, measure_normalization(image, limits=((0, 255),)), frame, image.shape)
    assert measure_look(embedding).count == count
    assert find_crowded_size(embedding, 192, WANTED) is None


def test_a_part_is_looked_at_where_most_is_to_be_seen(nuclei: LoadedModel) -> None:
    image = np.full((300, 400), 20, np.uint8)
    image[180:280, 260:380] = draw_disks(192, 24)[:100, :120]
    predictor = Predictor(nuclei)
    frame = predictor.make_frame((1000, 2000, 1300, 2400))
    found = predictor.encode(image, measure_normalization(image), frame, (5000, 5000))
    part = find_crowd(found)
    assert part is not None
    r0, c0, r1, c1 = part
    assert (r1 - r0, c1 - c0) == (150, 200)
    assert (r0, c0) == (1150, 2200)
    assert measure_look(found, (r0, c0, r1, c1)).count == measure_look(found).count > 3
    assert measure_look(found, (1000, 2000, 1100, 2100)).count == 0


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


@pytest.mark.parametrize("diameter", [1.0, 5.0, 9.0, 13.0, 19.9])
def test_enlargement_has_an_end(diameter: float) -> None:
    found = measure_rescale(diameter)
    assert 1 <= found <= MOST
    assert 4 * found == int(4 * found)
    assert measure_rescale(diameter, room=0.5) == 1


@pytest.mark.parametrize("diameter", [20.0, 28.0, 40.0])
def test_what_is_neither_small_nor_large_is_seen_as_it_is(diameter: float) -> None:
    assert measure_rescale(diameter) == 1


@pytest.mark.parametrize("diameter", [40.1, 55.0, 80.0, 333.0, 5000.0])
def test_large_objects_come_near_the_wanted_size(diameter: float) -> None:
    assert WANTED <= diameter * measure_rescale(diameter) < 1.3 * WANTED


def test_two_objects_are_shrunk_but_not_enlarged() -> None:
    assert choose_rescale(Look(2, 10.0, 1.0), 3) == 1
    assert choose_rescale(Look(3, 10.0, 1.0), 3) > 1
    assert choose_rescale(Look(1, 100.0, 1.0), 3) < 1
    assert choose_rescale(Look(0, 0.0, 0.0), 3) == 1


def test_a_large_object_alone_in_a_large_image_is_seen_from_far_away(nuclei: LoadedModel) -> None:
    y, x = np.mgrid[:1000, :1000] - 500
    texture = gaussian_filter(np.random.default_rng(0).normal(0, 1, (1000, 1000)), 12)
    inside = 1 / (1 + np.exp((np.hypot(y, x) - 160) / 8))
    image = np.clip(20 + inside * (120 + 15 * texture / texture.std()), 0, 255).astype(np.uint8)
    embedding = encode(nuclei, image, adapt=True)
    assert embedding.frame.scale <= 0.25
    assert measure_look(embedding).count == 1


def test_a_crowd_of_cells_is_not_taken_for_a_few_large_ones(nuclei: LoadedModel) -> None:
    """From farther away four patches of an epithelium of small cells look a little clearer."""
    image, _ = make_synthetic_image(np.random.default_rng((2, 987654321)), 256, "membranes")
    assert encode(nuclei, image, adapt=True).frame.scale >= 1


def test_one_object_has_to_be_clear_to_decide() -> None:
    hazy = Look(7, 27.0, 0.41)
    assert Look(3, 20.0, 0.75).beats(hazy)
    assert not Look(1, 20.0, 0.75).beats(hazy)
    assert Look(1, 20.0, 0.9).beats(hazy)
    assert not Look(0, 0.0, 0.0).beats(Look(0, 0.0, 0.0))


def test_a_look_counts_what_it_sees(nuclei: LoadedModel) -> None:
    look = measure_look(encode(nuclei, draw_disks(256, 28), adapt=False))
    assert 9 <= look.count <= 16
    assert 24 < look.diameter < 32
    assert look.clarity > CLEAR
    empty = measure_look(encode(nuclei, np.zeros((128, 128), np.uint8), adapt=False))
    assert empty == Look(0, 0.0, 0.0)
