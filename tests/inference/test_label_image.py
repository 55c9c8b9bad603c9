from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.label_image import is_mask, read_objects


def test_read_objects_is_the_inverse() -> None:
    labels = np.zeros((8, 9), np.int32)
    labels[1:3, 2:5], labels[2, 5], labels[6:, 7:] = 3, 3, 7
    found = read_objects(labels)
    assert sorted(found) == [3, 7]
    for number, obj in found.items():
        np.testing.assert_array_equal(obj.paste((8, 9)), labels == number)
    assert read_objects(np.zeros((3, 3), np.int32)) == {}


def test_a_mask_is_one_object() -> None:
    (obj,) = read_objects(np.eye(4, dtype=bool)).values()
    np.testing.assert_array_equal(obj.paste((4, 4)), np.eye(4, dtype=bool))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[255, 0, 255]], True),
        ([[True, False, True]], True),
        ([[1, 0, 2]], False),
        ([[7, 7, 0]], False),
        ([[0, 0, 0]], False),
        ([[-1, 3, -1, 3]], True),
    ],
    ids=["0 and 255", "bool", "numbered", "one object", "nothing", "ignored pixels"],
)
def test_a_mask_is_told_from_labels(rows: list[list[int]], expected: bool) -> None:
    assert is_mask(np.array(rows)) is expected
