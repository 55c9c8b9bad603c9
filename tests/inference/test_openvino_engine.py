from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_sam.errors import SamError
from napari_sam.inference.engines import TorchEngine
from napari_sam.inference.engines import openvino_models as models
from napari_sam.inference.engines.openvino_engine import OpenVinoEngine

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.inference.checkpoints import LoadedModel


@pytest.fixture(scope="module")
def converted(vit_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino")
    return models.convert(vit_model, tmp_path_factory.mktemp("engines"))


def make_prompts(count: int, points: int, masked: bool) -> tuple[Any, ...]:
    torch.manual_seed(count)
    coords = torch.rand(count, points + 1, 2) * 128
    labels = torch.tensor([[1] * points + [-1]] * count)
    return coords, labels, torch.randn(count, 1, 32, 32) if masked else None


def test_without_openvino_it_says_how_to_get_it(
    vit_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "has_openvino", lambda: False)
    with pytest.raises(SamError, match=r"pip install napari-sam-workbench\[openvino\]"):
        models.convert(vit_model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["conv_test", "vit_test"])
def test_encoding_equals_the_model(architecture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model: LoadedModel = request.getfixturevalue(architecture.replace("test", "model"))
    place = models.convert(model, tmp_path)
    assert models.find_converted(model, tmp_path) == place
    assert models.find_converted(replace(model, sha256="1" * 64), tmp_path) is None  # other weights
    assert [path.name for path in tmp_path.iterdir()] == [place.name]  # nothing unfinished is left
    engine = OpenVinoEngine(model, place)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "points", "masked"),
    [
        pytest.param(1, 1, False, id="a click"),
        pytest.param(5, 2, False, id="a batch"),
        pytest.param(2, 20, False, id="many points"),
        pytest.param(1, 1, True, id="a mask"),
        pytest.param(3, 4, True, id="a batch of masks"),
    ],
)
def test_decoding_equals_the_model(
    count: int, points: int, masked: bool, vit_model: LoadedModel, converted: Path
) -> None:
    engine = OpenVinoEngine(vit_model, converted)
    embedding = torch.randn(1, 32, 8, 8, generator=torch.Generator().manual_seed(1))
    coords, labels, masks = make_prompts(count, points, masked)
    with torch.inference_mode():
        expected = vit_model.module.decode(embedding, coords, labels, masks)
    assert engine.name == "openvino f32"
    for shared in (engine.share(embedding), None):
        found = engine.decode(embedding, coords, labels, masks, None, shared)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_an_answer_is_not_overwritten_by_the_next(vit_model: LoadedModel, converted: Path) -> None:
    engine = OpenVinoEngine(vit_model, converted)
    embedding = torch.randn(1, 32, 8, 8)
    coords, labels, _ = make_prompts(1, 1, False)
    first, _ = engine.decode(embedding, coords, labels)
    before = first.clone()
    engine.decode(embedding, coords + 40, labels)
    assert torch.equal(first, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "decoder", "expected"),
    [
        pytest.param("f32", None, "openvino f32", id="encoder"),
        pytest.param(None, "f32", "torch float32, decoder openvino f32", id="decoder"),
        pytest.param(None, None, "torch float32", id="nothing"),
    ],
)
def test_what_is_not_converted_is_left_to_another_engine(
    encoder: str | None, decoder: str | None, expected: str, vit_model: LoadedModel, converted: Path
) -> None:
    class Other(TorchEngine):
        calls: set[str] = set()  # noqa: RUF012 - of this test alone

        def encode(self, *args: Any) -> Any:
            self.calls.add("encode")
            return super().encode(*args)

        def decode(self, *args: Any) -> Any:
            self.calls.add("decode")
            return super().decode(*args)

    other = Other(vit_model.module, torch.float32)
    engine = OpenVinoEngine(vit_model, converted, encoder, decoder, other)
    embedding = engine.encode(torch.randn(1, 3, 128, 128)).embedding
    engine.decode(embedding, *make_prompts(1, 1, False)[:2])
    assert engine.name == expected
    assert other.calls == {name for name, part in (("encode", encoder), ("decode", decoder)) if part is None}
    if decoder is not None:  # windows of several embeddings share nothing
        coords, labels, _ = make_prompts(2, 1, False)
        engine.decode(torch.cat([embedding, embedding]), coords, labels)
        assert "decode" in other.calls


@pytest.mark.slow
def test_windows_are_decoded_by_pytorch(conv_model: LoadedModel, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    place = models.convert(conv_model, tmp_path)
    assert {path.name for path in place.iterdir()} == {"encoder.xml", "encoder.bin"}
    assert OpenVinoEngine(conv_model, place, None, "f32").name == "torch float32"
