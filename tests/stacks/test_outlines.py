from __future__ import annotations

import numpy as np
import pytest

from napari_sam.stacks.outputs.outlines import fill_polygons, trace_outlines


def _mask(text: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in line] for line in text.split()])


def _areas(polygon: list[np.ndarray]) -> list[float]:
    """Signed by the shoelace formula in x = col, y = row."""
    found = []
    for ring in polygon:
        y, x = ring[:, 0].astype(float), ring[:, 1].astype(float)
        found.append(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2))
    return found


@pytest.mark.parametrize(
    ("picture", "areas"),
    [
        pytest.param("#", [[1]], id="one pixel"),
        pytest.param("## ##", [[4]], id="square"),
        pytest.param("### #.# ###", [[9, -1]], id="ring"),
        pytest.param("### #.# ##.", [[8, -1]], id="a hole that touches the outline at a corner"),
        pytest.param("#. .#", [[1], [1]], id="pixels that touch at a corner are two"),
        pytest.param("##### #.#.# #####", [[15, -1, -1]], id="two holes"),
        pytest.param("##### #.### ##.## #####", [[20, -1, -1]], id="holes that touch at a corner"),
        pytest.param("##### #...# #.#.# #...# #####", [[25, -9], [1]], id="an island in the hole"),
    ],
)
def test_rings_by_hand(picture: str, areas: list[list[float]]) -> None:
    mask = _mask(picture)
    polygons = trace_outlines(mask, (10, 20))
    assert [_areas(polygon) for polygon in polygons] == areas
    back = fill_polygons(polygons, (20, 30))
    assert (back[10 : 10 + mask.shape[0], 20 : 20 + mask.shape[1]] == mask).all()
    assert back.sum() == mask.sum()


@pytest.mark.parametrize("seed", range(200))
def test_any_mask_comes_back_and_every_ring_is_simple(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 10, 2)) < rng.uniform(0.1, 0.95)
    if not mask.any():
        mask[0, 0] = True
    polygons = trace_outlines(mask)
    assert (fill_polygons(polygons, mask.shape) == mask).all()
    for polygon in polygons:
        for number, ring in enumerate(polygon):
            assert len(np.unique(ring, axis=0)) == len(ring)  # no corner twice
            steps = np.abs(np.diff(ring, axis=0, append=ring[:1]))
            assert ((steps == 0).sum(axis=1) == 1).all()  # along rows or columns
            assert (_areas(polygon)[number] > 0) == (number == 0)


@pytest.mark.parametrize(
    ("ring", "pixels"),
    [
        pytest.param(
            [(0.4, 0.4), (0.4, 1.6), (1.6, 1.6), (1.6, 0.4)], [(0, 0), (0, 1), (1, 0), (1, 1)], id="real"
        ),
        pytest.param([(0.6, 0.6), (0.6, 1.4), (1.4, 1.4), (1.4, 0.6)], [], id="between the centres"),
        pytest.param([(-5, -5), (-5, 1), (1, 1), (1, -5)], [(0, 0)], id="reaches out of the plane"),
        pytest.param(
            [(0, 0), (4, 0), (0, 4)], [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)], id="triangle"
        ),
        pytest.param([(50, 50), (50, 60), (60, 60)], [], id="outside"),
        pytest.param([(0, 0), (3, 3)], [], id="no area"),
    ],
)
def test_filling_counts_pixel_centres(ring: list[tuple[float, float]], pixels: list[tuple[int, int]]) -> None:
    """Centres exactly on a slanted edge belong to the side from which the sweep comes."""
    filled = fill_polygons([[ring]], (4, 5))
    expected = {(int(r), int(c)) for r, c in pixels}
    found = {(int(r), int(c)) for r, c in np.argwhere(filled)}
    on_edge = {(0, 3), (1, 2), (2, 1), (3, 0)}
    assert found - on_edge == expected - on_edge
