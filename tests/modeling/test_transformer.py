from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_sam.modeling import build_sam, transformer
from napari_sam.modeling.mask_decoder import _as_product, _double, _unnest
from napari_sam.modeling.transformer import Attention, split_tokens


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(64, num_heads=4, downsample_rate=2)


# 4 heads of 7 tokens are fewer than the 32 inner channels, those of 8 are not: both ways of counting
@pytest.mark.parametrize("few", [1, 7, 8, 20])
@pytest.mark.parametrize("batch", [1, 3])
def test_folded_projections_give_the_same_attention(attention: Attention, few: int, batch: int) -> None:
    tokens, other = torch.randn(batch, few, 64), torch.randn(batch, few, 64)
    image, pe = torch.randn(batch, 50, 64), torch.randn(1, 50, 64)
    torch.testing.assert_close(
        attention.gather(tokens, pe, image),
        attention(tokens, image + pe, image),
        atol=1e-5,
        rtol=1e-5,
    )
    expected = attention(image + pe, tokens, other)
    for known in (None, attention.queries(image + pe)):
        spread = attention.spread(tokens, other, known)
        parts = [spread(image[:, part], pe[:, part], part) for part in (slice(0, 30), slice(30, None))]
        torch.testing.assert_close(torch.cat(parts, dim=1), image + expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param((1, 4096, 256), 4, id="a whole frame"),
        pytest.param((1, 256, 128), 1, id="a window"),
        pytest.param((3, 70, 2**20), 2, id="never too few tokens"),
    ],
)
def test_tokens_are_split_into_parts_that_a_cache_holds(shape: tuple[int, ...], expected: int) -> None:
    image = torch.empty(1, 1, 1).expand(shape)
    with torch.inference_mode():
        parts = split_tokens(image)
    assert len(parts) == expected
    assert torch.equal(torch.cat([torch.arange(shape[1])[p] for p in parts]), torch.arange(shape[1]))
    assert len(split_tokens(image)) == 1  # training


@pytest.mark.parametrize("points", [1, 20], ids=["few", "many"])
def test_decoding_in_parts_is_decoding(points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build_sam("vit_test").eval()
    embedding, coords = torch.randn(1, 32, 16, 16), torch.rand(2, points, 2) * 128
    labels = torch.ones(2, points, dtype=torch.int64)
    with torch.inference_mode():
        shared = model.share(embedding)
        expected = model.decode(embedding, coords, labels, shared=shared)
        monkeypatch.setattr(transformer, "CACHED", 64)
        found = model.decode(embedding, coords, labels, shared=shared)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_folded_projections_learn_the_same(attention: Attention) -> None:
    tokens, image = torch.randn(2, 5, 64), torch.randn(2, 50, 64)
    weights = torch.randn(2, 5, 64)
    gradients = []
    for seen in (attention.gather(tokens, torch.zeros(1, 50, 64), image), attention(tokens, image, image)):
        attention.zero_grad()
        (seen * weights).sum().backward()
        gradients.append({name: p.grad for name, p in attention.named_parameters() if name != "k_proj.bias"})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-4, msg=name)


def test_doubling_is_the_transposed_convolution() -> None:
    torch.manual_seed(1)
    first, second = nn.ConvTranspose2d(16, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
    x = torch.randn(3, 16, 5, 7)
    nested = _double(_double(x.flatten(2).transpose(1, 2), *_as_product(first)), *_as_product(second))
    found = _unnest(nested.transpose(1, 2), 5, 7)
    torch.testing.assert_close(found.reshape(3, 4, 20, 28), second(first(x)), atol=1e-5, rtol=1e-5)
