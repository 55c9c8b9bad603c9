from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

from napari_sam.errors import SamError
from napari_sam.evaluation.matching import evaluate_labels
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.candidates import (
    FILTER_DEFAULTS,
    Candidates,
    draw_candidates,
    filter_candidates,
)
from napari_sam.inference.checkpoints import load_model
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.instance_candidates import read_instances, score_labels
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.inference.instance_segmenter import iter_instance_candidates
from napari_sam.inference.region import Region
from napari_sam.sample_data import make_nuclei

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.types import Progress

FILTER = FILTER_DEFAULTS["instances"]


def run(job: Generator[Progress, None, Any]) -> tuple[list[Progress], Any]:
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as end:
            return steps, end.value


def draw(candidates: Candidates) -> NDArray[np.int32]:
    return draw_candidates(candidates, filter_candidates(candidates, FILTER))


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("nuclei", device="cpu")


@pytest.fixture(scope="module")
def small_tiles(model: LoadedModel) -> LoadedModel:
    """The bundled model, which sees no more than 192 pixels at once."""
    return replace(model, config=replace(model.config, image_size=192))


@pytest.fixture(scope="module")
def scene() -> tuple[NDArray[Any], NDArray[Any]]:
    return make_nuclei((300, 340), spacing=(0.25, 0.25), count=35, seed=5)


