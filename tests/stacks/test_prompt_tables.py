from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sam.errors import PromptError
from napari_sam.stacks.image_io import ImageStack
from napari_sam.stacks.outputs import write_outputs
from napari_sam.stacks.prompt_tables import PromptRow, read_prompt_table, write_prompt_table
from napari_sam.stacks.prompted_labels import find_plane, iter_prompted_labels, match_images
from napari_sam.types import ObjectMask, Prompts


def _read(tmp_path: Path, text: str, name: str = "t.csv") -> list[PromptRow]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_prompt_table(tmp_path / name)


def _plain(row: PromptRow) -> tuple[Any, ...]:
    prompts = row.prompts
    mask = None if prompts.mask is None else (prompts.mask.origin, prompts.mask.mask.astype(int).tolist())
    box = None if prompts.box is None else tuple(round(value, 9) for value in prompts.box)
    return (
        row.file,
        row.axes,
        row.plane,
        row.object,
        prompts.points.tolist(),
        prompts.labels.tolist(),
        box,
        mask,
    )


# --- CSV ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        pytest.param("row,col\n3,4.5\n", [("", "", (), 1, [[3, 4.5]], [1], None, None)], id="the least"),
        pytest.param(
            "file,object,row,col,label\na.tif,2,3,4,\na.tif,2,5,6,background\nb.tif,2,7,8,1\n",
            [
                ("a.tif", "", (), 2, [[3, 4], [5, 6]], [1, 0], None, None),
                ("b.tif", "", (), 2, [[7, 8]], [1], None, None),
            ],
            id="points of an object, files apart",
        ),
        pytest.param(
            "r0,c0,r1,c1\n1,2,5,8\n2,2,4,4\n",
            [("", "", (), 1, [], [], (1, 2, 5, 8), None), ("", "", (), 2, [], [], (2, 2, 4, 4), None)],
            id="boxes, numbered",
        ),
        pytest.param(
            "z,t,object,kind,row,col,r0,c0,r1,c1,label\n3,1,5,point,1,2,,,,,0\n3,1,5,box,,,0,0,4,4,\n4,1,5,point,1,1,,,,,\n",
            [
                ("", "TZ", (1, 3), 5, [[1, 2]], [0], (0, 0, 4, 4), None),
                ("", "TZ", (1, 4), 5, [[1, 1]], [1], None, None),
            ],
            id="planes, t before z",
        ),
        pytest.param(
            "object,kind,row,col\n1,polygon,0,0\n1,polygon,0,2\n1,polygon,1,2\n1,polygon,1,0\n",
            [("", "", (), 1, [], [], None, ((0, 0), [[1, 1]]))],
            id="polygon through pixel centres: rows 0 to 1, where an edge on a centre takes the first",
        ),
        pytest.param(
            "object,row,col\n7,1,1\n,2,2\n,3,3\n",
            [
                ("", "", (), 7, [[1, 1]], [1], None, None),
                ("", "", (), 8, [[2, 2]], [1], None, None),
                ("", "", (), 9, [[3, 3]], [1], None, None),
            ],
            id="numbers go on after the largest",
        ),
        pytest.param(
            "index,axis-0,axis-1,axis-2\n0,2,3,4\n1,2,5,6\n",
            [("", "Z", (2,), 1, [[3, 4]], [1], None, None), ("", "Z", (2,), 2, [[5, 6]], [1], None, None)],
            id="a Points layer that napari saved",
        ),
        pytest.param(
            "\ufeffImage;Y;X;Label\n\na.tif;1,5;2;foreground\n".replace("1,5", "1.5"),
            [("a.tif", "", (), 1, [[1.5, 2]], [1], None, None)],
            id="semicolons, other names, a byte order mark, an empty line",
        ),
    ],
)
def test_csv(text: str, rows: list[Any], tmp_path: Path) -> None:
    assert [_plain(row) for row in _read(tmp_path, text)] == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "line 1: expected the columns row and col", id="empty"),
        pytest.param("a,b\n1,2\n", "row and col, or r0.*got a, b", id="columns"),
        pytest.param("row,row,col\n1,2,3\n", "column once, got 'row' twice", id="twice"),
        pytest.param("row,col\n", "Expected prompts in .*t.csv, got none", id="no lines"),
        pytest.param("row,col\n1,2\nx,2\n", "line 3: expected a number in column row, got 'x'", id="text"),
        pytest.param("row,col\n1,\n", "line 2: expected a number in column col, got ''", id="missing"),
        pytest.param("row,col\n1,inf\n", "line 2: .*column col, got 'inf'", id="infinite"),
        pytest.param("row,col\n1,2,3\n", "line 2: expected 2 cells, as in line 1, got 3", id="cells"),
        pytest.param(
            "row,col,object\n1,2,0\n", "whole number from 1 in column object, got '0'", id="object 0"
        ),
        pytest.param("row,col,object\n1,2,1.5\n", "whole number from 1 .*'1.5'", id="half an object"),
        pytest.param("row,col,z\n1,2,\n", "line 2: expected a number in column z", id="no plane"),
        pytest.param("row,col,z\n1,2,-1\n", "whole number from 0 in column z", id="negative plane"),
        pytest.param("row,col,kind\n1,2,circle\n", "kind point, box or polygon, got 'circle'", id="kind"),
        pytest.param("row,col,label\n1,2,maybe\n", "label foreground .*got 'maybe'", id="label"),
        pytest.param(
            "row,col,label\n1,2,0\n", "line 2: expected a point on object 1.*beside it", id="beside"
        ),
        pytest.param(
            "object,r0,c0,r1,c1\n1,0,0,2,2\n1,0,0,3,3\n",
            "line 3: .*one box for object 1 .*line 2",
            id="boxes",
        ),
        pytest.param("r0,c0,r1,c1\n1,1,1,5\n", "line 2, object 1: Expected a box with an area", id="flat"),
        pytest.param(
            "r0,c0,r1,c1,label\n1,1,2,5,background\n", "line 2: expected a box around the object", id="beside"
        ),
        pytest.param(
            "object,kind,row,col\n1,polygon,0,0\n1,polygon,0,9\n", "three or more vertices .*got 2", id="line"
        ),
        pytest.param(
            "object,kind,row,col\n1,polygon,.1,.1\n1,polygon,.1,.3\n1,polygon,.3,.3\n",
            "holds a pixel's centre for object 1",
            id="between pixels",
        ),
    ],
)
def test_what_is_wrong_in_csv_names_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=message):
        _read(tmp_path, text)


