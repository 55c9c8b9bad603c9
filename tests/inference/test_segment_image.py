from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

from napari_sam.errors import ImageError, PromptError, SamError
from napari_sam.inference import segment_image as module
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.candidates import Candidates, FilterParams
from napari_sam.inference.grid_segmenter import EXACT, GridParams
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.inference.region import Region
from napari_sam.inference.segment_image import (
    METHODS,
    choose_method,
    filter_defaults,
    iter_candidates,
    iter_segment_image,
    segment_image,
)
from napari_sam.types import Progress, Prompts

from .fake_decoder import DiscDecoder, run_job  # noqa: TID252 - the tests are no package

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

OPEN = {"predicted_iou": 0.0, "stability": 0.0, "floor": 0.0, "foreground": 0.0, "background": 0.0}
"""Random weights are not sure of anything, so all they find is let through."""


def assert_labels(labels: NDArray[np.int32], shape: tuple[int, int]) -> None:
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, int(labels.max()) + 1))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, Any]]:
    """Which method was asked, with which parameters and region; each finds nothing."""
    calls: list[tuple[str, Any, Any]] = []

    def record(name: str) -> None:
        def job(image: Any, predictor: Any, params: Any, region: Any) -> Any:
            calls.append((name, params, region))
            yield Progress(0, 1)
            return Candidates.empty(image.shape)

        monkeypatch.setattr(module, f"iter_{name}_candidates", job)

    record("instance")
    record("grid")
    return calls


def test_the_best_method_of_each_model(
    conv_model: LoadedModel, vit_model: LoadedModel, blobs: NDArray[np.uint8], asked: list[Any]
) -> None:
    assert METHODS == ("auto", "instances", "grid")
    region = Region.from_box((0, 0, 50, 50), (120, 150))
    segment_image(blobs, conv_model)
    segment_image(blobs, vit_model, points_per_side=2)
    segment_image(blobs, conv_model, "grid", region=region)
    assert asked == [
        ("instance", InstanceParams(), None),
        ("grid", GridParams(points_per_side=2), None),
        ("grid", GridParams(), region),
    ]


def test_options_go_where_they_belong(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], asked: list[Any]
) -> None:
    """What decides how objects are looked for, what is kept, and what both need."""
    segment_image(blobs, conv_model, "grid", stability=0.93, floor=0.3, min_area=7, foreground=0.1)
    segment_image(blobs, conv_model, "instances", foreground=0.4, score=0.3, max_area=99)
    segment_image(blobs, conv_model, "grid", exact=True, predicted_iou=0.5)
    assert [params for _, params, _ in asked] == [
        GridParams(stability=0.93, floor=0.3, certain_stability=0.93),
        InstanceParams(foreground=0.4, score=0.3),
        replace(EXACT, predicted_iou=0.5, certain_stability=0.95),
    ]


@pytest.mark.parametrize(
    ("method", "record", "options", "expected"),
    [
        pytest.param("grid", {}, {}, FilterParams(0.6, 0.7, 0.5, min_area=12), id="grid"),
        pytest.param("grid", {}, {"min_area": 3}, FilterParams(0.6, 0.7, 0.5, min_area=3), id="option"),
        pytest.param(
            "grid",
            {"stability": 0.3, "nms_iou": 0.2},
            {"stability": 0.4},
            FilterParams(0.6, 0.4, 0.5, nms_iou=0.2, min_area=12),
            id="option before record",
        ),
        pytest.param("grid", {"no_such": 1}, {}, FilterParams(0.6, 0.7, 0.5, min_area=12), id="newer record"),
        pytest.param("instances", {}, {}, FilterParams(foreground=0.85, min_area=12), id="instances"),
        pytest.param(
            "instances",
            {"foreground": 0.55, "score": 0.6, "min_area": 5},
            {},
            FilterParams(foreground=0.6, min_area=5),
            id="a pixel's foreground is not an object's",
        ),
        pytest.param("auto", {}, {"score": 0.1}, FilterParams(foreground=0.1, min_area=12), id="auto"),
        pytest.param(
            "grid",
            {"predicted_iou": 0.1},
            {"exact": True},
            FilterParams(0.88, 0.95, nms_iou=1, containment=1),
            id="exact is exact",
        ),
    ],
)
def test_thresholds_to_begin_with(
    conv_model: LoadedModel,
    method: str,
    record: dict[str, Any],
    options: dict[str, Any],
    expected: FilterParams,
) -> None:
    model = replace(conv_model, record={"defaults": {choose_method(conv_model, method): record}})
    assert filter_defaults(model, method, **options) == expected
    assert filter_defaults(CachedPredictor(model), method, **options) == expected


