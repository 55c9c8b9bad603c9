from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, SamError
from napari_sam.inference.propagation_values import PropagationParams
from napari_sam.session.propagating import NEW, PropagationRequest
from napari_sam.session.propagation_tracks import make_stack
from napari_sam.session.requests import ModelChoice, Plane
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 6
DISC = 29  # pixels within three of a click
CLICK = Prompts([(20, 30)])


class Desk:
    """A session over a stack of ``COUNT`` planes, run step by step."""

    def __init__(self, world: Any) -> None:
        self.world = world
        world.sink.layer = type(world.sink.layer)((COUNT, 64, 64))
        planes: list[Plane] = []
        blank = np.zeros((64, 64), np.uint8)
        planes += [
            Plane("image", (z, None, None), (64, 64), lambda: blank, stack=lambda: planes)
            for z in range(COUNT)
        ]
        self.planes = planes
        world.session.show_plane(planes[0])
        world.runner.run()
        self.stack = make_stack(planes[0])
        self.propagating = world.session.propagating
        self.cleared: list[bool] = []

    @property
    def data(self) -> np.ndarray:
        return self.world.sink.layer.data

    def areas(self, label: int = 1) -> list[int]:
        return (self.data == label).sum(axis=(1, 2)).tolist()

    def start(
        self, *labels: int, prompts: Any = None, run: bool = True, overwrite: bool = False, **changes: Any
    ) -> None:
        request = PropagationRequest(
            self.stack, "layer", ModelChoice("nuclei"), labels, prompts or {}, PropagationParams(**changes),
            overwrite, self.cleared.append,
        )  # fmt: skip
        self.propagating.start(request)
        if run:
            self.world.runner.run()

    def asked(self, action: Callable[[], None]) -> int:
        """How many prompts the engine answered meanwhile."""
        before = len(self.world.engine.asked)
        action()
        return len(self.world.engine.asked) - before


@pytest.fixture
def desk(lazy_world: Any) -> Desk:
    return Desk(lazy_world)


@pytest.fixture
def followed(desk: Desk) -> Desk:
    """An object that was clicked in plane 2 and followed through all planes, as label 1."""
    desk.start(NEW, prompts={2: CLICK})
    assert desk.areas() == [DISC] * COUNT
    return desk


def test_an_object_is_followed_and_written_as_one_step(followed):
    session = followed.world.session
    assert session.history.depth == 1
    assert len(followed.world.sink.layer.items) == 1  # one item of the viewer's undo too
    assert followed.cleared == [False]
    assert followed.world.status[-1] == "Object 1 in 6 planes."
    session.undo()
    assert followed.areas() == [0] * COUNT
    assert session.book.get("layer", 1) == ()
    assert followed.propagating.track("layer", 1, followed.stack) is None
    assert followed.cleared == [False, True]
    session.redo()
    assert followed.areas() == [DISC] * COUNT
    assert followed.propagating.track("layer", 1, followed.stack) is not None


def test_records_say_where_each_plane_comes_from(followed):
    records = {r.plane[0]: r for r in followed.world.session.book.get("layer", 1)}
    assert sorted(records) == list(range(COUNT))
    assert {z for z, r in records.items() if r.source == "prompts"} == {2}
    assert all(r.source == "propagated" for z, r in records.items() if z != 2)
    assert records[2].prompts is not None
    assert records[4].params["overlap"] == 1.0
    assert records[4].area == DISC
    assert records[4].model == "nuclei"


def test_several_objects_are_one_step(desk):
    layer = desk.world.sink.layer
    for label, (row, col) in {3: (10, 10), 5: (40, 40)}.items():
        layer.data[1, row - 3 : row + 4, col - 3 : col + 4] = label
    layer.largest = 5
    desk.start(3, 5)
    assert min(desk.areas(3)) > 0
    assert min(desk.areas(5)) > 0
    assert desk.world.session.history.depth == 1
    assert (
        desk.world.status[-1] == "2 objects in 12 planes, 8 flagged." or "2 objects" in desk.world.status[-1]
    )
    assert desk.areas(3)[1] == 49, "what the user drew stays"


