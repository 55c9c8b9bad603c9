"""``segment --link`` from file to file, with the bundled model."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.cli import linked
from napari_sam.cli.linked import name_axis
from napari_sam.cli.main import main
from napari_sam.errors import ImageError
from napari_sam.evaluation import evaluate_tracks
from napari_sam.sample_series import make_dividing_nuclei
from napari_sam.stacks import segment_stack

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    folder = tmp_path_factory.mktemp("movie")
    image, labels, parents = make_dividing_nuclei((6, 96, 120), count=5, divisions=0.6, seed=2)
    tifffile.imwrite(folder / "movie.tif", image, imagej=True, metadata={"axes": "TYX"})
    return folder / "movie.tif", labels, parents


def run(movie: Path, out: Path, *options: str) -> int:
    return main(["segment", str(movie), "--out", str(out), "--device", "cpu", *options])


def test_a_series_gives_labels_and_tracks(movie, tmp_path, capsys):
    path, truth, parents = movie
    assert run(path, tmp_path, "--link", "t") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["movie_labels.tif", "movie_tracks.csv"]
    with tifffile.TiffFile(tmp_path / "movie_labels.tif") as file:
        assert file.series[0].axes == "TYX"
        labels = file.asarray()
    with (tmp_path / "movie_tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seen = {(int(row["id"]), int(row["t"])) for row in rows}
    assert seen == {(n, t) for t, plane in enumerate(labels) for n in np.unique(plane[plane > 0]).tolist()}
    lineage = {int(row["id"]): (int(row["parent"]),) for row in rows if row["parent"] != "0"}
    scores = evaluate_tracks(truth, parents, labels, lineage)
    assert (scores.right_links, scores.right_divisions) == (scores.true_links, scores.true_divisions)
    assert f"{labels.max()} objects in 6 planes, {len(lineage) // 2} divided" in capsys.readouterr().out


def test_large_labels_go_to_zarr_and_are_the_same(movie, tmp_path, monkeypatch):
    assert run(movie[0], tmp_path / "small", "--link", "z", "--table") == 0
    monkeypatch.setattr(linked, "LARGEST", 1000)
    assert run(movie[0], tmp_path / "large", "--link", "z", "--table") == 0
    assert sorted(p.name for p in (tmp_path / "large").iterdir()) == [
        "movie_labels.zarr",
        "movie_objects.csv",
    ]
    labels = np.asarray(
        zarr.open_group(tmp_path / "large" / "movie_labels.zarr", mode="r")["labels/objects/0"]
    )
    assert (labels == tifffile.imread(tmp_path / "small" / "movie_labels.tif")).all()
    tables = [(tmp_path / folder / "movie_objects.csv").read_text() for folder in ("small", "large")]
    assert tables[0] == tables[1]
    assert tables[0].startswith("id,z,y,x,area,parent")


def test_the_table_says_which_volume_an_object_is_in(movie, tmp_path):
    planes = tifffile.imread(movie[0])
    volumes = planes.reshape(2, 3, *planes.shape[1:])
    tifffile.imwrite(tmp_path / "volumes.tif", volumes, imagej=True, metadata={"axes": "TZYX"})
    assert run(tmp_path / "volumes.tif", tmp_path / "out", "--link", "z", "--table") == 0
    with (tmp_path / "out" / "volumes_objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "t", "z", "y", "x", "area", "parent"]
    labels = tifffile.imread(tmp_path / "out" / "volumes_labels.tif")
    seen = {(int(row["id"]), int(row["t"]), int(row["z"])) for row in rows}
    assert seen == {(n, *k) for k in np.ndindex(2, 3) for n in np.unique(labels[k][labels[k] > 0]).tolist()}


@pytest.fixture
def no_work(monkeypatch):
    """Whatever is refused is refused before the model looks at a plane."""
    monkeypatch.setattr(segment_stack, "iter_segment_stack", lambda *_, **__: pytest.fail("it was computed"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("name", "largest"),
    [
        pytest.param("movie_tracks.csv", linked.LARGEST, id="tracks"),
        pytest.param("movie_labels.tif", linked.LARGEST, id="labels"),
        pytest.param("movie_labels.ome.tif", linked.LARGEST, id="labels-of-many-ids"),
        pytest.param("movie_labels.zarr", 1000, id="large-labels"),
    ],
)
def test_what_exists_is_kept_before_anything_is_computed(name, largest, movie, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(linked, "LARGEST", largest)
    (tmp_path / name).write_text("mine")
    assert run(movie[0], tmp_path, "--link", "t") == 2
    assert f"exists already; add --overwrite to replace it: {tmp_path / name}" in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "mine")]


@pytest.mark.usefixtures("no_work")
def test_large_labels_that_nothing_can_write_are_not_computed(movie, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(linked, "LARGEST", 1000)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(movie[0], tmp_path / "out", "--link", "z") == 2
    assert "pip install 'napari-sam-workbench[formats]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_objects_with_a_waist_are_cut_unless_told_otherwise(tmp_path):
    rows, cols = np.ogrid[:96, :96]
    radii = (13, 18, 20, 18, 12, 18, 20, 18, 13)
    planes = [20 + 180 * (np.hypot(rows - 48, cols - 48) < radius) for radius in radii]
    tifffile.imwrite(tmp_path / "two.tif", np.array(planes, np.uint8), imagej=True, metadata={"axes": "ZYX"})
    for options, count in (([], 2), (["--split-factor", "inf"], 1)):
        assert run(tmp_path / "two.tif", tmp_path, "--link", "z", "--overwrite", *options) == 0
        assert tifffile.imread(tmp_path / "two_labels.tif").max() == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--fill", "x.tif"], "got both", id="fill-and-link"),
        pytest.param(["--split-factor", "1"], "Expected split_factor above 1, got 1.0", id="split"),
        pytest.param(["--max-gap", "-1"], "Expected max_gap as a whole number of 0 or more", id="gap"),
    ],
)
def test_options_that_do_not_go_together(options, message, movie, tmp_path, capsys):
    assert run(movie[0], tmp_path, "--link", "t", *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("axes", "link", "expected"),
    [
        pytest.param("TZYX", "z", "TZYX", id="named"),
        pytest.param("QYXC", "t", "TYXC", id="without-meaning"),
        pytest.param("ZYX", "t", "TYX", id="the-only-one"),
    ],
)
def test_the_axis_to_link_along_gets_its_name(axes, link, expected):
    assert name_axis(axes, link) == expected


@pytest.mark.parametrize("axes", ["YX", "QIYX"])
def test_no_axis_to_link_along(axes):
    with pytest.raises(ImageError, match="Expected planes along T"):
        name_axis(axes, "t")
