"""The review on the dock, with a bare viewer model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.viewer.lasso import LASSO_NAME
from napari_sam.viewer.review_camera import FRAME_NAME
from napari_sam.viewer.shortcuts import KEYS

if TYPE_CHECKING:
    from conftest import Desk
    from napari_sam.widgets.review_section import ReviewSection


def five() -> np.ndarray:
    data = np.zeros((64, 64), np.int32)
    for label, col in enumerate((2, 14, 26, 38, 50), 1):
        data[20:30, col : col + 8] = label
    data[20:60, 26:34] = 3  # unusually large
    return data


@pytest.fixture
def review(desk: Desk) -> ReviewSection:
    desk.viewer.add_labels(five(), name="mine")
    desk.widget.target_layer = "mine"
    section = desk.widget._review
    section.section.open()
    desk.wait_for(lambda: len(section.queue.labels) == 5)
    return section


def press(desk: Desk, name: str) -> None:
    keymap = {str(key): function for key, function in desk.viewer.keymap.items()}
    keymap[KEYS[name].replace("-", "+")](desk.viewer)


def current(review: ReviewSection) -> Any:
    item = review.queue.current
    return None if item is None else item.label


def test_nothing_happens_before_the_section_is_opened(desk: Desk) -> None:
    desk.viewer.add_labels(five(), name="mine")
    desk.settle(0.5)
    assert desk.widget._review.queue.labels == ()
    assert FRAME_NAME not in desk.viewer.layers


def test_a_whole_review_by_keys(desk: Desk, review: ReviewSection) -> None:
    labels = desk.layer("mine")
    press(desk, "review_next")
    assert current(review) == 3
    assert labels.selected_label == 3
    assert "unusually large" in review.panel.text.text()
    assert FRAME_NAME in desk.viewer.layers
    press(desk, "review_delete")
    desk.wait_for(lambda: len(review.queue.labels) == 4)
    assert not (labels.data == 3).any()
    assert current(review) == 1
    assert desk.widget.status == "Object 3 deleted; Undo brings it back."
    press(desk, "review_accept")
    press(desk, "review_accept")
    press(desk, "review_previous")
    assert current(review) == 2
    assert review.queue.done == {1, 2}
    assert review.section.button.text() == "Review · 2 to do, 2 done"
    press(desk, "undo")
    desk.wait_for(lambda: len(review.queue.labels) == 5)
    assert np.array_equal(labels.data, five())
    for _ in range(3):
        press(desk, "review_next")
        press(desk, "review_accept")
    assert review.panel.progress.value() == review.panel.progress.maximum() == 5
    assert not review.panel.next.isEnabled()
    assert "done, and so are all others" in desk.widget.status
    assert sorted(labels.features["index"][labels.features["reviewed"]]) == [1, 2, 3, 4, 5]


def test_keys_without_an_object_say_what_to_do(desk: Desk) -> None:
    for name in ("review_accept", "review_delete", "review_refine"):
        press(desk, name)
        assert desk.widget.status == "No object is looked at: press Next in the section Review first."
    press(desk, "review_next")
    assert desk.widget._review.section.is_open
    assert desk.widget.status == "Nothing to review: there is no Labels layer yet."


def test_an_object_is_refined_under_its_id(desk: Desk, review: ReviewSection) -> None:
    review.next()
    press(desk, "review_refine")
    assert desk.widget._session.preview is not None
    assert desk.widget._session.preview.mask.area == 40 * 8
    desk.click(25, 30)
    assert desk.widget.wait(20)
    desk.widget.accept()
    assert desk.widget.wait(20)
    data = desk.layer("mine").data
    assert desk.engine.asked[-1].mask is not None  # the object as it was
    assert desk.engine.asked[-1].points.tolist() == [[25, 30]]
    assert data[25, 30] == 3
    assert np.array_equal(np.where(five() == 3, 0, five()), np.where(data == 3, 0, data))


@pytest.mark.parametrize(
    ("button", "expected"),
    [
        ("lasso_delete", {1: 0, 2: 0}),
        ("lasso_merge", {1: 1, 2: 1}),
        ("lasso_done", {1: 1, 2: 2}),
    ],
)
def test_a_lasso_changes_many_as_one_step(
    desk: Desk, review: ReviewSection, button: str, expected: dict[int, int]
) -> None:
    labels = desk.layer("mine")
    desk.viewer.layers.selection.active = labels
    review.panel.lasso.click()
    assert not getattr(review.panel, button).isEnabled()
    desk.layer(LASSO_NAME).add_polygons([[(15, 0), (15, 24), (40, 24), (40, 0)]])
    assert review.inside == (1, 2)
    assert desk.widget.status == "2 objects inside the lasso."
    getattr(review.panel, button).click()
    assert LASSO_NAME not in desk.viewer.layers
    assert desk.viewer.layers.selection.active is labels
    assert {old: int(labels.data[five() == old].max()) for old in expected} == expected
    assert np.array_equal(labels.data[five() > 2], five()[five() > 2])
    if button == "lasso_done":
        assert review.queue.done == {1, 2}
    else:
        desk.widget.undo()
        assert np.array_equal(labels.data, five())
    assert not getattr(review.panel, button).isEnabled()


def test_frame_and_lasso_are_nothing_to_choose(desk: Desk, review: ReviewSection) -> None:
    review.next()
    review.draw_lasso()
    panel = desk.widget._prompt_panel
    for combo in (desk.widget._auto_panel.region, panel.shapes, panel.points):
        listed = {combo.itemText(i) for i in range(combo.count())}
        assert not listed & {FRAME_NAME, LASSO_NAME}


def test_only_the_current_object_is_shown_on_request(desk: Desk, review: ReviewSection) -> None:
    labels = desk.layer("mine")
    review.panel.alone.click()
    assert not labels.show_selected_label
    review.next()
    assert labels.show_selected_label
    assert labels.selected_label == 3
    review.section.open(False)
    assert not labels.show_selected_label
    assert FRAME_NAME not in desk.viewer.layers


def test_the_camera_follows_on_request(desk: Desk, review: ReviewSection) -> None:
    camera = getattr(desk.viewer, "scene", desk.viewer).camera
    review.next()
    assert camera.center[-2:] == pytest.approx((39.5, 29.5))
    review.panel.follow.click()
    review.next()
    assert camera.center[-2:] == pytest.approx((39.5, 29.5))


def test_deleted_layers_and_closing(desk: Desk, review: ReviewSection) -> None:
    review.next()
    review.draw_lasso()
    desk.viewer.layers.remove("mine")
    assert FRAME_NAME not in desk.viewer.layers
    assert LASSO_NAME not in desk.viewer.layers
    assert review.section.button.text() == "Review"
    other = desk.viewer.add_labels(five(), name="other")
    desk.wait_for(lambda: len(review.queue.labels) == 5)
    review.next()
    review.panel.alone.click()
    desk.widget.shutdown()
    assert FRAME_NAME not in desk.viewer.layers
    assert not other.show_selected_label


def test_layers_are_chosen_in_the_combo(desk: Desk, review: ReviewSection) -> None:
    other = np.zeros((64, 64), np.int32)
    other[5:9, 5:9] = 7
    desk.viewer.add_labels(other, name="other")
    combo = review.panel.layer
    assert [combo.itemText(i) for i in range(combo.count())] == ["as 'Write to'", "mine", "other"]
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    desk.wait_for(lambda: review.queue.labels == (7,))
    assert combo.currentText() == "other"
    combo.activated.emit(0)
    desk.wait_for(lambda: len(review.queue.labels) == 5)
    assert combo.currentIndex() == 0