class Counting(CachedPredictor):
    """Remembers what it encoded."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model, memory_bytes=0)
        self.crops: list[tuple[int, int, int, int]] = []

    def encode(self, image: Any, crop: Any = None) -> Any:
        self.crops.append(crop)
        return super().encode(image, crop)


def test_tiles_give_what_the_whole_gives(scene, model, small_tiles):
    image, truth = scene
    whole = draw(run(iter_instance_candidates(image, CachedPredictor(model)))[1])
    predictor = Counting(small_tiles)
    steps, found = run(iter_instance_candidates(image, predictor))
    tiled = draw(found)
    assert len(predictor.crops) >= 6
    assert np.mean((whole > 0) == (tiled > 0)) > 0.995
    scores = evaluate_labels(whole, tiled)
    assert scores.n_true - 1 <= scores.true_positives[8] <= scores.n_true  # at an IoU of 0.9
    assert abs(scores.n_predicted - scores.n_true) <= 1
    assert evaluate_labels(truth, tiled).true_positives[0] >= 0.9 * truth.max()
    # Each tile's objects are handed out once, and only when they are finished.
    parts = Candidates.concatenate([s.partial for s in steps if s.partial is not None])
    np.testing.assert_array_equal(parts.boxes, found.boxes)
    assert [s.done for s in steps] == list(range(len(predictor.crops) + 1))
    assert steps[-1].done == steps[-1].total


def test_no_seam_is_visible(scene, small_tiles):
    """Objects do not end at the borders of tiles more often than elsewhere."""
    image, _ = scene
    predictor = CachedPredictor(small_tiles)
    found = run(iter_instance_candidates(image, predictor))[1]
    labels = draw(found)
    tiles = predictor.list_tiles(image.shape)
    rows = {edge for crop, core in tiles for edge in (crop[0], core[0], core[2], crop[2])} - {0, 300}
    cols = {edge for crop, core in tiles for edge in (crop[1], core[1], core[3], crop[3])} - {0, 340}
    assert rows
    assert cols
    for axis, edges in ((0, rows), (1, cols)):
        plane = np.moveaxis(labels, axis, 0)
        changes = np.count_nonzero(plane[1:] != plane[:-1], axis=1)  # between lines i and i + 1
        at_edges = changes[[edge - 1 for edge in edges]]
        assert at_edges.mean() <= changes.mean() + 3 * changes.std() / np.sqrt(len(edges))


@pytest.fixture(scope="module")
def crowd() -> tuple[NDArray[Any], NDArray[Any]]:
    """Nuclei of 9 pixels, which the model sees best three times as large."""
    return make_nuclei((250, 330), spacing=(0.7, 0.7), count=110, seed=3)


def test_small_objects_that_fill_a_large_plane_are_found_as_in_a_small_one(crowd, model, small_tiles):
    image, truth = crowd
    predictor = Counting(small_tiles)
    steps, found = run(iter_instance_candidates(image, predictor))
    whole = draw(run(iter_instance_candidates(image, CachedPredictor(model)))[1])
    scores = evaluate_labels(whole, draw(found))
    assert scores.true_positives[4] >= 0.95 * max(scores.n_true, scores.n_predicted)  # at an IoU of 0.7
    assert evaluate_labels(truth, draw(found)).ap[0.5] >= evaluate_labels(truth, whole).ap[0.5] - 0.02
    # Between the parts of a tile it can be stopped; what is done is counted by the tile.
    tiles = len(predictor.list_tiles(image.shape))
    assert steps[-1].done == steps[-1].total == tiles
    assert len(steps) > 3 * tiles
    parts = Candidates.concatenate([s.partial for s in steps if s.partial is not None])
    np.testing.assert_array_equal(parts.boxes, found.boxes)


def test_a_size_that_is_set_is_not_doubted(crowd, small_tiles):
    predictor = Counting(small_tiles).with_settings(EncodeSettings(object_size=20))
    steps, _ = run(iter_instance_candidates(crowd[0], predictor))
    assert len(steps) == 1 + len(predictor.list_tiles(crowd[0].shape)) == 1 + len(predictor.crops)


def test_a_cancelled_job_keeps_what_it_handed_out(scene, small_tiles):
    job = iter_instance_candidates(scene[0], CachedPredictor(small_tiles))
    steps = [next(job) for _ in range(5)]
    job.close()
    assert steps[-1].done < steps[-1].total
    assert sum(len(step.partial) for step in steps[1:]) > 0


def test_background_tiles_are_not_encoded(small_tiles):
    image = np.full((150, 900), 7, np.uint16)
    image[20:140, 10:150] = make_nuclei((120, 140), spacing=(0.25, 0.25), count=8, seed=2)[0]
    predictor = Counting(small_tiles)
    steps, found = run(iter_instance_candidates(da.from_array(image, chunks=64), predictor))
    constant = [
        c for c, _ in predictor.list_tiles(image.shape) if np.ptp(image[c[0] : c[2], c[1] : c[3]]) == 0
    ]
    assert constant
    assert not set(constant) & set(predictor.crops)
    assert steps[-1].done == steps[-1].total == len(predictor.crops) + len(constant)
    assert len(found) >= 5


def test_outside_the_region_nothing_is_encoded_nor_found(scene, small_tiles):
    image, _ = scene
    everything = run(iter_instance_candidates(image, CachedPredictor(small_tiles)))[1]
    region = Region.from_box((0, 0, 90, 100), image.shape)
    predictor = Counting(small_tiles)
    steps, found = run(iter_instance_candidates(image, predictor, region=region))
    assert predictor.crops == [c for c, _ in predictor.list_tiles(image.shape) if c[0] < 90 and c[1] < 100]
    assert steps[-1].total == len(predictor.crops)
    centers = np.floor(everything.centers + 0.5)
    inside = everything.take((centers[:, 0] < 90) & (centers[:, 1] < 100))
    assert 0 < len(inside) < len(everything)
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, inside.boxes.tolist()))


def test_an_object_of_the_region_is_not_cut_off_by_its_tile(small_tiles, monkeypatch):
    monkeypatch.setattr(CachedPredictor, "_halo", 12)  # as narrow, for this object, as it is in large tiles
    rows, cols = np.mgrid[:150, :460]
    disk = np.hypot(rows - 75, cols - 120) < 62
    image = 100 + 1000 * disk + np.random.default_rng(0).normal(0, 20, disk.shape)
    predictor = Counting(small_tiles)
    whole = draw(run(iter_instance_candidates(image, predictor))[1])
    first, second, _ = (crop for crop, _ in predictor.list_tiles(image.shape))
    region = Region.from_box((70, 100, 80, 125), image.shape)
    assert not region.covers(second)
    assert first[3] <= 176  # the disk reaches beyond
    predictor.crops.clear()
    steps, found = run(iter_instance_candidates(image, predictor, region=region))
    np.testing.assert_array_equal(draw(found) > 0, whole == whole[75, 120])
    assert np.count_nonzero(draw(found)) > 0.9 * np.count_nonzero(disk)
    assert predictor.crops == [first, second]
    assert steps[-1].done == steps[-1].total == 2
    parts = Candidates.concatenate([s.partial for s in steps if s.partial is not None])
    np.testing.assert_array_equal(parts.boxes, found.boxes)


def test_an_empty_region_finds_nothing(scene, small_tiles):
    predictor = Counting(small_tiles)
    region = Region.from_mask(np.zeros(scene[0].shape, bool))
    steps, found = run(iter_instance_candidates(scene[0], predictor, region=region))
    assert (len(steps), len(found), predictor.crops) == (1, 0, [])


BAD = {
    "zeros": np.zeros((60, 70), np.uint8),
    "one pixel": np.ones((1, 1)),
    "a line": np.arange(50.0)[None],
    "nan": np.full((40, 40), np.nan, np.float32),
    "noise": np.random.default_rng(0).normal(100, 1, (64, 64)),
    "an object that fills it": np.full((90, 90), 50000, np.uint16) - np.eye(90, dtype=np.uint16),
}


@pytest.mark.parametrize("name", BAD)
def test_images_without_objects(name, model):
    image = BAD[name]
    found = run(iter_instance_candidates(image, CachedPredictor(model)))[1]
    assert found.plane_shape == image.shape
    labels = draw(found)
    assert labels.shape == image.shape
    assert labels.max() <= 3


def test_thousands_of_touching_objects(model):
    """A plane full of small cells with dark borders."""
    rows, cols = np.indices((360, 360))
    image = (100 * np.abs(np.sin(np.pi * rows / 12) * np.sin(np.pi * cols / 12))).astype(np.uint8)
    found = run(iter_instance_candidates(image, CachedPredictor(model)))[1]
    labels = draw(found)
    assert 0.9 * 900 <= labels.max() <= 1.05 * 900


def test_score_and_size_are_left_to_the_filter(scene, model):
    image, _ = scene
    strict = run(
        iter_instance_candidates(image, CachedPredictor(model), InstanceParams(score=1, min_area=9999))
    )
    default = run(iter_instance_candidates(image, CachedPredictor(model)))
    np.testing.assert_array_equal(strict[1].boxes, default[1].boxes)


def test_other_parameters_have_a_say(scene, model):
    predictor = CachedPredictor(model)
    default = run(iter_instance_candidates(scene[0], predictor))[1]
    wide = run(iter_instance_candidates(scene[0], predictor, InstanceParams(foreground=0.3)))[1]
    assert wide.areas.sum() > default.areas.sum()


def test_a_model_without_an_instance_decoder_is_refused(checkpoint_files):
    predictor = CachedPredictor(load_model(checkpoint_files["vit_test"], device="cpu"))
    with pytest.raises(SamError, match="no instance decoder; use the method 'grid'"):
        run(iter_instance_candidates(np.zeros((20, 20)), predictor))


def test_scores_of_objects():
    labels = np.zeros((12, 20), np.int32)
    labels[2:8, 2:8], labels[2:8, 12:16] = 1, 3  # nothing is 2
    foreground = np.where(labels == 1, 0.9, np.where(labels == 3, 0.65, 0.0)).astype(np.float32)
    foreground[2:8, 16:18] = 0.55  # doubtful, beside the third
    predicted_iou, stability, means = score_labels(labels, foreground, 0.6)
    np.testing.assert_allclose(means, [0.9, np.nan, 0.65], rtol=1e-6)
    np.testing.assert_allclose(predicted_iou, [0.9, np.nan, 24 * 0.65 / (24 + 12 * 0.55)], rtol=1e-6)
    np.testing.assert_allclose(stability, [1, 0, 0])


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_objects_lie_on_the_pixels_of_the_plane_at_any_scale(scene, model, scale):
    image, truth = scene
    predictor = CachedPredictor(model)
    reference = predictor.encode(image, (0, 0, 200, 240))
    frame = predictor.predictor.make_frame((0, 0, 200, 240), scale)
    made = predictor._keys.normalize(predictor._keys.open(image), predictor.settings)
    embedding = predictor.predictor.encode(image[:200, :240], made, frame, image.shape)
    assert embedding.maps.shape[1:] == (200 * scale, 240 * scale)
    assert reference.maps.shape[1:] == (200, 240)
    labels = draw(read_instances(model, embedding, InstanceParams()))[:200, :240]
    scores = evaluate_labels(truth[:200, :240], labels)
    assert scores.true_positives[4] >= 0.8 * scores.n_true  # at an IoU of 0.7
