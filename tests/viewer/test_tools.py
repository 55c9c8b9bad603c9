from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.viewer.tools import TOOLS

if TYPE_CHECKING:
    from conftest import Bench

MODES = {
    "click": ("SAM points", "add"),
    "box": ("SAM shapes", "add_rectangle"),
    "scribble": ("SAM shapes", "add_path"),
    "polygon": ("SAM shapes", "add_polygon_lasso"),
    "refine": ("SAM points", "pan_zoom"),
}


@pytest.fixture
def opened(bench: Bench) -> Bench:
    bench.open(np.zeros((64, 64), np.uint8))
    return bench


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_a_layer_and_a_mode_of_it(opened: Bench, tool: str) -> None:
    tools = opened.controller.tools
    tools.choose("box" if tool != "box" else "click")
    told: list[str] = []
    tools.changed.connect(told.append)
    tools.choose(tool)
    name, mode = MODES[tool]
    active = opened.viewer.layers.selection.active
    assert (active.name, str(active.mode)) == (name, mode)
    assert tools.tool == tool
    assert told == [tool]


def test_every_tool_can_be_chosen() -> None:
    assert set(MODES) == set(TOOLS)


@pytest.mark.parametrize(
    ("layer", "mode", "tool"),
    [
        ("SAM points", "add", "click"),
        ("SAM points", "select", ""),
        ("SAM shapes", "add_rectangle", "box"),
        ("SAM shapes", "add_ellipse", "polygon"),
        ("SAM shapes", "add_polygon", "polygon"),
        ("SAM shapes", "add_line", "scribble"),
        ("SAM shapes", "direct", ""),
        ("SAM preview", "pan_zoom", ""),
    ],
)
def test_it_follows_what_the_user_does_in_napari(opened: Bench, layer: str, mode: str, tool: str) -> None:
    opened.controller.tools.choose("refine")
    told: list[str] = []
    opened.controller.tools.changed.connect(told.append)
    opened.viewer.layers.selection.active = opened.viewer.layers[layer]
    opened.viewer.layers[layer].mode = mode
    assert opened.controller.tools.tool == tool
    assert told[-1:] == [tool]


def test_a_deleted_layer_is_made_anew_for_its_tool(opened: Bench) -> None:
    opened.viewer.layers.remove("SAM shapes")
    opened.controller.tools.choose("scribble")
    assert str(opened.shapes.mode) == "add_path"
    opened.shapes.add([np.array([(10, 5), (10, 15)], float)], shape_type="path")
    assert len(opened.asked().points) == 5


def test_without_an_image_it_is_said(bench: Bench) -> None:
    bench.controller.enable()
    bench.controller.tools.choose("box")
    assert "image layer first" in bench.messages[-1]
    assert bench.controller.tools.tool == ""


def test_an_unknown_tool_is_an_error(opened: Bench) -> None:
    with pytest.raises(ValueError, match="got 'lasso'"):
        opened.controller.tools.choose("lasso")


def press(bench: Bench, start: Any, end: Any, button: int = 1) -> None:
    """A press and a release of the mouse, as napari hands them to the viewer's callbacks."""
    event = SimpleNamespace(type="mouse_press", pos=start, position=start, button=button)
    tools = bench.controller.tools
    (callback,) = [c for c in bench.viewer.mouse_drag_callbacks if getattr(c, "__self__", None) is tools]
    for step in callback(bench.viewer, event) or ():
        assert step is None
        event.type, event.pos = ("mouse_move", end) if event.type == "mouse_press" else ("mouse_release", end)


@pytest.mark.parametrize(
    ("start", "end", "button", "refines"),
    [
        pytest.param((10, 10), (10, 10), 1, True, id="click"),
        pytest.param((10, 10), (12, 11), 1, True, id="an unsteady click"),
        pytest.param((10, 10), (30, 10), 1, False, id="a drag moves the view"),
        pytest.param((10, 10), (10, 10), 2, False, id="another button"),
        pytest.param((50, 50), (50, 50), 1, False, id="beside every object"),
    ],
)
def test_a_click_with_the_refine_tool_takes_an_object(
    opened: Bench, start: Any, end: Any, button: int, refines: bool
) -> None:
    labels = np.zeros((64, 64), int)
    labels[5:20, 5:20] = 3
    layer = opened.viewer.add_labels(labels, name="theirs")
    opened.controller.tools.choose("refine")
    press(opened, start, end, button)
    assert (opened.controller.target_layer is layer) == refines
    assert opened.controller.tools.tool == ("click" if refines else "refine")
    assert opened.shown.sum() == (225 if refines else 0)


def test_with_another_tool_a_click_refines_nothing(opened: Bench) -> None:
    opened.viewer.add_labels(np.ones((64, 64), int))
    opened.controller.tools.choose("box")
    press(opened, (10, 10), (10, 10))
    assert opened.shown.sum() == 0


def test_disabled_it_hears_nothing(opened: Bench) -> None:
    viewer = opened.viewer
    before = len(viewer.mouse_drag_callbacks)
    opened.controller.disable()
    assert len(viewer.mouse_drag_callbacks) < before
    assert not [c for c in viewer.mouse_drag_callbacks if getattr(c, "__self__", None)]
