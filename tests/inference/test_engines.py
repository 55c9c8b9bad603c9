from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_sam.errors import SamError
from napari_sam.inference.engines import TorchEngine, choose_engine
from napari_sam.inference.engines import openvino_engine as ov
from napari_sam.inference.engines.choice import passes_guard, read_verdict, write_verdict
from napari_sam.inference.engines.engine import choose_precision, fold_encoder
from napari_sam.inference.engines.folding import fold_norms
from napari_sam.inference.predictor import Predictor
from napari_sam.modeling import SamConfig, TinyViTConfig, build_sam
from napari_sam.modeling.unetr_decoder import UnetrDecoder

if TYPE_CHECKING:
    from pathlib import Path

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


def test_nothing_to_fold_is_not_copied() -> None:
    encoder = build_sam("vit_test").image_encoder
    assert fold_norms(encoder) is encoder


@pytest.mark.parametrize(
    ("device", "amx", "convolutional", "expected"),
    [
        pytest.param("cpu", False, False, torch.float32, id="no tiles"),
        pytest.param("cpu", True, False, torch.bfloat16, id="tiles"),
        pytest.param("cpu", True, True, torch.float32, id="convolutions, with tiles"),
        pytest.param("cuda", False, True, torch.float32, id="convolutions on a GPU"),
        pytest.param("mps", False, False, torch.float16, id="mps"),
    ],
)
def test_precision(
    device: str, amx: bool, convolutional: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.inference.engines.engine.has_amx", lambda: amx)
    assert choose_precision(torch.device(device), convolutional) == expected


@torch.inference_mode()
def test_reduced_precision_is_near_and_comes_back_as_float32() -> None:
    model = build_sam("vit_test").eval()
    frames = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    expected = model.encode(frames).embedding
    found = TorchEngine(model, torch.bfloat16).encode(frames).embedding
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() / expected.norm() < 0.03


@pytest.mark.parametrize(
    ("overlaps", "expected"),
    [
        pytest.param([], False, id="nothing compared"),
        pytest.param([1.0] * 10, True, id="equal"),
        pytest.param([0.5] + [1.0] * 99, True, id="one in a hundred"),
        pytest.param([0.96] * 10 + [1.0] * 90, False, id="ten in a hundred"),
        pytest.param([0.985] * 100, False, id="all a little"),
    ],
)
def test_guard(overlaps: list[float], expected: bool) -> None:
    assert passes_guard(overlaps) is expected


@pytest.mark.parametrize(
    ("overlaps", "seconds", "expected"),
    [
        pytest.param([1.0], 1.0, True, id="accurate and faster"),
        pytest.param([1.0], 3.0, False, id="slower"),
        pytest.param([0.9], 1.0, False, id="inaccurate"),
    ],
)
def test_verdict(overlaps: list[float], seconds: float, expected: bool, tmp_path: Path) -> None:
    assert write_verdict(tmp_path, overlaps, seconds, 2.0) is expected
    assert read_verdict(tmp_path)["chosen"] is expected


@pytest.mark.parametrize("text", [None, "", "{", "[1]"], ids=["none", "empty", "cut off", "a list"])
def test_no_verdict(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "verdict.json").write_text(text, encoding="utf-8")
    assert read_verdict(tmp_path) == {}


def test_pytorch_unless_something_is_prepared(vit_model: LoadedModel, tmp_path: Path) -> None:
    assert choose_engine(vit_model, tmp_path).name.startswith("torch")


def test_without_openvino_it_says_how_to_get_it(
    vit_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ov, "has_openvino", lambda: False)
    with pytest.raises(SamError, match=r"pip install napari-sam-workbench\[openvino\]"):
        ov.convert(vit_model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_predictor_takes_an_engine(vit_model: LoadedModel) -> None:
    class Marked(TorchEngine):
        calls = 0

        def encode(self, frames: torch.Tensor) -> Any:
            Marked.calls += 1
            return super().encode(frames)

    from napari_sam.inference.transforms import measure_normalization

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    predictor = Predictor(vit_model, Marked(vit_model.module))
    predictor.encode(pixels, measure_normalization(pixels), predictor.make_frame((0, 0, 64, 64)), (64, 64))
    assert Marked.calls == 1


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["conv_test", "vit_test"])
def test_openvino_equals_the_model(architecture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model: LoadedModel = request.getfixturevalue(architecture.replace("test", "model"))
    place = ov.convert(model, tmp_path)
    assert ov.find_converted(model, tmp_path) == place
    assert ov.find_converted(replace(model, sha256="1" * 64), tmp_path) is None  # other weights
    engine = ov.OpenVinoEngine(model, place, "f32")
    sizes = [(128, 128)] if architecture == "vit_test" else [(128, 128), (160, 272)]
    for height, width in sizes:
        frames = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
        found = engine.encode(frames)
        with torch.inference_mode():
            expected = model.module.encode(frames)
        for part in ("embedding", "detail", "maps"):
            theirs = getattr(expected, part)
            if theirs is not None:
                torch.testing.assert_close(getattr(found, part), theirs, atol=1e-3, rtol=1e-3)

    assert choose_engine(model, tmp_path).name.startswith("torch")  # not compared yet
    write_verdict(place, [1.0], 1.0, 2.0)
    assert choose_engine(model, tmp_path).name.startswith("openvino")
    (place / ov.MODEL_FILE).write_text(json.dumps("damaged"), encoding="utf-8")
    assert choose_engine(model, tmp_path).name.startswith("torch")
