from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_sam.viewer.propagation_desk import PropagationDesk

COUNT = 6
DISC = 29  # pixels within three of a click


class Desk:
    """A stack in a viewer without a window; what is submitted runs at once."""

    def __init__(self, bench: Any, shape: tuple[int, ...] = (COUNT, 64, 64), **options: Any) -> None:
        self.bench = bench
        self.image = bench.open(np.zeros(shape, np.uint8), name="stack", **options)
        self.desk = PropagationDesk(bench.session, bench.controller)
        self.status: list[str] = []
        bench.session.status_changed.connect(lambda text: self.status.append(text))

    def show(self, plane: int) -> None:
        self.bench.viewer.dims.set_point(0, plane * self.image.scale[0])

    def propagate_correction(self) -> list[Any]:
        """Ask to follow a correction whose mask is on its way; the steps that are made of it."""
        self.show(2)
        self.bench.controller.refiner.refine(self.labels, 1)
        self.bench.runner._automatic = False
        begun: list[Any] = []
        self.desk.progressed.connect(begun.append)
        self.click(2, 26, 30)
        self.desk.propagate()
        return begun

    def click(self, plane: int, row: float = 20, col: float = 30, label: str = "foreground") -> None:
        self.show(plane)
        self.bench.controller.prompts.next_label = label
        self.bench.points.add(self.image.data_to_world((plane, row, col)))

    @property
    def labels(self) -> Any:
        return self.bench.controller.target_layer

    def areas(self, label: int = 1) -> list[int]:
        return (np.asarray(self.labels.data) == label).sum(axis=(1, 2)).tolist()


@pytest.fixture
def desk(bench: Any) -> Any:
    desk = Desk(bench)
    yield desk
    desk.desk.close()


@pytest.fixture
def followed(desk: Desk) -> Desk:
    desk.click(2)
    desk.desk.propagate()
    assert desk.areas() == [DISC] * COUNT
    return desk


def test_a_click_is_followed_and_its_prompts_go(followed):
    assert len(followed.bench.points.data) == 0
    assert followed.bench.shown.sum() == 0
    view = followed.desk.view
    assert (view.count, view.shown, view.label, view.labels) == (COUNT, 2, 1, (1,))
    assert sorted(view.results) == list(range(COUNT))
    assert view.flags == ()


def test_undo_is_one_step_and_brings_the_prompts_back(followed):
    session = followed.bench.session
    session.undo()
    assert followed.areas() == [0] * COUNT
    assert followed.bench.points.data.tolist() == [[2, 20, 30]]
    assert session.preview is not None
    session.redo()
    assert followed.areas() == [DISC] * COUNT
    assert len(followed.bench.points.data) == 0
    session.undo()
    session.undo()  # the click itself
    assert len(followed.bench.points.data) == 0


def test_undo_and_redo_of_prompts_whose_places_are_rounded(bench):
    desk = Desk(bench, scale=(5.0, 0.325, 0.117), translate=(100.0, 7.1, 3.3))
    for col in (30.3, 31.7):
        bench.points.add((3, 20.1, col))
    bench.viewer.dims.set_point(0, 100 + 5 * 3)
    desk.desk.propagate()
    for _ in range(3):
        assert len(bench.points.data) == 0
        bench.session.undo()
        assert np.allclose(bench.points.data, [[3, 20.1, 30.3], [3, 20.1, 31.7]])
        bench.session.redo()
    desk.desk.close()


def test_clicks_in_several_planes_mean_one_object(desk):
    desk.click(1, 20, 30)
    desk.click(4, 40, 30)
    desk.desk.propagate()
    data = np.asarray(desk.labels.data)
    assert desk.areas() == [DISC] * COUNT
    assert [plane[20, 30] for plane in data] == [1, 1, 1, 0, 0, 0]
    assert len(desk.bench.points.data) == 0
    assert [r.is_anchor for r in desk.desk.view.results.values()] == [False, True, False, False, True, False]


def test_scaled_and_moved_images(bench):
    desk = Desk(bench, scale=(5.0, 0.5, 0.5), translate=(100.0, 7.0, 3.0))
    bench.viewer.dims.set_point(0, 100 + 5 * 3)
    bench.points.add((3, 20, 30))  # in the points' own coordinates, which are the image's
    desk.desk.propagate()
    desk.desk.close()
    assert desk.areas() == [DISC] * COUNT
    assert desk.desk.view.shown == 3


