"""The same weights give the same numbers as MobileSAM's TinyViT, and its state dict loads as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_sam.modeling import SamConfig, TinyViTConfig, build_sam
from napari_sam.modeling.tiny_vit import TinyViT

# The reference halves the resolution before the last stage unless that is 320, 448 or 576 wide.
SMALL = TinyViTConfig(embed_dims=(16, 24, 32, 320), depths=(1, 2, 2, 1), num_heads=(1, 2, 4, 5))


@pytest.fixture(scope="module")
def reference_class(import_reference: Any) -> Any:
    return import_reference("mobilesam_lite.mobile_sam.modeling.tiny_vit_sam").TinyViT


def build_pair(
    reference_class: Any, config: TinyViTConfig, img_size: int, randomize: Any
) -> tuple[TinyViT, nn.Module]:
    shape = {
        "embed_dims": config.embed_dims,
        "depths": config.depths,
        "num_heads": config.num_heads,
        "window_sizes": config.window_sizes,
        "mlp_ratio": config.mlp_ratio,
    }
    reference = reference_class(img_size=img_size, drop_path_rate=0.0, **shape)
    randomize(reference, 0)
    reference.train()
    reference.eval()  # again: it caches its attention biases when it enters eval mode
    ours = TinyViT(img_size=img_size, **shape).eval()
    ours.load_state_dict(reference.state_dict())  # strict: the upstream checkpoint is our file format
    return ours, reference


def encode_with(reference: nn.Module, image: Tensor) -> Tensor:
    """Run the reference; its own forward() does this too but takes images of 1024 pixels only."""
    x = reference.patch_embed(image)
    for layer in reference.layers:
        x = layer(x)
    grid = image.shape[-1] // 16
    return reference.neck(x.view(len(image), grid, grid, -1).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("windows", "img_size"),
    [
        pytest.param((7, 7, 14, 7), 96, id="windows-padded"),
        pytest.param((7, 4, 4, 2), 64, id="windows-fit"),
        pytest.param((7, 8, 4, 4), 64, id="one-window-is-the-image"),
    ],
)
@torch.inference_mode()
def test_tiny_vit_equals_reference(
    reference_class: Any, randomize: Any, assert_parity: Any, windows: tuple[int, ...], img_size: int
) -> None:
    config = TinyViTConfig(SMALL.embed_dims, SMALL.depths, SMALL.num_heads, windows)
    ours, reference = build_pair(reference_class, config, img_size, randomize)
    image = torch.randn(2, 3, img_size, img_size, generator=torch.Generator().manual_seed(1))

    assert_parity(ours(image), encode_with(reference, image))


def test_training_mode_equals_reference(reference_class: Any, randomize: Any, assert_parity: Any) -> None:
    ours, reference = build_pair(reference_class, SMALL, 64, randomize)
    ours.train()
    reference.train()
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    expected = encode_with(reference, image)
    output = ours(image)
    assert_parity(output, expected)

    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)) / output.numel() ** 0.5
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    expected_grads = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    grads = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
@torch.inference_mode()
def test_vit_t_equals_reference_at_full_size(
    reference_class: Any, randomize: Any, assert_parity: Any
) -> None:
    ours, reference = build_pair(reference_class, TinyViTConfig(), 1024, randomize)
    image = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))

    embedding = ours(image)
    assert embedding.shape == (1, 256, 64, 64)
    assert_parity(embedding, reference(image))


def test_whole_model_loads_reference_checkpoint(import_reference: Any) -> None:
    reference = import_reference("mobilesam_lite.mobile_sam").sam_model_registry["vit_t"]()

    build_sam("vit_t").load_state_dict(reference.state_dict())


def test_small_configuration_reaches_the_encoder() -> None:
    sam = build_sam(SamConfig(SMALL, image_size=64, embed_dim=32, decoder_heads=2, decoder_mlp_dim=16))

    assert sam.encode(torch.zeros(1, 3, 64, 64)).embedding.shape == (1, 32, 4, 4)
