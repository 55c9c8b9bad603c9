from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_sam.modeling.instance_decoder import MAPS, OFFSET_UNIT, InstanceDecoder, activate

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


@pytest.mark.parametrize(
    ("stride", "skips", "detail", "detail_channels"),
    [
        pytest.param(8, (4, 5, 6), 12, 12, id="conv, all skips"),
        pytest.param(8, (), 0, 16, id="no skips"),
        pytest.param(16, (), 8, 8, id="stride 16"),
        pytest.param(16, (4,), 0, 16, id="one skip"),
        pytest.param(4, (4, 5), 12, 12, id="stride 4: detail is full resolution"),
    ],
)
def test_shapes(stride: int, skips: tuple[int, ...], detail: int, detail_channels: int) -> None:
    decoder = InstanceDecoder(24, stride, skips, detail).eval()
    given = tuple(torch.zeros(2, c, 4 * stride // 2**i, 6 * stride // 2**i) for i, c in enumerate(skips))
    maps, features = decoder(torch.zeros(2, 24, 4, 6), given)
    assert maps.shape == (2, len(MAPS), 4 * stride, 6 * stride)
    assert features.shape == (2, detail_channels, 16, 24)


@torch.inference_mode()
def test_every_skip_matters(randomize: Callable[[nn.Module, int], None]) -> None:
    decoder = InstanceDecoder(24, 8, (4, 5, 6), 8)
    randomize(decoder, 0)
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(1, 24, 4, 4, generator=generator)
    skips = [torch.randn(1, c, 32 // 2**i, 32 // 2**i, generator=generator) for i, c in enumerate((4, 5, 6))]
    maps, detail = decoder(embedding, tuple(skips))
    for i in range(3):
        changed = list(skips)
        changed[i] = torch.zeros_like(skips[i])
        other, other_detail = decoder(embedding, tuple(changed))
        assert (other - maps).abs().max() > 1e-2
        # detail has a quarter of the embedding's stride, here 2, so the skip at stride 1 comes after it
        assert ((other_detail - detail).abs().max() > 1e-2) == (i > 0)


def test_activate() -> None:
    raw = torch.tensor([0.0, 1.0, -30.0, 0.5, -2.0]).reshape(1, 5, 1, 1)
    found = activate(raw).flatten().tolist()
    assert found == pytest.approx([0.5, 0.731059, 0.0, 0.5 * OFFSET_UNIT, -2 * OFFSET_UNIT], abs=1e-6)


@pytest.mark.parametrize("stride", [0, 3, 12], ids=str)
def test_strides_are_powers_of_two(stride: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        InstanceDecoder(8, stride)