def test_no_text_at_all(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"row,col\n\xff\xfe\n")
    with pytest.raises(PromptError, match="no UTF-8"):
        read_prompt_table(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError):
        read_prompt_table(tmp_path / "none.csv")


# --- GeoJSON -----------------------------------------------------------------------------------------------


def _feature(shape: str, coordinates: Any, plane: Any = None, **properties: Any) -> dict[str, Any]:
    geometry = {"type": shape, "coordinates": coordinates} | ({"plane": plane} if plane else {})
    return {"type": "Feature", "geometry": geometry, "properties": properties}


RECTANGLE = [[[2, 1], [8, 1], [8, 5], [2, 5], [2, 1]]]


@pytest.mark.parametrize(
    ("feature", "row"),
    [
        pytest.param(
            _feature("Point", [4.5, 3.5]),
            ("", "TZ", (0, 0), 1, [[3, 4]], [1], None, None),
            id="point from a corner",
        ),
        pytest.param(
            _feature("Polygon", RECTANGLE),
            ("", "TZ", (0, 0), 1, [], [], (0.5, 1.5, 4.5, 7.5), None),
            id="a rectangle is a box",
        ),
        pytest.param(
            _feature("Polygon", RECTANGLE, kind="polygon", object=3, file="a.tif"),
            ("a.tif", "TZ", (0, 0), 3, [], [], None, ((1, 2), [[1] * 6] * 4)),
            id="unless it is called a polygon",
        ),
        pytest.param(
            _feature(
                "Polygon",
                [[[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]], [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]],
            ),
            ("", "TZ", (0, 0), 1, [], [], None, ((0, 0), [[1, 1, 1], [1, 0, 1], [1, 1, 1]])),
            id="polygon with a hole",
        ),
        pytest.param(
            _feature("Point", [1, 1], {"c": -1, "z": 4, "t": 0}, classification={"name": "x"}, name="cell"),
            ("", "TZ", (0, 4), 1, [[0.5, 0.5]], [1], None, None),
            id="QuPath's plane and class",
        ),
    ],
)
def test_geojson(feature: dict[str, Any], row: tuple[Any, ...], tmp_path: Path) -> None:
    for content in (feature, [feature], {"type": "FeatureCollection", "features": [feature]}):
        assert [_plain(r) for r in _read(tmp_path, json.dumps(content), "t.geojson")] == [row]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("{", "Expected GeoJSON in .*t.geojson", id="no JSON"),
        pytest.param('{"type": "FeatureCollection", "features": []}', "got none", id="nothing"),
        pytest.param('[{"a": 1}]', "feature 1: expected a feature with a point or polygon", id="no geometry"),
        pytest.param(json.dumps([_feature("LineString", [[0, 0], [1, 1]])]), "got 'LineString'", id="line"),
        pytest.param(json.dumps([_feature("Point", ["a", 1])]), "feature 1: expected a feature", id="text"),
        pytest.param(json.dumps([_feature("Point", [1, 1], object=0)]), "number from 1, got 0", id="object"),
        pytest.param(json.dumps([_feature("Polygon", RECTANGLE, kind="star")]), "got 'star'", id="kind"),
    ],
)
def test_what_is_wrong_in_geojson(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=message):
        _read(tmp_path, content, "t.geojson")


