from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from napari_sam.types import Prompts

if TYPE_CHECKING:
    from conftest import World

A, B, NEAR_A = (10.0, 10.0), (40.0, 40.0), (11.0, 10.0)


class Hover:
    """What the session's hovering has shown."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shown: list[Any] = []
        world.session.hovering.changed.connect(self._note)

    def _note(self, preview: Any) -> None:
        self.shown.append(None if preview is None else tuple(round(v) for v in preview.mask.centroid))

    def look(self, *places: tuple[float, float]) -> None:
        for place in places:
            self.world.session.hovering.look(self.world.session.plane, Prompts(points=[place]))

    @property
    def peeked(self) -> list[Any]:
        return [tuple(prompts.points[-1].tolist()) for prompts in self.world.engine.peeked]


def test_what_a_click_would_give_is_shown_and_nothing_is_asked_of_the_session(world: World) -> None:
    hover = Hover(world)
    asked = len(world.engine.asked)
    hover.look(A)
    assert hover.shown == [(10, 10)]
    assert len(world.engine.asked) == asked
    assert world.session.prompts.is_empty
    assert not world.session.history.can_undo


def test_the_latest_wins_and_nothing_queues_up(lazy_world: World) -> None:
    world, hover = lazy_world, Hover(lazy_world)
    hover.look(A, *((float(i), 30.0) for i in range(5, 50)), B)
    world.runner.run()
    assert hover.peeked == [A, B]
    assert hover.shown == [(40, 40)]  # the answer for A came when the mouse had left it


def test_an_answer_is_shown_while_the_mouse_is_still_on_its_mask(lazy_world: World) -> None:
    world, hover = lazy_world, Hover(lazy_world)
    hover.look(A, NEAR_A)
    world.runner.run()
    assert hover.shown == [(10, 10), (11, 10)]


@pytest.mark.parametrize("steps", [0, 1], ids=["not begun", "begun"])
def test_a_stale_answer_never_shows(lazy_world: World, steps: int) -> None:
    world, hover = lazy_world, Hover(lazy_world)
    hover.look(A)
    world.runner.run(steps=steps)
    world.session.hovering.stop()
    world.runner.run()
    assert hover.shown == []
    hover.look(B)
    world.runner.run()
    assert hover.shown == [(40, 40)]


def test_what_comes_after_a_stop_is_not_mixed_with_what_was_before(lazy_world: World) -> None:
    world, hover = lazy_world, Hover(lazy_world)
    hover.look(A)
    world.runner.run(steps=1)
    world.session.hovering.stop()
    hover.look(B)
    world.runner.run()
    assert hover.shown == [(40, 40)]


def test_stopping_hides_what_is_shown_once(world: World) -> None:
    hover = Hover(world)
    hover.look(A)
    world.session.hovering.stop()
    world.session.hovering.stop()
    assert hover.shown == [(10, 10), None]


def test_where_nothing_is_in_memory_nothing_is_shown(world: World) -> None:
    hover = Hover(world)
    world.engine.in_memory = False
    hover.look(A)
    assert hover.shown == []
    assert world.messages == []


def test_an_error_is_not_said_and_the_next_look_works(world: World) -> None:
    hover = Hover(world)
    world.engine.error = RuntimeError("boom")
    hover.look(A)
    assert (hover.shown, world.messages) == ([], [])
    world.engine.error = None
    hover.look(B)
    assert hover.shown == [(40, 40)]


def test_nobody_waits_for_it(lazy_world: World) -> None:
    Hover(lazy_world).look(A)
    assert not lazy_world.session.is_busy
