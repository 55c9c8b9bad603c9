from __future__ import annotations

import numpy as np
import pytest

from napari_sam.errors import ImageError
from napari_sam.evaluation.simulated_user import (
    first_click,
    next_click,
    random_click,
    read_objects,
    tight_box,
)
from napari_sam.types import ObjectMask


def rectangle(r0: int, c0: int, r1: int, c1: int) -> ObjectMask:
    return ObjectMask(np.ones((r1 - r0, c1 - c0), bool), (r0, c0))


NOTHING = ObjectMask(np.zeros((0, 0), bool), (0, 0))


@pytest.mark.parametrize(
    ("obj", "click"),
    [
        pytest.param(rectangle(10, 20, 15, 25), (12, 22), id="centre of a square"),
        pytest.param(rectangle(0, 0, 3, 3), (1, 1), id="the image's edge is outside too"),
        pytest.param(rectangle(4, 7, 5, 8), (4, 7), id="one pixel"),
        pytest.param(rectangle(0, 0, 3, 7), (1, 1), id="first of a ridge"),
    ],
)
def test_first_click(obj: ObjectMask, click: tuple[int, int]) -> None:
    assert first_click(obj) == click


def test_first_click_of_a_ring_is_on_the_ring() -> None:
    plane = np.zeros((21, 21), bool)
    plane[2:19, 2:19] = True
    plane[5:16, 5:16] = False
    r, c = first_click(ObjectMask.from_plane(plane))
    assert plane[r, c]


@pytest.mark.parametrize(
    ("answer", "click"),
    [
        pytest.param(NOTHING, ((4, 4), 1), id="nothing yet: the middle"),
        pytest.param(None, ((4, 4), 1), id="no answer"),
        pytest.param(rectangle(2, 2, 7, 7), None, id="exact"),
        # Missed are columns 4..6 of rows 2..6: 5 x 3, deepest at column 5.
        pytest.param(rectangle(2, 2, 7, 4), ((3, 5), 1), id="right part missed"),
        # Too much are columns 7..11: 5 x 5, deepest in its middle.
        pytest.param(rectangle(2, 2, 7, 12), ((4, 9), 0), id="too much on the right"),
        # One column is missed (depth 1), and 3 x 5 are too much (depth 2).
        pytest.param(rectangle(2, 3, 7, 10), ((3, 8), 0), id="the deeper error first"),
        pytest.param(rectangle(20, 20, 23, 23), ((4, 4), 1), id="elsewhere: the object is deeper"),
    ],
)
def test_next_click(answer: ObjectMask | None, click: tuple[tuple[int, int], int] | None) -> None:
    assert next_click(rectangle(2, 2, 7, 7), answer) == click


def test_no_pixel_is_clicked_twice() -> None:
    obj = rectangle(0, 0, 1, 3)
    clicked: list[tuple[int, int]] = []
    while (click := next_click(obj, NOTHING, clicked)) is not None:
        assert click[1] == 1
        clicked.append(click[0])
    assert sorted(clicked) == [(0, 0), (0, 1), (0, 2)]


def test_tight_box_holds_every_pixel_edge() -> None:
    assert tight_box(rectangle(3, 4, 4, 5)) == (2.5, 3.5, 3.5, 4.5)


def test_objects_are_read_with_their_origin() -> None:
    labels = np.zeros((9, 12), np.uint16)
    labels[1:3, 2:6] = 65535
    labels[4:9, 0:2] = 7
    labels[5, 1] = 9  # inside the box of 7, and not part of it
    objects = read_objects(labels)
    assert [(obj.origin, obj.area) for obj in objects] == [((4, 0), 9), ((5, 1), 1), ((1, 2), 8)]
    assert all(
        (obj.paste(labels.shape) == (labels == i)).all()
        for obj, i in zip(objects, (7, 9, 65535), strict=True)
    )


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        (np.zeros((3, 3), int), 0),
        (np.full((3, 3), 5), 1),
        (np.eye(3, dtype=bool), 1),
        (np.zeros((0, 3), int), 0),
    ],
    ids=["empty", "no background", "bool", "no pixels"],
)
def test_number_of_objects(labels: np.ndarray, count: int) -> None:
    assert len(read_objects(labels)) == count


@pytest.mark.parametrize("labels", [np.zeros((2, 3, 3), int), np.zeros((3, 3))], ids=["3-D", "floats"])
def test_wrong_labels_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="2-D image of integer labels"):
        read_objects(labels)


def test_random_clicks_fall_in_the_object_and_deeper_where_that_is_asked_for() -> None:
    ring = np.ones((9, 21), bool)
    ring[3:6, 4:17] = False
    wide = ObjectMask(np.ones((9, 21), bool), (100, 200))
    rng = np.random.default_rng(0)
    for _ in range(50):
        row, col = random_click(ObjectMask(ring, (5, -3)), rng)
        assert ring[row - 5, col + 3]
    rows = {power: [random_click(wide, rng, power)[0] - 104 for _ in range(200)] for power in (0.0, 2.0)}
    spread = {power: np.mean(np.abs(values)) for power, values in rows.items()}
    assert spread[2.0] < 0.7 * spread[0.0]
    assert set(rows[0.0]) == set(range(-4, 5))
