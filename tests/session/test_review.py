from __future__ import annotations

import numpy as np
import pytest

from napari_sam.session.object_places import ObjectPlaces, iter_places, measure_plane
from napari_sam.session.review import ReviewQueue, Suspicion, worst_scores

NAN = float("nan")


def places_of(labels: np.ndarray, axes: tuple[int, int] = (0, 1)) -> ObjectPlaces:
    steps = iter_places(labels, axes)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def squares(*sides: int) -> np.ndarray:
    """Label k is a square of the k-th side, none at the border."""
    labels = np.zeros((max(sides) + 2, sum(sides) + 2 * len(sides) + 2), np.int32)
    at = 1
    for number, side in enumerate(sides, 1):
        labels[1 : 1 + side, at : at + side] = number
        at += side + 2
    return labels


# ------------------------------------------------------------------ where objects are
@pytest.mark.parametrize("stripe", [1, 40, 1 << 20], ids=["row-by-row", "stripes", "at-once"])
def test_a_plane_is_measured_like_pixel_by_pixel(stripe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_sam.session.object_places.STRIPE", stripe)
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 5, (13, 17)) * rng.integers(0, 2, (13, 17)) * 1000
    labels, areas, boxes = measure_plane(plane)
    assert labels.tolist() == sorted(set(plane[plane > 0].tolist()))
    for label, area, box in zip(labels, areas, boxes, strict=True):
        rows, cols = np.nonzero(plane == label)
        assert area == len(rows)
        assert box.tolist() == [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (4, 4)], ids=str)
def test_a_plane_without_objects(shape: tuple[int, int]) -> None:
    labels, areas, boxes = measure_plane(np.zeros(shape, np.uint16))
    assert [len(labels), len(areas), boxes.shape] == [0, 0, (0, 4)]


def test_an_object_of_many_planes_is_where_it_is_largest() -> None:
    stack = np.zeros((3, 6, 8), np.int32)
    stack[0, 2:4, 2:4] = 5
    stack[1, 1:5, 2:5] = 5
    stack[2, 0:2, 2:4] = 5  # touches the border here
    stack[2, 3:5, 5:7] = 9
    places = places_of(stack, (1, 2))
    assert places.labels.tolist() == [5, 9]
    assert places.areas.tolist() == [12, 4]
    assert places.totals.tolist() == [20, 4]
    assert places.boxes.tolist() == [[1, 2, 5, 5], [3, 5, 5, 7]]
    assert [places.indices[plane] for plane in places.planes] == [(1, None, None), (2, None, None)]
    assert places.on_border.tolist() == [True, False]


def test_planes_of_other_axes() -> None:
    stack = np.zeros((4, 3, 5), np.int32)
    stack[1:3, 2, 1:4] = 8
    places = places_of(stack, (0, 2))
    assert places.indices[int(places.planes[0])] == (None, 2, None)
    assert places.boxes.tolist() == [[1, 1, 3, 4]]


def test_every_plane_is_a_step() -> None:
    assert [p.done for p in iter_places(np.zeros((3, 2, 2, 2), int), (2, 3))] == [1, 2, 3, 4, 5, 6]


# ------------------------------------------------------------------ how suspicious they are
@pytest.mark.parametrize(
    ("iou", "stability", "expected"),
    [
        (NAN, NAN, 0.0),
        (0.99, 0.99, 0.0),
        (0.5, NAN, 0.9),
        (0.725, NAN, 0.45),
        (0.1, NAN, 0.9),
        (NAN, 0.5, 0.6),
        (0.5, 0.5, 0.96),
    ],
)
def test_low_scores_are_suspicious(iou: float, stability: float, expected: float) -> None:
    places = places_of(squares(3))
    scores = Suspicion.of(places, {1: iou}, {1: stability}).scores
    assert scores == pytest.approx([expected])


