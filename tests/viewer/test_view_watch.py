"""What part of a plane is in view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam.viewer.planes import locate_plane
from napari_sam.viewer.view_watch import ViewWatch, read_view

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (300, 400)  # of the canvas


def camera(viewer: Any) -> Any:
    return getattr(viewer, "scene", viewer).camera


def open_image(data: Any, **options: Any) -> tuple[Any, Any]:
    viewer = ViewerModel()
    if not hasattr(viewer, "canvas"):
        pytest.skip("this napari tells the view only of a layer that was drawn")
    viewer.canvas.size = SIZE
    return viewer, viewer.add_image(data, **options)


@pytest.mark.parametrize(
    ("data", "options", "centre", "zoom", "expected"),
    [
        pytest.param(
            lambda: np.zeros((1000, 1000)), {}, (500, 500), 1, (350, 300, 650, 700), id="a pixel for a pixel"
        ),
        pytest.param(
            lambda: np.zeros((1000, 1000)), {}, (0, 990), 2, (0, 890, 75, 1000), id="beyond two sides"
        ),
        pytest.param(
            lambda: np.zeros((1000, 1000)), {"scale": (0.5, 0.25), "translate": (10, 20)}, (110, 70), 4,
            (125, 0, 275, 400), id="scale and translate",
        ),
        pytest.param(
            lambda: np.zeros((1000, 1000)), {"rotate": 90}, (-500, 500), 1, (300, 350, 700, 650), id="rotated"
        ),
        pytest.param(
            lambda: [np.zeros((1000, 1000)), np.zeros((500, 500))], {"multiscale": True}, (500, 500), 1,
            (350, 300, 650, 700), id="pyramid",
        ),
        pytest.param(
            lambda: np.zeros((3, 1000, 1000)), {"scale": (5, 1, 1)}, (500, 500), 1, (350, 300, 650, 700),
            id="stack",
        ),
        pytest.param(lambda: np.zeros((100, 100)), {}, (5000, 5000), 1, None, id="elsewhere"),
    ],
)  # fmt: skip
def test_the_view_in_pixels(data: Any, options: Any, centre: Any, zoom: float, expected: Any) -> None:
    viewer, layer = open_image(data(), **options)
    camera(viewer).center = (0, *centre)
    camera(viewer).zoom = zoom
    found = read_view(viewer, layer, locate_plane(layer, viewer.dims, "s"))
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rolled_dimensions() -> None:
    viewer, layer = open_image(np.zeros((800, 10, 600)))
    viewer.dims.order = (1, 2, 0)  # columns run down, rows across
    camera(viewer).center = (0, 300, 400)
    camera(viewer).zoom = 1
    plane = locate_plane(layer, viewer.dims, "s")
    assert plane.axes == (0, 2)
    assert read_view(viewer, layer, plane) == (200, 150, 600, 450)


def test_what_was_drawn_says_it_where_the_canvas_does_not() -> None:
    viewer = ViewerModel()
    data = np.zeros((1000, 1000))
    layer = viewer.add_image([data, data[::2, ::2]], multiscale=True)
    plane = locate_plane(layer, viewer.dims, "s")
    layer.corner_pixels = np.array([(10, 20), (110, 220)])  # as napari notes when it draws, here at level 1
    assert layer.data_level == 1

    class Old:
        """napari before 0.9."""

        dims, camera = viewer.dims, camera(viewer)

    assert read_view(Old(), layer, plane) == (20, 40, 220, 440)
    layer.corner_pixels = np.zeros((2, 2), int)
    assert read_view(Old(), layer, plane) is None  # never drawn


def test_moving_is_told_until_disabled() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((5, 20, 30)))
    watch, moves = ViewWatch(viewer), []
    watch.moved.connect(lambda: moves.append(1))
    watch.enable()
    before = len(camera(viewer).events.zoom.callbacks)
    changes: list[Callable[[], None]] = [
        lambda: setattr(camera(viewer), "zoom", 3.5),
        lambda: setattr(camera(viewer), "center", (0, 3, 4)),
    ]
    for change in changes:
        count = len(moves)
        change()
        assert len(moves) > count
    watch.disable()
    assert len(camera(viewer).events.zoom.callbacks) == before - 1
    count = len(moves)
    camera(viewer).zoom = 1
    assert len(moves) == count
