from __future__ import annotations

import re
import subprocess
import sys

import pytest

from napari_sam.cli import main as main_module
from napari_sam.cli.main import main
from napari_sam.errors import ImageError

COMMANDS = ["segment", "batch", "replay", "prompts", "propagate", "export", "embed", "cache", "models"]
COMMANDS += ["evaluate", "train"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"examples:\n  napari-sam {command}" in out
    assert "docs/" not in out  # whoever installed the package has no such folder


def test_help_of_the_program_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"\n    {command}\s", out) for command in COMMANDS)


def test_help_loads_neither_torch_nor_napari() -> None:
    code = (
        "import sys; from napari_sam.cli.main import main; main(['segment', '--help']);"
        "heavy = {'torch', 'napari', 'qtpy', 'scipy', 'skimage'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "segment" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("napari-sam ")


@pytest.mark.parametrize(
    "arguments",
    [["segmnt"], ["segment", "x.png"], ["segment", "x.png", "--out", "o", "--channels", "1,1"]],
    ids=["unknown command", "no --out", "channel twice"],
)
def test_wrong_usage_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ImageError("Expected a plane,\ngot none."), 2, "napari-sam: error: Expected a plane, got none.\n"),
        (FileNotFoundError(2, "no such file", "x.tif"), 2, "napari-sam: error: no such file: x.tif\n"),
        (KeyboardInterrupt(), 130, "napari-sam: interrupted\n"),
    ],
    ids=["ours", "missing file", "Ctrl+C"],
)
def test_errors_are_one_line(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(main_module.models, "run_models", fail)
    assert main(["models"]) == code
    assert capsys.readouterr().err == message


def test_verbose_shows_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(options: object) -> int:
        raise ImageError("bad plane")

    monkeypatch.setattr(main_module.models, "run_models", fail)
    assert main(["models", "-v"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("napari-sam: error: bad plane\n")
