from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.inference import packed_masks
from napari_sam.inference.packed_masks import PackedMasks, find_overlapping

if TYPE_CHECKING:
    from numpy.typing import NDArray


def random_masks(
    count: int, side: int, plane: int, seed: int
) -> tuple[list[NDArray[np.bool_]], list[tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    masks = [rng.random(rng.integers(1, side, 2)) < 0.6 for _ in range(count)]
    return masks, [(int(r), int(c)) for r, c in rng.integers(0, plane, (count, 2))]


@pytest.mark.parametrize(
    ("shape", "origin"),
    [
        ((1, 1), (0, 0)),
        ((3, 64), (2, 0)),
        ((3, 64), (2, 1)),
        ((5, 65), (0, 63)),
        ((2, 200), (7, 100)),
        ((4, 0), (3, 3)),
        ((0, 0), (9, 9)),
    ],
    ids=str,
)
def test_packed_and_unpacked(shape: tuple[int, int], origin: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.5
    packed = PackedMasks.pack([mask, np.ones((1, 1), bool)], [origin, (4, 5)])
    np.testing.assert_array_equal(packed.unpack(0), mask)
    assert packed.unpack(1).tolist() == [[True]]
    assert packed.boxes[0].tolist() == [*origin, origin[0] + shape[0], origin[1] + shape[1]]


@pytest.mark.parametrize("chunk", [1 << 20, 50], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("count_bits", ["numpy", "table"])
def test_intersections_equal_those_of_the_planes(
    monkeypatch: pytest.MonkeyPatch, chunk: int, count_bits: str
) -> None:
    monkeypatch.setattr(packed_masks, "CHUNK", chunk)
    if count_bits == "table":  # NumPy 1
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    masks, origins = random_masks(40, 90, 130, 1)
    packed = PackedMasks.pack(masks, origins)
    planes = np.zeros((40, 220, 220), bool)
    for plane, mask, (r, c) in zip(planes, masks, origins, strict=True):
        plane[r : r + mask.shape[0], c : c + mask.shape[1]] = mask
    first, second = (x.ravel() for x in np.mgrid[:40, :40])
    expected = (planes[first] & planes[second]).sum(axis=(1, 2))
    assert (expected == 0).any()
    np.testing.assert_array_equal(packed.intersections(first, second), expected)


@pytest.mark.parametrize("chunk", [1 << 20, 20], ids=["one chunk", "many chunks"])
def test_overlapping_boxes_equal_the_naive_ones(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(packed_masks, "CHUNK", chunk)
    rng = np.random.default_rng(2)
    low = rng.integers(0, 60, (80, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 25, (80, 2))], axis=1).astype(np.int32)
    boxes[5] = 0, 0, 100, 100
    first, second = find_overlapping(boxes)
    found = {frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}
    expected = {
        frozenset((i, j))
        for i in range(80)
        for j in range(i)
        if np.prod(
            np.maximum(np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2]), 0)
        )
    }
    assert len(found) == len(first)
    assert found == expected


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), [[0, 0, 5, 5]], [[0, 0, 5, 5], [5, 0, 9, 5]]], ids=str)
def test_no_overlap(boxes: NDArray[np.int32]) -> None:
    first, second = find_overlapping(np.array(boxes, np.int32).reshape(-1, 4))
    assert len(first) == len(second) == 0


def test_taken_and_put_together() -> None:
    masks, origins = random_masks(12, 90, 130, 3)
    packed = PackedMasks.pack(masks, origins)
    again = PackedMasks.concatenate([packed.take(np.array([7, 2])), packed.take(np.array([], int)), packed])
    assert len(again) == 14
    for i, k in enumerate([7, 2, *range(12)]):
        np.testing.assert_array_equal(again.unpack(i), masks[k])
        assert again.boxes[i].tolist() == packed.boxes[k].tolist()


def test_memory_is_a_bit_a_pixel() -> None:
    """A row takes whole words: at most one more than its pixels need."""
    packed = PackedMasks.pack([np.ones((640, 640), bool)], [(13, 13)])
    assert packed.words.nbytes <= 640 * (640 // 8 + 8)
