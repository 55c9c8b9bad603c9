from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

from napari_sam.errors import ImageError, SamError
from napari_sam.inference import grid_segmenter, instance_segmenter
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.grid_segmenter import GridParams, iter_grid_objects
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.segment_image import METHODS, iter_segment_image, segment_image
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

OPEN = {"predicted_iou": 0.0, "stability": 0.0, "points_per_side": 4, "max_fraction": 1.0}
"""Random weights are not sure of anything, so all they find is let through."""


def run(job: Generator[Progress, None, Any]) -> tuple[list[Progress], Any]:
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as end:
            return steps, end.value


def assert_labels(labels: NDArray[np.int32], shape: tuple[int, int]) -> None:
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, int(labels.max()) + 1))


@pytest.fixture
def find_discs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of a perfect model: discs every 20 pixels, found from a click on them."""

    def decode(self: Predictor, embedding: Any, prompts: list[Prompts]) -> list[list[ObjectMask]]:
        height, width = embedding.plane_shape
        rows, cols = np.mgrid[:height, :width]
        found = []
        for p in prompts:
            r, c = (max(15, 20 * round((float(v) - 15) / 20) + 15) for v in p.points[0])
            disc = np.hypot(rows - r, cols - c) < 8
            hit = disc[int(p.points[0, 0]), int(p.points[0, 1])]
            obj = ObjectMask.from_plane(disc & hit, predicted_iou=0.9)
            # the single mask is not asked, the alternatives are
            found.append([ObjectMask.from_plane(np.ones((height, width)), predicted_iou=1.0), obj])
        return found

    monkeypatch.setattr(Predictor, "decode_candidates", decode)


@pytest.mark.usefixtures("find_discs")
@pytest.mark.parametrize("shape", [(100, 100), (100, 260)], ids=["one tile", "several tiles"])
def test_the_grid_finds_each_object_once(vit_model: LoadedModel, shape: tuple[int, int]) -> None:
    labels = segment_image(np.zeros(shape, np.uint8), vit_model, "grid", points_per_side=24)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    expected = np.zeros(shape, bool)
    count = 0
    for r in range(15, shape[0] + 5, 20):
        for c in range(15, shape[1] + 5, 20):
            expected |= np.hypot(rows - r, cols - c) < 8
            count += 1
    assert_labels(labels, shape)
    np.testing.assert_array_equal(labels > 0, expected)
    assert labels.max() == count


def test_methods_of_models(
    conv_model: LoadedModel, vit_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert METHODS == ("auto", "instances", "grid")
    asked: list[str] = []

    def record(name: str, original: Callable[..., Any]) -> None:
        def job(*args: Any) -> Any:
            asked.append(name)
            return (yield from original(*args))

        monkeypatch.setattr(f"napari_sam.inference.segment_image.{name}", job)

    record("iter_instances", instance_segmenter.iter_instances)
    record("iter_grid", grid_segmenter.iter_grid)
    segment_image(blobs, conv_model)
    segment_image(blobs, vit_model, points_per_side=2)
    segment_image(blobs, conv_model, "grid", points_per_side=2)
    assert asked == ["iter_instances", "iter_grid", "iter_grid"]


def test_labels_of_a_grid_are_compact_and_the_same_each_time(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    image = make_blobs(120, 300)
    labels = segment_image(image, conv_model, "grid", **OPEN)
    assert_labels(labels, (120, 300))
    assert labels.any()
    again = segment_image(da.from_array(image, chunks=100), CachedPredictor(conv_model), "grid", **OPEN)
    np.testing.assert_array_equal(again, labels)


def test_instances_are_put_together_from_tiles(
    conv_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A perfect encoder on an image of three by two tiles: every disc is found, those on seams as well."""
    rows, cols = np.mgrid[:300, :600]
    middle = np.stack([np.rint((x - 20) / 30) * 30 + 20 for x in (rows, cols)])
    inside = np.hypot(rows - middle[0], cols - middle[1]) < 12
    inside &= (middle >= 0).all(axis=0) & (middle[0] < 300) & (middle[1] < 600)
    maps = np.stack([inside, inside, inside, middle[0] - rows, middle[1] - cols]).astype(np.float16)
    crops: list[tuple[int, int, int, int]] = []

    def encode(self: CachedPredictor, image: Any, crop: tuple[int, int, int, int]) -> SimpleNamespace:
        crops.append(crop)
        return SimpleNamespace(maps=maps[:, crop[0] : crop[2], crop[1] : crop[3]])

    monkeypatch.setattr(CachedPredictor, "encode", encode)
    labels = segment_image(np.zeros((300, 600), np.uint8), conv_model, "instances")
    assert len(crops) >= 6
    assert_labels(labels, (300, 600))
    np.testing.assert_array_equal(labels > 0, inside)
    assert labels.max() == len(np.unique(middle[:, inside], axis=1).T)


