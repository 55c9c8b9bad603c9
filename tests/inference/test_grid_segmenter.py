from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_sam.inference import grid_segmenter
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.candidates import FilterParams, draw_candidates, filter_candidates
from napari_sam.inference.foreground import Foreground
from napari_sam.inference.grid_segmenter import GridParams, iter_grid_candidates
from napari_sam.inference.region import Region
from napari_sam.types import Prompts

from .fake_decoder import DiscDecoder, assert_same_objects, draw_discs, run_job  # noqa: TID252 - the tests are no package

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.types import ObjectMask

SURE = FilterParams(predicted_iou=0.7, stability=0.8)
EVERYWHERE = GridParams(points_per_side=12, background=0.0)
"""The models of these tests know nothing of background."""


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> DiscDecoder:
    return DiscDecoder().install(monkeypatch)


def find(
    model: LoadedModel, shape: tuple[int, int], params: GridParams = EVERYWHERE, region: Region | None = None
) -> tuple[Any, NDArray[np.int32]]:
    predictor = CachedPredictor(model)
    _, found = run_job(iter_grid_candidates(np.zeros(shape, np.uint8), predictor, params, region))
    return found, draw_candidates(found, filter_candidates(found, SURE))


@pytest.mark.parametrize("skip", [True, False], ids=["skipping", "every point"])
@pytest.mark.parametrize("shape", [(120, 120), (120, 480)], ids=["one tile", "several tiles"])
def test_each_object_is_found_once_and_whole(
    conv_model: LoadedModel, decoder: DiscDecoder, shape: tuple[int, int], skip: bool
) -> None:
    params = GridParams(points_per_side=24, background=0.0, skip=skip)
    _, labels = find(conv_model, shape, params)
    assert_same_objects(labels, draw_discs(*shape))


def test_points_on_certain_masks_are_skipped(conv_model: LoadedModel, decoder: DiscDecoder) -> None:
    """Every other point hits a disc, and several hit the same: of these only those of one batch are asked."""
    params = GridParams(points_per_side=24, background=0.0)
    find(conv_model, (240, 240), params)
    on_disc = draw_discs(240, 240)[tuple(np.round(np.array(decoder.points).T).astype(int))]
    asked = np.bincount(np.unique(on_disc[on_disc > 0], return_counts=True)[1])
    assert asked.sum() == 36  # every disc
    assert asked[1] >= 30  # nearly all by one point
    decoder.points.clear()
    find(conv_model, (240, 240), GridParams(points_per_side=24, skip=False))
    assert len(decoder.points) == 24 * 24


@pytest.mark.parametrize(
    ("params", "skipped"),
    [
        pytest.param({}, True, id="good enough"),
        pytest.param({"certain_iou": 0.96}, False, id="predicted IoU too low"),
        pytest.param({"certain_stability": 1.0}, False, id="not stable enough"),
        pytest.param({"skip": False}, False, id="not wanted"),
    ],
)
def test_which_masks_are_certain(
    conv_model: LoadedModel,
    decoder: DiscDecoder,
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, Any],
    skipped: bool,
) -> None:
    """Nine points on one disc, one at a time."""
    monkeypatch.setattr(grid_segmenter, "BATCH", 1)
    # Where a model of random weights sees foreground, nothing is asked once more.
    monkeypatch.setattr(grid_segmenter, "FOREGROUND", 1.1)
    points = np.array([(r, c) for r in (14, 20, 26) for c in (14, 20, 26)], np.float32)
    monkeypatch.setattr(grid_segmenter, "_make_grid", lambda *_: points)
    find(conv_model, (120, 120), GridParams(**{"background": 0.0} | params))
    assert len(decoder.points) == (1 if skipped else 9)


