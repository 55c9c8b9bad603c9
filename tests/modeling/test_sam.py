from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_sam.modeling import Sam, build_sam
from napari_sam.modeling.prompt_encoder import BACKGROUND, BOX_FIRST, BOX_SECOND, FOREGROUND, PAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


@pytest.fixture(scope="module", params=["conv_test", "vit_test"])
def model(request: pytest.FixtureRequest, randomize: Callable[[nn.Module, int], None]) -> Sam:
    module = build_sam(request.param)
    randomize(module, 0)
    return module


def draw_frames(model: Sam) -> Tensor:
    side = min(model.config.image_size, 128)
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))


PROMPTS = {
    "click": ([[20.0, 30.0], [0.0, 0.0]], [FOREGROUND, PAD]),
    "background": ([[20.0, 30.0], [90.0, 50.0]], [FOREGROUND, BACKGROUND]),
    "box": ([[10.0, 15.0], [60.0, 70.0]], [BOX_FIRST, BOX_SECOND]),
    "elsewhere": ([[70.0, 80.0], [0.0, 0.0]], [FOREGROUND, PAD]),
}


def to_batch(*names: str) -> tuple[Tensor, Tensor]:
    coords, labels = zip(*(PROMPTS[name] for name in names), strict=True)
    return torch.tensor(coords), torch.tensor(labels)


@torch.inference_mode()
def test_shapes(model: Sam) -> None:
    features = model.encode(draw_frames(model))
    config = model.config
    tokens = 128 // config.stride
    assert features.embedding.shape == (1, config.embed_dim, tokens, tokens)
    if config.instance_decoder:
        assert features.maps is not None
        assert features.maps.shape == (1, 5, 128, 128)
        assert features.detail is not None
        assert features.detail.shape[-2:] == (4 * tokens, 4 * tokens)
    else:
        assert features.maps is None
        assert features.detail is None
    logits, iou = model.decode(features.embedding, *to_batch(*PROMPTS), detail=features.detail)
    assert logits.shape == (len(PROMPTS), 4, 4 * tokens, 4 * tokens)
    assert iou.shape == (len(PROMPTS), 4)


@torch.inference_mode()
def test_prompts_are_decoded_one_by_one_in_a_batch(model: Sam) -> None:
    features = model.encode(draw_frames(model))
    logits, iou = model.decode(features.embedding, *to_batch(*PROMPTS), detail=features.detail)
    for n, name in enumerate(PROMPTS):
        alone, alone_iou = model.decode(features.embedding, *to_batch(name), detail=features.detail)
        torch.testing.assert_close(alone[0], logits[n], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone_iou[0], iou[n], atol=1e-4, rtol=1e-4)
        others = [m for m in range(len(PROMPTS)) if m != n]
        assert all((logits[n] - logits[m]).abs().max() > 1e-2 for m in others)


@torch.inference_mode()
def test_padding_says_nothing(model: Sam) -> None:
    features = model.encode(draw_frames(model))
    coords, labels = to_batch("click")
    moved = coords.clone()
    moved[:, 1] = 77.0
    first = model.decode(features.embedding, coords, labels, detail=features.detail)[0]
    second = model.decode(features.embedding, moved, labels, detail=features.detail)[0]
    torch.testing.assert_close(first, second)


@torch.inference_mode()
def test_masks_are_heard(model: Sam) -> None:
    features = model.encode(draw_frames(model))
    coords, labels = to_batch("click")
    side = 4 * features.embedding.shape[-1]
    masks = torch.full((1, 1, side, side), -6.0)
    masks[..., 10:20, 10:20] = 6
    without = model.decode(features.embedding, coords, labels, detail=features.detail)[0]
    with_mask = model.decode(features.embedding, coords, labels, masks, features.detail)[0]
    assert (without - with_mask).abs().max() > 1e-2


@torch.inference_mode()
def test_an_instance_decoder_without_detail() -> None:
    from dataclasses import replace

    model = build_sam(
        replace(build_sam("conv_test").config, detail_channels=0, detail_refinement=False)
    ).eval()
    features = model.encode(draw_frames(model))
    assert features.maps is not None
    assert features.detail is None


def test_normalization_is_no_weight(model: Sam) -> None:
    assert not {"pixel_mean", "pixel_std"} & set(model.state_dict())
    assert model.pixel_mean.flatten().tolist() == pytest.approx(model.config.pixel_mean)
    assert model.pixel_std.shape == (3, 1, 1)


def test_prompts_do_not_teach_the_dense_maps() -> None:
    """What the mask decoder reads of the dense maps is fixed for it: the dense loss alone trains them."""
    model = build_sam("conv_test")
    features = model.encode(torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)))
    logits, _ = model.decode(features.embedding, *to_batch("click"), detail=features.detail)
    logits.square().mean().backward()
    head: Any = model.instance_decoder.head
    assert head.weight.grad is None or not head.weight.grad.any()
    assert model.image_encoder.out.weight.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("prompt", ["click", "box"])
@pytest.mark.parametrize("count", [1, 3])
@torch.inference_mode()
def test_shared_work_changes_nothing(prompt: str, count: int) -> None:
    model = build_sam("vit_test").eval()
    embedding = model.encode(draw_frames(model)).embedding[:1]
    coords, labels = to_batch(prompt)
    coords = coords[:1] + torch.arange(count)[:, None, None] * 7.0
    labels = labels[:1].expand(count, -1)

    shared = model.share(embedding)
    assert shared is not None
    for ours, expected in zip(
        model.decode(embedding, coords, labels, shared=shared),
        model.decode(embedding, coords, labels),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    # Each prompt is decoded as if it were alone.
    alone = [model.decode(embedding, coords[i : i + 1], labels[i : i + 1])[0] for i in range(count)]
    torch.testing.assert_close(
        model.decode(embedding, coords, labels, shared=shared)[0], torch.cat(alone), atol=1e-5, rtol=0
    )


@torch.inference_mode()
def test_a_mask_is_heard_beside_shared_work() -> None:
    model = build_sam("vit_test").eval()
    embedding = model.encode(draw_frames(model)).embedding[:1]
    coords, labels = to_batch("click")
    masks = torch.full((len(coords), 1, 32, 32), 4.0)
    with_shared = model.decode(embedding, coords, labels, masks, shared=model.share(embedding))[0]
    torch.testing.assert_close(with_shared, model.decode(embedding, coords, labels, masks)[0])


def test_prompts_drawn_on_the_image_leave_nothing_to_share() -> None:
    assert build_sam("conv_test").share(torch.zeros(1, 32, 16, 16)) is None
