from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.session.provenance import ObjectRecord
from napari_sam.session.review import ReviewQueue
from napari_sam.session.review_edits import delete_objects, merge_objects
from napari_sam.viewer.review_source import ReviewSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Bench


class Review:
    """Labels 1 to 4 in a layer "mine", and what reviews them, computing at once."""

    def __init__(self, bench: Bench) -> None:
        bench.open(np.zeros((40, 60), np.uint8), name="cells")
        self.viewer, self.session, self.controller = bench.viewer, bench.session, bench.controller
        self.labels = self.viewer.add_labels(self.four(), name="mine")
        self.queue = ReviewQueue()
        self.source = ReviewSource(self.controller, bench.runner, self.queue)
        self.stale = 0
        self.source.went_stale.connect(self._on_stale)

    @staticmethod
    def four() -> np.ndarray:
        data = np.zeros((40, 60), np.int32)
        for label, col in enumerate((2, 15, 28, 41), 1):
            data[5:12, col : col + 7] = label
        return data

    @property
    def token(self) -> Any:
        return self.session.layer_token(self.labels)

    def _on_stale(self) -> None:
        self.stale += 1

    def settle(self) -> None:
        """What the widget does when nothing has changed for a while."""
        if self.stale:
            self.source.measure()
        self.stale = 0


@pytest.fixture
def review(bench: Bench) -> Iterator[Review]:
    review = Review(bench)
    yield review
    review.source.close()


def test_nothing_is_measured_before_it_is_enabled(review: Review) -> None:
    assert review.queue.labels == ()
    review.source.enable()
    assert review.source.layer is review.labels
    assert review.queue.labels == (1, 2, 3, 4)
    review.source.disable()
    review.labels.data_setitem((np.array([0]), np.array([0])), 9)
    assert review.stale == 0


def test_scores_come_from_the_table_and_the_records(review: Review) -> None:
    review.labels.features = {"index": [1, 2, 3], "predicted_iou": [0.99, 0.6, 0.9]}
    record = ObjectRecord(3, (None, None), model="nuclei", predicted_iou=0.5, stability=0.9)
    review.session.book.change(review.token, 3, [record])
    review.session.book.change(review.token, 4, [ObjectRecord(4, (None, None), predicted_iou=0.1)])
    review.source.enable()
    assert review.queue.labels == (3, 2, 1, 4)  # nobody judged 4: it has no model
    item = review.queue.item(3)
    assert item is not None
    assert item.reasons == ("predicted IoU 0.50", "stability 0.90")


def test_the_target_is_followed_unless_a_layer_is_chosen(review: Review) -> None:
    other = review.viewer.add_labels(np.eye(40, 60, dtype=int) * 8, name="other")
    told: list[Any] = []
    review.source.changed.connect(told.append)
    review.source.enable()
    assert review.source.layer is other  # no target yet: the newest
    review.controller.target_layer = review.labels
    assert review.source.layer is review.labels
    review.source.choose(other)
    assert review.queue.labels == (8,)
    review.viewer.layers.remove(other)
    assert review.source.layer is review.labels
    assert review.queue.labels == (1, 2, 3, 4)
    review.viewer.layers.remove(review.labels)
    assert review.source.layer is None
    assert review.queue.labels == ()
    assert told == [other, review.labels, other, review.labels, None]


def test_the_queue_follows_edits_and_their_undo(review: Review) -> None:
    review.source.enable()
    delete_objects(review.session.edits, review.token, [2], (None, None))
    review.settle()
    assert review.queue.labels == (1, 3, 4)
    review.session.undo()
    review.settle()
    assert review.queue.labels == (1, 2, 3, 4)
    merge_objects(review.session.edits, review.token, [4, 1, 3], (None, None))
    review.settle()
    assert set(review.queue.labels) == {1, 2}
    assert np.array_equal(review.labels.data, np.where(np.isin(review.four(), (3, 4)), 1, review.four()))
    review.session.undo()
    assert np.array_equal(review.labels.data, review.four())
    review.settle()
    assert review.queue.labels == (1, 2, 3, 4)


