"""Options of several commands: the same spelling, help and defaults everywhere."""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from pathlib import Path

import pytest

import napari_sam.cli
from napari_sam.cli.main import make_parser
from napari_sam.cli.options import FORMATS, METHODS, read_channels, read_formats, read_positive
from napari_sam.inference import segment_image
from napari_sam.inference.checkpoints import load_model
from napari_sam.stacks import outputs

SHARED = ["--model", "--device", "--method", "--object-size", "--channels", "--formats", "--cache-dir"]
SHARED += [
    "--min-area",
    "--max-area",
    "--predicted-iou",
    "--foreground",
    "--no-border",
    "--link",
    "--workers",
]
OF_THEIR_OWN = {"--device": {"replay", "models"}, "--formats": {"export"}}
"""Commands in which they have another default."""


def list_options() -> dict[str, dict[str, argparse.Action]]:
    """Of each option the commands that have it."""
    [commands] = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    options: dict[str, dict[str, argparse.Action]] = defaultdict(dict)
    for name, parser in commands.choices.items():
        for action in parser._actions:
            for spelling in action.option_strings:
                options[spelling][name] = action
    return options


@pytest.mark.parametrize("spelling", SHARED)
def test_what_several_commands_have_is_said_alike(spelling: str) -> None:
    commands = list_options()[spelling]
    assert len(commands) > 1
    own = OF_THEIR_OWN.get(spelling, set())
    assert len({(action.help, action.default) for name, action in commands.items() if name not in own}) == 1


def test_no_command_gets_its_options_from_another() -> None:
    folder = Path(napari_sam.cli.__file__).parent
    commands = {path.stem for path in folder.glob("*.py") if "def add_command" in path.read_text("utf-8")}
    assert len(commands) == 11
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:  # what the top of a file imports
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_sam.cli."):
                names = {alias.name for alias in node.names}
                other = str(node.module).rpartition(".")[2]
                assert other not in commands or names <= {"load_with_bar"}, f"{path.name}: {names}"


@pytest.mark.parametrize("command", ["segment", "evaluate", "batch", "embed", "prompts", "propagate"])
def test_what_the_model_sees_can_be_said(command: str) -> None:
    options = list_options()
    assert command in options["--object-size"]
    assert command in options["--channels"]


@pytest.mark.parametrize("command", ["batch", "export", "prompts"])
def test_formats_have_both_spellings(command: str) -> None:
    options = list_options()
    assert options["--format"][command] is options["--formats"][command]


def test_thresholds_of_the_help_are_those_of_the_bundled_model() -> None:
    options = list_options()
    filters = segment_image.filter_defaults(load_model("nuclei", "cpu"))
    for name in ("min_area", "predicted_iou", "foreground"):
        for action in options["--" + name.replace("_", "-")].values():
            assert f"(default: the model's; for nuclei {getattr(filters, name):g})" in str(action.help)


def test_formats_are_those_that_can_be_written() -> None:
    assert tuple(outputs.FORMATS) == FORMATS


def test_methods_are_those_of_the_engine() -> None:
    assert segment_image.METHODS == METHODS


@pytest.mark.parametrize(
    ("text", "names"), [("tiff", ("tiff",)), (" CSV,tiff,csv", ("csv", "tiff")), ("all", FORMATS)]
)
def test_reading_formats(text: str, names: tuple[str, ...]) -> None:
    assert read_formats(text) == names


@pytest.mark.parametrize(("text", "channels"), [("0", (0,)), ("2,0", (2, 0)), ("3, 1,2", (3, 1, 2))])
def test_reading_channels(text: str, channels: tuple[int, ...]) -> None:
    assert read_channels(text) == channels


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *[(read_formats, text) for text in ("", ",", "tiff,bmp")],
        *[(read_channels, text) for text in ("", "1,1", "-1", "0,1,2,3", "red")],
        *[(read_positive, text) for text in ("", "0", "-1", "nan", "inf")],
    ],
)
def test_what_cannot_be_read(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        read(text)