def test_others_keep_their_pixels(desk):
    desk.data[4, 20, 28:33] = 9
    desk.world.sink.layer.largest = 9
    desk.start(NEW, prompts={2: CLICK})
    assert desk.areas(9)[4] == 5
    assert desk.areas(10)[4] == DISC - 5


def test_a_corrected_plane_is_kept_and_followed_from(followed):
    followed.data[4] = 0
    followed.data[4, 40:47, 40:47] = 1
    painted = followed.data[4].copy()
    count = followed.asked(lambda: followed.start(1))
    assert (followed.data[4] == painted).all()
    assert followed.data[5, 43, 43] == 1
    assert count == 1  # plane 5; plane 3 follows from the click, as before
    assert followed.areas()[:3] == [DISC] * 3
    followed.world.session.undo()
    assert (followed.data[4] == painted).all()
    assert followed.areas()[5] == DISC


def test_an_erased_plane_ends_the_object(followed):
    followed.data[4] = 0
    followed.start(1)
    assert followed.areas() == [DISC] * 4 + [0, 0]


def test_an_object_that_was_deleted_and_drawn_anew_is_followed_as_a_new_one(followed):
    followed.data[:] = 0
    followed.data[3, 40:47, 40:47] = 1
    followed.start(1)
    assert min(followed.areas()) > 0
    assert followed.areas()[3] == 49
    followed.data[5] = 0  # what was written now counts again: here it was erased
    followed.start(1)
    assert followed.areas()[5] == 0
    assert min(followed.areas()[:5]) > 0


def test_what_is_painted_while_it_runs_is_kept(desk):
    desk.start(NEW, prompts={2: CLICK})
    desk.start(1, run=False, prompts={3: Prompts([(20, 31)], [0])})
    desk.world.runner.run(2)
    desk.data[3] = 0
    desk.data[3, 50:52, 50:52] = 1
    desk.world.runner.run()
    assert desk.areas()[3] == 4


@pytest.mark.parametrize(("min_score", "last"), [(0.1, DISC), (0.95, 0)], ids=["found", "not-found"])
def test_what_is_deleted_in_a_plane_while_it_runs_stays_so(followed, min_score, last):
    followed.start(1, run=False, min_score=min_score)
    followed.world.runner.run(2)
    followed.data[4] = 0
    followed.world.runner.run()
    assert followed.areas()[4:] == [0, last]
    followed.start(1)  # as where it was erased before
    assert followed.areas() == [DISC] * 4 + [0, 0]


@pytest.mark.parametrize("other", [False, True], ids=["deleted", "another-object-has-its-id"])
def test_an_object_that_went_while_it_was_followed_is_not_written_again(followed, other):
    depth = followed.world.session.history.depth
    followed.start(1, run=False, min_score=0.1)
    followed.world.runner.run(2)
    followed.data[:] = 0
    followed.data[3, 50:54, 50:54] = int(other)
    after = followed.data.copy()
    followed.world.runner.run()
    assert (followed.data == after).all()
    assert followed.world.status[-1] == "Propagated: nothing was changed; object 1 was gone."
    assert followed.world.session.history.depth == depth


def test_of_several_objects_those_that_are_there_are_written(followed):
    followed.start(NEW, prompts={2: Prompts([(50, 50)])})
    followed.start(1, 2, run=False, min_score=0.1)
    followed.world.runner.run(2)
    followed.data[followed.data == 1] = 0
    followed.world.runner.run()
    assert followed.areas(1) == [0] * COUNT
    assert followed.areas(2) == [DISC] * COUNT
    assert followed.world.status[-1] == "Object 2 in 6 planes; object 1 was gone."


@pytest.mark.parametrize("radius", [5, 10], ids=["in-part", "all-of-it"])
def test_an_object_is_written_where_another_of_the_same_run_takes_its_old_place(followed, radius):
    followed.start(NEW, prompts={2: Prompts([(20, 37)])})
    assert followed.areas(2) == [DISC] * COUNT
    followed.world.engine.radius = radius
    followed.start(1, 2, overwrite=True)
    assert min(followed.areas(2)[1:4]) > DISC
    assert min(followed.areas(1)[1:4]) > DISC


