from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.errors import ImageError
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from conftest import World

A, B, C = (10.0, 10.0), (40.0, 40.0), (10.0, 40.0)
AREA = 29  # pixels of a disc of radius 3


def ask(world: World, *places: tuple[float, float]) -> None:
    for place in places:
        world.session.rapid.ask(world.session.plane, Prompts(points=[place]))


def at(world: World, *places: tuple[float, float]) -> list[int]:
    return [int(world.sink.layer.data[int(r), int(c)]) for r, c in places]


def test_each_click_is_an_object_and_a_step(world: World) -> None:
    ask(world, A, B, C)
    assert at(world, A, B, C) == [1, 2, 3]
    assert np.count_nonzero(world.sink.layer.data) == 3 * AREA
    assert world.session.rapid.waiting == 0
    for left in ([1, 2, 0], [1, 0, 0], [0, 0, 0]):
        world.session.undo()
        assert at(world, A, B, C) == left
    world.session.redo()
    assert at(world, A, B, C) == [1, 0, 0]


def test_clicks_do_not_cancel_each_other(lazy_world: World) -> None:
    world = lazy_world
    ask(world, A, B)
    assert world.session.rapid.waiting == 2
    assert "2 objects are on their way" in world.status[-1]
    world.runner.run()
    assert at(world, A, B) == [1, 2]


def test_the_object_in_hand_stays_as_it_is(world: World) -> None:
    world.session.set_prompts(Prompts(points=[C]))
    ask(world, A)
    assert world.session.prompts.points.tolist() == [list(C)]
    assert world.session.preview is not None
    assert world.restored == []


def test_a_late_answer_goes_to_its_own_plane(lazy_world: World) -> None:
    world = lazy_world
    world.sink.layer.data = np.zeros((3, 64, 64), np.int32)
    world.session.show_plane(world.plane(0))
    world.runner.run()
    ask(world, A)
    world.session.show_plane(world.plane(2))
    ask(world, B)
    world.runner.run()
    assert [np.unique(plane).tolist() for plane in world.sink.layer.data] == [[0, 1], [0], [0, 2]]


@pytest.mark.parametrize("forget", [False, True], ids=["cancel", "another image"])
def test_what_is_cancelled_is_not_written(lazy_world: World, forget: bool) -> None:
    world = lazy_world
    ask(world, A, B)
    if forget:
        world.session.forget()
    else:
        world.session.cancel()
    world.runner.run()
    assert not world.sink.layer.data.any()
    assert world.session.rapid.waiting == 0
    assert not world.session.history.can_undo


@pytest.mark.parametrize(
    ("place", "words"), [((70.0, 5.0), "inside"), ((5.0, -9.0), "inside")], ids=["below", "left of it"]
)
def test_a_click_beside_the_plane_is_said(world: World, place: tuple[float, float], words: str) -> None:
    ask(world, place)
    assert len(world.messages) == 1
    assert words in world.messages[0]
    assert not world.sink.layer.data.any()


def test_a_layer_that_cannot_take_it_is_said_and_the_next_goes_on(world: World) -> None:
    world.sink.error = ImageError("Expected shape (64, 64), got (3, 3).")
    ask(world, A)
    assert world.messages == ["Expected shape (64, 64), got (3, 3)."]
    world.sink.error = None
    ask(world, B)
    assert at(world, A, B) == [0, 1]


def test_an_engine_error_is_said_once(world: World) -> None:
    world.engine.error = RuntimeError("boom")
    ask(world, A)
    assert world.messages == ["Predicting the mask: RuntimeError: boom"]
    assert world.session.rapid.waiting == 0


def test_a_record_says_what_made_it(world: World) -> None:
    ask(world, A)
    (record,) = world.session.book.get("layer", 1)
    assert record.source == "prompts"
    assert record.prompts.points.tolist() == [list(A)]
