from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from napari_sam.errors import CheckpointError
from napari_sam.modeling import (
    ConvConfig,
    SamConfig,
    TinyViTConfig,
    ViTConfig,
    get_config,
    list_architectures,
)


@pytest.mark.parametrize("name", list_architectures())
def test_every_architecture_survives_json(name: str) -> None:
    config = get_config(name)
    assert SamConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("encoder", "stride", "any_size", "multiple"),
    [
        pytest.param(ViTConfig(), 16, False, 1024, id="vit"),
        pytest.param(ViTConfig(patch_size=8), 8, False, 1024, id="small patches"),
        pytest.param(TinyViTConfig(), 16, False, 1024, id="tiny vit"),
        pytest.param(ConvConfig(), 8, True, 16, id="conv"),
    ],
)
def test_geometry(
    encoder: ViTConfig | TinyViTConfig | ConvConfig, stride: int, any_size: bool, multiple: int
) -> None:
    config = SamConfig(encoder)
    assert (config.stride, config.any_frame_size, config.frame_multiple) == (stride, any_size, multiple)
    assert config.position_scale == 1024
    assert SamConfig(encoder, decode_window=16).position_scale == 16 * stride


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"image_size": 1000}, "multiple of the stride 16, got 1000", id="image size"),
        pytest.param({"detail_channels": 8}, 'instance_decoder="maps"', id="detail without its decoder"),
        pytest.param({"detail_refinement": True}, "detail_channels", id="refinement without detail"),
        pytest.param({"decode_window": 65}, "decode_window of at most", id="window beyond the frame"),
        pytest.param({"embed_dim": 100}, "embed_dim to be a multiple of 8", id="width"),
        pytest.param({"mask_in_chans": 6}, "mask_in_chans to be a multiple of 4", id="mask channels"),
    ],
)
def test_impossible_models(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamConfig(**arguments)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SamConfig().image_size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param(None, id="null"),
        pytest.param("text", id="text"),
        pytest.param({"encoder": None}, id="no encoder"),
        pytest.param({"encoder": {}}, id="no kind"),
        pytest.param({"encoder": {"kind": ["vit"]}}, id="kind a list"),
        pytest.param({"encoder": {"kind": "vit"}, "colour": 3}, id="unknown field"),
        pytest.param({"encoder": {"kind": "vit", "depth": 129}}, id="too deep"),
        pytest.param({"encoder": {"kind": "vit", "mlp_ratio": float("inf")}}, id="infinite"),
        pytest.param({"encoder": {"kind": "vit", "global_attn_indexes": []}}, id="an empty list"),
        pytest.param({"encoder": {"kind": "vit"}, "image_size": 2**20}, id="too large"),
    ],
)
def test_what_no_file_should_say(data: Any) -> None:
    with pytest.raises(CheckpointError, match="may come from a newer version"):
        SamConfig.from_dict(data)


def test_fields_that_are_not_given_have_their_defaults() -> None:
    assert SamConfig.from_dict({"encoder": {"kind": "conv"}}) == SamConfig(ConvConfig())
