from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_sam.modeling.mask_decoder import _double, _unnest
from napari_sam.modeling.transformer import Attention


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
        attention.gather(tokens, image + pe, image),
        attention(tokens, image + pe, image),
        atol=1e-5,
        rtol=1e-5,
    )
    expected = attention(image + pe, tokens, other)
    found = attention.spread(image + pe, tokens, other)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    known = attention.queries(image + pe)
    torch.testing.assert_close(attention.spread(image, tokens, other, known), expected, atol=1e-5, rtol=1e-5)


def test_folded_projections_learn_the_same(attention: Attention) -> None:
    tokens, image = torch.randn(2, 5, 64), torch.randn(2, 50, 64)
    weights = torch.randn(2, 5, 64)
    gradients = []
    for seen in (attention.gather(tokens, image, image), attention(tokens, image, image)):
        attention.zero_grad()
        (seen * weights).sum().backward()
        gradients.append({name: p.grad for name, p in attention.named_parameters() if name != "k_proj.bias"})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-4, msg=name)


def test_doubling_is_the_transposed_convolution() -> None:
    torch.manual_seed(1)
    first, second = nn.ConvTranspose2d(16, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
    x = torch.randn(3, 16, 5, 7)
    nested = _double(_double(x.flatten(2).transpose(1, 2), first), second)
    found = _unnest(nested.transpose(1, 2), 5, 7)
    torch.testing.assert_close(found.reshape(3, 4, 20, 28), second(first(x)), atol=1e-5, rtol=1e-5)