@pytest.mark.parametrize("method", ["instances", "grid"])
def test_progress_runs_to_its_end(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]], method: str
) -> None:
    options = {"points_per_side": 4} if method == "grid" else {}
    steps, labels = run(iter_segment_image(make_blobs(90, 400), conv_model, method, **options))
    assert len({step.total for step in steps}) == 1
    done = [step.done for step in steps]
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] == steps[-1].total
    assert all(step.description for step in steps)
    assert labels.shape == (90, 400)


def test_a_job_can_be_stopped(conv_model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    job = iter_segment_image(blobs, conv_model, "grid")
    next(job)
    next(job)
    job.close()
    assert list(job) == []


def test_embeddings_are_shared_with_prompts(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], encode_calls: list[tuple[int, ...]]
) -> None:
    predictor = CachedPredictor(conv_model)
    predictor.predict(blobs, Prompts([(30, 30)]))
    segment_image(blobs, predictor)
    segment_image(blobs, predictor, "grid", points_per_side=2)
    assert len(encode_calls) == 1


def test_thresholds_of_the_model_are_its_defaults(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def record(image: Any, predictor: Any, params: Any) -> Any:
        seen.append(params)
        yield Progress(0, 1)
        return np.zeros((1, 1), np.int32)

    monkeypatch.setattr("napari_sam.inference.segment_image.iter_grid", record)
    model = replace(conv_model, record={"defaults": {"grid": {"stability": 0.33, "overlap": 0.2}}})
    segment_image(blobs, model, "grid")
    segment_image(blobs, model, "grid", overlap=0.4)
    segment_image(blobs, conv_model, "grid")
    assert seen == [
        GridParams(stability=0.33, overlap=0.2),
        GridParams(stability=0.33, overlap=0.4),
        GridParams(),
    ]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        pytest.param("magic", {}, "auto, instances, grid, got 'magic'", id="method"),
        pytest.param(["grid"], {}, "got \\['grid'\\]", id="not a word"),
        pytest.param("grid", {"foreground": 0.5}, "no such option.*foreground", id="option of the other"),
        pytest.param("instances", {"points_per_side": 3}, "no such option", id="and the other way round"),
        pytest.param("grid", {"points_per_side": 0}, "points_per_side of 1 or more", id="no points"),
    ],
)
def test_mistakes(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], method: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SamError, match=message):
        segment_image(blobs, conv_model, method, **options)


def test_a_model_without_instance_decoder(vit_model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    with pytest.raises(SamError, match="no instance decoder; use the method 'grid'"):
        segment_image(blobs, vit_model, "instances")


def test_a_stack_is_refused(conv_model: LoadedModel) -> None:
    with pytest.raises(ImageError, match="pick a plane"):
        segment_image(np.zeros((2, 3, 4, 5)), conv_model)


@pytest.mark.parametrize(
    ("shape", "per_side"),
    [((100, 100), 5), ((30, 120), 10), ((3, 3), 8), ((1, 1), 4), ((1, 200), 4)],
    ids=str,
)
def test_the_grid_covers_the_core_evenly(shape: tuple[int, int], per_side: int) -> None:
    rows = grid_segmenter._make_grid((0, 0, *shape), (0, 0, *shape), per_side)
    points = np.concatenate(rows)
    spacing = max(shape) / per_side
    assert (points >= -0.5).all()
    assert (points < np.array(shape) - 0.5 + 1e-6).all()
    expected = [max(1, round(n / spacing)) for n in shape]
    assert abs(len(rows) - expected[0]) <= 1
    assert abs(len(rows[0]) - expected[1]) <= 1


def test_thresholds_of_the_grid(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four candidates that are alike but for one score each, one passes."""
    square = np.ones((6, 6), bool)
    candidates = [
        ObjectMask(square, (0, 0), 1.0, 1.0),  # the single mask, never taken
        ObjectMask(square, (20, 20), 0.69, 1.0),
        ObjectMask(square, (40, 40), 1.0, 0.79),
        ObjectMask(square[:2], (60, 60), 1.0, 1.0),
        ObjectMask(np.ones((100, 120), bool), (0, 0), 1.0, 1.0),
        ObjectMask(square, (80, 80), 0.7, 0.8),
    ]
    monkeypatch.setattr(Predictor, "decode_candidates", lambda *_: [candidates])
    params = GridParams(points_per_side=1, min_area=13)
    _, found = run(iter_grid_objects(blobs, CachedPredictor(conv_model), params))
    assert [obj.origin for obj in found] == [(80, 80)]
