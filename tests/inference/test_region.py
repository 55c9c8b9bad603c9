from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_sam.errors import PromptError
from napari_sam.inference.region import Region


def _disc(shape, center, radius):
    rows, cols = np.indices(shape)
    return (rows - center[0]) ** 2 + (cols - center[1]) ** 2 <= radius**2


MASKS = {
    "disc": _disc((50, 37), (20, 30), 12),
    "one pixel at the last corner": np.pad([[1]], ((49, 0), (36, 0))) != 0,
    "all": np.ones((50, 37), bool),
}
CROPS = [(0, 0, 50, 37), (5, 11, 25, 37), (20, 30, 21, 31), (-3, -5, 60, 40), (40, 0, 50, 3)]


def _naive_crop(plane, crop):
    r0, c0, r1, c1 = crop
    padded = np.pad(plane, 20)
    return padded[r0 + 20 : r1 + 20, c0 + 20 : c1 + 20]


@pytest.mark.parametrize("crop", CROPS, ids=str)
@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_read_back(name, crop):
    mask = MASKS[name]
    region = Region.from_mask(mask.astype(np.int32) * 7)
    expected = _naive_crop(mask, crop)
    np.testing.assert_array_equal(region.mask(crop), expected)
    assert region.covers(crop) == expected.any()


@pytest.mark.parametrize("name", MASKS)
def test_the_box_is_tight(name):
    rows, cols = np.nonzero(MASKS[name])
    box = Region.from_mask(MASKS[name]).box
    assert box == (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)


@pytest.mark.parametrize("plane_shape", [(40, 30), (37, 31), (9, 8)], ids=str)
def test_a_coarse_mask_divides_the_plane_evenly(plane_shape):
    coarse = np.random.default_rng(3).random((8, 7)) < 0.3
    region = Region.from_mask(coarse, plane_shape)
    expected = np.zeros(plane_shape, bool)
    for r, c in np.ndindex(plane_shape):
        expected[r, c] = coarse[int(r * 8 / plane_shape[0]), int(c * 7 / plane_shape[1])]
    np.testing.assert_array_equal(region.mask((0, 0, *plane_shape)), expected)
    rows, cols = np.nonzero(expected)
    assert region.box == (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
    points = np.argwhere(np.ones(plane_shape, bool))
    np.testing.assert_array_equal(region.holds(points).reshape(plane_shape), expected)


def test_a_mask_is_a_snapshot():
    mask = np.zeros((4, 4), np.uint8)
    mask[1, 1] = 1
    region = Region.from_mask(mask)
    mask[:] = 1
    assert region.mask((0, 0, 4, 4)).sum() == 1


def test_a_lazy_mask_is_read_in_stripes(monkeypatch):
    mask = MASKS["disc"]
    monkeypatch.setattr("napari_sam.inference.region.STRIPE", 100)
    region = Region.from_mask(da.from_array(mask, chunks=16))
    np.testing.assert_array_equal(region.mask((0, 0, 50, 37)), mask)


def test_polygons_unite_and_may_have_holes():
    square = [(2, 2), (2, 8), (8, 8), (8, 2)]
    hole = [(4, 4), (4, 6), (6, 6), (6, 4)]
    triangle = [(5, 5), (5, 15), (15, 5)]
    region = Region.from_polygons([[square, hole], triangle], (12, 20))
    rows, cols = np.indices((12, 20))
    in_square = (rows >= 2) & (rows <= 8) & (cols >= 2) & (cols <= 8)
    in_hole = (rows >= 4) & (rows <= 6) & (cols >= 4) & (cols <= 6)
    in_triangle = (rows >= 5) & (cols >= 5) & (rows + cols <= 20)
    expected = (in_square & ~in_hole) | in_triangle
    np.testing.assert_array_equal(region.mask((0, 0, 12, 20)), expected)
    np.testing.assert_array_equal(region.mask((3, 4, 9, 20)), expected[3:9, 4:])
    assert region.box == (2, 2, 12, 16)
    points = np.argwhere(np.ones((12, 20), bool))
    np.testing.assert_array_equal(region.holds(points).reshape(12, 20), expected)


@pytest.mark.parametrize(
    ("box", "count"),
    [
        ((2, 3, 5, 9), 18),
        ((2, 3, 3, 4), 1),
        ((2, 3, 3, 8), 5),
        ((5, 9, 2, 3), 18),
        ((-4, -4, 100, 100), 120),
        ((30, 0, 40, 4), 0),
    ],
)
def test_a_box_is_half_open_and_clipped(box, count):
    region = Region.from_box(box, (10, 12))
    assert region.mask((0, 0, 10, 12)).sum() == count
    assert region.is_empty == (count == 0)


@pytest.mark.parametrize(
    "region",
    [Region.from_mask(np.zeros((5, 6), int)), Region.from_polygons([], (5, 6))],
    ids=["mask of nothing", "no polygon"],
)
def test_an_empty_region_covers_nothing(region):
    assert region.is_empty
    assert not region.covers((0, 0, 5, 6))
    assert not region.mask((0, 0, 5, 6)).any()
    assert region.holds([(0, 0), (2, 3)]).tolist() == [False, False]


def test_points_belong_to_the_pixel_they_are_in():
    region = Region.from_box((2, 2, 4, 4), (8, 8))
    points = [(1.49, 2), (1.5, 2), (3.49, 3.49), (3.5, 3), (-50, 3), (900, 3)]
    assert region.holds(points).tolist() == [False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Region.from_mask(np.ones((2, 3, 4))), "shape"),
        (lambda: Region.from_mask(np.ones((9, 9)), (8, 20)), "at most"),
        (lambda: Region.from_polygons([[(0, 0), (1, 1)]], (8, 8)), "three"),
        (lambda: Region.from_polygons([[(0, 0), (1, np.nan), (2, 2)]], (8, 8)), "finite"),
    ],
    ids=["3-D", "larger than the plane", "a line", "nan"],
)
def test_bad_regions_are_refused(make, message):
    with pytest.raises(PromptError, match=message):
        make()
