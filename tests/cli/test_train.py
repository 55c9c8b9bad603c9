from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from skimage.io import imsave
from torch.multiprocessing.spawn import ProcessRaisedException

from napari_sam.cli.main import main
from napari_sam.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.training.dataset import LabelledImage


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the training loop was asked to do."""
    asked: list[dict[str, Any]] = []

    def train(images: list[LabelledImage], config: str, out: Path, **options: Any) -> Path:
        names = [image.name for image in images]
        asked.append({"names": names, "config": config, "out": out, **options})
        if out.name == "damaged":
            raise CheckpointError("truncated checkpoint")
        if out.name == "child":
            raise ProcessRaisedException("-- Process 0 failed:\nTraceback\nSamError: no pairs", 0, 1)
        return out / f"{config}.safetensors"

    module = ModuleType("napari_sam.training.loop")
    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One labelled image, called cell."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        imsave(tmp_path / kind / "cell.png", np.eye(9, dtype=np.uint8), check_contrast=False)
    return tmp_path


def test_options_reach_the_loop(
    calls: list[dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(data), "--config", "nuclei", "--out", str(data / "run")]
    command += ["--device", "cpu"]
    assert main(command) == 0
    others = "--resume --processes 2 --seed 3 --steps-scale 0.5 --phases joint,scores --init m"
    assert main([*command, *others.split()]) == 0
    common = {"names": ["cell"], "config": "nuclei", "out": data / "run", "device": "cpu"}
    assert calls == [
        {**common, "resume": False, "processes": 1, "seed": 0, "scale": 1, "phases": None, "init": None},
        {
            **common,
            "resume": True,
            "processes": 2,
            "seed": 3,
            "scale": 0.5,
            "phases": ["joint", "scores"],
            "init": "m",
        },
    ]
    assert capsys.readouterr().out.splitlines() == [str(data / "run" / "nuclei.safetensors")] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "no training data: no such folder"),
        (["--processes", "0"], "at least one process"),
        (["--config", "cells"], "out of nuclei, smoke"),
        (["--phases", "joint,rest"], "out of dense, prompts, joint, plain, scores, got 'rest'"),
        (["--out", "damaged"], "error: truncated checkpoint"),
        (["--out", "child"], "error: A training process failed: SamError: no pairs"),
        (["--device", "abacus"], "'abacus'"),
    ],
    ids=[
        "no data",
        "no process",
        "no recipe",
        "no phase",
        "an error of the loop",
        "an error of a process",
        "device",
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    calls: list[dict[str, Any]],
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "--data", str(data), "--config", "nuclei", "--out", str(data / "run")]
    assert main([*command, *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps-scale", "0", "expected a number above 0"),
        ("--steps-scale", "nan", "expected a number above 0"),
        ("--steps-scale", "inf", "expected a number above 0"),
        ("--seed", "-1", "expected a number from 0"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_at_once(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", "nowhere", "--config", "nuclei", "--out", "run", option, value]) == 2
    assert f"{message}, got {value!r}" in capsys.readouterr().err