def test_only_the_smallest_alternative_counts_as_certain(
    conv_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole plane is a certain mask too, and must not keep the other objects from being found."""
    decoder = DiscDecoder(everything=0.9).install(monkeypatch)
    found, _ = find(conv_model, (120, 120), GridParams(points_per_side=24, background=0.0))
    assert {tuple(box) for box in found.boxes.tolist()} >= {(0, 0, 120, 120)}
    hit = draw_discs(120, 120)[tuple(np.round(np.array(decoder.points).T).astype(int))]
    # Beside the discs only the whole plane is certain: from then on nothing more is asked.
    assert len(np.unique(hit[hit > 0])) >= 1


def test_background_is_not_asked(conv_model: LoadedModel, decoder: DiscDecoder) -> None:
    predictor = CachedPredictor(conv_model)
    noise = np.random.default_rng(0).normal(0, 1, (128, 128))
    image = gaussian_filter(noise, 6)  # the grid's points are rounded here: neighbours are to be alike
    maps = predictor.encode(image).maps
    assert maps is not None
    threshold = float(np.median(maps[0]))
    run_job(iter_grid_candidates(image, predictor, GridParams(points_per_side=16, background=threshold)))
    points = np.round(np.array(decoder.points)).astype(int)
    probability = maps[0][tuple(points.T)]
    assert len(points) > 10
    assert (probability >= threshold).mean() > 0.95  # rounding apart
    assert len(points) < 0.75 * 16 * 16


def test_a_region_restricts_points_and_objects(conv_model: LoadedModel, decoder: DiscDecoder) -> None:
    shape = (120, 480)
    region = Region.from_box((0, 50, 120, 200), shape)
    _, labels = find(conv_model, shape, region=region)
    points = np.array(decoder.points)
    assert (points[:, 1] > 49).all()
    assert (points[:, 1] < 201).all()
    true = draw_discs(*shape)
    inside = np.unique(true[:, 50:200])
    true[~np.isin(true, inside)] = 0
    centres = [np.argwhere(true == k)[:, 1].mean() for k in inside[inside > 0]]
    for k, centre in zip(inside[inside > 0], centres, strict=True):
        if not 50 <= centre < 200:
            true[true == k] = 0
    assert_same_objects(labels, true)


def test_an_empty_region_is_not_encoded(
    conv_model: LoadedModel, decoder: DiscDecoder, encode_calls: list[Any]
) -> None:
    found, labels = find(conv_model, (120, 480), region=Region.from_box((300, 0, 305, 5), (120, 480)))
    assert (len(found), labels.any(), encode_calls, decoder.points) == (0, False, [], [])


def test_a_region_between_the_points_is_asked_in_its_middle(
    conv_model: LoadedModel, decoder: DiscDecoder
) -> None:
    find(conv_model, (120, 480), region=Region.from_box((0, 0, 5, 5), (120, 480)))
    np.testing.assert_array_equal(decoder.points, [(2, 2)])


def test_memory_of_pending_masks_is_bounded(
    conv_model: LoadedModel, decoder: DiscDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    original = grid_segmenter.drop_duplicates

    def drop(masks: Any, *rest: Any) -> Any:
        held.append(len(masks))
        return original(masks, *rest)

    monkeypatch.setattr(grid_segmenter, "drop_duplicates", drop)
    params = GridParams(points_per_side=24, background=0.0, skip=False)
    _, expected = find(conv_model, (120, 120), params)
    assert max(held) > 200
    held.clear()
    monkeypatch.setattr(grid_segmenter, "PENDING", 20)
    _, labels = find(conv_model, (120, 120), params)
    assert max(held) < 90
    np.testing.assert_array_equal(labels, expected)


def test_no_full_size_mask_is_held(conv_model: LoadedModel, decoder: DiscDecoder) -> None:
    found, _ = find(conv_model, (240, 240), GridParams(points_per_side=24, background=0.0))
    assert len(found) >= 36
    assert found.nbytes < len(found) * 1500  # a mask of the plane would take 7,200 bytes of bits


def test_one_object_that_fills_the_image(conv_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    DiscDecoder(everything=0.95).install(monkeypatch)
    found, labels = find(conv_model, (8, 8), GridParams(points_per_side=4, background=0.0))
    assert len(found) == 1
    assert (labels == 1).all()


def test_masks_are_those_of_clicks(vit_model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    """Judging and cropping at low resolution changes no pixel of what is kept."""
    predictor = CachedPredictor(vit_model)
    blobs = blobs[:, :120]
    params = GridParams(points_per_side=3, skip=False, floor=0.0, duplicates=1.0)
    _, found = run_job(iter_grid_candidates(blobs, predictor, params))
    embedding = predictor.encode(blobs)
    points = grid_segmenter._make_grid((0, 0, 120, 120), (0, 0, 120, 120), 3)
    expected: list[ObjectMask] = []
    for point in points:
        prompts = Prompts(points=[point])
        expected += predictor.predictor.decode_candidates(embedding, [prompts])[0][1:]
    expected = [obj for obj in expected if obj.area]
    assert len(found) == len(expected) > 3
    order = np.argsort([-o.predicted_iou * o.stability_score for o in expected], kind="stable")
    ours = sorted((found.mask(i) for i in range(len(found))), key=_key)
    for obj, other in zip(ours, sorted((expected[i] for i in order), key=_key), strict=True):
        assert obj.box == other.box
        np.testing.assert_array_equal(obj.mask, other.mask)
        assert obj.stability_score == pytest.approx(other.stability_score)


def _key(obj: ObjectMask) -> Any:
    return round(obj.predicted_iou, 4), obj.area, obj.box


@pytest.mark.parametrize(
    ("shape", "per_side"),
    [((100, 100), 5), ((30, 120), 10), ((3, 3), 8), ((1, 1), 4), ((1, 200), 4)],
    ids=str,
)
def test_the_grid_covers_the_core_evenly(shape: tuple[int, int], per_side: int) -> None:
    points = grid_segmenter._make_grid((0, 0, *shape), (0, 0, *shape), per_side)
    spacing = max(shape) / per_side
    assert (points >= -0.5).all()
    assert (points < np.array(shape) - 0.5 + 1e-6).all()
    for axis, n in enumerate(shape):
        assert abs(len(np.unique(points[:, axis])) - max(1, round(n / spacing))) <= 1


def test_levels_hold_every_point_once_from_coarse_to_fine() -> None:
    points = grid_segmenter._make_grid((0, 0, 160, 160), (0, 0, 160, 160), 16)
    levels = list(grid_segmenter._order(points, coarse_first=True))
    assert [len(level) for level in levels] == [16, 48, 192]
    assert sorted(np.concatenate(levels).tolist()) == list(range(256))
    assert np.diff(np.unique(points[levels[0]][:, 0])).tolist() == [40] * 3


@pytest.mark.parametrize(
    ("params", "region", "found"),
    [
        pytest.param({}, None, 9, id="all"),
        pytest.param({}, Region.from_box((0, 0, 40, 120), (120, 120)), 3, id="in a region"),
        pytest.param({"skip": False}, None, 1, id="not without skipping"),
    ],
)
def test_foreground_between_the_points_is_asked_too(
    conv_model: LoadedModel,
    decoder: DiscDecoder,
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, Any],
    region: Region | None,
    found: int,
) -> None:
    """The only point of the grid hits the disc in the middle."""
    known = Foreground((draw_discs(120, 120) > 0).astype(np.float32), (0, 0, 120, 120))
    monkeypatch.setattr(Foreground, "of", lambda *_: known)
    candidates, _ = find(
        conv_model, (120, 120), GridParams(points_per_side=1, background=0.0, **params), region
    )
    assert len(filter_candidates(candidates, SURE)) == found
