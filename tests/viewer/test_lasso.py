from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam.viewer.lasso import LASSO_NAME, Lasso
from napari_sam.viewer.planes import locate_plane


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    data = np.zeros((40, 60), np.int32)
    data[5:15, 5:15] = 1
    data[5:15, 20:30] = 2
    data[20:30, 5:15] = 7
    viewer.add_labels(data, name="labels", scale=(0.5, 0.5), translate=(10, 20))
    return viewer


def inside(viewer: ViewerModel, lasso: Lasso) -> tuple[int, ...]:
    labels = viewer.layers["labels"]
    return lasso.labels_inside(labels, locate_plane(labels, viewer.dims, None))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 39, 59), (1, 2, 7)),
        ((4, 4, 16, 16), (1,)),
        ((5, 5, 9, 14), (1,)),  # rows 5 to 9: half of it
        ((5, 5, 8.4, 14), ()),  # rows 5 to 8: less
        ((4, 4, 31, 16), (1, 7)),
        ((-20, -20, 80, 80), (1, 2, 7)),
        ((16, 0, 19, 59), ()),
        ((50, 70, 60, 80), ()),
    ],
    ids=["all", "one", "half", "less", "two", "beyond", "nothing", "outside"],
)
def test_objects_inside_for_the_most_part_count(
    viewer: ViewerModel, box: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    lasso = Lasso(viewer)
    lasso.draw(viewer.layers["labels"])
    r0, c0, r1, c1 = box
    lasso.layer.add_polygons([[(r0, c0), (r0, c1), (r1, c1), (r1, c0)]])
    assert inside(viewer, lasso) == expected


def test_the_layer_comes_and_goes_with_the_tool(viewer: ViewerModel) -> None:
    labels = viewer.layers["labels"]
    viewer.layers.selection.active = labels
    lasso, told = Lasso(viewer), []
    lasso.drawn.connect(lambda: told.append(lasso.layer is not None))
    lasso.draw(labels)
    layer = viewer.layers[LASSO_NAME]
    assert viewer.layers.selection.active is layer
    assert layer.mode == "add_polygon_lasso"
    layer.add_polygons([[(0, 0), (0, 30), (30, 30)]])
    assert told == [True]
    lasso.draw(labels)
    assert len(layer.data) == 0
    lasso.end()
    assert LASSO_NAME not in viewer.layers
    assert viewer.layers.selection.active is labels
    assert told[-1] is False
    assert inside(viewer, lasso) == ()
    lasso.end()


def test_a_lasso_that_the_user_deleted(viewer: ViewerModel) -> None:
    lasso = Lasso(viewer)
    lasso.draw(viewer.layers["labels"])
    viewer.layers.remove(LASSO_NAME)
    assert lasso.layer is None
    assert inside(viewer, lasso) == ()
    lasso.draw(viewer.layers["labels"])
    assert LASSO_NAME in viewer.layers


def test_outlines_of_other_planes_do_not_count() -> None:
    viewer = ViewerModel()
    data = np.zeros((3, 20, 20), np.int32)
    data[:, 5:10, 5:10] = 4
    labels: Any = viewer.add_labels(data, name="labels")
    viewer.dims.set_point(0, 1)
    lasso = Lasso(viewer)
    lasso.draw(labels)
    lasso.layer.add_polygons([[(1, 0, 0), (1, 0, 19), (1, 19, 19), (1, 19, 0)]])
    assert inside(viewer, lasso) == (4,)
    viewer.dims.set_point(0, 2)
    assert inside(viewer, lasso) == ()
