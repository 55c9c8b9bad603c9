from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.ndimage import label as label_components
from skimage.draw import disk

from napari_sam.training.crowding import crowd_objects

SIDE = 128


def draw_disks(
    *, colour: tuple[float, float, float], background: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Nine lone discs of radius 8, each of another strength."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    pixels = np.full((SIDE, SIDE, 3), background, np.float32)
    for i in range(9):
        where = disk((24 + 40 * (i // 3), 24 + 40 * (i % 3)), 8.5, shape=labels.shape)
        labels[where] = i + 1
        pixels[where] = np.array(colour, np.float32) * (0.8 + 0.02 * i)
    return pixels, labels


def count_touching(labels: np.ndarray) -> int:
    return sum(
        bool(set(np.unique(labels[binary_dilation(labels == i, iterations=2)]).tolist()) - {0, int(i)})
        for i in np.unique(labels)[1:]
    )


@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (0.7, 0.3, 0.5)], ids=["gray", "colour"])
def test_copies_touch_others_and_are_drawn_where_they_are_labelled(
    colour: tuple[float, float, float],
) -> None:
    pixels, labels = draw_disks(colour=colour)
    assert count_touching(labels) == 0
    copies = 0
    for seed in range(12):
        drawn, crowded = crowd_objects(pixels, labels, np.random.default_rng(seed))
        assert (drawn.shape, drawn.dtype) == (pixels.shape, np.float32)
        assert (crowded.shape, crowded.dtype) == (labels.shape, np.int32)
        assert 0 <= drawn.min() <= drawn.max() <= 1
        new = set(np.unique(crowded).tolist()) - set(range(10))
        copies += len(new)
        for number in new:
            parts, count = label_components(crowded == number, np.ones((3, 3)))
            assert np.bincount(parts.ravel())[1:].max() > 0.5 * (labels == 1).sum()
            near = binary_dilation(crowded == number, iterations=3)
            assert set(np.unique(crowded[near]).tolist()) - {0, number}  # it touches something
            assert count == 1
        contrast = np.abs(drawn - 0.1).max(axis=2)
        assert contrast[crowded > 0].min() > 0.1  # nothing is labelled where nothing is to be seen
        assert (contrast[~binary_dilation(crowded > 0, iterations=3)] < 1e-6).all()
    assert copies > 24


def test_most_of_what_was_there_stays() -> None:
    pixels, labels = draw_disks(colour=(0.5, 0.5, 0.5))
    for seed in range(12):
        _, crowded = crowd_objects(pixels, labels, np.random.default_rng(seed))
        for i in range(1, 10):
            assert (crowded[labels == i] == i).mean() > 0.1
        assert (crowded[labels > 0] > 0).all()
        kept = [(crowded[labels == i] == i).mean() for i in range(1, 10)]
        assert np.mean(kept) > 0.75


def test_it_changes_no_argument_and_follows_its_generator() -> None:
    pixels, labels = draw_disks(colour=(0.5, 0.5, 0.5))
    before = pixels.copy(), labels.copy()
    one, two, other = (crowd_objects(pixels, labels, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(pixels, before[0])
    np.testing.assert_array_equal(labels, before[1])
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(one[1], other[1])


@pytest.mark.parametrize("kind", ["empty", "full", "one", "cut off", "specks", "crowd"])
def test_where_nothing_can_be_copied_all_stays(kind: str) -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    if kind == "full":
        labels[:] = 1
    elif kind == "one":
        labels[40:60, 40:60] = 1
    elif kind == "cut off":
        labels[:10, :10], labels[-10:, -10:] = 1, 2
    elif kind == "specks":
        labels[::8, ::8] = np.arange(SIDE * SIDE // 64).reshape(SIDE // 8, -1) + 1
    elif kind == "crowd":
        labels[20:40, 20:40], labels[20:40, 40:60] = 1, 2
    pixels = np.repeat((labels > 0)[..., None], 3, axis=2).astype(np.float32)
    drawn, crowded = crowd_objects(pixels, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, pixels)
    np.testing.assert_array_equal(crowded, labels)