def test_the_selected_label_is_followed(desk):
    desk.click(2)
    desk.bench.session.accept()
    assert desk.areas()[2] == DISC
    desk.labels.selected_label = 1
    desk.desk.propagate()
    assert desk.areas() == [DISC] * COUNT
    assert desk.bench.session.history.undo_title == "propagate object 1"


def test_what_was_followed_is_selected_so_that_the_brush_corrects_it(followed):
    followed.click(1, 45, 45)
    followed.desk.propagate()
    assert followed.labels.selected_label == 2
    followed.desk.propagate()  # nothing is clicked: the same object once more
    assert followed.areas(2) == [DISC] * COUNT
    assert followed.areas(1) == [DISC] * COUNT


def test_axes_have_the_names_that_the_image_gives_them(bench):
    desk = Desk(bench, (3, 4, 64, 64), axis_labels=("t", "z", "y", "x"))
    assert desk.desk.axis_names == ("t", "z")
    desk.desk.close()


def test_all_objects_of_a_plane_are_followed(desk):
    for row in (15, 45):
        desk.click(2, row)
        desk.bench.session.accept()
    desk.desk.propagate("plane")
    assert desk.areas(1) == desk.areas(2) == [DISC] * COUNT
    assert desk.desk.view.labels == (1, 2)
    desk.desk.look_at(2)
    assert desk.desk.view.label == 2
    for label in (2, 1):
        desk.labels.selected_label = label
        assert desk.desk.view.label == label


def test_a_correction_under_work_is_written_before_it_is_followed(followed):
    followed.show(4)
    followed.desk.propagate(1)  # all planes are as they were written: done anew
    assert followed.areas() == [DISC] * COUNT


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "not-yet-answered"])
def test_an_object_in_hand_is_followed_as_it_was_corrected(followed, answered):
    bench = followed.bench
    followed.desk.set_params(stop_at_jumps=False, min_overlap=0.1)
    followed.show(2)
    bench.controller.refiner.refine(followed.labels, 1)
    bench.runner._automatic = answered
    followed.click(2, 26, 30)
    followed.desk.propagate()
    bench.runner.run()
    assert (followed.labels.data[:, 24, 30] == 1).all()  # where it was not before
    assert bench.session.history.undo_title == "propagate object 1"
    bench.session.undo()
    assert bench.session.history.undo_title == "correct object 1"
    assert [area > DISC for area in followed.areas()] == [False, False, True, False, False, False]


def test_an_object_in_hand_that_cannot_be_written_is_not_followed(followed):
    followed.labels.data_setitem((np.full(64 * 64, 4), *np.indices((64, 64)).reshape(2, -1)), 9)
    followed.show(2)
    followed.bench.controller.refiner.refine(followed.labels, 1)
    followed.click(2, 26, 30)
    followed.labels.data_setitem((np.full(64 * 64, 2), *np.indices((64, 64)).reshape(2, -1)), 9)
    begun: list[Any] = []
    followed.desk.progressed.connect(begun.append)
    followed.desk.propagate()
    assert "Expected free pixels for the object" in followed.bench.messages[-1]
    assert begun == []


def test_an_accept_that_is_undone_before_its_answer_starts_nothing(followed):
    bench, begun = followed.bench, followed.propagate_correction()
    bench.session.undo()
    bench.runner.run()
    assert followed.areas() == [DISC] * COUNT
    bench.session.accept()  # on its own it starts nothing either
    bench.runner.run()
    assert [area > DISC for area in followed.areas()] == [False, False, True, False, False, False]
    assert begun == []


@pytest.mark.parametrize("by", ["desk", "session"])
def test_what_waits_for_an_answer_to_follow_it_can_be_cancelled(followed, by):
    bench, begun = followed.bench, followed.propagate_correction()
    (followed.desk if by == "desk" else bench.session).cancel()
    bench.runner.run()
    assert begun == []
    # the correction is accepted all the same
    assert [area > DISC for area in followed.areas()] == [False, False, True, False, False, False]


