from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_sam.errors import CheckpointError, DownloadError, MissingWeightsError, SamError
from napari_sam.inference import checkpoints, weight_files
from napari_sam.inference.checkpoints import load_model, write_checkpoint
from napari_sam.inference.device import choose_device, list_devices
from napari_sam.inference.registry import ModelCard, WeightFile
from napari_sam.inference.state_dicts import Weights, _read_pickle, _unwrap, check_fit, recognise
from napari_sam.inference.weight_files import WeightFolder
from napari_sam.modeling import build_sam, get_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def test_a_checkpoint_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    write_checkpoint(build_sam("conv_test"), tmp_path / "mine.safetensors", name="mine", record={})
    assert (tmp_path / "mine.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


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


class Command(Trap):
    """The same by the command line."""

    def __reduce__(self) -> Any:
        return os.system, (f"echo caught > {self.path}",)


class Source(Trap):
    """The same by code of its own."""

    def __reduce__(self) -> Any:
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


def legacy_tar(path: Path, value: Any) -> Path:
    """The format of the first releases of PyTorch: a tar of pickles."""
    data = {"pickle": pickle.dumps(value), "tensors": pickle.dumps(0), "storages": pickle.dumps(value)}
    with tarfile.open(path, "w") as tar:
        for name, content in data.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_of_code(path: Path, value: Any) -> Path:
    """What ``torch.jit.save`` writes has code in it, and a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value))
        archive.writestr("archive/constants.pkl", pickle.dumps(value))
        archive.writestr("archive/code/__torch__.py", "raise SystemExit")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


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
        pytest.param(
            lambda d, f: d / "nothing.pt",
            "name of a model or the path of a checkpoint, got .*nothing",
            id="no file",
        ),
        pytest.param(
            lambda d, f: folder(d / "x.safetensors"), "the name of a model or the path", id="a folder"
        ),
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
            "the image encoder alone",
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
        pytest.param(
            lambda d, f: rewrite(
                f,
                d / "x.safetensors",
                tensors={"mask_decoder.iou_token.weight": torch.full((1, 32), torch.nan)},
            ),
            "finite weights .* got 32 that are not in .*iou_token",
            id="weights that are no numbers",
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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("~nobody-of-this-name/m.pt", "home directory", id="no such user"),
        pytest.param("m" * 9999 + ".pt", "File name too long", id="a very long name"),
    ],
)
def test_a_path_that_cannot_be(name: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=f"Cannot look for a checkpoint at .*: .*{reason}"):
        load_model(name, "cpu")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A file or folder that may not be used, not even where root runs the tests."""
    is_root, mode = os.geteuid() == 0, path.stat().st_mode
    path.chmod(0)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(mode)


@pytest.mark.skipif(os.name != "posix", reason="rights of files are another thing on Windows")
@pytest.mark.parametrize(("what", "message"), [("file", "Cannot read"), ("folder", "Cannot look for")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_checkpoint_that_may_not_be_read(what: str, message: str, suffix: str, conv_file: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies in a folder of its user alone
        path = Path(name) / f"m{suffix}"
        Path(name).chmod(0o755)
        shutil.copy(conv_file, path)
        with (
            locked(path if what == "file" else path.parent),
            pytest.raises(CheckpointError, match=f"{message} .*: Permission denied"),
        ):
            load_model(path, "cpu")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("[]", "training record"),
        ('{"defaults": []}', "default thresholds by method"),
        ('{"defaults": {"instances": 3}}', "default thresholds by method"),
        (
            '{"defaults": {"instances": {"vote_sigma": "x"}}}',
            "x.safetensors are of no use: .*vote_sigma .* got 'x'",
        ),
    ],
)
def test_a_record_that_is_none(record: str, message: str, conv_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    config = json.dumps(get_config("conv_test").to_dict())
    save_file(load_file(conv_file), path, {"config": config, "record": record})
    with pytest.raises(CheckpointError, match=message):
        load_model(path, "cpu")


@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(save_pickle, id="zip"),
        pytest.param(lambda p, v: save_pickle(p, v, _use_new_zipfile_serialization=False), id="legacy"),
        pytest.param(plain_pickle, id="plain pickle"),
        pytest.param(legacy_tar, id="tar"),
        pytest.param(zip_of_code, id="zip with code"),
    ],
)
@pytest.mark.parametrize("trap", [Trap, Command, Source])
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"model_state": {"a": t}}], ids=["bare", "nested"])
def test_a_hostile_pickle_is_not_run(
    write: Callable[[Path, Any], Path],
    wrap: Callable[[Any], Any],
    trap: type[Trap],
    suffix: str,
    tmp_path: Path,
) -> None:
    witness = tmp_path / "witness"
    path = write(tmp_path / f"model{suffix}", wrap(trap(witness)))
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
        pytest.param(
            {"detail_channels": 8, "instance_decoder": False}, 'instance_decoder="maps"', id="detail"
        ),
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
    assert recognise(meta_state(architecture), Path("x.pth")) == get_config(architecture)