# --- there and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.geojson"])
def test_written_and_read_again(name: str, tmp_path: Path) -> None:
    ring = np.ones((5, 6), bool)
    ring[2, 2:4] = False
    pair = np.zeros((3, 5), bool)
    pair[0, 0] = pair[1:, 3:] = True
    rows = [
        PromptRow("a.tif", (2,), 1, Prompts([(0.1, 7.25), (3, 4)], [1, 0]), "Z"),
        PromptRow("a.tif", (2,), 9, Prompts(box=(0.5, 1, 4.25, 9)), "Z"),
        PromptRow("b, c.tif", (0,), 9, Prompts(mask=ObjectMask(ring, (3, 0))), "Z"),
        PromptRow("b, c.tif", (1,), 9, Prompts([(1, 1)], [0], (0, 0, 9, 9), ObjectMask(pair, (7, 8))), "Z"),
    ]
    write_prompt_table(tmp_path / name, rows)
    assert [_plain(row) for row in read_prompt_table(tmp_path / name)] == [_plain(row) for row in rows]
    write_prompt_table(tmp_path / name, rows[:1])  # replaced
    assert len(read_prompt_table(tmp_path / name)) == 1


@pytest.mark.parametrize(("axes", "place"), [("ZYX", (0, 1)), ("TYX", (1, 0)), ("QYX", (0, 1))])
def test_exported_objects_are_prompts_in_all_their_planes(
    axes: str, place: tuple[int, int], tmp_path: Path
) -> None:
    labels = np.zeros((2, 12, 12), np.uint8)
    labels[:, 1:4, 1:5] = labels[:, 2:6, 1:4] = 1
    labels[0, 8:11, 3:9] = labels[0, 7, 5] = 2
    [path] = write_outputs(["geojson"], tmp_path / "s", labels, axes=axes)
    rows = read_prompt_table(path)
    planes = [((0, 0), 1), ((0, 0), 2), (place, 1)]
    assert [(row.axes, row.plane, row.object) for row in rows] == [("TZ", *each) for each in planes]
    back = np.zeros_like(labels)
    for row in rows:
        assert row.prompts.mask is not None
        plane = back[find_plane(row, ImageStack(labels, axes, name="s"))]
        plane[row.prompts.mask.slices][row.prompts.mask.mask] = row.object
    np.testing.assert_array_equal(back, labels)


