from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tifffile

from napari_sam.cli.main import main
from napari_sam.sample_data import make_nuclei

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate(("a.tif", "b.tif")):
        tifffile.imwrite(folder / name, make_nuclei((64, 80), count=6, seed=seed)[0])
    return folder


def _batch(images: Path, *options: str) -> int:
    out = images.parent / "out"
    return main(["batch", str(images), "--out", str(out), "--device", "cpu", "--workers", "0", *options])


def test_a_batch_and_its_replay(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _batch(images, "--formats", "tiff,csv,geojson") == 0
    out = images.parent / "out"
    assert sorted(p.name for p in out.iterdir() if p.name[0] != ".") == [
        "a_labels.tif",
        "a_objects.csv",
        "a_objects.geojson",
        "b_labels.tif",
        "b_objects.csv",
        "b_objects.geojson",
        "manifest.jsonl",
    ]
    said = capsys.readouterr().out
    assert "a.tif  " in said
    assert "2 of 2 images done" in said
    assert _batch(images, "--formats", "tiff,csv,geojson") == 0
    assert "2 images done before, 0 to do" in capsys.readouterr().err
    assert main(["replay", str(out), "--workers", "0"]) == 0
    assert capsys.readouterr().out == "2 the same\n"


def test_a_replay_that_differs_has_another_exit_code(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _batch(images)
    path = images.parent / "out" / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["labels"] = "0" * 32
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    capsys.readouterr()
    assert main(["replay", str(path), "--workers", "0"]) == 2
    said = capsys.readouterr()
    assert "different: " in said.err
    assert said.out == "1 the same, 1 different\n"


def test_a_dry_run_lists_the_work_and_does_nothing(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _batch(images, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["do", str(images / "a.tif"), "->", "a", "(new)"]
    assert lines[-1] == "2 of 2 images to do"
    assert not (images.parent / "out").exists()


def test_a_bad_file_gives_exit_code_2_until_it_is_retried(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (images / "a.tif").read_bytes()
    (images / "a.tif").write_bytes(b"")
    assert _batch(images) == 2
    said = capsys.readouterr()
    assert "error: " in said.err
    assert "1 of 2 images done, 1 failed" in said.out
    (images / "a.tif").write_bytes(good)
    assert _batch(images) == 2
    assert "--retry-failed" in capsys.readouterr().err
    assert _batch(images, "--retry-failed") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--formats", "tiff,bmp"], "expected some of tiff", id="format"),
        pytest.param(["--formats", ","], "expected some of tiff", id="no-format"),
        pytest.param(["--workers", "-1"], "expected", id="workers"),
        pytest.param(["--workers", "two"], "expected a number from 0", id="workers-word"),
        pytest.param(["--channels", "0,0"], "different numbers", id="channels"),
        pytest.param(["--link", "x"], "invalid choice", id="link"),
        pytest.param(["--model", "nuclear"], "nuclear", id="model"),
        pytest.param(["--device", "tpu"], "tpu", id="device"),
        pytest.param(["--min-area", "9", "--max-area", "3"], "min_area", id="areas"),
    ],
)
def test_wrong_options_are_said(
    options: list[str], said: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _batch(images, *options) in (2, 3)
    assert said in capsys.readouterr().err


def test_other_settings_are_refused(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _batch(images) == 0
    assert _batch(images, "--min-area", "30") == 2
    err = capsys.readouterr().err
    assert "(min_area none then, 30 now)" in err
    assert "--overwrite on the command line" in err
    assert _batch(images, "--min-area", "30", "--overwrite") == 0


def test_a_manifest_that_is_none(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = images.parent / "out"
    out.mkdir()
    (out / "manifest.jsonl").write_text("{}\n")
    assert _batch(images) == 2
    assert "first line does not say so" in capsys.readouterr().err
    assert main(["replay", str(images)]) == 2
    assert "is no file" in capsys.readouterr().err
