from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes

from napari_sam.session.drawing import Drawing, Shape
from napari_sam.types import Prompts
from napari_sam.viewer.planes import locate_plane
from napari_sam.viewer.prompt_labels import (
    BACKGROUND,
    COLOURS,
    FOREGROUND,
    next_label,
    set_next_label,
    toggle_selected,
)
from napari_sam.viewer.prompt_layers import make_points, read_drawing, write_drawing
from napari_sam.viewer.shape_layers import make_shapes

SQUARE = [(2, 3), (2, 9), (8, 9), (8, 3)]


class Stage:
    def __init__(self, shape: tuple[int, ...] = (20, 30), **options: Any) -> None:
        self.viewer = ViewerModel()
        self.image = self.viewer.add_layer(Image(np.zeros(shape), **options))
        self.points = make_points(self.image)
        self.shapes = make_shapes(self.image)

    @property
    def plane(self) -> Any:
        return locate_plane(self.image, self.viewer.dims, "s")

    def draw(self, points: Any = None, shapes: Any = None) -> tuple[Drawing, tuple[str, ...]]:
        return read_drawing(
            points or self.points, shapes or self.shapes, self.image, self.plane, self.viewer.dims.point
        )

    def read(self, points: Any = None, shapes: Any = None) -> tuple[Prompts, tuple[str, ...]]:
        drawing, notes = self.draw(points, shapes)
        return drawing.to_prompts(self.plane.shape, "mask"), notes

    def write(self, prompts: Prompts | Drawing, points: Any = None) -> None:
        drawing = prompts if isinstance(prompts, Drawing) else Drawing.of_prompts(prompts)
        write_drawing(
            points or self.points, self.shapes, self.image, self.plane, self.viewer.dims.point, drawing
        )


def test_a_new_points_layer_is_empty_and_foreground() -> None:
    points = Stage().points
    assert len(points.data) == 0
    assert next_label(points) == FOREGROUND
    points.add((1, 1))
    assert list(points.features["label"]) == [FOREGROUND]


@pytest.mark.parametrize("labels", [(FOREGROUND, BACKGROUND), (BACKGROUND, FOREGROUND), (BACKGROUND,)])
def test_colours_tell_labels_apart_whichever_comes_first(labels: tuple[str, ...]) -> None:
    points = Stage().points
    for label in labels:
        set_next_label(points, label)
        points.add((1, 1))
    for label, colour in zip(labels, points.face_color, strict=True):
        expected = [int(COLOURS[label][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        np.testing.assert_allclose(colour[:3], expected, atol=0.01)


def test_toggling_selected_points_changes_their_label_and_colour() -> None:
    points = Stage().points
    points.add([(1, 1), (2, 2)])
    points.selected_data = {1}
    before = points.face_color.copy()
    assert toggle_selected(points)
    assert list(points.features["label"]) == [FOREGROUND, BACKGROUND]
    assert (points.face_color[1] != before[1]).any()
    assert next_label(points) == FOREGROUND
    points.selected_data = set()
    assert not toggle_selected(points)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"scale": (0.5, 2)}, id="scale"),
        pytest.param({"translate": (100, -50)}, id="translate"),
        pytest.param({"rotate": 35}, id="rotate"),
        pytest.param({"scale": (3, 3), "translate": (1, 2), "rotate": 90, "shear": [0.2]}, id="all"),
        pytest.param({"affine": [[0, 2, 1], [1, 0, 3], [0, 0, 1]]}, id="affine"),
    ],
)
def test_prompts_of_other_layers_are_read_through_the_world(options: dict[str, Any]) -> None:
    stage = Stage(**options)
    world = np.array([stage.image.data_to_world(p) for p in [(4, 5), (10, 20)]])
    users = Points(world, features={"label": [FOREGROUND, BACKGROUND]})
    prompts, _ = stage.read(points=users)
    np.testing.assert_allclose(prompts.points, [(4, 5), (10, 20)], atol=1e-4)
    assert prompts.labels.tolist() == [1, 0]
    box = Shapes([np.array([stage.image.data_to_world(p) for p in SQUARE])], shape_type="rectangle")
    prompts, _ = stage.read(shapes=box)
    np.testing.assert_allclose(prompts.box, (2, 3, 8, 9), atol=1e-4)