def test_a_grid_of_random_weights_is_compact_and_the_same_each_time(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    image = make_blobs(120, 300)
    labels = segment_image(image, conv_model, "grid", points_per_side=4, **OPEN)
    assert_labels(labels, (120, 300))
    assert labels.any()
    lazy = da.from_array(image, chunks=100)
    again = segment_image(lazy, CachedPredictor(conv_model), "grid", points_per_side=4, **OPEN)
    np.testing.assert_array_equal(again, labels)


@pytest.mark.parametrize("method", ["instances", "grid", "exact"])
def test_progress_runs_to_its_end_and_parts_make_the_whole(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]], method: str
) -> None:
    options: dict[str, Any] = {"points_per_side": 4} | OPEN
    if method == "instances":
        options = {"foreground": 0.01, "vote_peak": 0.01}
    if method == "exact":
        method, options = "grid", {"exact": True, "points_per_side": 4, "predicted_iou": 0, "stability": 0}
    image = make_blobs(90, 400)
    steps, found = run_job(iter_candidates(image, CachedPredictor(conv_model), method, **options))
    assert len({step.total for step in steps}) == 1
    done = [step.done for step in steps]
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] == steps[-1].total
    assert all(step.description for step in steps)
    parts = Candidates.concatenate([s.partial for s in steps if s.partial is not None])
    assert len(found) > 0
    np.testing.assert_array_equal(parts.boxes, found.boxes)
    np.testing.assert_array_equal(parts.packed.words, found.packed.words)


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
    before = len(encode_calls)
    segment_image(blobs, predictor)
    segment_image(blobs, predictor, "grid", points_per_side=2)
    assert len(encode_calls) == before


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        pytest.param("magic", {}, "auto, instances, grid, got 'magic'", id="method"),
        pytest.param(["grid"], {}, "got \\['grid'\\]", id="not a word"),
        pytest.param("grid", {"vote_peak": 0.5}, "no such option: 'vote_peak'", id="option of the other"),
        pytest.param("instances", {"points_per_side": 3}, "no such option", id="and the other way round"),
        pytest.param("grid", {"points_per_side": 0}, "points_per_side of 1 or more", id="no points"),
        pytest.param("grid", {"points_per_side": 2.5}, "points_per_side of 1 or more", id="half a point"),
        pytest.param("grid", {"floor": 2}, "floor from 0 to 1, got 2", id="no probability"),
        pytest.param("grid", {"stability": "high"}, "stability from 0 to 1, got 'high'", id="a word"),
        pytest.param("instances", {"min_area": 9, "max_area": 3}, "min_area of at most max_area", id="areas"),
        pytest.param("grid", {"max_area": float("nan")}, "max_area as a number", id="not a number"),
    ],
)
def test_mistakes_are_told_before_anything_is_encoded(
    conv_model: LoadedModel,
    blobs: NDArray[np.uint8],
    encode_calls: list[Any],
    method: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(SamError, match=message):
        segment_image(blobs, conv_model, method, **options)
    assert encode_calls == []


@pytest.mark.parametrize("model", ["nuclei", None, 3], ids=repr)
def test_what_is_no_model_is_refused(blobs: NDArray[np.uint8], model: Any) -> None:
    asked = (
        lambda: segment_image(blobs, model),
        lambda: filter_defaults(model),
        lambda: CachedPredictor(model),
    )
    for ask in asked:
        with pytest.raises(SamError, match=f"a model.* got {model!r}; .*load_model"):
            ask()
    with pytest.raises(SamError, match=f"a model .* got {model!r}"):
        next(iter_candidates(blobs, model))


def test_a_model_without_instance_decoder(vit_model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    with pytest.raises(SamError, match="no instance decoder; use the method 'grid'"):
        segment_image(blobs, vit_model, "instances")


@pytest.mark.parametrize("method", ["instances", "grid"])
@pytest.mark.parametrize(
    ("region", "message"),
    [
        pytest.param(Region.from_box((0, 0, 9, 9), (60, 75)), "120 x 150 pixels, got .* 60 x 75", id="half"),
        pytest.param(Region.from_box((0, 0, 9, 9), (150, 120)), "got .* 150 x 120", id="turned"),
        pytest.param(np.ones((60, 75), bool), "120 x 150 pixels, got .* 60 x 75", id="mask"),
        pytest.param(np.ones((2, 120, 150), bool), "got .* 2 x 120 x 150", id="stack of masks"),
        pytest.param((0, 0, 9, 9), r"Region or a mask .* got \(0, 0, 9, 9\)", id="box"),
    ],
)
def test_a_region_of_another_plane_is_refused(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], method: str, region: Any, message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        segment_image(blobs, conv_model, method, region=region)


@pytest.mark.parametrize("exact", [False, True], ids=["quick", "exact"])
def test_a_mask_is_a_region(conv_model: LoadedModel, monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    DiscDecoder().install(monkeypatch)
    mask = np.zeros((120, 120), bool)
    mask[:40] = True
    image = np.zeros(mask.shape, np.uint8)
    options = {"exact": True, "predicted_iou": 0.0, "stability": 0.0} if exact else {"background": 0.0}
    options |= {"points_per_side": 12, "foreground": 0.0}
    whole, found, expected = (
        segment_image(image, conv_model, "grid", region=region, **options)
        for region in (None, mask, Region.from_mask(mask))
    )
    assert whole[60:].any()
    assert found.any()
    np.testing.assert_array_equal(found, expected)


def test_a_stack_is_refused(conv_model: LoadedModel) -> None:
    with pytest.raises(ImageError, match="pick a plane"):
        segment_image(np.zeros((2, 3, 4, 5)), conv_model)


@pytest.mark.parametrize("method", ["instances", "grid", "exact"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3)], ids=str)
def test_images_of_next_to_nothing(model: LoadedModel, shape: tuple[int, int], method: str) -> None:
    if method == "instances" and not model.config.instance_decoder:
        method = "auto"
    options = {"exact": True} if method == "exact" else {}
    if method != "instances":
        options["points_per_side"] = 3
    labels = segment_image(np.full(shape, 7, np.uint8), model, method.replace("exact", "grid"), **options)
    assert_labels(labels, shape)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"stability": 1.0}, "stability 1 excludes 9 of them", id="one threshold"),
        pytest.param({"min_area": 5000}, "min. size 5000 excludes 9 of them", id="size"),
        pytest.param({"max_area": 100}, "max. size 100 excludes 9 of them", id="other size"),
    ],
)
def test_thresholds_that_exclude_everything_say_so(
    conv_model: LoadedModel, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    DiscDecoder().install(monkeypatch)
    settings: dict[str, Any] = {"background": 0, "foreground": 0, "duplicates": 0.4, "points_per_side": 12}
    settings |= options
    image = np.zeros((120, 120), np.uint8)
    steps, labels = run_job(iter_segment_image(image, conv_model, "grid", **settings))
    assert not labels.any()
    assert message in steps[-1].description
    assert "all 9 candidates" in steps[-1].description
    assert len({step.total for step in steps}) == 1


def test_no_object_is_no_mistake(conv_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    DiscDecoder(everything=0.0).install(monkeypatch)
    image = np.zeros((8, 8), np.uint8)  # too small to meet a disc
    steps, labels = run_job(iter_segment_image(image, conv_model, "grid", background=0))
    assert not labels.any()
    assert steps[-1].description == "no objects found"
