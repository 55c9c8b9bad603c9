from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam.session.review import ReviewItem
from napari_sam.viewer.review_camera import CANVAS, FILLS, FRAME_NAME, ReviewFrame, look_at

ITEM = ReviewItem(3, (2, None, None), (10, 20, 14, 30), 40, 0.5, ("why",), False)


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    if hasattr(viewer, "canvas"):
        viewer.canvas.size = CANVAS
    data = np.zeros((4, 50, 60), np.int32)
    viewer.add_labels(data, name="labels", scale=(2, 0.5, 0.5), translate=(0, 100, 200))
    return viewer


def camera_of(viewer: Any) -> Any:
    return getattr(viewer, "scene", viewer).camera


def test_the_object_is_brought_into_view(viewer: ViewerModel) -> None:
    labels = viewer.layers["labels"]
    camera_of(viewer).zoom = 1
    look_at(viewer, labels, ITEM)
    assert labels.selected_label == 3
    assert viewer.dims.point[0] == 4
    # rows 10 to 13 have their centre at 11.5, columns 20 to 29 at 24.5
    assert camera_of(viewer).center[-2:] == pytest.approx((100 + 11.5 / 2, 200 + 24.5 / 2))
    assert camera_of(viewer).zoom == pytest.approx(FILLS * min(600 / 2, 800 / 5))


def test_a_zoom_that_suits_stays(viewer: ViewerModel) -> None:
    camera_of(viewer).zoom = 0.2 * 800 / 5
    look_at(viewer, viewer.layers["labels"], ITEM)
    assert camera_of(viewer).zoom == pytest.approx(0.2 * 800 / 5)


def test_the_camera_may_stay_while_the_slice_changes(viewer: ViewerModel) -> None:
    before = camera_of(viewer).center, camera_of(viewer).zoom
    look_at(viewer, viewer.layers["labels"], ITEM, move=False)
    assert (camera_of(viewer).center, camera_of(viewer).zoom) == before
    assert viewer.dims.point[0] == 4


def test_the_3d_view_stays_as_it_is(viewer: ViewerModel) -> None:
    viewer.dims.ndisplay = 3
    before = camera_of(viewer).center, viewer.dims.point
    look_at(viewer, viewer.layers["labels"], ITEM)
    assert (camera_of(viewer).center, viewer.dims.point) == before


def test_the_frame_follows_and_takes_nothing_out_of_the_hand(viewer: ViewerModel) -> None:
    labels, frame = viewer.layers["labels"], ReviewFrame(viewer)
    viewer.layers.selection.active = labels
    frame.show(labels, ITEM)
    layer = viewer.layers[FRAME_NAME]
    assert viewer.layers.selection.active is labels
    corners = np.array(layer.data[0])
    assert corners.min(axis=0).tolist() == [2, 9.5, 19.5]
    assert corners.max(axis=0).tolist() == [2, 13.5, 29.5]
    assert layer.data_to_world((2, 9.5, 19.5)) == pytest.approx(labels.data_to_world((2, 9.5, 19.5)))
    frame.show(labels, ReviewItem(5, (1, None, None), (0, 0, 2, 2), 4, 0.0, (), False))
    assert [name.name for name in viewer.layers] == ["labels", FRAME_NAME]
    assert np.array(layer.data[0])[:, 0].tolist() == [1] * 4
    frame.hide()
    assert FRAME_NAME not in viewer.layers
    frame.show(labels, ITEM)
    viewer.layers.remove(FRAME_NAME)
    frame.show(labels, ITEM)
    assert FRAME_NAME in viewer.layers
