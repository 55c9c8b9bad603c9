from __future__ import annotations

import numpy as np

from napari_sam.inference.label_image import draw_objects, read_objects
from napari_sam.types import ObjectMask


def square(row: int, col: int, side: int, score: float) -> ObjectMask:
    return ObjectMask(np.ones((side, side), bool), (row, col), predicted_iou=score)


def test_the_better_object_wins() -> None:
    labels = draw_objects([square(0, 0, 3, 0.5), square(1, 1, 3, 0.9)], (5, 5))
    expected = np.array(
        [[2, 2, 2, 0, 0], [2, 1, 1, 1, 0], [2, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], np.int32
    )
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32


def test_ids_are_compact_where_objects_are_hidden() -> None:
    hidden = [square(0, 0, 4, 0.9), square(1, 1, 2, 0.8), ObjectMask.from_plane(np.zeros((2, 2)))]
    labels = draw_objects([*hidden, square(5, 5, 1, 0.1)], (6, 6))
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert labels[5, 5] == 2


def test_objects_beyond_the_plane_are_clipped() -> None:
    objects = [square(-2, -2, 3, 0.9), square(3, 3, 5, 0.8), square(0, 9, 2, 0.7), square(-9, 0, 2, 0.6)]
    labels = draw_objects(objects, (5, 6))
    expected = np.zeros((5, 6), np.int32)
    expected[0, 0], expected[3:, 3:] = 1, 2
    np.testing.assert_array_equal(labels, expected)


def test_read_objects_is_the_inverse() -> None:
    labels = np.zeros((8, 9), np.int32)
    labels[1:3, 2:5], labels[2, 5], labels[6:, 7:] = 3, 3, 7
    found = read_objects(labels)
    assert sorted(found) == [3, 7]
    for number, obj in found.items():
        np.testing.assert_array_equal(obj.paste((8, 9)), labels == number)
    assert read_objects(np.zeros((3, 3), np.int32)) == {}