def test_background_points_are_explained_and_correct_the_object(followed):
    followed.click(4, 23, 30, "background")
    assert followed.bench.messages == []
    assert followed.status[-1].startswith("Background for object 1")
    followed.desk.propagate()
    assert followed.areas()[:4] == [DISC] * 4
    assert followed.areas()[4] < DISC
    assert len(followed.bench.points.data) == 0
    followed.bench.session.undo()
    assert followed.areas() == [DISC] * COUNT
    assert len(followed.bench.points.data) == 1


def test_background_points_where_nothing_was_propagated_are_a_mistake(desk):
    desk.click(4, 23, 30, "background")
    assert any("background points only" in message for message in desk.bench.messages)


def test_painted_planes_are_kept(followed):
    followed.labels.data_setitem((np.full(5, 4), np.arange(40, 45), np.full(5, 40)), 1)
    followed.desk.correct()
    assert followed.areas()[4] == DISC + 5


def test_stops(followed):
    followed.show(4)
    followed.desk.toggle_stop()
    assert followed.desk.view.stops == {4}
    followed.desk.correct()
    assert followed.areas() == [DISC] * 4 + [0, 0]
    followed.desk.toggle_stop()
    followed.desk.correct()
    assert followed.areas() == [DISC] * COUNT


def test_a_stop_for_the_object_under_work(desk):
    desk.show(4)
    desk.desk.toggle_stop()
    desk.click(2)
    assert desk.desk.view.stops == {4}
    desk.desk.propagate()
    assert desk.areas() == [DISC] * 4 + [0, 0]
    assert desk.desk.view.stops == {4}


def begin(desk: Desk, what: Any = "prompts") -> None:
    """Follow an object through some planes, and let it wait there."""
    desk.bench.runner._automatic = False
    desk.desk.propagate(what)
    desk.bench.runner.run(4)


def test_an_object_that_is_taken_back_while_it_is_followed_gives_no_other_its_planes(desk):
    bench = desk.bench
    desk.click(2)
    bench.session.accept()
    begin(desk, "selected")
    bench.session.undo()
    bench.session.clear()
    desk.click(2, 50, 50)
    bench.runner.run(3)
    bench.session.accept()
    bench.runner.run()
    assert not desk.desk.view.running
    assert desk.areas(1) == [0, 0, DISC, 0, 0, 0]
    assert desk.labels.data[2, 50, 50] == 1


def test_accepting_the_prompts_while_they_are_followed_makes_one_object(desk):
    session = desk.bench.session
    desk.click(2)
    begin(desk)
    session.accept()
    assert desk.areas(1) == [0, 0, DISC, 0, 0, 0]
    desk.bench.runner.run()
    assert desk.areas(1) == [DISC] * COUNT
    assert np.unique(desk.labels.data).tolist() == [0, 1]
    assert [r.plane[0] for r in session.book.get(session.layer_token(desk.labels), 1)] == [2, 3, 4, 5, 1, 0]
    session.undo()
    assert desk.areas(1) == [0, 0, DISC, 0, 0, 0]
    assert len(desk.bench.points.data) == 0
    session.undo()
    assert desk.areas(1) == [0] * COUNT
    assert desk.bench.points.data.tolist() == [[2, 20, 30]]
    session.redo()
    session.redo()
    assert desk.areas(1) == [DISC] * COUNT
    assert len(desk.bench.points.data) == 0


@pytest.mark.parametrize("cleared", [False, True], ids=["beside", "instead"])
def test_clicks_that_are_made_while_prompts_are_followed_stay(desk, cleared):
    bench = desk.bench
    desk.click(2)
    begin(desk)
    if cleared:
        bench.session.clear()
    desk.click(2, 50, 50)
    bench.runner.run()
    assert desk.areas(1) == [DISC] * COUNT
    assert bench.points.data.tolist() == [[2, 50, 50]]
    assert bench.session.prompts.points.tolist() == [[50, 50]]
    bench.session.undo()
    assert desk.areas(1) == [0] * COUNT
    now = [[50, 50]] if cleared else [[20, 30], [50, 50]]
    assert bench.session.prompts.points.tolist() == now
    bench.session.undo()
    assert bench.session.prompts.points.tolist() == ([] if cleared else [[20, 30]])
    bench.session.redo()
    bench.session.redo()
    assert desk.areas(1) == [DISC] * COUNT
    assert bench.points.data.tolist() == [[2, 50, 50]]


