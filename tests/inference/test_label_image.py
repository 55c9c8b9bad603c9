from __future__ import annotations

import numpy as np

from napari_sam.inference.label_image import read_objects


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
