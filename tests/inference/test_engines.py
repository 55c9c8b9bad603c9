from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from napari_sam.inference.engines import TorchEngine
from napari_sam.inference.engines.engine import choose_precision, fold_encoder
from napari_sam.inference.engines.folding import fold_norms
from napari_sam.inference.predictor import Predictor
from napari_sam.modeling import SamConfig, TinyViTConfig, build_sam, image_encoder
from napari_sam.modeling.image_encoder import has_amx, multiplies_bfloat16
from napari_sam.modeling.unetr_decoder import UnetrDecoder
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from napari_sam.inference.checkpoints import LoadedModel

TINY = SamConfig(
    TinyViTConfig((8, 8, 16, 320), (1, 1, 1, 1), (1, 1, 2, 5), (7, 2, 2, 2)), image_size=64, embed_dim=64
)


def shake(module: nn.Module) -> nn.Module:
    """Statistics as after training, so that folding them wrongly shows."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.4, 2)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.3)
    return module.eval()


@pytest.mark.parametrize("name", ["conv_test", "tiny", "vit_test"])
@torch.inference_mode()
def test_torch_engine_equals_the_model(name: str) -> None:
    model = build_sam(TINY if name == "tiny" else name)
    shake(model)
    side = 64 if name == "tiny" else 128
    frames = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    expected = model.encode(frames)

    engine = TorchEngine(model, torch.float32)
    found = engine.encode(frames)

    assert engine.name == "torch float32"
    for part in ("embedding", "detail", "maps"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("transposed", [False, True])
@torch.inference_mode()
def test_folded_unetr_equals_unetr(transposed: bool) -> None:
    decoder = shake(UnetrDecoder(16, transposed))
    x = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    folded = fold_norms(decoder)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    torch.testing.assert_close(folded(x), decoder(x), atol=1e-4, rtol=0)


def test_folding_leaves_the_model_as_it_is() -> None:
    model = build_sam("conv_test").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_encoder(model)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.image_encoder.modules())
    assert folded.mask_decoder is model.mask_decoder  # shared, not copied
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_a_model_is_folded_once_until_its_weights_change() -> None:
    model = build_sam("conv_test").eval()
    shake(model)
    frames = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    folded = fold_encoder(model)
    assert fold_encoder(model) is folded
    with torch.no_grad():
        for norm in (part for part in model.modules() if isinstance(part, nn.BatchNorm2d)):
            norm.running_mean.add_(0.5)
        expected = model.encode(frames).embedding
        anew = fold_encoder(model)
        assert anew is not folded
        torch.testing.assert_close(anew.encode(frames).embedding, expected, atol=1e-4, rtol=0)
        assert (folded.encode(frames).embedding - expected).abs().max() > 1e-3


def test_a_folded_model_keeps_nothing_alive() -> None:
    model = build_sam("conv_test").eval()
    gone = weakref.ref(model)
    engine = TorchEngine(model)
    del model
    gc.collect()
    assert gone() is None
    assert engine.encode(torch.zeros(1, 3, 64, 64)).embedding.isfinite().all()


def test_nothing_to_fold_is_not_copied() -> None:
    model = build_sam("vit_test")
    assert fold_norms(model.image_encoder) is model.image_encoder
    assert fold_encoder(model) is model


@pytest.mark.parametrize(
    ("device", "bfloat16", "convolutional", "expected"),
    [
        pytest.param("cpu", False, False, torch.float32, id="no bfloat16"),
        pytest.param("cpu", True, False, torch.bfloat16, id="bfloat16"),
        pytest.param("cpu", True, True, torch.bfloat16, id="convolutions, with bfloat16"),
        pytest.param("cuda", False, True, torch.float32, id="convolutions on a GPU"),
        pytest.param("mps", False, False, torch.float16, id="mps"),
    ],
)
def test_precision(
    device: str, bfloat16: bool, convolutional: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.inference.engines.engine.multiplies_bfloat16", lambda: bfloat16)
    assert choose_precision(torch.device(device), convolutional) == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        pytest.param({"amx_bf16": True, "avx512_bf16": True}, True, id="tiles"),
        pytest.param({"amx_bf16": False, "avx512_bf16": True}, True, id="instructions"),
        pytest.param({}, False, id="neither"),
    ],
)
def test_what_the_processor_multiplies(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(image_encoder, "has_amx", has_amx.__wrapped__)  # nothing is kept for other tests
    assert multiplies_bfloat16.__wrapped__() is expected


@torch.inference_mode()
def test_reduced_precision_is_near_and_comes_back_as_float32() -> None:
    model = build_sam("vit_test").eval()
    frames = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    expected = model.encode(frames).embedding
    found = TorchEngine(model, torch.bfloat16).encode(frames).embedding
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() / expected.norm() < 0.03


@pytest.mark.parametrize("masked", [False, True], ids=["points", "and a mask"])
def test_decoding_in_reduced_precision_is_near(masked: bool) -> None:
    model = build_sam("vit_test").eval()
    torch.manual_seed(1)
    embedding, coords = torch.randn(1, 32, 8, 8), torch.rand(3, 2, 2) * 128
    labels = torch.tensor([[1, -1]] * 3)
    masks = torch.randn(3, 1, 32, 32) if masked else None
    with torch.inference_mode():
        expected, _ = model.decode(embedding, coords, labels, masks)
    engine = TorchEngine(model, torch.float32, torch.bfloat16)
    found, _ = engine.decode(embedding, coords, labels, masks, None, engine.share(embedding))
    assert engine.name == "torch float32, decoder torch bfloat16"
    assert 0 < (found.float() - expected).norm() / expected.norm() < 0.1


def test_the_predictor_takes_an_engine(vit_model: LoadedModel) -> None:
    class Marked(TorchEngine):
        calls: ClassVar[list[str]] = []

        def encode(self, frames: torch.Tensor) -> Any:
            self.calls.append("encode")
            return super().encode(frames)

        def share(self, embedding: torch.Tensor) -> Any:
            self.calls.append("share")
            return super().share(embedding)

        def decode(self, *args: Any) -> Any:
            self.calls.append("decode")
            return super().decode(*args)

    from napari_sam.inference.transforms import measure_normalization

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    predictor = Predictor(vit_model, Marked(vit_model.module))
    frame = predictor.make_frame((0, 0, 64, 64))
    embedding = predictor.encode(pixels, measure_normalization(pixels), frame, (64, 64))
    for _ in range(2):
        predictor.decode(embedding, Prompts(points=np.array([[30, 30]], np.float32)))
    assert Marked.calls == ["encode", "share", "decode", "decode"]