@pytest.mark.parametrize("architecture", ["conv_test", "vit_test"])
def test_small_models_are_not_mistaken_for_original_ones(architecture: str) -> None:
    with pytest.raises(CheckpointError, match="other weights"):
        recognise(meta_state(architecture), Path("x.pth"))


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {"model_state": s, "epoch": 3}, id="model_state"),
        pytest.param(lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}, id="data-parallel"),
        pytest.param(lambda s: {"model": {f"sam.{k}": v for k, v in s.items()}}, id="sam."),
        pytest.param(lambda s: {"model_state_dict": {f"model.{k}": v for k, v in s.items()}}, id="model."),
        pytest.param(lambda s: {f"module.sam.{k}": v for k, v in s.items()}, id="module.sam."),
    ],
)
def test_a_state_dict_is_unwrapped(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    state = build_sam("vit_test").state_dict()
    path = save_pickle(tmp_path / "x.pth", wrap(state))
    read = _unwrap(_read_pickle(path), path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], value) for key, value in state.items())


def test_an_original_checkpoint_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of a ``.pth``, with a model of test size in the place of the one recognised."""
    monkeypatch.setattr("napari_sam.inference.state_dicts.recognise", lambda *_: get_config("vit_test"))
    torch.manual_seed(5)
    state = build_sam("vit_test").state_dict()
    path = save_pickle(tmp_path / "finetuned.pth", {"model_state": state})
    model = load_model(path, "cpu")
    assert (model.name, model.record) == ("finetuned", {})
    assert all(torch.equal(value, state[key]) for key, value in model.module.state_dict().items())


# ---- fine-tuned models, with their instance decoders -------------------------------------------------------


@pytest.fixture(scope="module")
def small_unetr() -> Any:
    """A small transformer with a UNETR decoder, and its state dict in two parts, as they are published."""
    torch.manual_seed(7)
    module = build_sam(replace(get_config("vit_test"), instance_decoder="unetr"))
    state, prefix = module.state_dict(), "instance_decoder."
    body = {key: value for key, value in state.items() if not key.startswith(prefix)}
    decoder = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return state, body, decoder


@pytest.fixture
def as_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recognise the small transformer, which is none of the original models."""
    monkeypatch.setattr("napari_sam.inference.state_dicts.recognise", lambda *_: get_config("vit_test"))


def same_state(module: Any, state: dict[str, Tensor]) -> bool:
    ours = module.state_dict()
    return ours.keys() == state.keys() and all(torch.equal(ours[key], state[key]) for key in state)


@pytest.mark.usefixtures("as_small")
def test_an_export_with_its_decoder(small_unetr: Any, tmp_path: Path) -> None:
    state, body, decoder = small_unetr
    # a whole UNETR brings its own copy of the image encoder
    content = {
        "model_state": {f"sam.{key}": value for key, value in body.items()},
        "decoder_state": decoder | {"encoder.pos_embed": torch.zeros(3)},
        "iteration": 5,
    }
    model = load_model(save_pickle(tmp_path / "best.pt", content), "cpu")
    assert model.config == replace(get_config("vit_test"), instance_decoder="unetr")
    assert same_state(model.module, state)


@pytest.mark.usefixtures("as_small")
def test_a_decoder_state_of_something_else(small_unetr: Any, tmp_path: Path) -> None:
    content = {"model_state": small_unetr[1], "decoder_state": {"fc.weight": torch.zeros(3)}}
    with pytest.raises(CheckpointError, match=r"Expected a UNETR instance decoder.*such as fc.weight"):
        load_model(save_pickle(tmp_path / "best.pt", content), "cpu")


