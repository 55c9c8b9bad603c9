from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_sam.modeling.image_encoder import Attention, Block, ImageEncoderViT, merge_windows, split_windows

SMALL: dict[str, Any] = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "out_chans": 12,
    "window_size": 3,
    "global_attn_indexes": (1,),
}


@pytest.fixture
def encoder(randomize: Any) -> ImageEncoderViT:
    encoder = ImageEncoderViT(**SMALL)
    randomize(encoder, 0)
    return encoder


@pytest.mark.parametrize(
    ("changes", "image_shape", "embedding_shape"),
    [
        pytest.param({}, (2, 3, 64, 64), (2, 12, 8, 8), id="small"),
        pytest.param({"patch_size": 16}, (1, 3, 64, 64), (1, 12, 4, 4), id="patch-16"),
        pytest.param({"out_chans": 5}, (1, 3, 64, 64), (1, 5, 8, 8), id="out-chans"),
        pytest.param({"embed_dim": 24, "num_heads": 3}, (1, 3, 64, 64), (1, 12, 8, 8), id="width"),
        pytest.param({"window_size": 0}, (1, 3, 64, 64), (1, 12, 8, 8), id="all-global"),
        pytest.param({"window_size": 20}, (1, 3, 64, 64), (1, 12, 8, 8), id="large-window"),
        pytest.param({}, (1, 3, 40, 96), (1, 12, 5, 12), id="another-image-size"),
    ],
)
def test_embedding_shape(
    changes: dict[str, Any], image_shape: tuple[int, ...], embedding_shape: tuple[int, ...]
) -> None:
    assert ImageEncoderViT(**SMALL | changes)(torch.zeros(image_shape)).shape == embedding_shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"img_size": 60}, "multiple of 8, got 60", id="image-size"),
        pytest.param({"embed_dim": 17}, "multiple of 2 heads, got 17", id="heads"),
    ],
)
def test_impossible_configuration_raises(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageEncoderViT(**SMALL | changes)


@pytest.mark.parametrize("shape", [(64, 60), (63, 64), (4, 4)])
def test_image_that_does_not_fit_patches_raises(encoder: ImageEncoderViT, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 8, got {shape[0]} x {shape[1]}"):
        encoder(torch.zeros(1, 3, *shape))


def test_state_dict_has_the_upstream_keys() -> None:
    keys = set(ImageEncoderViT(**SMALL | {"depth": 1}).state_dict())

    assert keys == {
        "pos_embed",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "blocks.0.norm1.weight",
        "blocks.0.norm1.bias",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.qkv.bias",
        "blocks.0.attn.proj.weight",
        "blocks.0.attn.proj.bias",
        "blocks.0.attn.rel_pos_h",
        "blocks.0.attn.rel_pos_w",
        "blocks.0.norm2.weight",
        "blocks.0.norm2.bias",
        "blocks.0.mlp.lin1.weight",
        "blocks.0.mlp.lin1.bias",
        "blocks.0.mlp.lin2.weight",
        "blocks.0.mlp.lin2.bias",
        "neck.0.weight",
        "neck.1.weight",
        "neck.1.bias",
        "neck.2.weight",
        "neck.3.weight",
        "neck.3.bias",
    }


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        pytest.param(6, 4, 2, id="fits"),
        pytest.param(7, 5, 3, id="padded"),
        pytest.param(6, 5, 3, id="padded-right-only"),
        pytest.param(3, 3, 5, id="one-window"),
        pytest.param(1, 1, 1, id="one-token"),
    ],
)
def test_windows_are_slices_of_the_padded_tokens(height: int, width: int, size: int) -> None:
    tokens = torch.arange(2.0 * height * width * 3).reshape(2, height, width, 3) + 1
    rows, columns = int(np.ceil(height / size)), int(np.ceil(width / size))
    padded = np.zeros((2, rows * size, columns * size, 3), np.float32)
    padded[:, :height, :width] = tokens.numpy()
    expected = np.stack(
        [
            padded[b, i * size : (i + 1) * size, j * size : (j + 1) * size]
            for b in range(2)
            for i in range(rows)
            for j in range(columns)
        ]
    )

    windows = split_windows(tokens, size)

    np.testing.assert_array_equal(windows.numpy(), expected)
    assert torch.equal(merge_windows(windows, size, height, width), tokens)