def test_a_stop_is_heeded_again_after_undo(desk):
    desk.show(4)
    desk.desk.toggle_stop()
    desk.click(2)
    desk.desk.propagate()
    desk.bench.session.undo()
    assert desk.desk.view.stops == {4}
    desk.desk.propagate()
    assert desk.areas() == [DISC] * 4 + [0, 0]
    desk.bench.session.undo()
    desk.show(4)
    desk.desk.toggle_stop()  # that of the object under work, which has no id any more
    assert desk.desk.view.stops == frozenset()
    desk.desk.propagate()
    assert desk.areas() == [DISC] * COUNT


def test_flagged_planes_are_visited_in_turn(followed):
    followed.show(3)
    followed.desk.go_to_flag(1)
    assert followed.status[-1] == "No plane is flagged."
    followed.desk.set_params(doubt=0.95)  # more than the engine ever thinks of a mask
    followed.desk.correct()
    flags = followed.desk.view.flags
    assert flags == (0, 1, 3, 4, 5)  # all but the one that was clicked
    followed.show(0)
    visited = []
    for _ in flags:
        followed.desk.go_to_flag(1)
        visited.append(followed.desk.view.shown)
    assert sorted(visited) == list(flags)
    followed.desk.go_to_flag(-1)
    assert followed.desk.view.shown in flags


def test_go_to_a_plane(desk):
    desk.desk.go_to(5)
    assert desk.desk.view.shown == 5
    desk.desk.go_to(99)
    assert desk.desk.view.shown == 5


@pytest.mark.parametrize(
    ("action", "message"),
    [
        pytest.param(lambda d: d.propagate("prompts"), "click on an object first", id="no-prompts"),
        pytest.param(lambda d: d.propagate(), "no layer with objects in 'Write to'", id="no-labels"),
        pytest.param(lambda d: d.propagate(7), "object 7 in a plane", id="no-such-label"),
        pytest.param(lambda d: d.propagate("all"), "Accept an object first", id="no-such-word"),
        pytest.param(lambda d: d.correct(), "Nothing to correct yet", id="nothing-to-correct"),
    ],
)
def test_what_cannot_be_done_is_said_once(desk, action, message):
    action(desk.desk)
    assert len(desk.bench.messages) == 1
    assert message in desk.bench.messages[0]
    assert not desk.bench.session.propagating.is_running


def test_a_single_plane_is_no_stack(bench):
    desk = Desk(bench, (64, 64))
    assert desk.desk.view.count == 0
    for action in (desk.desk.propagate, desk.desk.toggle_stop):
        action()
    assert len(bench.messages) == 2
    desk.desk.close()


def test_the_axis_can_be_chosen(bench):
    desk = Desk(bench, (3, 4, 64, 64))
    assert desk.desk.axes == (0, 1)
    assert desk.desk.view.count == 4
    desk.desk.axis = 0
    assert desk.desk.view.count == 3
    bench.viewer.dims.set_point(0, 1)
    bench.viewer.dims.set_point(1, 2)
    bench.points.add((1, 2, 20, 30))
    desk.desk.propagate()
    data = np.asarray(desk.labels.data)
    assert (data[:, 2] == 1).sum(axis=(1, 2)).tolist() == [DISC] * 3
    assert data[:, [0, 1, 3]].max() == 0
    desk.desk.close()


def test_another_image_forgets_all(followed):
    followed.bench.viewer.add_image(np.zeros((3, 64, 64), np.uint8), name="other")
    followed.bench.controller.image_layer = followed.bench.viewer.layers["other"]
    view = followed.desk.view
    assert (view.count, view.label, dict(view.results)) == (3, None, {})


def test_closed_it_listens_no_more(followed):
    followed.desk.close()
    seen: list[int] = []
    followed.desk.changed.connect(lambda: seen.append(1))
    followed.show(0)
    followed.labels.selected_label = 1
    assert seen == []
