"""The commands against the real inference floor, with a tiny model of random weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch

from napari_sam.cli.main import main
from napari_sam.evaluation import evaluate_labels
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import load_model, write_checkpoint
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.segment_image import segment_image
from napari_sam.modeling import build_sam
from napari_sam.sample_data import make_nuclei

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(build_sam("conv_test"), path, name="tiny", record={})
    return path


def test_segment_a_stack_of_channels(checkpoint: Path, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 4000, (2, 4, 48, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack", metadata={"axes": "ZCYX"})
    command = ["segment", str(tmp_path / "s.tif"), "--out", str(tmp_path / "out"), "--model", str(checkpoint)]
    assert main([*command, "--device", "cpu", "--channels", "3,0"]) == 0
    labels = tifffile.imread(tmp_path / "out" / "s_labels.tif")
    assert (labels.shape, labels.dtype) == ((2, 48, 64), np.int32)


def test_the_object_size_is_what_the_model_sees(tmp_path: Path) -> None:
    image, truth = make_nuclei((160, 160), count=6, seed=3)
    for folder, plane in (("images", image), ("labels", truth)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", plane)
    size = ["--device", "cpu", "--object-size", "90"]
    assert main(["segment", str(tmp_path / "images"), "--out", str(tmp_path), *size]) == 0
    model = load_model("nuclei", "cpu")
    labels = [
        segment_image(image, CachedPredictor(model, settings=settings))
        for settings in (EncodeSettings(object_size=90), EncodeSettings())
    ]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a_labels.tif"), labels[0])
    assert (labels[0] != labels[1]).any()

    command = ["evaluate", "--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    command += ["--automatic", "--json", str(tmp_path / "scores.json"), *size]
    assert main(command) == 0
    record = json.loads((tmp_path / "scores.json").read_text())
    assert (record["object_size"], record["channels"]) == (90, None)
    score = evaluate_labels(truth, labels[0]).msa
    assert record["groups"]["all"]["mSA"]["value"] == pytest.approx(score)


def test_evaluate(checkpoint: Path, tmp_path: Path) -> None:
    for folder, value in (("images", 200), ("labels", 1)):
        (tmp_path / folder).mkdir()
        plane = np.zeros((48, 64), np.uint16)
        plane[0:12, 20:34] = (
            value  # at the image's edge: its tight box reaches half a pixel beyond the centres
        )
        tifffile.imwrite(tmp_path / folder / "a.tif", plane)
    command = ["evaluate", "--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    command += ["--model", str(checkpoint), "--device", "cpu", "--json", str(tmp_path / "scores.json")]
    assert main(command) == 0
    record = json.loads((tmp_path / "scores.json").read_text())
    assert (record["model"], len(record["sha256"])) == ("tiny", 64)
    summary = record["groups"]["all"]
    assert all(0 <= summary[name]["value"] <= 1 for name in ("mIoU, 1 click", "mIoU, box", "AP@0.5", "mSA"))
    assert 1 <= summary["NoC@85 (cap 20)"]["value"] <= 20
    assert summary["ms per encode"]["value"] > 0


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.safetensors", b"\x10\x00\x00"), ("code.pt", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")],
    ids=["truncated", "pickle with code"],
)
def test_bad_checkpoints_are_one_line(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a.tif").touch()
    command = ["segment", str(tmp_path / "a.tif"), "--out", str(tmp_path), "--model", str(tmp_path / name)]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert name in err
    assert err.count("\n") == 1