@torch.inference_mode()
def test_attention_adds_the_positions_as_written_in_the_paper(randomize: Any) -> None:
    attention = Attention(dim=8, num_heads=2, grid=3)
    randomize(attention, 0)
    x = torch.randn(1, 3, 3, 8, generator=torch.Generator().manual_seed(1))
    q, k, v = (
        attention.qkv(x).reshape(3, 3, 3, 2, 4).permute(2, 3, 0, 1, 4).numpy()
    )  # (heads, row, column, 4)

    tokens = [(i, j) for i in range(3) for j in range(3)]
    expected = np.zeros((3, 3, 2, 4))
    for head in range(2):
        for i, j in tokens:
            query = q[head, i, j]
            logits = np.array(
                [
                    query @ k[head, row, column] / np.sqrt(4)
                    + query @ attention.rel_pos_h.numpy()[i - row + 2]
                    + query @ attention.rel_pos_w.numpy()[j - column + 2]
                    for row, column in tokens
                ]
            )
            weights = np.exp(logits) / np.exp(logits).sum()
            expected[i, j, head] = sum(
                weight * v[head, row, column] for weight, (row, column) in zip(weights, tokens, strict=True)
            )
    projected = attention.proj(torch.tensor(expected, dtype=torch.float32).reshape(1, 3, 3, 8))

    torch.testing.assert_close(attention(x), projected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_windowed_block_sees_only_its_window_and_global_block_everything(randomize: Any) -> None:
    x = torch.randn(1, 6, 6, 8, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[0, 0, 0] += torch.randn(8, generator=torch.Generator().manual_seed(2))
    in_window = torch.zeros(6, 6, dtype=torch.bool)
    in_window[:3, :3] = True

    def reacting_tokens(window_size: int) -> Tensor:
        block = Block(8, 2, 2.0, window_size, grid=6)
        randomize(block, 0)
        return ((block(changed) - block(x)).abs() > 1e-6)[0].any(-1)

    assert torch.equal(reacting_tokens(3), in_window)
    assert reacting_tokens(0).all()


@torch.inference_mode()
def test_images_of_a_batch_do_not_mix(encoder: ImageEncoderViT) -> None:
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    one_by_one = torch.cat([encoder(image[None]) for image in images])

    torch.testing.assert_close(encoder(images), one_by_one, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_another_image_size_means_the_same_positions_stretched(randomize: Any) -> None:
    # With one vector for all positions and all patches alike, size makes no difference away from the border.
    encoder = ImageEncoderViT(**SMALL | {"window_size": 0})
    randomize(encoder, 0)
    encoder.pos_embed.copy_(encoder.pos_embed[:, :1, :1].clone())
    for block in encoder.blocks:
        for table in (block.attn.rel_pos_h, block.attn.rel_pos_w):
            table.copy_(table[:1].clone())
    patch = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    trained_size = encoder(patch.tile(1, 1, 8, 8))
    other_size = encoder(patch.tile(1, 1, 11, 5))

    torch.testing.assert_close(other_size[..., 5, 2], trained_size[..., 4, 4], atol=1e-5, rtol=0)


def test_gradients_reach_every_parameter(encoder: ImageEncoderViT) -> None:
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    encoder(image).square().mul(torch.rand(8, 8, generator=torch.Generator().manual_seed(2))).sum().backward()

    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@torch.inference_mode()
def test_bfloat16_autocast_stays_close(encoder: ImageEncoderViT) -> None:
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    with torch.autocast("cpu", torch.bfloat16):
        low_precision = encoder(image).float()

    # bfloat16 has 8 bits of precision; the embedding is of order 1.
    assert (low_precision - encoder(image)).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("h", "w"),
    [
        pytest.param(40, 28, id="row by row"),
        pytest.param(9, 14, id="one window"),
        pytest.param(1, 3, id="one row"),
    ],
)
@torch.inference_mode()
def test_positions_folded_or_row_by_row_are_the_whole_bias(h: int, w: int) -> None:
    """The three ways are one formula: softmax((q k / sqrt(d)) + q rows[i - k] + q columns[j - l]) v."""
    from napari_sam.modeling.image_encoder import _attend_by_rows, _attend_folded

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, h * w, 8, generator=generator) for _ in range(3))
    rows = torch.randn(2, 3, h, w, h, generator=generator)
    columns = torch.randn(2, 3, h, w, w, generator=generator)
    bias = (rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(4, 5).flatten(2, 3)
    expected = ((q @ k.transpose(2, 3)) * 8**-0.5 + bias).softmax(-1) @ v

    for attend in (_attend_by_rows, _attend_folded):
        torch.testing.assert_close(attend(q, k, v, rows, columns), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_frame_that_is_attended_row_by_row_equals_the_folded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ImageEncoderViT(
        img_size=136, patch_size=4, embed_dim=16, depth=1, num_heads=2, window_size=0, out_chans=8
    ).eval()
    for parameter in encoder.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()), std=0.2)
    image = torch.randn(1, 3, 136, 136, generator=torch.Generator().manual_seed(1))

    by_rows = encoder(image)
    monkeypatch.setattr("napari_sam.modeling.image_encoder.Attention.folds", True)
    torch.testing.assert_close(by_rows, encoder(image), atol=1e-5, rtol=0)
