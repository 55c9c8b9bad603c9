"""The same weights give the same maps as torch-em's UNETR, put together as micro-sam does it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_sam.modeling import SamConfig, TinyViTConfig, ViTConfig, build_sam
from napari_sam.modeling.unetr_decoder import UNETR_MAPS, UnetrDecoder, name_unetr

if TYPE_CHECKING:
    from collections.abc import Iterator

VIT = SamConfig(ViTConfig(32, 2, 2, (1,), 16, 2), image_size=64, embed_dim=32, decoder_heads=2)
TINY = SamConfig(
    TinyViTConfig((8, 8, 16, 320), (1, 1, 1, 1), (1, 1, 2, 5), (7, 2, 2, 2)), image_size=64, embed_dim=64
)


@pytest.fixture(scope="module")
def unetr() -> Iterator[ModuleType]:
    """torch-em's module, without what the package imports beside it (readers of many file formats)."""
    spec = importlib.util.find_spec("torch_em")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("torch_em is not installed: pip install --no-deps -r tests/requirements-reference.txt")
    folder = next(iter(spec.submodule_search_locations))
    with pytest.MonkeyPatch.context() as patch:
        for name, path in (("torch_em", folder), ("torch_em.model", f"{folder}/model")):
            package = ModuleType(name)
            package.__path__ = [path]
            patch.setitem(sys.modules, name, package)
        yield importlib.import_module("torch_em.model.unetr")
        for loaded in [key for key in sys.modules if key.startswith("torch_em.")]:
            patch.delitem(sys.modules, loaded)


def build_reference(unetr: ModuleType, model: Any, transposed: bool = False) -> Any:
    """As micro-sam's ``get_unetr`` does, around the encoder of our model."""
    return unetr.UNETR(
        backbone="sam",
        encoder=model.image_encoder,
        out_channels=3,
        use_sam_stats=True,
        final_activation="Sigmoid",
        use_skip_connection=False,
        resize_input=True,
        use_conv_transpose=transposed,
    ).eval()


@pytest.mark.parametrize("transposed", [False, True], ids=["bilinear", "transposed"])
@pytest.mark.parametrize("config", [VIT, TINY], ids=["vit", "tiny_vit"])
@torch.inference_mode()
def test_maps_equal_reference(
    unetr: ModuleType, randomize: Any, assert_parity: Any, config: SamConfig, transposed: bool
) -> None:
    model = build_sam(replace(config, instance_decoder="unetr_transposed" if transposed else "unetr")).eval()
    reference = build_reference(unetr, model, transposed)
    randomize(reference, 0)
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("encoder.")}
    assert name_unetr(state) == model.config.instance_decoder
    model.instance_decoder.load_state_dict(state)  # strict: the published decoder is our file format
    # A frame shorter than wide, as an image comes in: pixels 0 .. 255, resized and padded by the reference.
    pixels = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1)) * 255
    expected = reference(pixels)  # (1, 3, 48, 64)

    frame = (pixels - model.pixel_mean) / model.pixel_std
    features = model.encode(torch.nn.functional.pad(frame, (0, 0, 0, 16)))
    assert features.maps is None
    maps = model.decode_maps(features.embedding)

    assert maps.shape == (1, len(UNETR_MAPS), 64, 64)
    assert_parity(maps[..., :48, :], expected)


@pytest.mark.parametrize("transposed", [False, True], ids=["bilinear", "transposed"])
def test_keys_equal_reference_at_published_size(unetr: ModuleType, transposed: bool) -> None:
    with torch.device("meta"):
        ours = UnetrDecoder(256, transposed).state_dict()
        theirs = build_reference(unetr, build_sam("vit_t"), transposed).state_dict()
    shapes = {key: value.shape for key, value in theirs.items() if not key.startswith("encoder.")}
    assert {key: value.shape for key, value in ours.items()} == shapes


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        pytest.param(["decoder.samplers.0.conv.weight", "base.block.1.bias"], "unetr", id="bilinear"),
        pytest.param(["decoder.samplers.2.block.bias"], "unetr_transposed", id="transposed"),
        pytest.param(["mask_decoder.iou_token.weight"], None, id="another decoder"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_the_kind_is_told_by_the_keys(keys: list[str], kind: str | None) -> None:
    assert name_unetr(keys) == kind


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"encoder": ViTConfig(patch_size=8)}, id="stride 8"),
        pytest.param({"detail_channels": 8}, id="detail"),
        pytest.param({"instance_decoder": "unet"}, id="an unknown kind"),
    ],
)
def test_configurations_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"instance.decoder"):
        SamConfig(**{"instance_decoder": "unetr"} | arguments)


def test_a_model_without_one_says_so() -> None:
    with pytest.raises(ValueError, match="UNETR instance decoder, got one with ''"):
        build_sam("vit_test").decode_maps(torch.zeros(1, 32, 8, 8))


@pytest.mark.parametrize(("written", "kind"), [(True, "maps"), (False, "")])
def test_earlier_checkpoints_said_whether_only(written: bool, kind: str) -> None:
    data = {"encoder": {"kind": "conv"}, "instance_decoder": written}
    assert SamConfig.from_dict(data).instance_decoder == kind