def test_points_on_another_slice_are_no_prompts() -> None:
    stage = Stage((5, 20, 30), scale=(2, 1, 1))
    stage.viewer.dims.set_point(0, 4)  # slice 2
    stage.points.data = [(2, 1, 1), (3, 2, 2), (2.4, 3, 3), (1.4, 4, 4)]
    prompts, _ = stage.read()
    assert prompts.points.tolist() == [[1, 1], [3, 3]]


def test_a_points_layer_without_the_slice_axis_is_read_on_every_slice() -> None:
    stage = Stage((5, 20, 30))
    users = Points([(3, 4)])
    for z in (0, 3):
        stage.viewer.dims.set_point(0, z)
        assert stage.read(points=users)[0].points.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("foreground", 1),
        ("background", 0),
        ("Background", 0),
        (1, 1),
        (0, 0),
        ("cell", 1),
        (True, 1),
        (False, 0),
    ],
)
def test_labels_of_users_layers(label: Any, expected: int) -> None:
    stage = Stage()
    users = Points([(3, 4)], features={"label": [label]})
    assert stage.read(points=users)[0].labels.tolist() == [expected]


def test_users_points_without_labels_are_foreground() -> None:
    stage = Stage()
    assert stage.read(points=Points([(3, 4), (5, 6)]))[0].labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("kind", "vertices", "box", "area", "points"),
    [
        pytest.param("rectangle", SQUARE, (2, 3, 8, 9), None, 0, id="rectangle is a box"),
        pytest.param("ellipse", SQUARE, None, 29, 0, id="ellipse of radius 3 is a mask of 29 pixels"),
        pytest.param("polygon", [(2, 3), (2, 9), (8, 3)], None, 28, 0, id="half a square of 7 is 28 pixels"),
        pytest.param("line", [(2, 3), (2, 13)], None, None, 5, id="line is five points"),
        pytest.param("path", [(2, 3), (2, 8), (2, 13)], None, None, 5, id="path is five points"),
    ],
)
def test_shapes_as_prompts(kind: str, vertices: Any, box: Any, area: int | None, points: int) -> None:
    stage = Stage()
    stage.shapes.add([np.array(vertices, float)], shape_type=kind)
    prompts, notes = stage.read()
    assert prompts.box == box
    assert (None if prompts.mask is None else prompts.mask.area) == area
    assert len(prompts.points) == points
    assert notes == ()


def test_a_shape_without_area_is_left_out_and_said() -> None:
    stage = Stage()
    stage.shapes.add([np.array([(2, 3), (2, 9), (2, 9), (2, 3)], float)], shape_type="rectangle")
    prompts, notes = stage.read()
    assert prompts.is_empty
    assert "without area" in notes[0]