def test_a_table_for_people(tmp_path: Path) -> None:
    write_prompt_table(
        tmp_path / "t.csv", [PromptRow("a.tif", (), 4, Prompts([(1.5, 2), (3, 4)], [1, 0], (0, 0, 5, 6)))]
    )
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "file,object,kind,row,col,r0,c0,r1,c1,label",
        "a.tif,4,point,1.5,2,,,,,foreground",
        "a.tif,4,point,3,4,,,,,background",
        "a.tif,4,box,,,0,0,5,6,",
    ]


# --- which image is meant ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("d/x.tif", "d/x.tif"),
        ("x.png", "e/x.png"),
        ("/home/other/day/d/x.tif", None),
        ("y", "e/y.ome.tif"),
        ("C:\\data\\y.tif", "e/y.ome.tif"),
    ],
)
def test_images_are_found_by_name(file: str, expected: str | None) -> None:
    images = [Path("d/x.tif"), Path("e/x.png"), Path("e/y.ome.tif")]
    rows = [PromptRow(file, (), 1, Prompts([(0, 0)]), line=2)]
    assert list(match_images(rows, images)) == [Path(expected or "d/x.tif")]


def test_rows_that_name_no_image() -> None:
    row = PromptRow("", (), 1, Prompts([(0, 0)]), line=2)
    assert list(match_images([row], [Path("a.tif")], "other")) == [Path("a.tif")]
    assert list(match_images([row], [Path("a.tif"), Path("b.tif")], "b")) == [Path("b.tif")]


def test_a_layer_is_taken_for_the_only_image() -> None:
    """What the viewer exports of an image without a file is called like its layer."""
    rows = [PromptRow("Nuclei 2-D", (), number, Prompts([(0, 0)]), line=2) for number in (1, 2)]
    assert list(match_images(rows, [Path("a.tif")])) == [Path("a.tif")]
    with pytest.raises(PromptError, match="expected an image 'Nuclei 2-D'"):
        match_images(rows, [Path("a.tif"), Path("b.tif")])
    with pytest.raises(PromptError, match=r"expected an image 'b\.tif', got only a\.tif"):
        match_images([PromptRow("b.tif", (), 1, Prompts([(0, 0)]), line=2)], [Path("a.tif")])


