from __future__ import annotations

import csv
import io
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.cli.main import main
from napari_sam.stacks.image_io import open_image

if TYPE_CHECKING:
    from pathlib import Path

ALL = ["_coco.json", "_labels.tif", "_labels.zarr", "_objects.csv", "_objects.geojson", "_rois.zip"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``a`` with a scale and its labels without one, ``b`` without an image."""
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:9] = 1
    labels[10:15, 10:20] = 2
    resolution = {"resolution": (2, 2), "metadata": {"unit": "um", "axes": "YX"}}
    (tmp_path / "in").mkdir()
    (tmp_path / "labels").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", labels.astype(np.uint16) * 100, imagej=True, **resolution)
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / "labels" / f"{name}_labels.tif", labels)
    tifffile.imwrite(tmp_path / "labels" / "overlay.tif", labels)  # not called like labels: passed over
    return tmp_path


def test_every_format_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    assert main(["export", str(folder / "labels"), "--format", "all", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [n + end for n in "ab" for end in ALL]
    assert len(capsys.readouterr().out.splitlines()) == 12


def test_names_that_the_output_cannot_hold_are_escaped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "labels" / "b_labels.tif").rename(folder / "labels" / "1細胞_labels.tif")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "cp1252", write_through=True))
    assert main(["export", str(folder / "labels"), "--format", "csv", "--out", str(folder / "out")]) == 0
    lines = written.getvalue().decode("cp1252").splitlines()
    assert [line.rpartition("out")[2][1:] for line in lines] == [
        "1\\u7d30\\u80de_objects.csv",
        "a_objects.csv",
    ]


def test_scale_and_intensities_come_from_the_image(folder: Path) -> None:
    command = ["export", str(folder / "labels" / "a_labels.tif"), "--format", "csv,tiff"]
    assert main([*command, "--images", str(folder / "in"), "--out", str(folder / "out")]) == 0
    with (folder / "out" / "a_objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["area"], row["area_um2"], row["mean_intensity"]) for row in rows] == [
        ("1", "24", "6", "100"),
        ("2", "50", "12.5", "200"),
    ]
    back = open_image(folder / "out" / "a_labels.tif")
    assert (back.scale, back.unit) == ({"Y": 0.5, "X": 0.5}, "micrometer")


def test_one_that_fails_does_not_stop_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "labels" / "c_labels.tif").write_bytes(b"")
    command = ["export", str(folder / "labels"), "--format", "csv", "--out", str(folder / "out")]
    assert main([*command, "--images", str(folder / "in" / "a.tif")]) == 2  # the one image serves all
    captured = capsys.readouterr()
    assert "c_labels.tif, got an empty file" in captured.err
    assert "1 of 3 files failed" in captured.err
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a_objects.csv", "b_objects.csv"]
    assert main(command) == 2
    assert "add --overwrite" in capsys.readouterr().err
    (folder / "labels" / "c_labels.tif").unlink()
    assert main([*command, "--overwrite"]) == 0


def test_equal_names_do_not_collide(folder: Path) -> None:
    (folder / "labels" / "b_labels.tif").rename(folder / "in" / "a_labels.tif")
    command = ["export", str(folder / "labels"), str(folder / "in"), "--format", "csv"]
    command += ["--images", str(folder / "in" / "a.tif"), "--out", str(folder / "out")]
    assert main(command) == 0
    written = sorted(path.name for path in (folder / "out").iterdir())
    assert written == ["in_a_objects.csv", "labels_a_objects.csv"]


def test_labels_in_two_formats_are_exported_once(folder: Path) -> None:
    labels, out = str(folder / "labels"), str(folder / "out")
    assert main(["export", labels, "--format", "tiff,ome-zarr", "--out", out]) == 0
    assert main(["export", out, "--format", "csv", "--out", str(folder / "tables")]) == 0
    written = sorted(path.name for path in (folder / "tables").iterdir())
    assert written == ["a_objects.csv", "b_objects.csv"]


def test_labels_of_one_name_that_are_of_different_kinds_are_told_apart(folder: Path) -> None:
    (folder / "labels" / "b_labels.tif").rename(folder / "labels" / "a_labels.tiff")
    assert main(["export", str(folder / "labels"), "--format", "csv", "--out", str(folder / "out")]) == 0
    written = sorted(path.name for path in (folder / "out").iterdir())
    assert written == ["a_labels_tif_objects.csv", "a_labels_tiff_objects.csv"]


def test_an_image_among_the_labels_is_noticed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (64, 64)).astype(np.uint16)
    tifffile.imwrite(folder / "noise.tif", noise)
    command = ["export", str(folder / "noise.tif"), str(folder / "labels"), "--format", "geojson"]
    assert main([*command, "--out", str(folder / "out")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "noise.tif: nearly all neighbouring pixels differ" in warnings[0]


@pytest.mark.parametrize("others", [True, False], ids=["among others", "alone in its folder"])
def test_an_image_is_looked_for_by_name(
    others: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if others:
        tifffile.imwrite(folder / "in" / "other.tif", np.zeros((20, 30), np.uint8))
    command = ["export", str(folder / "labels"), "--format", "csv", "--out", str(folder / "out")]
    assert main([*command, "--images", str(folder / "in")]) == 2
    assert "one image called 'b' among those of --images, got 0" in capsys.readouterr().err
    assert [path.name for path in (folder / "out").iterdir()] == ["a_objects.csv"]


def test_several_labels_do_not_go_into_one_image_under_one_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zarr.open_group(folder / "a.zarr", mode="w").create_array("0", data=np.zeros((20, 30), np.uint8))
    command = ["export", str(folder / "labels"), "--format", "ome-zarr", "--into-images", "--overwrite"]
    assert main([*command, "--images", str(folder / "a.zarr")]) == 2
    assert "2 label images would go into" in capsys.readouterr().err
    assert not (folder / "a.zarr" / "labels").exists()


def write_ome_zarr(folder: Path) -> None:
    """The image ``z/a.zarr`` of the labels called a, half a micrometre a pixel."""
    group = zarr.open_group(folder / "z" / "a.zarr", mode="w")
    group.create_array("0", data=np.zeros((20, 30), np.uint8))
    scale = [{"type": "scale", "scale": [0.5, 0.5]}]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def test_labels_go_into_their_image(folder: Path) -> None:
    write_ome_zarr(folder)
    command = [
        "export",
        str(folder / "labels" / "a_labels.tif"),
        "--images",
        str(folder / "z"),
        "--into-images",
    ]
    assert main([*command, "--format", "ome-zarr", "--name", "cells"]) == 0
    back = open_image(folder / "z" / "a.zarr" / "labels" / "cells")
    assert (back.scale, back.unit) == ({"Y": 0.5, "X": 0.5}, "micrometer")
    np.testing.assert_array_equal(np.asarray(back.data), tifffile.imread(folder / "labels" / "a_labels.tif"))


@pytest.mark.parametrize(("shape", "axes"), [((1, 2, 1, 20, 30), "tczyx"), ((1, 20, 30), "zyx")])
def test_axes_that_tiff_files_do_not_keep_come_from_the_image(
    shape: tuple[int, ...], axes: str, folder: Path
) -> None:
    group = zarr.open_group(folder / "z" / "a.zarr", mode="w")
    group.create_array("0", data=np.full(shape, 7, np.uint8))
    datasets = [{"path": "0"}]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": [{"name": name} for name in axes], "datasets": datasets}],
    }
    command = ["export", str(folder / "labels" / "a_labels.tif"), "--images", str(folder / "z")]
    assert main([*command, "--format", "ome-zarr,csv", "--into-images", "--out", str(folder / "out")]) == 0
    back = open_image(folder / "z" / "a.zarr" / "labels" / "objects")
    assert back.axes == axes.replace("c", "").upper()
    labels = tifffile.imread(folder / "labels" / "a_labels.tif")
    np.testing.assert_array_equal(np.squeeze(np.asarray(back.data)), labels)
    with (folder / "out" / "a_objects.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["1", "2"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--format", "xlsx", "--out", "o"], "expected some of tiff", id="format"),
        pytest.param(["--format", "csv"], "--out", id="nowhere"),
        pytest.param(["--format", "csv", "--into-images"], "--out", id="into images, but files"),
        pytest.param(
            ["--format", "ome-zarr", "--into-images"], "needs --formats ome-zarr, and --images", id="whose"
        ),
    ],
)
def test_what_makes_no_sense(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "x.tif", *more]) == 2
    assert message in capsys.readouterr().err


def test_labels_in_an_image_are_not_replaced_unasked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ome_zarr(folder)
    source = folder / "labels" / "a_labels.tif"
    command = ["export", str(source), "--images", str(folder / "z"), "--into-images", "--format", "ome-zarr"]
    assert main(command) == 0
    tifffile.imwrite(source, np.ones((20, 30), np.int32))
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert np.asarray(open_image(folder / "z" / "a.zarr" / "labels" / "objects").data).max() == 2
