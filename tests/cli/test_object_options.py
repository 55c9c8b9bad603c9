"""``napari-sam segment``: which objects, where, and what is written of them."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.cli.main import main
from napari_sam.cli.object_options import choose_dtype, read_region
from napari_sam.stacks.outputs import write_outputs

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from numpy.typing import NDArray

SQUARES = [(0, 0, 4, 4), (6, 6, 16, 16), (6, 30, 12, 36)]
"""One at the border, one large, one to the right."""


def make_plane() -> NDArray[np.uint8]:
    plane = np.zeros((20, 60), np.uint8)
    for value, (r0, c0, r1, c1) in enumerate(SQUARES, 201):
        plane[r0:r1, c0:c1] = value
    return plane


@pytest.fixture
def image(inference: SimpleNamespace, tmp_path: Path) -> Path:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_plane())
    return path


def segment(image: Path, *arguments: object) -> NDArray[np.integer]:
    out = image.parent / "out"
    assert main(["segment", str(image), "--out", str(out), *map(str, arguments)]) == 0
    return tifffile.imread(out / f"{image.stem}_labels.tif")


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def list_boxes(labels: NDArray[np.integer]) -> set[tuple[int, ...]]:
    boxes = set()
    for number in np.unique(labels[labels > 0]):
        rows, cols = np.nonzero(labels == number)
        boxes.add((rows.min(), cols.min(), rows.max() + 1, cols.max() + 1))
    return boxes


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        pytest.param([], [0, 1, 2], id="all"),
        pytest.param(["--min-area", 17], [1, 2], id="not the small one"),
        pytest.param(["--max-area", 99], [0, 2], id="not the large one"),
        pytest.param(["--no-border"], [1, 2], id="not the one at the border"),
        pytest.param(["--min-area", 20, "--max-area", 50], [2], id="a range"),
        pytest.param(["--predicted-iou", 0.89, "--foreground", 0.79], [0, 1, 2], id="all are good enough"),
        pytest.param(["--predicted-iou", 0.91], [], id="none is good enough"),
        pytest.param(["--foreground", 0.81], [], id="none is foreground enough"),
    ],
)
def test_thresholds(arguments: list[object], kept: list[int], image: Path) -> None:
    assert list_boxes(segment(image, *arguments)) == {SQUARES[i] for i in kept}


def test_thresholds_that_exclude_everything_are_reported(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment(image, "--min-area", 5000)
    output = capsys.readouterr()
    assert output.out.endswith("  0 objects\n")
    assert "min. size 5000 excludes 3 of them; loosen them" in output.err


def write_geojson(path: Path) -> None:
    ring = [[25, 0], [59, 0], [59, 19], [25, 19], [25, 0]]  # x, y
    hole = [[3, 3], [20, 3], [20, 18], [3, 18], [3, 3]]
    plane = [[-1, -1], [24, -1], [24, 30], [-1, 30], [-1, -1]]
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[plane, hole]]}},
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_a_region_of_polygons(image: Path, tmp_path: Path) -> None:
    write_geojson(tmp_path / "r.geojson")
    assert list_boxes(segment(image, "--region", tmp_path / "r.geojson")) == {SQUARES[0], SQUARES[2]}


def test_exported_polygons_are_a_region_of_the_same_pixels(tmp_path: Path) -> None:
    labels = np.zeros((20, 60), np.uint8)
    labels[0:10, 0:10], labels[3:5, 4:7] = 1, 0
    labels[12:19, 30:60] = labels[19, 59] = 2
    [path] = write_outputs(["geojson"], tmp_path / "r", labels, axes="YX")
    region = read_region(path, labels.shape)
    np.testing.assert_array_equal(region.mask((0, 0, *labels.shape)), labels > 0)


@pytest.mark.parametrize("shape", [(20, 60), (10, 30)], ids=["of the image's size", "coarser"])
def test_a_region_of_labels(shape: tuple[int, int], image: Path, tmp_path: Path) -> None:
    region = np.zeros(shape, np.uint16)
    region[:, : shape[1] // 3] = 9
    (tmp_path / "regions").mkdir()
    tifffile.imwrite(tmp_path / "regions" / "a_labels.tif", region)
    for where in (tmp_path / "regions", tmp_path / "regions" / "a_labels.tif"):
        assert list_boxes(segment(image, "--region", where, "--overwrite")) == {SQUARES[0], SQUARES[1]}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_gaps_are_filled_and_what_is_there_stays(dtype: str, image: Path, tmp_path: Path) -> None:
    existing = np.zeros((20, 60), dtype)
    existing[5:18, 5:18], existing[19, 59] = 7, 40
    tifffile.imwrite(tmp_path / "mine.tif", existing)
    labels = segment(image, "--fill", tmp_path / "mine.tif", "--table")
    assert labels.dtype == dtype
    np.testing.assert_array_equal(labels[existing > 0], existing[existing > 0])
    new = np.where(existing > 0, 0, labels)
    assert list_boxes(new) == {SQUARES[0], SQUARES[2]}
    assert sorted(np.unique(new).tolist()) == [0, 41, 42]
    rows = read_table(tmp_path / "out" / "a_objects.csv")
    areas = {row["label"]: row["area"] for row in rows}
    assert areas == {str(n): str(np.count_nonzero(labels == n)) for n in (41, 42)}


def test_new_objects_of_a_stack_have_no_ids_of_others(inference: SimpleNamespace, tmp_path: Path) -> None:
    options = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "s.tif", np.stack([make_plane()] * 3), **options)
    existing = np.zeros((3, 20, 60), np.uint8)
    existing[:, 6:16, 6:16], existing[1:, 18, 50] = 1, 2
    tifffile.imwrite(tmp_path / "mine.tif", existing, **options)
    labels = segment(tmp_path / "s.tif", "--fill", tmp_path / "mine.tif", "--table")
    np.testing.assert_array_equal(labels[existing > 0], existing[existing > 0])
    new = np.where(existing > 0, 0, labels)
    assert [np.unique(plane).tolist() for plane in new] == [[0, 3, 4], [0, 5, 6], [0, 7, 8]]
    rows = read_table(tmp_path / "out" / "s_objects.csv")
    assert [(row["Z"], row["label"]) for row in rows] == [(str(n // 2), str(n + 3)) for n in range(6)]


def test_gaps_of_an_image_with_axes_of_one_plane(inference: SimpleNamespace, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=make_plane()[None, None])
    axes = [{"name": name} for name in "tzyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    existing = segment(tmp_path / "a.zarr", "--max-area", 99)
    (tmp_path / "mine.tif").write_bytes((tmp_path / "out" / "a_labels.tif").read_bytes())
    labels = segment(tmp_path / "a.zarr", "--fill", tmp_path / "mine.tif", "--overwrite")
    np.testing.assert_array_equal(labels[existing > 0], existing[existing > 0])
    assert list_boxes(labels) == set(SQUARES)


def test_ids_that_do_not_fit_widen_the_labels(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    existing = np.zeros((20, 60), np.uint8)
    existing[18, 50] = 254
    tifffile.imwrite(tmp_path / "mine.tif", existing)
    labels = segment(image, "--fill", tmp_path / "mine.tif")
    assert labels.dtype == np.uint16
    assert np.unique(labels).tolist() == [0, 254, 255, 256, 257]
    assert "ids up to 257 do not fit into uint8; the labels are uint16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dtype", "largest", "expected"),
    [
        ("uint8", 255, "uint8"),
        ("uint8", 256, "uint16"),
        ("int16", 32768, "uint16"),
        ("uint16", 70000, "int32"),
        ("int32", 2**31, "uint32"),
        ("uint32", 2**32, "int64"),
        ("bool", 1, "uint16"),
    ],
)
def test_the_next_wider_dtype(dtype: str, largest: int, expected: str) -> None:
    assert choose_dtype(np.dtype(dtype), largest) == expected


def test_the_table_of_a_plane(image: Path, tmp_path: Path) -> None:
    labels = segment(image, "--table")
    rows = {row["label"]: row for row in read_table(tmp_path / "out" / "a_objects.csv")}
    assert len(rows) == 3
    for r0, c0, r1, c1 in SQUARES:
        row = rows[str(labels[r0, c0])]
        assert float(row["area"]) == (r1 - r0) * (c1 - c0)
        assert float(row["centroid-row"]) == (r0 + r1 - 1) / 2
        assert float(row["centroid-col"]) == (c0 + c1 - 1) / 2
        assert float(row["mean_intensity"]) == make_plane()[r0, c0]
        assert row["on_border"] == str(int(r0 == 0))
        assert (row["predicted_iou"], row["stability"], row["foreground"]) == ("0.9", "1", "0.8")


def test_the_table_of_a_stack_says_which_plane(inference: SimpleNamespace, tmp_path: Path) -> None:
    data = np.stack([make_plane(), np.zeros_like(make_plane()), make_plane()])
    tifffile.imwrite(tmp_path / "s.tif", data, photometric="minisblack", metadata={"axes": "ZYX"})
    segment(tmp_path / "s.tif", "--table")
    rows = read_table(tmp_path / "out" / "s_objects.csv")
    assert [row["Z"] for row in rows] == ["0"] * 3 + ["2"] * 3
    assert [row["label"] for row in rows] == ["1", "2", "3"] * 2


def test_an_existing_table_is_kept(image: Path, tmp_path: Path) -> None:
    (tmp_path / "a_objects.csv").write_text("mine")
    command = ["segment", str(image), "--out", str(tmp_path), "--table"]
    assert main(command) == 2
    assert (tmp_path / "a_objects.csv").read_text() == "mine"
    assert not (tmp_path / "a_labels.tif").exists()
    assert main([*command, "--overwrite"]) == 0


def _write(path: Path, name: str) -> Path:
    if name == "text.geojson":
        (path / name).write_text("once upon a time")
    elif name == "points.geojson":
        (path / name).write_text(json.dumps({"type": "Point", "coordinates": [1, 2]}))
    elif name == "large.tif":
        tifffile.imwrite(path / name, np.ones((40, 60), np.uint8))
    elif name == "floats.tif":
        tifffile.imwrite(path / name, np.ones((20, 60), np.float32))
    elif name == "folder":
        (path / name).mkdir()
    return path / name


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--region", "text.geojson", "GeoJSON with polygons"),
        ("--region", "points.geojson", "got none"),
        ("--region", "large.tif", "at most the image's"),
        ("--region", "missing.tif", "no such image file"),
        ("--region", "folder", "no label image for a.tif"),
        ("--fill", "large.tif", "as the image has"),
        ("--fill", "floats.tif", "got float32"),
    ],
    ids=str,
)
def test_bad_companions_are_one_line(
    option: str, name: str, message: str, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    companion = _write(tmp_path, name)
    assert main(["segment", str(image), "--out", str(tmp_path / "out"), option, str(companion)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
