from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.tiling import choose_crop, cover_plane


@pytest.mark.parametrize(
    ("shape", "extent", "field", "expected"),
    [
        pytest.param((300, 200), (10, 10, 20, 20), 300, (0, 0, 300, 200), id="small planes are one crop"),
        pytest.param((1, 300), (0, 5, 0, 5), 300, (0, 0, 1, 300), id="one row"),
        pytest.param((1000, 1000), (0, 0, 0, 0), 256, (0, 0, 256, 256), id="first corner"),
        pytest.param((1000, 1000), (999, 999, 999, 999), 256, (744, 744, 1000, 1000), id="last corner"),
        # the crop's middle is as near as steps of 128 allow: 372 + 128 = 500 is off by 12
        pytest.param((1000, 1000), (500, 500, 500, 500), 256, (384, 384, 640, 640), id="middle"),
        pytest.param((100, 1000), (50, 500, 50, 500), 256, (0, 384, 100, 640), id="a low plane"),
        # wider than half a field: a crop of its own, twice as wide as the prompts
        pytest.param((1000, 1000), (400, 300, 600, 700), 256, (100, 100, 900, 900), id="a large box"),
        pytest.param((1000, 1000), (0, 0, 999, 999), 256, (0, 0, 1000, 1000), id="all of it"),
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
        r0, c0, r1, c1 = choose_crop((height, width), (*low, *high), field)
        assert 0 <= r0 < r1 <= height
        assert 0 <= c0 < c1 <= width
        assert (r0 - 0.5 <= low[0], c0 - 0.5 <= low[1]) == (True, True)
        assert (high[0] <= r1 - 0.5 + 1e-6, high[1] <= c1 - 0.5 + 1e-6) == (True, True)
        assert (r1 - r0, c1 - c0) >= (min(height, field), min(width, field)) or max(height, width) <= field
        if max(high - low) <= field / 2:
            assert max(r1 - r0, c1 - c0) <= field


def test_neighbouring_prompts_share_a_crop() -> None:
    crops = {choose_crop((4000, 4000), (r, c, r, c), 256) for r in range(900, 940) for c in range(900, 940)}
    assert len(crops) <= 4


def test_cores_are_disjoint_and_cover_the_plane() -> None:
    rng = np.random.default_rng(1)
    shapes = [tuple(int(v) for v in rng.integers(1, 900, 2)) for _ in range(60)]
    for shape in [*shapes, (1, 1), (1, 700), (256, 256), (257, 255)]:
        for field, halo in ((256, 64), (128, 64), (64, 0), (100, 33)):
            count = np.zeros(shape, np.int32)
            for crop, core in cover_plane((shape[0], shape[1]), field, halo):
                assert 0 <= crop[0] <= core[0] < core[2] <= crop[2] <= shape[0]
                assert 0 <= crop[1] <= core[1] < core[3] <= crop[3] <= shape[1]
                assert (crop[2] - crop[0], crop[3] - crop[1]) == (min(field, shape[0]), min(field, shape[1]))
                margin = min(halo, field // 4)
                for axis in (0, 1):
                    assert core[axis] - crop[axis] >= margin or core[axis] == 0
                    assert crop[axis + 2] - core[axis + 2] >= margin or core[axis + 2] == shape[axis]
                count[core[0] : core[2], core[1] : core[3]] += 1
            assert (count == 1).all()
