"""The scope of Segment everything: this plane, the whole stack, the whole series; for buttons and scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.session.left_session import read_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Desk


def volume() -> np.ndarray:
    image = np.zeros((4, 40, 50), np.uint8)
    for t in range(4):
        image[t, 5:15, 5 + t : 15 + t] = 200
        image[t, 25:35, 20 + t : 30 + t] = 200
    return image


def open_stack(desk: Desk, repeats: int = 1) -> None:
    desk.widget.image_layer = desk.viewer.add_image(np.tile(volume(), (repeats, 1, 1)), name="stack")
    assert desk.widget.wait(20)  # until the model is loaded, which says so in the status line


def test_planes_are_kept_as_they_come_and_stay_when_the_dock_is_closed(desk: Desk) -> None:
    open_stack(desk, repeats=50)
    desk.engine.step_delay = 0.05
    recovery = desk.widget._recovery
    desk.widget.segment_stack("z")
    desk.wait_for(lambda: recovery.autosave.session is not None and not recovery.autosave.is_dirty)
    assert desk.widget._session.is_segmenting
    folder = recovery.autosave.session.path
    desk.widget.shutdown()
    layer = desk.layer("stack objects")
    session = desk.widget._session
    planes = [record.plane[0] for record in session.book.get(session.layer_token(layer), 1)]
    assert planes == np.flatnonzero(layer.data.any(axis=(1, 2))).tolist()
    assert 0 < len(planes) < len(layer.data)
    assert np.array_equal(read_session(folder).layers[0].read(), layer.data)


def test_a_plane_has_no_scope_and_a_stack_has_one(desk: Desk) -> None:
    panel = desk.widget._auto_panel
    desk.viewer.add_image(np.zeros((40, 50), np.uint8), name="plane")
    assert panel.scope.isHidden()
    open_stack(desk)
    assert not panel.scope.isHidden()
    panel.scope.setCurrentIndex(2)
    assert panel.axis == "t"
    desk.widget.image_layer = "plane"
    assert panel.scope.isHidden()
    assert panel.axis is None


@pytest.mark.parametrize(
    ("index", "layers"), [(1, {"stack objects"}), (2, {"stack objects", "stack tracks"})]
)
def test_the_button_does_what_the_scope_says(index: int, layers: set[str], desk: Desk) -> None:
    open_stack(desk)
    panel = desk.widget._auto_panel
    panel.scope.setCurrentIndex(index)
    assert panel.segment.text() == "Segment all planes"
    assert not panel.result.isEnabled()
    panel.segment.click()
    assert not panel.segment.isEnabled()
    assert not panel.progress.isHidden()
    assert desk.widget.wait(20)
    assert panel.segment.isEnabled()
    assert panel.progress.isHidden()
    assert layers <= {layer.name for layer in desk.viewer.layers}
    assert desk.widget.status == "2 objects in 4 planes."
    panel.scope.setCurrentIndex(0)
    assert panel.segment.text() == "Segment everything"
    assert panel.result.isEnabled()


def test_scripts_segment_stacks(desk: Desk) -> None:
    open_stack(desk)
    desk.widget.segment_stack("t")
    assert desk.widget.wait(20)
    assert (np.unique(desk.viewer.layers["stack objects"].data) == [0, 1, 2]).all()
    with pytest.raises(ValueError, match="Expected the axis 'z' or 't', got 'x'"):
        desk.widget.segment_stack("x")
    desk.widget.undo()
    assert "stack objects" not in desk.viewer.layers


def test_cancel_stops_a_stack(desk: Desk) -> None:
    desk.engine.step_delay = 0.05
    open_stack(desk, 20)
    desk.widget.segment_stack("z")
    desk.wait_for(lambda: "stack objects" in desk.viewer.layers)
    desk.widget._auto_panel.cancel.click()
    assert desk.widget.wait(20)
    assert "planes that were finished are kept" in desk.widget.status
    assert not desk.viewer.layers["stack objects"].data[-1].any()


def test_closing_the_widget_while_a_stack_runs(open_window: Callable[..., Desk]) -> None:
    window = open_window()
    window.engine.step_delay = 0.02
    open_stack(window, 20)
    window.widget.segment_stack("t")
    window.wait_for(lambda: "stack objects" in window.viewer.layers)
    window.widget.shutdown()
    window.settle()
    assert "stack objects" in window.viewer.layers
