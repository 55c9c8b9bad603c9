from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from torch.multiprocessing.spawn import ProcessRaisedException

from napari_sam.cli.main import main
from napari_sam.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the training loop was asked to do."""
    asked: list[dict[str, Any]] = []

    def train(data: Path, config: str, out: Path, **options: Any) -> Path:
        asked.append({"data": data, "config": config, "out": out, **options})
        if config == "damaged":
            raise CheckpointError("truncated checkpoint")
        if config == "child":
            raise ProcessRaisedException("-- Process 0 failed:\nTraceback\nSamError: no pairs", 0, 1)
        return out / f"{config}.safetensors"

    module = ModuleType("napari_sam.training.loop")
    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


def test_options_reach_the_loop(
    calls: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    command = ["train", "--data", str(tmp_path), "--config", "nuclei", "--out", str(tmp_path / "run")]
    command += ["--device", "cpu"]
    assert main(command) == 0
    assert (
        main([*command, "--resume", "--processes", "2", "--seed", "3", "--steps-scale", "0.5", "--init", "m"])
        == 0
    )
    common = {"data": tmp_path, "config": "nuclei", "out": tmp_path / "run"}
    assert calls == [
        {**common, "resume": False, "processes": 1, "seed": 0, "device": "cpu", "scale": 1, "init": None},
        {**common, "resume": True, "processes": 2, "seed": 3, "device": "cpu", "scale": 0.5, "init": "m"},
    ]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "run" / "nuclei.safetensors")] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nuclei"], "no training data: no such folder"),
        (["--config", "nuclei", "--processes", "0"], "at least one process"),
        (["--config", "nuclei", "--steps-scale", "0"], "a scale above 0"),
        (["--config", "damaged"], "error: truncated checkpoint"),
        (["--config", "child"], "error: A training process failed: SamError: no pairs"),
        (["--config", "nuclei", "--device", "abacus"], "'abacus'"),
    ],
    ids=["no data", "no process", "no steps", "an error of the loop", "an error of a process", "device"],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    calls: list[dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "nuclei" not in arguments or "--device" in arguments:
        (tmp_path / "images").mkdir()
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
