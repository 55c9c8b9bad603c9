from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from napari_sam.cli.main import main
from napari_sam.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the training loop was asked to do."""
    asked: list[dict[str, Any]] = []

    def train(data: Path, config: str, out: Path, **options: Any) -> None:
        asked.append({"data": data, "config": config, "out": out, **options})
        if config == "damaged":
            raise CheckpointError("truncated checkpoint")

    module = ModuleType("napari_sam.training.loop")
    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


def test_options_reach_the_loop(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "index.csv").touch()
    command = ["train", "--data", str(tmp_path), "--config", "nuclei", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert main([*command, "--resume", "--processes", "2", "--seed", "3", "--device", "cpu"]) == 0
    common = {"data": tmp_path, "config": "nuclei", "out": tmp_path / "run"}
    assert calls == [
        {**common, "resume": False, "processes": 1, "seed": 0, "device": "auto"},
        {**common, "resume": True, "processes": 2, "seed": 3, "device": "cpu"},
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nuclei"], "no training data: no such file"),
        (["--config", "nuclei", "--processes", "0"], "at least one process"),
        (["--config", "damaged"], "truncated checkpoint"),
    ],
    ids=["no data", "no process", "an error of the loop"],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    calls: list[dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "damaged" in arguments:
        (tmp_path / "index.csv").touch()
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