@pytest.mark.parametrize(
    ("file", "images", "message"),
    [
        ("x", ["a/x.tif", "b/x.tif"], r"Line 2: expected one image for 'x', got .*x.tif and .*; write more"),
        ("z.tif", ["a/x.tif"], r"Line 2: expected an image 'z.tif', got only x.tif"),
        ("", ["a/x.tif", "b/y.tif"], "Line 2: expected a file, got none; there are 2 images"),
    ],
    ids=["ambiguous", "missing", "unnamed"],
)
def test_images_that_cannot_be_found(file: str, images: list[str], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        match_images([PromptRow(file, (), 1, Prompts([(0, 0)]), line=2)], [Path(name) for name in images])


# --- labels ------------------------------------------------------------------------------------------------


class Squares:
    """Gives a square of five pixels a side around the first point, nothing for one in a dark pixel."""

    def predict_many(self, plane: Any, prompts: list[Prompts]) -> list[ObjectMask]:
        return [self.predict(plane, each) for each in prompts]

    def predict(self, plane: Any, prompts: Prompts) -> ObjectMask:
        row, col = (int(value) for value in prompts.points[0])
        if not (0 <= row < plane.shape[0] and 0 <= col < plane.shape[1]):
            raise PromptError(f"Expected a point inside the image, got ({row}, {col}).")
        drawn = np.zeros(plane.shape, bool)
        if plane[row, col]:
            drawn[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3] = True
        return ObjectMask.from_plane(drawn, predicted_iou=0.5 + row / 100, stability_score=0.75)


def _run(stack: ImageStack, rows: list[PromptRow]) -> Any:
    job = iter_prompted_labels(stack, rows, Squares())  # type: ignore[arg-type]
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as stop:
            assert steps[-1].done == steps[-1].total == len(rows)
            return stop.value


def _row(number: int, row: float, col: float, axes: str = "", plane: tuple[int, ...] = ()) -> PromptRow:
    return PromptRow("a", plane, number, Prompts([(row, col)]), axes, line=number + 1)


def test_objects_keep_their_numbers_and_their_pixels() -> None:
    data = np.ones((3, 20, 20), np.uint8)
    data[2, 0, 0] = 0
    rows = [
        _row(7, 5, 5, "Z", (0,)),
        _row(3, 5, 8, "Z", (0,)),  # two columns are taken
        _row(7, 10, 10, "Z", (1,)),
        _row(4, 10, 10, "Z", (1,)),  # all of it is taken
        _row(5, 0, 0, "Z", (2,)),  # nothing there
    ]
    found = _run(ImageStack(data, "ZYX", name="s"), rows)
    expected = np.zeros((3, 20, 20), np.int32)
    expected[0, 3:8, 6:11] = 3
    expected[0, 3:8, 3:8] = 7
    expected[1, 8:13, 8:13] = 7
    np.testing.assert_array_equal(found.labels, expected)
    assert found.axes == "ZYX"
    assert found.notes == [
        "object 4 in plane 1 has no pixel of its own: others lie there (line 5)",
        "object 5 in plane 2 is empty: the model saw nothing at its prompts (line 6)",
    ]
    assert found.records == {
        7: {"source": "prompts", "predicted_iou": 0.55, "stability": 0.75},
        3: {"source": "prompts", "predicted_iou": 0.55, "stability": 0.75},
    }


@pytest.mark.parametrize(
    ("shape", "axes", "row", "plane"),
    [
        pytest.param((2, 3, 9, 9), "TZYX", _row(1, 4, 4, "TZ", (1, 2)), (1, 2), id="both"),
        pytest.param(
            (1, 3, 9, 9), "TZYX", _row(1, 4, 4, "Z", (2,)), (0, 2), id="an axis of one is no question"
        ),
        pytest.param((3, 9, 9), "ZYX", _row(1, 4, 4, "TZ", (0, 2)), (2,), id="QuPath's t of 0"),
        pytest.param((3, 9, 9), "QYX", _row(1, 4, 4, "Z", (2,)), (2,), id="pages"),
        pytest.param((3, 9, 9), "TYX", _row(1, 4, 4, "T", (2,)), (2,), id="time"),
        pytest.param((9, 9), "YX", _row(1, 4, 4), (), id="plane"),
    ],
)
def test_planes(shape: tuple[int, ...], axes: str, row: PromptRow, plane: tuple[int, ...]) -> None:
    found = _run(ImageStack(np.ones(shape, np.uint8), axes), [row])
    assert found.labels[plane].sum() == 25
    assert found.labels.sum() == 25


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param(
            _row(1, 4, 4, "Z", (3,)), "Line 2, object 1: expected z from 0 to 2 in s, got 3", id="plane"
        ),
        pytest.param(_row(1, 4, 4, "T", (1,)), "expected t from 0 to 0 in s, got 1", id="axis"),
        pytest.param(_row(1, 4, 4), "add a column z to the table, s has 3 planes", id="which"),
        pytest.param(
            _row(1, 90, 4, "Z", (0,)), "Line 2, object 1: Expected a point inside the image", id="outside"
        ),
    ],
)
def test_prompts_that_are_not_in_their_image(row: PromptRow, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        _run(ImageStack(np.ones((3, 9, 9), np.uint8), "ZYX", name="s"), [row])
