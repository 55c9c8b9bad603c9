from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.ndimage import find_objects

from napari_sam.errors import PromptError
from napari_sam.inference.ambiguity import choose_best
from napari_sam.inference.decode_window import Window, choose_window
from napari_sam.inference.instance_maps import Instances
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompt_batch import propose_instance
from napari_sam.inference.transforms import measure_normalization
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import ImageEmbedding


def encode(model: LoadedModel, image: NDArray[Any], scale: float | None = None) -> ImageEmbedding:
    predictor = Predictor(model)
    frame = predictor.make_frame((0, 0, *image.shape[:2]), scale)
    return predictor.encode(image, measure_normalization(image), frame, image.shape[:2])


def first_window(predictor: Predictor, embedding: ImageEmbedding, prompts: Prompts) -> Window:
    config = predictor.config
    return choose_window(embedding, prompts.extent, config.decode_window, config.stride)


def assert_same(found: Sequence[ObjectMask], expected: Sequence[ObjectMask], tolerance: float = 1e-4) -> None:
    """The same candidates, but for pixels whose logit is rounding error away from 0."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.logits is not None
        assert theirs.logits is not None
        np.testing.assert_allclose(mine.logits.values, theirs.logits.values, atol=tolerance)
        np.testing.assert_allclose(mine.logits.frame, theirs.logits.frame)
        assert mine.predicted_iou == pytest.approx(theirs.predicted_iou, abs=1e-4)
        assert mine.iou(theirs) > 0.99 or mine.area == theirs.area == 0


MANY = [
    Prompts(points=[(40, 52)]),
    Prompts(points=[(100, 20)]),
    Prompts(points=[(40, 52), (20, 20)], labels=[1, 0]),
    Prompts(box=(10, 10, 60, 70)),
    Prompts(points=[(30, 30)], box=(10, 10, 60, 70)),
    Prompts(points=[(70, 70)]),
    Prompts(points=[(60, 90)], mask=np.pad(np.ones((20, 20)), ((50, 0), (80, 0)))),
    Prompts(points=[(0, 0)]),
    Prompts(points=[(119, 149)]),
    Prompts(box=(0, 0, 119, 149)),
]


def test_a_prompt_does_not_notice_its_batch(model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    predictor, embedding = Predictor(model), encode(model, blobs)
    together = predictor.decode_candidates(embedding, MANY)
    assert any(c.area for candidates in together for c in candidates)
    for prompts, candidates in zip(MANY, together, strict=True):
        assert_same(candidates, predictor.decode_candidates(embedding, [prompts])[0])
    best = predictor.decode_many(embedding, MANY)
    for prompts, candidates, chosen in zip(MANY, together, best, strict=True):
        assert_same([chosen], [choose_best(candidates, prompts)])
        assert_same([chosen], [predictor.decode(embedding, prompts)])


def test_more_prompts_than_a_chunk(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.inference.predictor.CHUNK", 4)
    predictor, embedding = Predictor(vit_model), encode(vit_model, blobs)
    prompts = [Prompts(points=[(60, c)]) for c in range(5, 145, 14)]
    assert len(prompts) == 10
    found = predictor.decode_many(embedding, prompts)
    for i in (0, 3, 4, 9):
        assert_same([found[i]], [predictor.decode(embedding, prompts[i])])
    assert predictor.decode_many(embedding, []) == []


def test_candidates_are_the_single_mask_and_three_alternatives(
    model: LoadedModel, blobs: NDArray[np.uint8]
) -> None:
    candidates = Predictor(model).decode_candidates(encode(model, blobs), MANY[:1])[0]
    assert len(candidates) == 4
    for c in candidates:
        r0, c0, r1, c1 = c.box
        assert (0 <= r0 <= r1 <= 120, 0 <= c0 <= c1 <= 150) == (True, True)
        assert 0 <= c.predicted_iou <= 1
        assert 0 <= c.stability_score <= 1


def test_masks_follow_from_their_logits(vit_model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    """The transformer decodes in the whole frame, so torch can upscale what the predictor upscales."""
    found = Predictor(vit_model).decode_candidates(encode(vit_model, blobs), [Prompts(box=(10, 10, 90, 90))])
    for obj in found[0]:
        assert obj.logits is not None
        assert obj.logits.values.shape == (32, 32)
        assert obj.logits.frame == (0, 0, 150, 150)
        full = torch.nn.functional.interpolate(
            torch.from_numpy(obj.logits.values)[None, None], (150, 150), mode="bilinear", align_corners=False
        )[0, 0].numpy()[:120]
        pasted = obj.paste((120, 150))
        # cleaned: parts without the prompt are gone, small holes are filled
        assert ((full > 1e-4) | ~pasted).mean() > 0.98


# ---- choosing ---------------------------------------------------------------------------------------------


def candidate(score: float, area: int = 1) -> ObjectMask:
    return ObjectMask(np.ones((1, area), bool) if area else np.zeros((0, 0), bool), (0, 0), score)


@pytest.mark.parametrize(
    ("prompts", "scores", "areas", "expected"),
    [
        pytest.param(Prompts([(1, 1)]), (0.9, 0.2, 0.6, 0.3), (1, 1, 1, 1), 2, id="one click: alternatives"),
        pytest.param(Prompts([(1, 1), (2, 2)]), (0.1, 0.2, 0.6, 0.3), (1, 1, 1, 1), 0, id="two: single"),
        pytest.param(Prompts(box=(0, 0, 2, 2)), (0.1, 0.2, 0.6, 0.3), (1, 1, 1, 1), 0, id="box: single"),
        pytest.param(
            Prompts([(1, 1)], box=(0, 0, 2, 2)), (0.1, 0.2, 0.6, 0.3), (1, 1, 1, 1), 0, id="both: single"
        ),
        pytest.param(
            Prompts([(1, 1)], mask=np.ones((2, 2))), (0.1, 0.2, 0.6, 0.3), (1, 1, 1, 1), 0, id="mask: single"
        ),
        pytest.param(Prompts([(1, 1)]), (0.9, 0.2, 0.6, 0.3), (1, 1, 0, 1), 3, id="not an empty one"),
        pytest.param(Prompts([(1, 1)]), (0.1, 0.2, 0.6, 0.3), (1, 0, 0, 0), 0, id="rather the single mask"),
        pytest.param(Prompts([(1, 1), (2, 2)]), (0.9, 0.2, 0.6, 0.3), (0, 1, 1, 1), 2, id="or another"),
        pytest.param(Prompts([(1, 1)]), (0.9, 0.2, 0.6, 0.3), (0, 0, 0, 0), 2, id="all empty"),
    ],
)
def test_choose_best(
    prompts: Prompts, scores: tuple[float, ...], areas: tuple[int, ...], expected: int
) -> None:
    candidates = [candidate(score, area) for score, area in zip(scores, areas, strict=True)]
    assert choose_best(candidates, prompts) is candidates[expected]


# ---- prompts that say little -------------------------------------------------------------------------------


def test_only_background_is_refused(model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    with pytest.raises(PromptError, match="add a foreground point"):
        Predictor(model).decode(encode(model, blobs), Prompts(points=[(1, 2)], labels=[0]))


def test_background_clicks_far_from_the_window_do_not_matter(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    predictor, embedding = Predictor(conv_model), encode(conv_model, make_blobs(256, 256))
    near, here = Prompts([(40, 40), (35, 60)], [1, 0]), Prompts([(40, 40), (250, 250)], [1, 0])
    there = Prompts([(40, 40), (200, 250)], [1, 0])
    first, second, third = (
        predictor._decode_chunk(embedding, [p], [first_window(predictor, embedding, p)])[0][0]
        for p in (near, here, there)
    )
    np.testing.assert_array_equal(second, third)
    assert np.abs(first - second).max() > 1e-4


# ---- translation ------------------------------------------------------------------------------------------


def test_shifting_image_and_prompts_shifts_the_masks(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    """Steps of 16 pixels, the coarsest stride; far enough from the border for the encoder not to see it."""
    big = make_blobs(560, 560)
    norm, predictor = measure_normalization(big), Predictor(conv_model)
    prompts = [
        Prompts([(260, 270)]),
        Prompts(box=(240, 230, 300, 290)),
        Prompts([(280, 250), (260, 262)], [1, 0]),
    ]
    answers = []
    for row, col in ((0, 0), (32, 16)):
        piece = big[row : row + 512, col : col + 512]
        frame = predictor.make_frame((0, 0, 512, 512), 1.0)
        embedding = predictor.encode(piece, norm, frame, (512, 512))
        windows = [first_window(predictor, embedding, p.shifted(-row, -col)) for p in prompts]
        moved = [p.shifted(-row, -col) for p in prompts]
        answers.append(
            (
                windows,
                [
                    predictor._decode_chunk(embedding, [p], [w])[0]
                    for p, w in zip(moved, windows, strict=True)
                ],
            )
        )
    (windows, first), (moved_windows, second) = answers
    for before, after in zip(windows, moved_windows, strict=True):
        assert (after.row, after.col) == (before.row - 4, before.col - 2)
    for (logits, iou), (moved_logits, moved_iou) in zip(first, second, strict=True):
        assert logits.std() > 1e-3
        np.testing.assert_allclose(moved_logits, logits, atol=1e-3)
        np.testing.assert_allclose(moved_iou, iou, atol=1e-3)


def test_a_mask_that_runs_into_its_window_gets_a_larger_one(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    predictor, embedding = Predictor(conv_model), encode(conv_model, make_blobs(256, 256))
    first = first_window(predictor, embedding, Prompts([(128, 128)]))
    assert (first.row, first.col, first.height, first.width) == (8, 8, 16, 16)
    mask = np.zeros((64, 64), bool)
    mask[30, 30] = True
    assert first.grown(mask, *embedding.tokens) is None
    mask[30, 63] = True
    grown = first.grown(mask, *embedding.tokens)
    assert grown is not None
    assert (grown.row, grown.col, grown.height, grown.width) == (0, 0, 32, 32)
    assert grown.grown(np.ones((128, 128), bool), *embedding.tokens) is None


def test_a_large_box_gets_a_large_window(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    predictor, embedding = Predictor(conv_model), encode(conv_model, make_blobs(256, 256))
    window = first_window(predictor, embedding, Prompts(box=(10, 20, 130, 60)))
    assert (window.height, window.width) == (32, 32)


# ---- encoding ---------------------------------------------------------------------------------------------


def test_dense_maps_lie_on_the_pixels_of_the_frame(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    image = make_blobs(130, 201)
    maps = encode(conv_model, image).maps
    assert maps is not None
    assert (maps.shape, maps.dtype) == ((5, 130, 201), np.float16)
    assert 0 <= maps[:3].min() <= maps[:3].max() <= 1
    enlarged = encode(conv_model, image, 1.25).maps
    assert enlarged is not None
    assert enlarged.shape == (5, 162, 251)
    reduced = encode(conv_model, make_blobs(400, 300))
    assert reduced.frame.scale == 256 / 400
    assert reduced.maps is not None
    assert reduced.maps.shape == (5, *reduced.frame.inner) == (5, 256, 192)


def test_offsets_are_in_the_pixels_of_the_maps(conv_model: LoadedModel) -> None:
    """On an image without structure frames of all scales look alike."""
    image = np.zeros((512, 512), np.uint8)
    half, full, double = (encode(conv_model, image, scale).maps for scale in (0.5, 1.0, 2.0))
    assert half is not None
    assert full is not None
    assert double is not None
    assert (half.shape[1], full.shape[1], double.shape[1]) == (256, 512, 1024)
    offsets = full[3:, 256, 256].astype(float)
    assert np.abs(offsets).max() > 0
    np.testing.assert_allclose(half[3:, 128, 128].astype(float), offsets, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(double[3:, 512, 512].astype(float), offsets, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.0, 2.5], ids=str)
def test_a_proposal_of_a_scaled_frame_lies_on_plane_pixels(conv_model: LoadedModel, scale: float) -> None:
    embedding = encode(conv_model, np.zeros((100, 140), np.uint8), scale)
    labels = np.zeros(embedding.frame.inner, np.int32)
    cells = np.array(labels.shape) / (100, 140)
    box = np.round(np.array([[20, 40], [50, 90]]) * cells).astype(int)
    labels[box[0, 0] : box[1, 0], box[0, 1] : box[1, 1]] = 1
    embedding = replace(embedding, instances=Instances(labels, tuple(find_objects(labels))))
    mask = propose_instance(embedding, Prompts([(30, 60)])).mask
    assert mask is not None
    np.testing.assert_allclose(mask.box, (20, 40, 50, 90), atol=0 if scale == 1 else 1)
    assert mask.mask.all()
    assert propose_instance(embedding, Prompts([(60, 60)])).mask is None


def test_a_transformer_has_no_maps(vit_model: LoadedModel, blobs: NDArray[np.uint8]) -> None:
    embedding = encode(vit_model, blobs)
    assert embedding.maps is None
    assert embedding.detail is None