def test_a_plane_without_room_is_looked_at_again(followed):
    followed.data[4, 30:50, 30:50] = 9
    followed.start(1, prompts={3: Prompts([(40, 40)])})
    assert followed.areas() == [DISC] * 4 + [0, DISC]
    followed.data[followed.data == 9] = 0
    followed.start(1, min_score=0.1)
    assert followed.areas() == [DISC] * COUNT


def test_background_points_rerun_only_what_they_affect(followed):
    count = followed.asked(lambda: followed.start(1, prompts={4: Prompts([(23, 30)], [0])}))
    assert followed.areas()[:4] == [DISC] * 4
    assert followed.areas()[4] < DISC
    assert count == 2
    assert followed.cleared == [False, False]
    results = followed.propagating.results("layer", 1, followed.stack)
    assert sorted(results) == list(range(COUNT))


def test_background_points_stay_when_all_is_done_again(followed):
    followed.start(1, prompts={4: Prompts([(23, 30)], [0])})
    before = followed.data.copy()
    followed.start(1, min_score=0.1)
    assert (followed.data == before).all()


def test_a_correcting_click_is_an_anchor(followed):
    followed.start(1, prompts={4: Prompts([(26, 30)])})
    assert followed.data[4, 28, 30] == 1
    assert followed.data[5, 28, 30] == 1 or followed.areas()[5] > 0
    record = next(r for r in followed.world.session.book.get("layer", 1) if r.plane[0] == 4)
    assert record.source == "prompts"


def test_stops_are_heeded_and_taken_back(followed):
    followed.propagating.set_stops("layer", 1, followed.stack, {4})
    count = followed.asked(lambda: followed.start(1))
    assert count == 0
    assert followed.areas() == [DISC] * 4 + [0, 0]
    followed.propagating.set_stops("layer", 1, followed.stack, ())
    followed.start(1)
    assert followed.areas() == [DISC] * COUNT


def test_stops_of_the_object_under_work_become_its_own(desk):
    desk.propagating.set_stops("layer", NEW, desk.stack, {4})
    desk.start(NEW, prompts={2: CLICK})
    assert desk.areas() == [DISC] * 4 + [0, 0]
    assert desk.propagating.stops("layer", 1, desk.stack) == {4}
    assert desk.propagating.stops("layer", NEW, desk.stack) == frozenset()


def test_undo_and_redo_move_the_stops_with_the_object(desk):
    session, propagating = desk.world.session, desk.propagating
    propagating.set_stops("layer", NEW, desk.stack, {4})
    desk.start(NEW, prompts={2: CLICK})
    assert propagating.last == ("layer", (1,), desk.stack)
    session.undo()
    assert propagating.stops("layer", NEW, desk.stack) == {4}
    assert propagating.stops("layer", 1, desk.stack) == frozenset()  # its id is free for another object
    assert propagating.last is None
    session.redo()
    assert propagating.stops("layer", NEW, desk.stack) == frozenset()
    assert propagating.stops("layer", 1, desk.stack) == {4}
    assert propagating.last == ("layer", (1,), desk.stack)


def test_stops_of_the_object_under_work_wait_while_another_one_is_followed(followed):
    followed.propagating.set_stops("layer", NEW, followed.stack, {4})
    followed.start(1, min_score=0.1)
    assert followed.propagating.stops("layer", NEW, followed.stack) == {4}
    assert followed.propagating.stops("layer", 1, followed.stack) == frozenset()