@pytest.fixture
def named(small_unetr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_small: None) -> Path:
    """The two files of a model with the name "tuned", in the folder of models under other names."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("NAPARI_SAM_MODEL_DIR", str(folder))
    monkeypatch.setattr(weight_files, "SMALLEST", 1000)
    save_pickle(folder / "a", small_unetr[1])
    save_pickle(folder / "b", small_unetr[2])
    known = WeightFolder(folder)
    for _ in known.iter_scan():
        pass
    files = [
        WeightFile(f"{name}.pt", f"http://127.0.0.1:9/{name}", known._known[name].xxh128, 1) for name in "ab"
    ]
    card = ModelCard(
        "tuned",
        "Tuned",
        "t",
        "CC0-1.0",
        weights=files[0],
        decoder=files[1],
        defaults={"grid": {"stability": 0.5}},
    )
    monkeypatch.setattr(checkpoints, "find_card", lambda name: card if name == "tuned" else None)
    return folder


def test_a_named_model_is_kept_in_one_file(named: Path, small_unetr: Any, monkeypatch: Any) -> None:
    """The second start reads neither pickle, and the model is the same."""
    first = load_model("tuned", "cpu")
    assert (first.name, first.record) == ("tuned", {"defaults": {"grid": {"stability": 0.5}}})
    assert first.config.instance_decoder == "unetr"
    assert same_state(first.module, small_unetr[0])
    (kept,) = (named / "converted").iterdir()
    assert kept.stem == first.sha256[:32]
    monkeypatch.setattr("napari_sam.inference.state_dicts._read_pickle", lambda _: pytest.fail("read again"))
    second = load_model("tuned", "cpu")
    assert (second.name, second.sha256, second.config, second.record) == (
        first.name, first.sha256, first.config, first.record,
    )  # fmt: skip
    assert same_state(second.module, small_unetr[0])
    assert not second.module.training
    x = torch.zeros(1, 3, 128, 128)
    assert torch.equal(first.module.encode(x).embedding, second.module.encode(x).embedding)


def test_a_damaged_copy_is_made_anew(named: Path, small_unetr: Any) -> None:
    load_model("tuned", "cpu")
    (kept,) = (named / "converted").iterdir()
    size = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[:1000])
    assert same_state(load_model("tuned", "cpu").module, small_unetr[0])
    assert kept.stat().st_size == size


def test_no_copy_without_space(named: Path, small_unetr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    assert same_state(load_model("tuned", "cpu").module, small_unetr[0])
    assert list((named / "converted").iterdir()) == []


def test_no_copy_where_nothing_can_be_written(
    named: Path, small_unetr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")

    monkeypatch.setattr(checkpoints, "save_file", fail)
    model = load_model("tuned", "cpu")
    assert same_state(model.module, small_unetr[0])
    with pytest.raises(OSError, match=r"Cannot write .*out.safetensors.*File too large"):
        write_checkpoint(model.module, named / "out.safetensors", name="out", record={})


def test_a_model_that_is_not_here(named: Path) -> None:
    (named / "b").unlink()
    with pytest.raises(
        MissingWeightsError, match=r"Tuned is not on this computer yet; download it first \(2 MB\)"
    ):
        load_model("tuned", "cpu", download=False)
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:9/b on another computer"):
        load_model("tuned", "cpu")


# ---- messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"mask_decoder.iou_token.weight": None},
            r"\(vit_test\): expected \d+ tensors, 1 are missing: mask_decoder.iou_token.weight\.$",
            id="one missing",
        ),
        pytest.param(
            {"mask_decoder.": None},
            r"\d+ are missing: mask_decoder\.\S+, mask_decoder\.\S+, mask_decoder\.\S+ and \d+ more",
            id="a part missing",
        ),
        pytest.param(
            {"mask_decoder.iou_token.weight": torch.zeros(1, 31)},
            r"expected mask_decoder.iou_token.weight to be \(1, 32\), got \(1, 31\)",
            id="another shape",
        ),
        pytest.param(
            {"mask_decoder.iou_token.weight": torch.zeros(1, 32, dtype=torch.int64)},
            r"to be torch.float32, got torch.int64",
            id="another type",
        ),
        pytest.param(
            {"text_encoder.a": torch.zeros(2)}, "1 tensors have no place.*text_encoder.a", id="surplus"
        ),
    ],
)
@pytest.mark.usefixtures("as_small")
def test_what_is_wrong_with_a_state_dict(
    change: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    state = build_sam("vit_test").state_dict()
    for name, value in change.items():
        if value is not None:
            state[name] = value
        else:
            state = {key: kept for key, kept in state.items() if not key.startswith(name)}
    with pytest.raises(CheckpointError, match=message):
        load_model(save_pickle(tmp_path / "x.pth", state), "cpu")


def test_the_likely_architecture_is_named() -> None:
    state = meta_state("vit_l")
    del state["mask_decoder.iou_token.weight"]
    weights = Weights(state, recognise(state, Path("x.pth")))
    with pytest.raises(CheckpointError, match=r"\(likely ViT-L\): expected \d+ tensors, 1 are missing"):
        check_fit(weights, Path("x.pth"))


def test_an_image_encoder_alone() -> None:
    state = {key: value for key, value in meta_state("vit_t").items() if key.startswith("image_encoder.")}
    with pytest.raises(CheckpointError, match=r"encoder alone \(likely TinyViT.*export the whole model"):
        recognise(state, Path("x.pth"))


def test_what_takes_no_part_may_be_missing_or_surplus(tmp_path: Path) -> None:
    state = build_sam("vit_t").state_dict()
    kept = {key: value for key, value in state.items() if "image_encoder.head" not in key}
    extra = {
        "pixel_mean": torch.zeros(3, 1, 1),
        "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": torch.zeros(2),
    }
    model = load_model(save_pickle(tmp_path / "x.pth", kept | extra), "cpu")
    assert all(torch.equal(model.module.state_dict()[key], kept[key]) for key in list(kept)[::40])


# ---- devices ----------------------------------------------------------------------------------------------


def test_devices() -> None:
    assert list_devices()[:2] == ("auto", "cpu")
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in list_devices()


def test_a_device_of_torch_is_its_name() -> None:
    assert choose_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(SamError, match=r"Expected a device out of auto, cpu.*'meta'"):
        choose_device(torch.device("meta"))


@pytest.mark.parametrize("device", ["abacus", None, 0])
def test_an_unknown_device(device: Any) -> None:
    with pytest.raises(SamError, match=rf"Expected a device out of auto, cpu.*got {device!r}"):
        choose_device(device)
