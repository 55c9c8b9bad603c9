from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, relu

from napari_sam.modeling.config import ConvConfig
from napari_sam.modeling.conv_encoder import ConvEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = ConvConfig((4, 5, 6, 7, 8), (0, 1, 0, 2, 1))


@pytest.fixture(scope="module")
def encoder(randomize: Callable[[nn.Module, int], None]) -> ConvEncoder:
    module = ConvEncoder(CONFIG, 12)
    randomize(module, 0)
    return module


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (128, 32)], ids=str)
def test_shapes(encoder: ConvEncoder, size: tuple[int, int]) -> None:
    embedding, skips = encoder(torch.zeros(2, 3, *size))
    assert embedding.shape == (2, 12, size[0] // 8, size[1] // 8)
    expected = [(2, width, size[0] // s, size[1] // s) for width, s in ((4, 1), (5, 2), (6, 4))]
    assert [skip.shape for skip in skips] == expected


@torch.inference_mode()
def test_it_is_what_its_weights_say(
    encoder: ConvEncoder, assert_parity: Callable[[Tensor, Tensor], None]
) -> None:
    """The forward pass written out with the state dict alone."""
    state = encoder.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][:, None, None]

    def block(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return relu(norm(conv2d(x, state[f"{name}.0.weight"], stride=stride, padding=1), f"{name}.1"))

    def residual(x: Tensor, name: str) -> Tensor:
        inner = conv2d(block(x, f"{name}.conv1"), state[f"{name}.conv2.weight"], padding=1)
        return relu(x + norm(inner, f"{name}.norm2"))

    def point(x: Tensor, name: str) -> Tensor:
        return conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    frames = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    x, levels = frames, []
    for level, count in enumerate(CONFIG.blocks):
        x = block(x, f"stages.{level}.0", stride=2 if level else 1)
        for n in range(count):
            x = residual(x, f"stages.{level}.{n + 1}")
        levels.append(x)
    top = interpolate(point(levels[4], "top"), scale_factor=2, mode="bilinear", align_corners=False)
    expected = point(block(point(levels[3], "lateral") + top, "neck"), "out")
    embedding, skips = encoder(frames)
    assert_parity(embedding, expected)
    for skip, level in zip(skips, levels[:3], strict=True):
        assert_parity(skip, level)


@torch.inference_mode()
def test_shifting_by_the_coarsest_stride_shifts_the_embedding(encoder: ConvEncoder) -> None:
    frame = torch.randn(1, 3, 384, 400, generator=torch.Generator().manual_seed(2))
    whole, part = encoder(frame[..., :384])[0], encoder(frame[..., 16:])[0]
    middle = slice(20, 26)  # far from either border
    torch.testing.assert_close(part[..., middle, middle], whole[..., middle, 22:28], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(part[..., middle, middle], whole[..., middle, middle], atol=1e-2)


@pytest.mark.parametrize(
    ("widths", "blocks"), [((4, 4), (0, 0)), ((4,) * 5, (0,) * 4), ((4,) * 6, (0,) * 6)], ids=["2", "4", "6"]
)
def test_there_are_five_stages(widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="five widths and five block counts"):
        ConvEncoder(ConvConfig(widths, blocks), 8)
