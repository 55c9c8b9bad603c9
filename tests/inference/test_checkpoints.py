from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_sam.errors import CheckpointError, SamError
from napari_sam.inference.checkpoints import (
    _read_pickle,
    _recognise,
    list_models,
    load_model,
    write_checkpoint,
)
from napari_sam.inference.device import choose_device, list_devices
from napari_sam.modeling import build_sam, get_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@pytest.fixture
def conv_file(checkpoint_files: dict[str, Path]) -> Path:
    return checkpoint_files["conv_test"]


def rewrite(
    source: Path, target: Path, config: Any = None, tensors: dict[str, Tensor | None] | None = None
) -> Path:
    """Copy a checkpoint with fields of its configuration and tensors changed; None takes a tensor away."""
    state = load_file(source)
    for key, value in (tensors or {}).items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    data = get_config("conv_test").to_dict()
    if isinstance(config, dict):
        data["encoder"] |= config.pop("encoder", {})
        data |= config
    text = config if isinstance(config, str) else json.dumps(data)
    save_file(state, target, {"config": text, "record": "{}"})
    return target


# ---- round trip -------------------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = build_sam("conv_test").to(torch.bfloat16)
    path = tmp_path / "mine.safetensors"
    record = {"images": 3, "defaults": {"instances": {"foreground": 0.4}}, "held_out": ["ä"]}
    write_checkpoint(module, path, name="Mine", record=record)
    model = load_model(path, "cpu")
    assert (model.name, model.record, model.config) == ("mine", record, get_config("conv_test"))
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.device == torch.device("cpu")
    assert not model.module.training
    ours = model.module.state_dict()
    assert all(v.dtype in (torch.float32, torch.int64) for v in ours.values())
    for key, value in module.state_dict().items():
        assert torch.equal(ours[key], value.to(ours[key].dtype)), key
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.safetensors"]


def test_half_halves_the_weights_and_keeps_norms(tmp_path: Path) -> None:
    module = build_sam("conv_test")
    for name, half in (("full", False), ("half", True)):
        write_checkpoint(module, tmp_path / f"{name}.safetensors", name=name, record={}, half=half)
    stored = load_file(tmp_path / "half.safetensors")
    loaded = load_model(tmp_path / "half.safetensors", "cpu").module.state_dict()
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            assert stored[key].dtype == (torch.float16 if value.ndim > 1 else torch.float32), key
            torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-6)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (
        tmp_path / "full.safetensors"
    ).stat().st_size


def test_a_configuration_of_ones_own(conv_file: Path, tmp_path: Path) -> None:
    path = rewrite(conv_file, tmp_path / "own.safetensors", {"image_size": 512, "pixel_mean": [0, 1.5, 2]})
    config = load_model(path, "cpu").config
    assert (config.image_size, config.pixel_mean) == (512, (0, 1.5, 2))
    assert config.encoder == get_config("conv_test").encoder


def test_list_models() -> None:
    assert [card.name for card in list_models()] == ["nuclei"]
    assert all(card.title and card.description and card.license for card in list_models())


# ---- damaged, foreign and hostile files -------------------------------------------------------------------


