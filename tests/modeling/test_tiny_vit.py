from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_sam.modeling.tiny_vit import Attention, MBConv, TinyViT, TinyViTBlock

SMALL: dict[str, Any] = {
    "img_size": 64,
    "num_classes": 0,
    "embed_dims": (8, 8, 12, 16),
    "depths": (1, 1, 2, 1),
    "num_heads": (1, 2, 3, 4),
    "window_sizes": (7, 3, 4, 3),
    "out_chans": 12,
}


@pytest.mark.parametrize(
    ("changes", "image_shape", "embedding_shape"),
    [
        pytest.param({}, (2, 3, 64, 64), (2, 12, 4, 4), id="small"),
        pytest.param({"out_chans": 5}, (1, 3, 64, 64), (1, 5, 4, 4), id="out-chans"),
        pytest.param({"img_size": 1024}, (1, 3, 1024, 1024), (1, 12, 64, 64), id="1024"),
        pytest.param({}, (1, 3, 48, 112), (1, 12, 3, 7), id="another-image-size"),
        pytest.param({"in_chans": 1}, (1, 1, 64, 64), (1, 12, 4, 4), id="one-channel"),
    ],
)
@torch.inference_mode()
def test_embedding_shape(
    changes: dict[str, Any], image_shape: tuple[int, ...], embedding_shape: tuple[int, ...]
) -> None:
    assert TinyViT(**SMALL | changes).eval()(torch.zeros(image_shape)).shape == embedding_shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"img_size": 72}, "multiple of 16, got 72", id="image-size"),
        pytest.param({"num_heads": (1, 3, 3, 4)}, "multiple of 3 heads, got 8", id="heads"),
        pytest.param({"depths": (1, 1, 1)}, "argument", id="stages-of-different-number"),
        pytest.param(
            {name: SMALL[name][:3] for name in ("embed_dims", "depths", "num_heads", "window_sizes")},
            "four stages, got 3",
            id="three-stages",
        ),
    ],
)
def test_impossible_configuration_raises(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TinyViT(**SMALL | changes)


@pytest.mark.parametrize("shape", [(64, 56), (8, 64)])
def test_image_that_does_not_fit_the_stride_raises(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 16, got {shape[0]} x {shape[1]}"):
        TinyViT(**SMALL)(torch.zeros(1, 3, *shape))


def test_state_dict_has_the_upstream_keys() -> None:
    shapes = {name: tuple(value.shape) for name, value in TinyViT().state_dict().items()}
    parts = {name.partition(".")[0] for name in shapes}

    assert parts == {"patch_embed", "layers", "norm_head", "head", "neck"}
    expected = {
        "patch_embed.seq.0.c.weight": (32, 3, 3, 3),
        "patch_embed.seq.2.bn.running_var": (64,),
        "layers.0.blocks.1.conv2.c.weight": (256, 1, 3, 3),
        "layers.0.downsample.conv3.bn.weight": (128,),
        "layers.1.blocks.0.attn.attention_biases": (4, 49),
        "layers.1.blocks.0.attn.norm.weight": (128,),
        "layers.2.blocks.5.attn.attention_biases": (5, 196),
        "layers.2.blocks.5.attn.qkv.weight": (480, 160),
        "layers.2.blocks.5.local_conv.c.weight": (160, 1, 3, 3),
        "layers.3.blocks.1.mlp.norm.bias": (320,),
        "layers.3.blocks.1.mlp.fc1.weight": (1280, 320),
        "layers.3.blocks.1.attn.proj.bias": (320,),
        "norm_head.weight": (320,),
        "head.weight": (1000, 320),
        "neck.0.weight": (256, 320, 1, 1),
        "neck.2.weight": (256, 256, 3, 3),
        "neck.3.bias": (256,),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert [name for name in shapes if "idxs" in name] == []  # upstream derives them, too


def test_classification_head_is_not_trained_and_can_be_left_out() -> None:
    with_head = TinyViT(**SMALL | {"num_classes": 7})
    frozen = {name for name, p in with_head.named_parameters() if not p.requires_grad}

    assert frozen == {"norm_head.weight", "norm_head.bias", "head.weight", "head.bias"}
    assert not any(name.startswith("head.") for name in TinyViT(**SMALL).state_dict())


@torch.inference_mode()
def test_attention_adds_a_bias_by_absolute_offset(randomize: Any) -> None:
    attention = Attention(dim=6, num_heads=2, window_size=3)
    randomize(attention, 0)
    x = torch.randn(1, 3, 3, 6, generator=torch.Generator().manual_seed(1))
    # Per head its query, key and value lie side by side, other than in the ViT.
    qkv = attention.qkv(attention.norm(x)).reshape(3, 3, 2, 3, 3).permute(3, 2, 0, 1, 4).numpy()
    q, k, v = qkv  # (heads, row, column, 3)

    tokens = [(i, j) for i in range(3) for j in range(3)]
    expected = np.zeros((3, 3, 2, 3))
    for head in range(2):
        for i, j in tokens:
            logits = np.array(
                [
                    q[head, i, j] @ k[head, row, column] / np.sqrt(3)
                    + attention.attention_biases.numpy()[head, abs(i - row) * 3 + abs(j - column)]
                    for row, column in tokens
                ]
            )
            weights = np.exp(logits) / np.exp(logits).sum()
            expected[i, j, head] = sum(
                weight * v[head, row, column] for weight, (row, column) in zip(weights, tokens, strict=True)
            )
    projected = attention.proj(torch.tensor(expected, dtype=torch.float32).reshape(1, 3, 3, 6))

    torch.testing.assert_close(attention(x), projected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_local_convolution_joins_neighbouring_windows(randomize: Any) -> None:
    block = TinyViTBlock(8, 2, window_size=3, mlp_ratio=2.0)
    randomize(block, 0)
    x = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[0, :, 0, 0] += torch.randn(8, generator=torch.Generator().manual_seed(2))

    reacting = ((block(changed) - block(x)).abs() > 1e-6)[0].any(0)

    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[:4, :4] = True  # the window of 3 tokens and one more by the 3 x 3 convolution
    assert torch.equal(reacting, expected)


def test_convolutional_block_starts_as_an_activation_only() -> None:
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(1))

    torch.testing.assert_close(MBConv(8)(x), torch.nn.functional.gelu(x))


def test_gradients_reach_every_trained_parameter(randomize: Any) -> None:
    encoder = TinyViT(**SMALL)
    randomize(encoder, 0)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    encoder(image).square().mul(torch.rand(4, 4, generator=torch.Generator().manual_seed(2))).sum().backward()

    trained = [(name, p.grad) for name, p in encoder.named_parameters() if p.requires_grad]
    assert [name for name, grad in trained if grad is None or not grad.abs().sum() > 0] == []