def test_cancelled_it_writes_what_is_found(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    desk.world.runner.run(3)  # loading, plane 2, plane 3
    desk.propagating.cancel()
    desk.world.runner.run()
    assert desk.areas() == [0, 0, DISC, DISC, 0, 0]
    assert desk.world.session.history.depth == 1
    assert desk.world.status[-1].startswith("Cancelled")
    assert not desk.propagating.is_running


def test_cancelled_at_once_nothing_is_changed(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    desk.propagating.cancel()
    desk.world.runner.run()
    assert desk.areas() == [0] * COUNT
    assert desk.world.session.history.depth == 0
    assert desk.cleared == []


def test_ended_it_writes_at_once_what_is_found_and_nothing_more(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    desk.world.runner.run(3)  # loading, plane 2, plane 3
    desk.propagating.end()
    assert desk.areas() == [0, 0, DISC, DISC, 0, 0]
    assert not desk.propagating.is_running
    desk.world.runner.run()
    desk.propagating.end()
    assert desk.areas() == [0, 0, DISC, DISC, 0, 0]
    assert desk.world.session.history.depth == 1


def test_a_failure_keeps_what_is_found(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    desk.world.runner.run(3)
    desk.world.engine.error = ImageError("Expected a plane that can be read, got none.")
    desk.world.runner.run()
    assert desk.areas() == [0, 0, DISC, DISC, 0, 0]
    assert "Expected a plane that can be read, got none." in desk.world.messages
    assert "Stopped: object 1 in 2 planes." in desk.world.status


def test_a_deleted_layer_stops_it(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    desk.world.runner.run(3)
    desk.world.sink.gone = True
    count = desk.asked(desk.world.runner.run)
    assert count <= 1
    assert desk.areas() == [0] * COUNT
    assert len(desk.world.messages) == 1
    assert desk.world.status[-1] == "Propagation stopped: nothing was written."


def test_another_image_drops_it(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    desk.world.runner.run(3)
    desk.world.session.forget()
    desk.world.runner.run()
    assert desk.areas() == [0] * COUNT
    assert desk.world.session.history.depth == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        pytest.param((), "Nothing to propagate", id="nothing"),
        pytest.param((7,), "object 7 in a plane of this stack", id="not-there"),
    ],
)
def test_what_cannot_be_followed(desk, labels, message):
    with pytest.raises(SamError, match=message):
        desk.start(*labels)
    assert not desk.propagating.is_running


def test_one_at_a_time(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    with pytest.raises(SamError, match="running already"):
        desk.start(NEW, prompts={2: CLICK})


def test_records_tell_what_was_propagated_after_the_layer_was_opened_again(followed):
    followed.propagating.forget()
    followed.data[4, 23, 30] = 0  # corrected
    painted = followed.data[4].copy()
    followed.start(1, prompts={})
    assert (followed.data[4] == painted).all()
    assert followed.areas()[:4] == [DISC] * 4
    track = followed.propagating.track("layer", 1, followed.stack)
    assert sorted(track.prompts) == [2]


def test_what_nobody_knows_is_the_users(desk):
    desk.data[1:3, 10:20, 10:20] = 4
    desk.world.sink.layer.largest = 4
    desk.start(4, max_area_change=8.0, stop_at_jumps=False)
    assert desk.areas(4)[1:3] == [100, 100]


@pytest.mark.parametrize(
    ("index", "axis", "expected"),
    [
        pytest.param((1, None, None), None, (0, 3), id="z"),
        pytest.param((1, 2, None, None), None, (1, 5), id="z-of-t-z"),
        pytest.param((1, 2, None, None), 0, (0, 3), id="t-of-t-z"),
        pytest.param((None, 2, None), None, (1, 5), id="between"),
    ],
)
def test_stacks_along_an_axis(index, axis, expected):
    sizes = [n for n, value in zip((3, 5, 7, 7), index, strict=False) if value is not None]
    grid = np.ndindex(*sizes)
    planes: list[Plane] = []
    for values in grid:
        inside = iter(values)
        planes.append(
            Plane("image", tuple(None if v is None else next(inside) for v in index), (7, 7), lambda: None)
        )
    shown = replace(planes[0], index=index, stack=lambda: planes)
    if index == (None, 2, None):
        planes[:] = [replace(shown, index=(None, n, None)) for n in range(5)]
    stack = make_stack(shown, axis)
    assert (stack.axis, len(stack)) == expected
    assert stack.number(index) == index[expected[0]]
    assert [p.index[stack.axis] for p in stack.planes] == list(range(len(stack)))


def test_a_single_plane_is_no_stack():
    with pytest.raises(SamError, match="without further planes"):
        make_stack(Plane("image", (None, None), (5, 5), lambda: None))


def test_a_click_goes_before_the_rest_of_a_propagation(desk):
    desk.start(NEW, prompts={2: CLICK}, run=False)
    desk.world.runner.run(3)  # loading, plane 2, plane 3
    desk.world.session.set_prompts(Prompts([(50, 50)]))
    desk.world.runner.run(3)
    assert desk.world.session.preview is not None
    assert desk.propagating.is_running