@pytest.mark.parametrize("labels", [(FOREGROUND, BACKGROUND), (BACKGROUND, FOREGROUND), (BACKGROUND,)])
def test_colours_tell_shapes_apart_whichever_comes_first(labels: tuple[str, ...]) -> None:
    stage = Stage()
    for label in labels:
        set_next_label(stage.shapes, label)
        stage.shapes.add([np.array([(2, 3), (2, 13)], float)], shape_type="line")
    for label, colour in zip(labels, stage.shapes.edge_color, strict=True):
        expected = [int(COLOURS[label][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        np.testing.assert_allclose(colour[:3], expected, atol=0.01)
    assert [shape.is_object for shape in stage.draw()[0].shapes] == [label == FOREGROUND for label in labels]


def test_of_two_boxes_the_newest_is_used() -> None:
    stage = Stage()
    stage.shapes.add_rectangles([np.array(SQUARE, float), np.array(SQUARE, float) + 5])
    assert stage.read()[0].box == (7, 8, 13, 14)


def test_boxes_on_another_slice_are_no_prompts() -> None:
    stage = Stage((5, 20, 30))
    corners = np.array([(2, r, c) for r, c in SQUARE], float)
    stage.shapes.add_rectangles([corners])
    stage.viewer.dims.set_point(0, 1)
    assert stage.read()[0].box is None
    stage.viewer.dims.set_point(0, 2)
    assert stage.read()[0].box == (2, 3, 8, 9)


@pytest.mark.parametrize(
    ("shape", "options"),
    [((20, 30), {}), ((5, 20, 30), {}), ((5, 20, 30), {"scale": (3, 0.5, 2), "translate": (1, 2, 3)})],
)
def test_what_is_written_is_read_back(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    stage = Stage(shape, **options)
    prompts = Prompts(np.array([(4, 5), (10, 20)], np.float32), np.array([1, 0], np.int8), (2, 3, 8, 9))
    stage.write(prompts)
    found, _ = stage.read()
    np.testing.assert_allclose(found.points, prompts.points, atol=1e-4)
    assert found.labels.tolist() == [1, 0]
    np.testing.assert_allclose(found.box, prompts.box, atol=1e-4)
    stage.write(Prompts())
    assert len(stage.points.data) == len(stage.shapes.data) == 0


def test_writing_leaves_other_slices_and_features_alone() -> None:
    stage = Stage((5, 20, 30))
    users = Points(
        [(0, 1, 1), (2, 2, 2), (2, 3, 3)],
        features={"label": [FOREGROUND, BACKGROUND, FOREGROUND], "who": ["a", "b", "c"]},
    )
    stage.write(
        Prompts(points=np.array([(9, 9)], np.float32)), points=users
    )  # slice 2: dims start in the middle
    assert users.data.tolist() == [[0, 1, 1], [2, 9, 9]]
    assert list(users.features["label"]) == [FOREGROUND, FOREGROUND]
    assert users.features["who"].iloc[0] == "a"


def test_writing_keeps_what_the_next_point_will_be() -> None:
    stage = Stage()
    set_next_label(stage.points, BACKGROUND)
    stage.write(Prompts(points=np.array([(9, 9)], np.float32)))
    assert next_label(stage.points) == BACKGROUND


SHAPES = (
    Shape("ellipse", np.array(SQUARE, float)),
    Shape("path", np.array([(10, 3), (12, 8), (10, 13)], float), is_object=False),
    Shape("polygon", np.array([(12, 3), (18, 4), (15, 9)], float)),
    Shape("rectangle", np.array(SQUARE, float)),
)


@pytest.mark.parametrize(("shape", "options"), [((20, 30), {}), ((5, 20, 30), {"scale": (3, 0.5, 2)})])
def test_shapes_of_every_kind_are_written_as_they_were(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    stage = Stage(shape, **options)
    drawing = Drawing(np.array([(4, 5)], np.float32), np.array([1], np.int8), SHAPES)
    stage.write(drawing)
    found, _ = stage.draw()
    assert found.same(drawing)
    assert list(stage.shapes.features["label"]) == [FOREGROUND, BACKGROUND, FOREGROUND, FOREGROUND]
    assert next_label(stage.shapes) == FOREGROUND


def test_writing_what_is_there_already_changes_nothing() -> None:
    stage = Stage()
    stage.write(Drawing(shapes=SHAPES))
    events: list[Any] = []
    stage.shapes.events.data.connect(events.append)
    stage.write(Drawing(shapes=SHAPES))
    assert events == []


def test_shapes_on_other_slices_stay() -> None:
    stage = Stage((5, 20, 30))
    stage.viewer.dims.set_point(0, 1)
    stage.write(Drawing(shapes=SHAPES[:1]))
    stage.viewer.dims.set_point(0, 2)
    stage.write(Drawing(shapes=SHAPES[2:3]))
    stage.write(Drawing())
    assert list(stage.shapes.shape_type) == ["ellipse"]


def test_the_label_of_the_next_point_is_set_beside_other_features() -> None:
    users = Points([(0, 1)], features={"label": [FOREGROUND], "who": ["a"]})
    set_next_label(users, BACKGROUND)
    users.add((1, 1))
    assert list(users.features["label"]) == [FOREGROUND, BACKGROUND]
