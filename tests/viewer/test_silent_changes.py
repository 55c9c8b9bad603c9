from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam.viewer.silent_changes import SilentChanges

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels


class Watched:
    """A volume beside a series of volumes, painted once."""

    def __init__(self) -> None:
        self.viewer = ViewerModel()
        self.viewer.add_image(np.zeros((4, 3, 16, 16), np.uint8))
        self.layer = self.viewer.add_labels(np.zeros((3, 16, 16), np.int32))
        self.changes = SilentChanges(self.viewer)
        self.changes.watch(self.layer)
        self.told: list[Labels] = []
        self.changes.noticed.connect(self.told.append)
        self.layer.data_setitem((np.array([1]), np.array([5]), np.array([5])), 7)


def undo(it: Watched) -> None:
    it.layer.undo()


def move_series(it: Watched) -> None:
    it.viewer.dims.set_point(0, 2)


def move_plane(it: Watched) -> None:
    it.viewer.dims.set_point(1, 2)


def roll(it: Watched) -> None:
    it.viewer.dims.roll()


def hide(it: Watched) -> None:
    it.layer.visible = False


def show(it: Watched) -> None:
    it.layer.visible = True


def draw_contours(it: Watched) -> None:
    it.layer.contour = 1


def shuffle_colours(it: Watched) -> None:
    it.layer.new_colormap(3)


def show_alone(it: Watched) -> None:
    it.layer.show_selected_label = True


def select(it: Watched) -> None:
    it.layer.selected_label = 7


@pytest.mark.parametrize(
    ("acts", "times"),
    [
        pytest.param([], 0, id="brush"),
        pytest.param([undo], 1, id="undo"),
        pytest.param([move_plane], 0, id="another plane"),
        pytest.param([move_series], 0, id="another volume of the series"),
        pytest.param([roll], 0, id="other axes"),
        pytest.param([move_plane, undo], 1, id="undo on another plane"),
        pytest.param([move_series, undo], 1, id="undo beside another volume"),
        pytest.param([roll, undo], 1, id="undo with other axes"),
        pytest.param([draw_contours], 0, id="contours"),
        pytest.param([shuffle_colours], 0, id="other colours"),
        pytest.param([show_alone, select], 0, id="one object alone"),
        pytest.param([draw_contours, undo], 1, id="undo with contours"),
        pytest.param([shuffle_colours, undo], 1, id="undo with other colours"),
        pytest.param([select, undo], 1, id="undo with another object at hand"),
        pytest.param([hide, undo], 0, id="undo while hidden"),
        pytest.param([hide, undo, show], 1, id="shown after it"),
        pytest.param([hide, undo, move_plane, show], 1, id="shown on another plane"),
        pytest.param([hide, show, undo], 2, id="undo when shown again"),
    ],
)
def test_what_is_noticed(acts: list[Callable[[Watched], None]], times: int) -> None:
    it = Watched()
    for act in acts:
        act(it)
    assert it.told == [it.layer] * times


@pytest.mark.parametrize("how", ["release", "close"])
def test_a_layer_is_left_alone_again(how: str) -> None:
    it = Watched()
    callbacks = len(it.layer.events.set_data.callbacks)
    it.changes.watch(it.layer)
    if how == "release":
        it.changes.release(it.layer)
        it.changes.release(it.layer)
    else:
        it.changes.close()
    undo(it)
    assert it.told == []
    assert len(it.layer.events.set_data.callbacks) == callbacks - 1