def save_pickle(path: Path, value: Any, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def cut(path: Path, source: Path, fraction: float) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


class Trap:
    """What a hostile pickle does when it is opened carelessly: here it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def plain_pickle(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def text(path: Path, words: str) -> Path:
    path.write_text(words)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda d, f: d / "nothing.pt", "Expected a model out of nuclei", id="no file"),
        pytest.param(lambda d, f: folder(d / "x.safetensors"), "Expected a model out of", id="a folder"),
        pytest.param(lambda d, f: text(d / "x.safetensors", ""), "damaged", id="empty safetensors"),
        pytest.param(lambda d, f: text(d / "x.pt", ""), "damaged", id="empty pt"),
        pytest.param(lambda d, f: text(d / "x.safetensors", "weights " * 99), "damaged", id="a text"),
        pytest.param(lambda d, f: text(d / "x.pth", "weights " * 99), "damaged", id="text pth"),
        pytest.param(lambda d, f: cut(d / "x.safetensors", f, 0.7), "damaged", id="safetensors cut off"),
        pytest.param(lambda d, f: cut(d / "x.SAFETENSORS", f, 0.01), "damaged", id="header cut off"),
        pytest.param(
            lambda d, f: cut(d / "x.pt", save_pickle(d / "y.pt", load_file(f)), 0.7),
            "damaged",
            id="pt cut off",
        ),
        pytest.param(
            lambda d, f: cut(
                d / "x.pt",
                save_pickle(d / "y.pt", load_file(f), _use_new_zipfile_serialization=False),
                0.7,
            ),
            "damaged",
            id="old pt cut off",
        ),
        pytest.param(lambda d, f: save_pickle(d / "x.pt", [1, 2]), "got list", id="a list"),
        pytest.param(lambda d, f: save_pickle(d / "x.pt", {"a": 3}), "state dict", id="no tensors"),
        pytest.param(lambda d, f: save_pickle(d / "x.pt", {}), "got other weights", id="no weights"),
        pytest.param(
            lambda d, f: save_pickle(d / "x.pt", {"conv1.weight": torch.zeros(3)}),
            "other weights",
            id="resnet",
        ),
        pytest.param(
            lambda d, f: save_pickle(d / "x.pt", {"image_encoder.pos_embed": torch.tensor(1.0)}),
            "other weights",
            id="a position that is a number",
        ),
        pytest.param(
            lambda d, f: save_pickle(d / "x.pt", {"image_encoder.pos_embed": torch.zeros(1, 2, 2, 768)}),
            "do not fit their architecture",
            id="vit-b in name only",
        ),
        pytest.param(
            lambda d, f: rewrite(f, d / "x.safetensors", tensors={"mask_decoder.iou_token.weight": None}),
            "do not fit.*iou_token",
            id="a tensor missing",
        ),
        pytest.param(
            lambda d, f: rewrite(f, d / "x.safetensors", tensors={"surplus": torch.zeros(2)}),
            "do not fit.*surplus",
            id="a tensor too many",
        ),
        pytest.param(
            lambda d, f: rewrite(
                f, d / "x.safetensors", tensors={"mask_decoder.iou_token.weight": torch.zeros(1, 31)}
            ),
            "do not fit.*iou_token",
            id="another shape",
        ),
        pytest.param(
            lambda d, f: rewrite(f, d / "x.safetensors", json.dumps(get_config("vit_test").to_dict())),
            "do not fit",
            id="of another architecture",
        ),
        pytest.param(lambda d, f: rewrite(f, d / "x.safetensors", "{"), "configuration", id="not json"),
        pytest.param(lambda d, f: rewrite(f, d / "x.safetensors", "[" * 10**5), "is damaged", id="deep json"),
        pytest.param(lambda d, f: rewrite(f, d / "x.safetensors", "[1]"), "configuration", id="json list"),
        pytest.param(lambda d, f: rewrite(f, d / "x.safetensors", "null"), "configuration", id="json null"),
    ],
)
def test_unusable_files(
    make: Callable[[Path, Path], Path], message: str, conv_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(make(tmp_path, conv_file), "cpu")
    assert "\n" not in str(caught.value)


def test_a_record_that_is_none(conv_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    config = json.dumps(get_config("conv_test").to_dict())
    save_file(load_file(conv_file), path, {"config": config, "record": "[]"})
    with pytest.raises(CheckpointError, match="training record"):
        load_model(path, "cpu")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(save_pickle, id="zip"),
        pytest.param(lambda p, v: save_pickle(p, v, _use_new_zipfile_serialization=False), id="legacy"),
        pytest.param(plain_pickle, id="plain pickle"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"model_state": {"a": t}}], ids=["bare", "nested"])
def test_a_hostile_pickle_is_not_run(
    write: Callable[[Path, Any], Path], wrap: Callable[[Any], Any], suffix: str, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    path = write(tmp_path / f"model{suffix}", wrap(Trap(witness)))
    with pytest.raises(CheckpointError, match=r"more than weights|damaged"):
        load_model(path, "cpu")
    assert not witness.exists()
    if write is plain_pickle:  # the trap works where nobody looks out
        pickle.loads(path.read_bytes())
        assert witness.exists()


def test_a_damaged_pickle_never_escapes(checkpoint_files: dict[str, Path], tmp_path: Path) -> None:
    """Bytes changed at random anywhere end in an answer or in one kind of error."""
    import random

    generator = random.Random(0)
    path = save_pickle(tmp_path / "m.pt", {"a": torch.zeros(3)}, _use_new_zipfile_serialization=False)
    data, failed = path.read_bytes(), 0
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(3):
            changed[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(changed)
        try:
            _read_pickle(path)
        except CheckpointError:
            failed += 1
    assert failed > 50


HUGE = 10**9


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"embed_dim": HUGE}, "embed_dim is 1000000000", id="width"),
        pytest.param({"embed_dim": 16384}, "do not fit", id="a width that could be, but is not in the file"),
        pytest.param({"decoder_mlp_dim": 16000}, "do not fit", id="a wide decoder"),
        pytest.param({"decoder_depth": HUGE}, "decoder_depth is", id="depth"),
        pytest.param({"iou_head_depth": 100}, "do not fit", id="a deep head"),
        pytest.param({"encoder": {"blocks": [0, 0, 0, 0, HUGE]}}, "blocks is", id="blocks"),
        pytest.param({"encoder": {"widths": [8, 8, 16, 16, HUGE]}}, "widths is", id="widths"),
        pytest.param({"encoder": {"widths": [8] * 10**4}}, "widths is", id="many widths"),
        pytest.param({"encoder": {"widths": [8, 8]}}, "no possible model", id="few widths"),
        pytest.param({"encoder": {"widths": 8}}, "widths is 8", id="one width"),
        pytest.param({"encoder": {"kind": "transformer"}}, "transformer", id="unknown encoder"),
        pytest.param({"encoder": {"surplus": 1}}, "surplus", id="unknown field of the encoder"),
        pytest.param({"surplus": 1}, "surplus", id="unknown field"),
        pytest.param({"image_size": HUGE * 16}, "image_size is", id="image size"),
        pytest.param({"image_size": 250}, "multiple of the stride", id="crooked image size"),
        pytest.param({"image_size": 0}, "image_size is 0", id="no image"),
        pytest.param({"image_size": -256}, "image_size is -256", id="negative"),
        pytest.param({"image_size": "256"}, "image_size is '256'", id="text"),
        pytest.param({"image_size": 256.0}, "image_size is 256.0", id="float"),
        pytest.param({"image_size": True}, "image_size is True", id="bool"),
        pytest.param({"image_size": None}, "image_size is None", id="null"),
        pytest.param({"instance_decoder": 1}, "instance_decoder is 1", id="a number for a kind"),
        pytest.param({"decode_window": 4096}, "decode_window", id="a window larger than the image"),
        pytest.param({"embed_dim": 30}, "multiple of 8", id="crooked width"),
        pytest.param({"decoder_heads": 5}, "no possible model|do not fit", id="heads that do not divide"),
        pytest.param({"pixel_std": [1, 0, 1]}, "pixel_std is", id="division by zero"),
        pytest.param({"pixel_mean": [1, float("nan"), 1]}, "pixel_mean is", id="nan"),
        pytest.param({"num_multimask_outputs": 0}, "num_multimask_outputs is 0", id="no alternatives"),
        pytest.param({"detail_channels": 8, "instance_decoder": False}, 'instance_decoder="maps"', id="detail"),
        pytest.param(
            {"encoder": {"kind": "vit", "patch_size": 0, "widths": None}}, "patch_size is 0", id="patch of 0"
        ),
    ],
)
def test_hostile_configurations(
    config: dict[str, Any], message: str, conv_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(rewrite(conv_file, tmp_path / "x.safetensors", config), "cpu")
    assert "\n" not in str(caught.value)


# ---- checkpoints of other projects ------------------------------------------------------------------------


def meta_state(architecture: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build_sam(architecture).state_dict()


@pytest.mark.parametrize("architecture", ["vit_b", "vit_l", "vit_h", "vit_t"])
def test_original_checkpoints_are_recognised_by_their_keys(architecture: str) -> None:
    assert _recognise(meta_state(architecture), Path("x.pth")) == get_config(architecture)


@pytest.mark.parametrize("architecture", ["conv_test", "vit_test"])
def test_small_models_are_not_mistaken_for_original_ones(architecture: str) -> None:
    with pytest.raises(CheckpointError, match="other weights"):
        _recognise(meta_state(architecture), Path("x.pth"))


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {"model_state": s, "epoch": 3}, id="model_state"),
        pytest.param(lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}, id="data-parallel"),
        pytest.param(lambda s: {"model": {f"sam.{k}": v for k, v in s.items()}}, id="sam."),
    ],
)
def test_a_state_dict_is_unwrapped(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    state = build_sam("vit_test").state_dict()
    read = _read_pickle(save_pickle(tmp_path / "x.pth", wrap(state)))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], value) for key, value in state.items())


def test_an_original_checkpoint_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of a ``.pth``, with a model of test size in the place of the one recognised."""
    monkeypatch.setattr("napari_sam.inference.checkpoints._recognise", lambda *_: get_config("vit_test"))
    torch.manual_seed(5)
    state = build_sam("vit_test").state_dict()
    path = save_pickle(tmp_path / "finetuned.pth", {"model_state": state})
    model = load_model(path, "cpu")
    assert (model.name, model.record) == ("finetuned", {})
    assert all(torch.equal(value, state[key]) for key, value in model.module.state_dict().items())


# ---- devices ----------------------------------------------------------------------------------------------


def test_devices() -> None:
    assert list_devices()[:2] == ("auto", "cpu")
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in list_devices()


def test_an_unknown_device() -> None:
    with pytest.raises(SamError, match=r"Expected a device out of auto, cpu.*'abacus'"):
        choose_device("abacus")
