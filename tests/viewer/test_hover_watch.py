from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Bench

AREA = 29  # pixels of a disc of radius 3


@pytest.fixture
def hovering(bench: Bench) -> Bench:
    bench.open(np.zeros((64, 64), np.uint8), scale=(2, 2))
    bench.session.set_settings(replace(bench.session.settings, hover=True))
    return bench


def move(bench: Bench, *position: float, dragging: bool = False) -> None:
    """The mouse moves; positions are of the world, two units a pixel."""
    event = SimpleNamespace(position=position, is_dragging=dragging, type="mouse_move")
    for callback in bench.viewer.mouse_move_callbacks:
        callback(bench.viewer, event)


def press(bench: Bench) -> None:
    for callback in bench.viewer.mouse_drag_callbacks:
        if getattr(callback, "__self__", None) is bench.controller.hover:
            callback(bench.viewer, SimpleNamespace(type="mouse_press"))


def hover_pixels(bench: Bench) -> int:
    return int((bench.shown == 2).sum())


def test_what_a_click_would_give_is_shown_in_its_own_colour(hovering: Bench) -> None:
    move(hovering, 20, 40)
    assert hover_pixels(hovering) == AREA
    assert hovering.shown[10, 20] == 2
    assert hovering.session.prompts.is_empty
    move(hovering, 60, 60)
    assert hovering.shown[10, 20] == 0
    assert hover_pixels(hovering) == AREA


def test_the_same_pixel_is_asked_once(hovering: Bench) -> None:
    for shift in (0, 0.3, -0.5):
        move(hovering, 20 + shift, 40)
    assert len(hovering.engine.peeked) == 1


@pytest.mark.parametrize("how", ["drag", "leave", "beside", "tool", "off", "press", "3-D"])
def test_it_is_gone_when_it_means_nothing(hovering: Bench, how: str) -> None:
    viewer, controller = hovering.viewer, hovering.controller
    viewer.mouse_over_canvas = True
    move(hovering, 20, 40)
    assert hover_pixels(hovering) == AREA
    if how == "drag":
        move(hovering, 22, 40, dragging=True)
    elif how == "leave":
        viewer.mouse_over_canvas = False
    elif how == "beside":
        move(hovering, 20, 400)
    elif how == "tool":
        controller.tools.choose("box")
    elif how == "off":
        hovering.session.set_settings(replace(hovering.session.settings, hover=False))
    elif how == "press":
        press(hovering)
    else:
        hovering.session.show_plane(None)
    assert not hovering.shown.any()


def test_a_click_there_gives_what_was_shown(hovering: Bench) -> None:
    move(hovering, 20, 40)
    shown = hovering.shown.astype(bool)
    hovering.points.add((10, 20))
    np.testing.assert_array_equal(hovering.shown == 1, shown)


def test_with_an_object_in_hand_the_corrected_one_is_shown(hovering: Bench) -> None:
    hovering.points.add((10, 20))
    hovering.controller.prompts.next_label = "background"
    move(hovering, 20, 46)
    (asked,) = hovering.engine.peeked
    assert asked.labels.tolist() == [1, 0]
    assert asked.mask is hovering.session.preview.mask
    assert 0 < hover_pixels(hovering) < AREA
    hovering.viewer.mouse_over_canvas = True
    hovering.viewer.mouse_over_canvas = False
    assert (hovering.shown == 1).sum() == AREA


@pytest.mark.parametrize("mode", ["one", "rapid"])
def test_background_alone_shows_nothing(hovering: Bench, mode: Any) -> None:
    hovering.session.set_settings(replace(hovering.session.settings, mode=mode))
    hovering.controller.prompts.next_label = "background"
    move(hovering, 20, 40)
    assert hovering.engine.peeked == []


def test_where_nothing_is_in_memory_nothing_is_shown(hovering: Bench) -> None:
    hovering.engine.in_memory = False
    move(hovering, 20, 40)
    assert not hovering.shown.any()
    assert hovering.messages == []


def test_off_it_asks_nothing(bench: Bench) -> None:
    bench.open(np.zeros((64, 64), np.uint8))
    move(bench, 20, 40)
    assert bench.engine.peeked == []


def test_disabled_it_hears_nothing(hovering: Bench) -> None:
    hovering.controller.disable()
    assert hovering.viewer.mouse_move_callbacks == []
