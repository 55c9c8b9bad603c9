from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from napari_sam.modeling.instance_decoder import MAPS, OFFSET_UNIT
from napari_sam.training.instance_targets import (
    CONTACT_WEIGHT,
    SMALL_AREA,
    find_inner_boundary,
    make_instance_targets,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def naive_targets(labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same, object by object and pixel by pixel."""
    height, width = labels.shape
    targets, weight = np.zeros((5, height, width)), np.ones((height, width))
    for number in np.unique(labels[labels > 0]):
        mask = labels == number
        rows, cols = np.nonzero(mask)
        center = rows.mean(), cols.mean()
        boundary = np.zeros_like(mask)
        for r, c in zip(rows, cols, strict=True):
            for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if 0 <= y < height and 0 <= x < width and labels[y, x] != number:
                    boundary[r, c] = True
        inner = mask & ~boundary
        away = np.ones(mask.shape) if inner.all() else distance_transform_edt(inner) + 0.5
        far = [np.hypot(r - center[0], c - center[1]) for r, c in zip(rows, cols, strict=True)]
        for r, c, gap in zip(rows, cols, far, strict=True):
            targets[:, r, c] = (
                1,
                gap / max(1, *far, 1),
                away[r, c] / away[mask].max(),
                (center[0] - r) / OFFSET_UNIT,
                (center[1] - c) / OFFSET_UNIT,
            )
            # the object and two pixels around it
            near = np.s_[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3]
            weight[near] = np.maximum(weight[near], min(3, (SMALL_AREA / len(rows)) ** 0.5))
    for r in range(height):
        for c in range(width):
            near = labels[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3]
            if len(np.unique(near[near > 0])) > 1:
                weight[r, c] = max(weight[r, c], CONTACT_WEIGHT)
    return targets, weight


def one_object() -> NDArray[np.int32]:
    return np.ones((20, 20), np.int32)


def quarters() -> NDArray[np.int32]:
    labels = np.zeros((24, 24), np.int32)
    labels[:12, :12], labels[:12, 12:], labels[12:, :12], labels[12:, 12:] = 4, 3, 9, 1
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_targets_equal_naive_ones(
    draw_cells: Callable[..., tuple[NDArray[np.uint8], NDArray[np.int32]]], seed: int
) -> None:
    _, labels = draw_cells(60, 70, seed=seed)
    targets, weight = make_instance_targets(labels)
    expected, expected_weight = naive_targets(labels)
    for name, ours, theirs in zip(MAPS, targets, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-5)
    assert (targets.dtype, weight.dtype) == (np.float32, np.float32)
    assert (weight == CONTACT_WEIGHT).any()


@pytest.mark.parametrize("make", [one_object, quarters], ids=["one object is all", "no background"])
def test_labels_without_background(make: Callable[[], NDArray[np.int32]]) -> None:
    targets, weight = make_instance_targets(make())
    expected, expected_weight = naive_targets(make())
    np.testing.assert_allclose(targets, expected, atol=1e-5)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-5)


def test_nothing_has_no_targets() -> None:
    targets, weight = make_instance_targets(np.zeros((5, 7), np.int32))
    assert targets.shape == (5, 5, 7)
    assert not targets.any()
    assert (weight == 1).all()


def test_a_single_pixel() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[2, 2] = 70000
    targets, weight = make_instance_targets(labels)
    assert targets[:, 2, 2].tolist() == [1, 0, 1, 0, 0]
    assert targets.sum() == 2
    assert weight[2, 2] == 3


def test_offsets_lead_to_the_centre() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[4:15, 10:31] = 2
    targets, _ = make_instance_targets(labels)
    rows, cols = np.nonzero(labels)
    np.testing.assert_allclose(rows + targets[3][rows, cols] * OFFSET_UNIT, 9, atol=1e-5)
    np.testing.assert_allclose(cols + targets[4][rows, cols] * OFFSET_UNIT, 20, atol=1e-5)


def test_the_edge_of_the_image_is_no_boundary() -> None:
    labels = np.zeros((5, 6), np.int32)
    labels[:, :3] = 1
    boundary = find_inner_boundary(labels)
    expected = np.zeros((5, 6), bool)
    expected[:, 2] = True
    np.testing.assert_array_equal(boundary, expected)