def test_the_queue_follows_the_brush_and_napari_s_own_undo(review: Review) -> None:
    review.source.enable()
    review.labels.data_setitem(np.nonzero(review.labels.data == 3), 0)
    review.settle()
    assert review.queue.labels == (1, 2, 4)
    review.labels.undo()
    review.settle()
    assert review.queue.labels == (1, 2, 3, 4)


def test_records_of_merged_objects_go_and_come_back(review: Review) -> None:
    for label in (1, 2):
        review.session.book.change(review.token, label, [ObjectRecord(label, (None, None), model="nuclei")])
    merge_objects(review.session.edits, review.token, [1, 2], (None, None))
    assert [r.source for r in review.session.book.get(review.token, 1)] == ["edited"]
    assert review.session.book.get(review.token, 2) == ()
    review.session.undo()
    assert [r.source for r in review.session.book.get(review.token, 1)] == ["prompts"]
    assert len(review.session.book.get(review.token, 2)) == 1


# ------------------------------------------------------------------ marks
def test_marks_go_into_the_table_and_survive_another_layer(review: Review) -> None:
    review.source.enable()
    review.source.mark([2, 3])
    assert review.labels.features["index"].tolist() == [2, 3]
    assert review.stale == 0  # what we write ourselves is no news
    other = review.viewer.add_labels(np.eye(40, 60, dtype=int), name="other")
    review.source.choose(other)
    assert review.queue.done == frozenset()
    review.source.choose(review.labels)
    assert review.queue.done == {2, 3}
    assert review.queue.todo == 2


def test_a_mark_comes_back_with_its_object_but_not_with_its_id(review: Review) -> None:
    review.source.enable()
    review.source.mark([2, 3])
    for label in (2, 3):
        delete_objects(review.session.edits, review.token, [label], (None, None))
    review.settle()
    assert review.labels.features["reviewed"].tolist() == [False, False]
    review.session.undo()
    review.labels.data_setitem((np.array([30, 31]), np.array([5, 5])), 2)  # another object 2
    review.settle()
    assert review.queue.done == {3}
    assert review.queue.todo == 3


def test_marks_that_a_file_brought_are_kept(review: Review) -> None:
    review.labels.features = {"index": [1, 99], "reviewed": [True, True]}
    review.source.enable()
    assert review.queue.done == {1}
    review.source.mark([4])
    assert review.labels.features["reviewed"].tolist() == [True, True, True]


def test_moving_through_slices_measures_nothing(review: Review) -> None:
    stack = review.viewer.add_labels(np.stack([review.four()] * 3), name="stack")
    review.source.enable()
    review.source.choose(stack)
    review.settle()
    for position in (2, 0, 1):
        review.viewer.dims.set_point(0, position)
    assert review.stale == 0
    stack.data_setitem((np.array([1]), np.array([0]), np.array([0])), 9)
    assert review.stale > 0
    review.settle()
    assert 9 in review.queue.labels


@pytest.mark.parametrize("how", ["another time point", "hidden"])
def test_naparis_undo_is_noticed_whatever_is_shown(review: Review, how: str) -> None:
    review.viewer.add_image(np.zeros((3, 40, 60), np.uint8), name="series")
    review.source.enable()
    review.source.choose(review.labels)
    review.labels.data_setitem(np.nonzero(review.labels.data == 3), 0)
    review.settle()
    if how == "hidden":
        review.labels.visible = False
    review.viewer.dims.set_point(0, 2)
    review.settle()
    review.labels.undo()
    review.labels.visible = True
    review.settle()
    assert review.queue.labels == (1, 2, 3, 4)


def test_other_looks_measure_nothing(review: Review) -> None:
    review.source.enable()
    labels = review.labels
    labels.contour = 2
    labels.new_colormap(1)
    labels.show_selected_label = True
    labels.selected_label = 3
    labels.show_selected_label = False
    assert review.stale == 0
