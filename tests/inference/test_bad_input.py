"""Images and prompts that nobody should have, but everybody has: a sane answer or one clear message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

from napari_sam.errors import ImageError, PromptError, SamError
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.segment_image import segment_image
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

RNG = np.random.default_rng(0)
NOISE = RNG.normal(100, 20, (40, 50))


def with_gaps() -> NDArray[np.float32]:
    image = NOISE.astype(np.float32)
    image[:5], image[5:8], image[8:11] = np.nan, np.inf, -np.inf
    return image


USABLE = [
    pytest.param(np.zeros((40, 50), np.uint8), id="black"),
    pytest.param(np.full((40, 50), 7.5), id="constant"),
    pytest.param(with_gaps(), id="nan and inf"),
    pytest.param(np.full((40, 50), np.nan), id="all nan"),
    pytest.param(np.full((40, 50), -np.inf), id="all -inf"),
    pytest.param(NOISE[:, :1], id="one pixel wide"),
    pytest.param(NOISE[:1], id="one pixel high"),
    pytest.param(NOISE[:1, :1], id="one pixel"),
    pytest.param(RNG.normal(size=(2, 700)), id="a strip longer than the field"),
    pytest.param(NOISE > 110, id="bool"),
    pytest.param(NOISE.astype(np.uint64) + np.uint64(2**60), id="uint64"),
    pytest.param(NOISE.astype(np.int64) - 2**40, id="int64"),
    pytest.param(NOISE.astype(np.float16), id="float16"),
    pytest.param(with_gaps().astype(np.float16), id="float16 with nan and inf"),
    pytest.param(NOISE.astype(">u2"), id="big endian"),
    pytest.param(np.asfortranarray(NOISE)[::-1, ::2], id="strided"),
    pytest.param(np.dstack([NOISE] * 3).astype(np.uint8), id="rgb"),
    pytest.param(np.dstack([NOISE] * 4).astype(np.uint8), id="rgba"),
    pytest.param(NOISE[..., None], id="one channel"),
    pytest.param(np.dstack([NOISE] * 2), id="two channels"),
    pytest.param(np.dstack([NOISE] * 9), id="nine channels"),
    pytest.param(np.dstack([NOISE] * 30), id="thirty channels"),
]
UNUSABLE = [
    pytest.param(np.zeros((0, 0)), "with pixels", id="empty"),
    pytest.param(np.zeros((0, 50)), "with pixels", id="no rows"),
    pytest.param(np.zeros(50), "1-D", id="1-d"),
    pytest.param(np.zeros((2, 3, 4, 40, 50)), "5-D", id="5-d"),
    pytest.param(np.stack([NOISE] * 5), r"\(5, 40, 50\).* use segment_stack", id="planes of a stack"),
    pytest.param(np.stack([NOISE] * 3), r"\(3, 40, 50\).*moveaxis\(image, 0, -1\)", id="channels first"),
    pytest.param(NOISE.astype(np.complex64), "complex64", id="complex"),
    pytest.param(NOISE.astype(object), "object", id="objects"),
    pytest.param(None, "0-D", id="nothing"),
    pytest.param(torch.zeros(40, 50), "NumPy's, got Tensor", id="a tensor"),
    pytest.param(
        da.from_array(NOISE)[da.from_array(NOISE[:, 0] > 0)], "known shape", id="dask of unknown size"
    ),
]


@pytest.mark.parametrize("image", USABLE)
def test_a_prompt_on_a_strange_image_is_answered(model: LoadedModel, image: NDArray[Any]) -> None:
    predictor = CachedPredictor(model)
    height, width = image.shape[:2]
    middle = ((height - 1) / 2, (width - 1) / 2)
    for prompts in (Prompts([middle]), Prompts([(0, 0)]), Prompts([middle], box=(-0.5, -0.5, height, width))):
        obj = predictor.predict(image, prompts)
        r0, c0, r1, c1 = obj.box
        assert (0 <= r0 <= r1 <= height, 0 <= c0 <= c1 <= width) == (True, True)
        assert np.isfinite((obj.predicted_iou, obj.stability_score)).all()
        assert obj.logits is not None
        assert np.isfinite(obj.logits.values).all()


@pytest.mark.parametrize("image", USABLE)
@pytest.mark.parametrize("method", ["instances", "grid"])
def test_a_strange_image_is_segmented(conv_model: LoadedModel, image: NDArray[Any], method: str) -> None:
    options = {"points_per_side": 4} if method == "grid" else {}
    labels = segment_image(image, conv_model, method, **options)
    assert (labels.shape, labels.dtype) == (image.shape[:2], np.int32)
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, int(labels.max()) + 1))


@pytest.mark.parametrize(("image", "message"), UNUSABLE)
def test_an_unusable_image_is_refused(conv_model: LoadedModel, image: Any, message: str) -> None:
    predictor = CachedPredictor(conv_model)
    for ask in (predictor.predict, predictor.is_cached, predictor.predict_candidates):
        with pytest.raises(ImageError, match=message):
            ask(image, Prompts([(1, 1)]))
    for method in ("instances", "grid"):
        with pytest.raises(ImageError, match=message):
            segment_image(image, conv_model, method)


@pytest.mark.parametrize(
    "settings",
    [EncodeSettings(channels=(7, 3)), EncodeSettings(limits=((90, 130),))],
    ids=["channels", "intensities"],
)
def test_more_channels_than_rows_are_taken_where_one_has_chosen(
    conv_model: LoadedModel, settings: EncodeSettings
) -> None:
    predictor = CachedPredictor(conv_model, settings=settings)
    image = np.dstack([NOISE[:6]] * 8)
    assert predictor.predict(image, Prompts([(1, 1)])) is not None
    assert segment_image(image, predictor).shape == (6, 50)


OUTSIDE = [
    pytest.param(
        {"points": [(40, 10)]}, r"inside the image of 40 x 50 pixels, got \(40.0, 10.0\)", id="below"
    ),
    pytest.param({"points": [(10, 50)]}, "inside the image", id="right of it"),
    pytest.param({"points": [(-1, 10)]}, "inside the image", id="above"),
    pytest.param({"points": [(39.5, 10)]}, "inside the image", id="on the last edge"),
    pytest.param({"points": [(10, 10), (1e6, 1e6)]}, "inside the image", id="one of two"),
    pytest.param({"points": [(3e38, 10)]}, "inside the image", id="very far"),
    pytest.param({"box": (50, 60, 70, 80)}, "on the image", id="box"),
    pytest.param({"box": (-20, 10, -1, 20)}, "on the image", id="box above"),
    pytest.param({"box": (10, 49.5, 20, 60)}, "on the image", id="box that touches"),
    pytest.param({"mask": ObjectMask(np.ones((5, 5), bool), (60, 0))}, "on the image", id="mask"),
    pytest.param(
        {"mask": np.ones((20, 25))}, "mask of 40 x 50 pixels.* got 20 x 25", id="mask of half its size"
    ),
    pytest.param({"mask": np.ones((50, 40))}, "mask of 40 x 50 pixels.* got 50 x 40", id="turned mask"),
    pytest.param(
        {"points": [(3, 3)], "mask": np.zeros((90, 90))}, "got 90 x 90", id="a click and another mask"
    ),
    pytest.param({"points": [(10, 10)], "labels": [0]}, "add a foreground point", id="only background"),
    pytest.param({"mask": np.zeros((40, 50))}, "add a foreground point", id="empty mask"),
    pytest.param({}, "add a foreground point", id="nothing"),
]


@pytest.mark.parametrize(("arguments", "message"), OUTSIDE)
def test_prompts_that_mean_nothing_are_refused(
    model: LoadedModel, arguments: dict[str, Any], message: str, encode_calls: list[tuple[int, ...]]
) -> None:
    predictor = CachedPredictor(model)
    for ask in (predictor.predict, predictor.is_cached):
        with pytest.raises(PromptError, match=message):
            ask(NOISE, Prompts(**arguments))
    with pytest.raises(PromptError, match=message):
        predictor.predict_many(NOISE, [Prompts([(1, 1)]), Prompts(**arguments)])
    assert encode_calls == []


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        pytest.param((5, 5), r"Prompts, got \(5, 5\)", id="a bare pair"),
        pytest.param([(5, 5)], r"Prompts, got \[\(5, 5\)\]", id="points"),
        pytest.param(None, "Prompts, got None", id="nothing"),
    ],
)
def test_what_is_no_prompts_is_refused(model: LoadedModel, prompts: Any, message: str) -> None:
    predictor = CachedPredictor(model)
    for ask in (predictor.predict, predictor.predict_candidates, predictor.peek, predictor.is_cached):
        with pytest.raises(PromptError, match=message):
            ask(NOISE, prompts)
    with pytest.raises(PromptError, match=message):
        predictor.predict_many(NOISE, [prompts])


@pytest.mark.parametrize("prompts", [Prompts([(5, 5)]), None, 5], ids=["one", "nothing", "a number"])
def test_many_prompts_are_a_sequence(model: LoadedModel, prompts: Any) -> None:
    with pytest.raises(PromptError, match="sequence of Prompts, got"):
        CachedPredictor(model).predict_many(NOISE, prompts)


def test_many_prompts_may_come_one_by_one(model: LoadedModel) -> None:
    predictor, places = CachedPredictor(model), [(5, 5), (20, 30)]
    found = predictor.predict_many(NOISE, (Prompts([place]) for place in places))
    expected = predictor.predict_many(NOISE, [Prompts([place]) for place in places])
    assert [obj.box for obj in found] == [obj.box for obj in expected]
    assert predictor.predict_many(NOISE, []) == []


@pytest.mark.parametrize(
    "crop",
    [
        pytest.param((5, 5, 5, 9), id="no rows"),
        pytest.param((9, 5, 5, 9), id="corners in another order"),
        pytest.param((-5, 0, 20, 20), id="above"),
        pytest.param((0, 0, 41, 50), id="below"),
        pytest.param((0, 0, 20), id="three numbers"),
        pytest.param((0, 0, 20.5, 20), id="half a pixel"),
        pytest.param(7, id="a number"),
    ],
)
def test_a_crop_beyond_the_image_is_refused(
    model: LoadedModel, crop: Any, encode_calls: list[tuple[int, ...]]
) -> None:
    with pytest.raises(ImageError, match="within the image of 40 x 50 pixels, got"):
        CachedPredictor(model).encode(NOISE, crop)
    with pytest.raises(ImageError, match="within the image"):
        CachedPredictor(model).tier(NOISE, crop)
    with pytest.raises(ImageError, match="within the image"):
        list(CachedPredictor(model).embed(NOISE, [crop]))
    assert encode_calls == []


def test_a_box_without_area_is_refused() -> None:
    with pytest.raises(PromptError, match="a box with an area"):
        Prompts(box=(5, 5, 5, 20))


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        pytest.param((-10, -10, 20, 25), (-0.5, -0.5, 20, 25), id="first corner"),
        pytest.param((20, 30, 90, 80), (20, 30, 39.5, 49.5), id="last corner"),
        pytest.param((-1e9, -1e9, 1e9, 1e9), (-0.5, -0.5, 39.5, 49.5), id="all around"),
    ],
)
def test_a_box_partly_outside_is_clipped(
    model: LoadedModel, box: tuple[float, ...], clipped: tuple[float, ...]
) -> None:
    predictor = CachedPredictor(model)
    found, expected = (
        predictor.predict(NOISE, Prompts(box=box)),
        predictor.predict(NOISE, Prompts(box=clipped)),
    )
    assert (found.origin, found.predicted_iou) == (expected.origin, expected.predicted_iou)
    np.testing.assert_array_equal(found.mask, expected.mask)


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(Prompts([(10, 10), (-500, 9000)], [1, 0]), id="background click far outside"),
        pytest.param(Prompts([(-0.5, -0.5)]), id="on the first edge"),
        pytest.param(Prompts([(39.4, 49.4)]), id="just before the last edge"),
        pytest.param(Prompts([(10, 10)] * 40), id="forty clicks in one place"),
        pytest.param(Prompts([(10, 10), (10, 10)], [1, 0]), id="both labels in one place"),
        pytest.param(Prompts(box=(10.2, 10.2, 10.3, 10.3)), id="a box within a pixel"),
        pytest.param(Prompts(mask=np.ones((40, 50))), id="a mask of all of it"),
        pytest.param(
            Prompts(mask=ObjectMask(np.ones((90, 90), bool), (0, 0))), id="a mask larger than the image"
        ),
        pytest.param(Prompts([(3, 3)], mask=np.zeros((40, 50))), id="an empty mask and a click"),
        pytest.param(Prompts(mask=ObjectMask(np.ones((9, 9), bool), (-4, -4))), id="a mask over the edge"),
    ],
)
def test_odd_prompts_are_answered(model: LoadedModel, prompts: Prompts) -> None:
    obj = CachedPredictor(model).predict(NOISE, prompts)
    assert obj.area == obj.paste((40, 50)).sum()


def test_every_error_is_one_of_ours() -> None:
    assert issubclass(ImageError, SamError)
    assert issubclass(PromptError, SamError)
    assert not issubclass(SamError, RuntimeError)
