from __future__ import annotations

import pytest
import torch

from napari_sam.errors import CheckpointError
from napari_sam.modeling import SamConfig, ViTConfig, build_sam, get_config, list_architectures

# Parameters of the published models (Kirillov et al. 2023; Zhang et al. 2023), in millions.
SIZES = {"vit_b": 93.7, "vit_l": 312.3, "vit_h": 641.1, "vit_t": 10.1}


def test_names() -> None:
    assert {"vit_b", "vit_l", "vit_h", "vit_t", "conv_s", "conv_test", "vit_test"} <= set(
        list_architectures()
    )


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_the_published_models(name: str) -> None:
    with torch.device("meta"):
        model = build_sam(name)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(SIZES[name], abs=0.1)


def test_the_bundled_model_is_small() -> None:
    with torch.device("meta"):
        state = build_sam("conv_s").state_dict()
    # matrices are written in half precision
    assert sum(value.numel() * (2 if value.ndim > 1 else 4) for value in state.values()) < 25e6


def test_a_configuration_can_be_built() -> None:
    config = SamConfig(ViTConfig(16, 1, 2, (0,), 8, 0), image_size=64, embed_dim=16, decoder_heads=2)
    model = build_sam(config)
    assert model.config is config
    assert model.encode(torch.zeros(1, 3, 64, 64)).embedding.shape == (1, 16, 8, 8)


@pytest.mark.parametrize("find", [build_sam, get_config], ids=["build_sam", "get_config"])
def test_unknown_names(find: object) -> None:
    assert callable(find)
    with pytest.raises(CheckpointError, match=r"out of vit_b, .*got 'vit_x'"):
        find("vit_x")
