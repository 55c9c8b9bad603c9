from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.tiling import centre_crop, choose_crop, cover_plane, touches_seam


@pytest.mark.parametrize(
    ("shape", "extent", "field", "expected"),
    [
        pytest.param((300, 200), (10, 10, 20, 20), 300, (0, 0, 300, 200), id="small planes are one crop"),
        pytest.param((1, 300), (0, 5, 0, 5), 300, (0, 0, 1, 300), id="one row"),
        # seven tiles of 256 start at 0, 124, ... 744 and meet in the middle of what they share: 190, 314, ...
        pytest.param((1000, 1000), (0, 0, 0, 0), 256, (0, 0, 256, 256), id="first corner"),
        pytest.param((1000, 1000), (999, 999, 999, 999), 256, (744, 744, 1000, 1000), id="last corner"),
        pytest.param((1000, 1000), (189, 189, 189, 189), 256, (0, 0, 256, 256), id="end of a core"),
        pytest.param((1000, 1000), (190, 189, 190, 189), 256, (124, 0, 380, 256), id="start of the next"),
        pytest.param((100, 1000), (50, 500, 50, 500), 256, (0, 372, 100, 628), id="a low plane"),
        pytest.param((1000, 1000), (150, 150, 224, 160), 256, (0, 0, 256, 256), id="32 pixels from the seam"),
        # nearer, so a crop around (187.5, 155.5) that moves in steps of 64: 59.5 to 64, 27.5 to 0
        pytest.param((1000, 1000), (150, 150, 225, 160), 256, (64, 0, 320, 256), id="over a seam"),
        # 200 pixels: the least side of at least 400 is 512; its middle (400.5, 500.5) moves by steps of 128
        pytest.param((1000, 1000), (300, 400, 500, 600), 256, (128, 256, 640, 768), id="a large box"),
        pytest.param((5000, 3000), (0, 0, 4999, 2999), 256, (0, 0, 5000, 3000), id="all of it"),
    ],
)
def test_choose_crop(
    shape: tuple[int, int],
    extent: tuple[float, float, float, float],
    field: int,
    expected: tuple[int, int, int, int],
) -> None:
    assert choose_crop(shape, extent, field) == expected


def test_a_crop_lies_in_the_plane_and_holds_the_prompts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        height, width = (int(v) for v in rng.integers(1, 3000, 2))
        field = int(rng.choice([64, 128, 256, 1024]))
        size = rng.uniform(0, 1, 2) ** 3 * (height, width)  # mostly small
        low = rng.uniform(-0.5, np.array([height, width]) - 0.5 - size)
        high = low + size
        shape, extent = (height, width), (*low, *high)
        first = choose_crop(shape, extent, field)
        for crop in (first, centre_crop(shape, extent, field)):
            r0, c0, r1, c1 = crop
            assert 0 <= r0 < r1 <= height
            assert 0 <= c0 < c1 <= width
            # with context around, up to the plane's borders
            for i, length in enumerate(shape):
                assert crop[i] == 0 or low[i] - crop[i] >= min(64, field // 4) / 2 - 1
                assert crop[i + 2] == length or crop[i + 2] - high[i] >= min(64, field // 4) / 2 - 1
            assert max(r1 - r0, c1 - c0) <= max(field, 4 * max(size))
            assert min(r1 - r0, height) >= min(height, field // 2)


def test_a_small_prompt_takes_a_tile_of_the_plane() -> None:
    tiles = {crop for crop, _ in cover_plane((3000, 2000), 256, 64)}
    rng = np.random.default_rng(0)
    for r, c in rng.uniform(-0.5, (2999.5, 1999.5), (500, 2)):
        assert choose_crop((3000, 2000), (r, c, r, c), 256) in tiles
        assert choose_crop((3000, 2000), (r - 10, c - 10, r + 10, c + 10), 256) in tiles


def test_a_refined_prompt_keeps_its_crop() -> None:
    extents = [(180 + d, 180 - d, 300 + d, 200 + d) for d in range(-20, 20, 4)]
    crops = {choose_crop((4000, 4000), extent, 256) for extent in extents}
    assert len(crops) <= 2


@pytest.mark.parametrize(
    ("extent", "previous", "expected"),
    [
        pytest.param((100, 240, 120, 256), (0, 0, 256, 256), (0, 128, 256, 384), id="moved"),
        pytest.param((500, 500, 510, 510), (384, 384, 640, 640), (256, 256, 768, 768), id="wider"),
        pytest.param((0, 0, 999, 999), (0, 0, 1000, 1000), (0, 0, 1000, 1000), id="there is no more"),
    ],
)
def test_another_crop_when_one_was_too_small(
    extent: tuple[int, int, int, int],
    previous: tuple[int, int, int, int],
    expected: tuple[int, int, int, int],
) -> None:
    assert centre_crop((1000, 1000), extent, 256, previous) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((110, 120, 190, 180), False, id="inside"),
        pytest.param((101, 120, 190, 180), True, id="first row"),
        pytest.param((110, 120, 199, 180), True, id="last row"),
        pytest.param((110, 0, 190, 180), False, id="the plane's own first column"),
        pytest.param((110, 20, 190, 199), True, id="last column"),
    ],
)
def test_masks_that_touch_a_seam(box: tuple[int, int, int, int], expected: bool) -> None:
    assert touches_seam((100, 0, 200, 200), box, (1000, 1000), 2) is expected


def test_cores_are_disjoint_and_cover_the_plane() -> None:
    rng = np.random.default_rng(1)
    shapes = [tuple(int(v) for v in rng.integers(1, 900, 2)) for _ in range(60)]
    for shape in [*shapes, (1, 1), (1, 700), (256, 256), (257, 255)]:
        for field, halo in ((256, 64), (128, 64), (64, 0), (100, 33)):
            count = np.zeros(shape, np.int32)
            for crop, core in cover_plane((shape[0], shape[1]), field, halo):
                assert 0 <= crop[0] <= core[0] < core[2] <= crop[2] <= shape[0]
                assert 0 <= crop[1] <= core[1] < core[3] <= crop[3] <= shape[1]
                assert crop[2] - crop[0] <= min(field, shape[0])
                assert crop[3] - crop[1] <= min(field, shape[1])
                margin = min(halo, field // 4)
                for axis in (0, 1):
                    assert core[axis] - crop[axis] >= margin or core[axis] == 0
                    assert crop[axis + 2] - core[axis + 2] >= margin or core[axis + 2] == shape[axis]
                count[core[0] : core[2], core[1] : core[3]] += 1
            assert (count == 1).all()


@pytest.mark.parametrize(
    ("length", "count", "side"),
    [
        pytest.param(1024, 1, 1024, id="the field"),
        pytest.param(1025, 2, 592, id="one pixel more"),  # 897 / 2 + 128 = 576.5
        pytest.param(1920, 2, 1024, id="two fields with their halos"),
        pytest.param(2048, 3, 768, id="two fields"),  # 1920 / 3 + 128
        pytest.param(8192, 9, 1024, id="nine"),  # 8064 / 9 + 128
    ],
)
def test_tiles_are_few_and_no_larger_than_it_takes(length: int, count: int, side: int) -> None:
    crops = [crop for crop, _ in cover_plane((length, 10), 1024, 64)]
    assert [crop[2] - crop[0] for crop in crops] == [side] * count
    assert (crops[0][0], crops[-1][2]) == (0, length)