def test_borders_and_unusual_sizes_are_suspicious() -> None:
    labels = squares(10, 10, 10, 10, 10, 10, 3, 30)
    signs = Suspicion.of(places_of(labels))
    # log area 2 log 3 and 2 log 30 against 2 log 10, in units of 0.1: 24 and 22, far beyond six
    assert signs.size.tolist() == pytest.approx([0] * 6 + [0.8, 0.8])
    labels[0, 1:11] = 1
    assert Suspicion.of(places_of(labels)).border.tolist() == [0.2] + [0] * 7


def test_few_objects_have_no_usual_size() -> None:
    assert Suspicion.of(places_of(squares(2, 9, 30, 4))).size.tolist() == [0] * 4


def test_the_worst_score_of_an_object_counts() -> None:
    pairs = [(1, 0.9), (2, NAN), (1, 0.4), (1, 0.7), (3, 0.8)]
    assert worst_scores(pairs) == {1: 0.4, 3: 0.8}


# ------------------------------------------------------------------ going through them
@pytest.fixture
def queue() -> ReviewQueue:
    """Objects 1 to 4, of which 3 is the most suspicious, then 1; 2 and 4 look fine."""
    queue = ReviewQueue()
    queue.show(places_of(squares(5, 5, 5, 5)), {1: 0.8, 3: 0.5}, done=())
    return queue


def test_the_most_suspicious_come_first(queue: ReviewQueue) -> None:
    assert queue.labels == (3, 1, 2, 4)
    assert queue.current is None
    assert queue.next()
    assert queue.current is not None
    assert queue.current.label == 3
    assert queue.current.box == (1, 15, 6, 20)
    assert queue.current.reasons == ("predicted IoU 0.50",)


def test_next_goes_around_what_is_not_done_and_previous_through_all(queue: ReviewQueue) -> None:
    seen = []
    queue.moved.connect(lambda item: seen.append(None if item is None else item.label))
    queue.mark([1])
    for step in (queue.next, queue.next, queue.next, queue.next, queue.next, queue.previous, queue.previous):
        step()
    assert seen == [3, 2, 4, 3, 2, 1, 3]
    assert not queue.previous()
    assert queue.todo == 3
    assert queue.done == {1}


def test_all_done(queue: ReviewQueue) -> None:
    assert queue.mark((1, 2, 3, 4)) == (1, 2, 3, 4)
    assert not queue.next()
    assert queue.todo == 0
    assert queue.mark((2,), done=False) == (2,)
    assert queue.mark((2,), done=False) == ()
    assert queue.next()
    assert queue.current is not None
    assert queue.current.label == 2


def test_a_deleted_object_makes_room_for_the_one_after_it(queue: ReviewQueue) -> None:
    queue.go_to(1)
    moved = []
    queue.moved.connect(moved.append)
    left = squares(5, 5, 5, 5)
    left[left == 1] = 0
    queue.show(places_of(left), {3: 0.5})
    assert queue.current is not None
    assert queue.current.label == 2
    assert [item.label for item in moved] == [2]
    queue.show(places_of(np.zeros((4, 4), int)))
    assert queue.current is None
    assert moved[-1] is None
    assert not queue.next()


def test_the_current_object_stays_while_others_change(queue: ReviewQueue) -> None:
    queue.go_to(2)
    moved = []
    queue.moved.connect(moved.append)
    queue.show(places_of(squares(5, 5, 5, 5)), {4: 0.4}, done={4})
    assert queue.labels == (4, 1, 2, 3)
    assert moved == []
    assert queue.done == {4}
    queue.previous()
    assert [item.label for item in moved] == [1]


def test_marks_of_objects_that_are_gone_do_not_count(queue: ReviewQueue) -> None:
    queue.mark((9,))
    assert queue.done == frozenset()
    assert queue.todo == 4


def test_another_layer(queue: ReviewQueue) -> None:
    queue.next()
    queue.forget()
    assert queue.current is None
    assert queue.labels == ()
    assert not queue.go_to(3)
