from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_sam.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("inference")

HEAD = "z,object,row,col,label\n"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Two objects, the second of which is in planes 1 to 3 only."""
    pixels = np.zeros((5, 40, 50), np.uint8)
    pixels[:, 4:12, 4:12] = 200
    pixels[1:4, 20:30, 20:30] = 220
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"})
    return path


def run(stack: Path, table: str, *options: str, out: str = "labels.tif") -> tuple[int, Path]:
    clicks = stack.with_name("clicks.csv")
    clicks.write_text(table)
    target = stack.with_name(out)
    command = ["propagate", str(stack), "--prompts", str(clicks), "--out", str(target), *options]
    return main(command), target


def areas(path: Path, label: int) -> list[int]:
    return [int((plane == label).sum()) for plane in tifffile.imread(path)]


def test_objects_of_a_table_are_followed(stack: Path, capsys: Any) -> None:
    code, out = run(stack, HEAD + "2,1,8,8,1\n2,7,25,25,1\n", "--quality", str(stack.with_name("q.csv")))
    assert code == 0
    assert areas(out, 1) == [64] * 5
    assert areas(out, 7) == [0, 100, 100, 100, 0]
    assert "2 objects, 2 planes flagged" in capsys.readouterr().out
    with tifffile.TiffFile(out) as file:
        assert file.series[0].axes == "ZYX"
        assert file.imagej_metadata["spacing"] == 2.0
    rows = list(csv.DictReader(stack.with_name("q.csv").read_text().splitlines()))
    assert {(row["z"], row["flag"]) for row in rows if row["object"] == "7" and row["flag"]} == {
        ("0", "area"),
        ("4", "area"),
    }
    assert [row["z"] for row in rows if row["anchor"] == "1"] == ["2", "2"]


@pytest.mark.parametrize(
    ("options", "planes"),
    [
        pytest.param(["--direction", "forward"], [2, 3, 4], id="forward"),
        pytest.param(["--first", "1", "--last", "3"], [1, 2, 3], id="range"),
        pytest.param(["--along", "z"], [0, 1, 2, 3, 4], id="named-axis"),
        pytest.param(["--min-score", "0.8"], [2], id="a-threshold"),
        pytest.param(["--min-score", "0.8", "--no-stops"], [0, 1, 2, 3, 4], id="no-stops"),
    ],
)
def test_options(stack: Path, options: list[str], planes: list[int]) -> None:
    code, out = run(stack, HEAD + "2,1,8,8,1\n", *options)
    assert code == 0
    assert [z for z, area in enumerate(areas(out, 1)) if area] == planes


def test_background_points_alone_say_where_an_object_is_not(stack: Path) -> None:
    code, out = run(stack, HEAD + "2,1,8,8,1\n3,1,6,6,0\n")
    assert code == 0
    assert areas(out, 1) == [64] * 5  # the stand-in does not listen, but it is asked


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        pytest.param(HEAD + "9,1,8,8,1\n", [], "expected z from 0 to 4", id="no-such-plane"),
        pytest.param(HEAD + "2,1,8,8,0\n", [], "object 1 is known, got none", id="background-only"),
        pytest.param(HEAD + "2,1,8,8,1\n", ["--along", "T"], "an axis T", id="no-such-axis"),
        pytest.param(HEAD + "2,1,8,8,1\n", ["--hand-on", "circle"], "circle", id="no-such-prompt"),
        pytest.param(HEAD + "2,1,8,8,1\n", ["--min-score", "2"], "min_score", id="impossible"),
    ],
)
def test_bad_requests(stack: Path, capsys: Any, table: str, options: list[str], message: str) -> None:
    code, out = run(stack, table, *options)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_time_series_have_limits_of_their_own(stack: Path, monkeypatch: Any) -> None:
    from napari_sam.inference.propagation_values import PropagationParams
    from napari_sam.stacks import prompted_stacks

    seen: list[PropagationParams] = []
    real = prompted_stacks.iter_propagated_labels

    def spy(*args: Any, params: PropagationParams, **options: Any) -> Any:
        seen.append(params)
        return real(*args, params=params, **options)

    monkeypatch.setattr(prompted_stacks, "iter_propagated_labels", spy)
    table = HEAD + "2,1,8,8,1\n"
    run(stack, table, "--overwrite")
    run(stack, table, "--overwrite", "--motion", "--min-score", "0.3")
    run(stack, table, "--overwrite", "--motion", "--max-regrowth", "2")
    assert seen == [
        PropagationParams(),
        PropagationParams.for_series(min_score=0.3),
        PropagationParams.for_series(max_regrowth=2.0),
    ]


def test_a_package_that_is_missing_is_named_before_the_work(
    stack: Path, inference: Any, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(stack, HEAD + "2,1,8,8,1\n", out="labels.zarr")[0] == 2
    assert "pip install 'napari-sam-workbench[formats]'" in capsys.readouterr().err
    assert inference.loaded == []


def test_nothing_is_overwritten_unasked(stack: Path, capsys: Any) -> None:
    table = HEAD + "2,1,8,8,1\n"
    assert run(stack, table)[0] == 0
    assert run(stack, table)[0] == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(stack, table, "--overwrite")[0] == 0
    quality = stack.with_name("q.csv")
    quality.write_text("mine")
    assert run(stack, table, "--quality", str(quality), out="other.tif")[0] == 2
    assert (quality.read_text(), stack.with_name("other.tif").exists()) == ("mine", False)


def test_the_ending_chooses_the_format(stack: Path, capsys: Any) -> None:
    code, out = run(stack, HEAD + "2,1,8,8,1\n", out="table.csv")
    assert code == 0
    assert out.read_text().count("\n") >= 2
    assert run(stack, HEAD + "2,1,8,8,1\n", out="labels.xyz")[0] == 2
    assert ".zarr" in capsys.readouterr().err
