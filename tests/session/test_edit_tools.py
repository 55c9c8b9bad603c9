from __future__ import annotations

import numpy as np
import pytest

from napari_sam.errors import PromptError
from napari_sam.session.edit_tools import fill_holes, keep_largest, smooth, split
from napari_sam.types import ObjectMask


def drawn(*rows: str, origin: tuple[int, int] = (10, 20)) -> ObjectMask:
    return ObjectMask(np.array([[c == "#" for c in row] for row in rows]), origin)


def shown(mask: ObjectMask) -> list[str]:
    return ["".join("#" if pixel else "." for pixel in row) for row in mask.mask]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(["###", "#.#", "###"], ["###", "###", "###"], id="hole"),
        pytest.param(["##.", "#.#", "###"], ["##.", "###", "###"], id="hole closed by corners only"),
        pytest.param(["#.#", "#.#", "###"], ["#.#", "#.#", "###"], id="bay"),
    ],
)
def test_fill_holes(before: list[str], after: list[str]) -> None:
    filled = fill_holes(drawn(*before))
    assert shown(filled) == after
    assert filled.origin == (10, 20)


def test_keep_largest_crops_to_the_part() -> None:
    part = keep_largest(drawn("#..", "..#", ".##"))
    assert shown(part) == [".#", "##"]
    assert part.origin == (11, 21)
    whole = drawn("#.", ".#")  # corners touch
    assert keep_largest(whole) is whole


def test_smooth_takes_a_spike_away_and_keeps_the_size() -> None:
    window = np.zeros((60, 60), bool)
    rows, cols = np.ogrid[:60, :60]
    window[(rows - 30) ** 2 + (cols - 30) ** 2 <= 15**2] = True
    disc = ObjectMask.from_plane(window)
    window[30, 45:56] = True
    smoothed = smooth(ObjectMask.from_plane(window), 2)
    assert smoothed.iou(disc) > 0.97
    assert not smoothed.paste((60, 60))[30, 50]


@pytest.mark.parametrize("mask", [drawn("#"), drawn("##", "##")], ids=["pixel", "four pixels"])
def test_smooth_never_loses_an_object(mask: ObjectMask) -> None:
    assert smooth(mask, 3) is mask


def test_split_cuts_at_the_neck() -> None:
    first, second = split(drawn("###...###", "#########", "###...###"), (11, 21), (11, 27))
    assert first.area + second.area == 21
    assert first.intersection(second) == 0
    assert first.box[3] - first.box[1] in (4, 5)
    assert first.paste((20, 40))[11, 21]
    assert second.paste((20, 40))[11, 27]


@pytest.mark.parametrize("places", [((15, 17), (15, 43)), ((2, 15), (15, 43)), ((15, 17), (27, 45))])
def test_split_cuts_at_the_neck_wherever_the_points_are(places: tuple[tuple[int, int], ...]) -> None:
    """Also at the rim, where an object is less deep than at its neck."""
    rows, cols = np.mgrid[:31, :61]
    discs = [np.hypot(rows - 15, cols - c) < 14 for c in (17, 43)]
    halves = split(ObjectMask.from_plane(discs[0] | discs[1]), *places)
    for half, disc in zip(halves, discs, strict=True):
        assert half.iou(ObjectMask.from_plane(disc)) > 0.95


@pytest.mark.parametrize(
    ("radii", "one", "other"),
    [((20, 20), (25, 12), (40, 25)), ((12, 24), (25, 4), (25, 46)), ((20, 20), (25, 22), (25, 28))],
    ids=["disc", "ellipse", "near its middle"],
)
def test_split_without_a_neck_cuts_halfway(
    radii: tuple[int, int], one: tuple[int, int], other: tuple[int, int]
) -> None:
    rows, cols = np.mgrid[:51, :51]
    mask = ObjectMask.from_plane(((rows - 25) / radii[0]) ** 2 + ((cols - 25) / radii[1]) ** 2 < 1)
    halves = split(mask, one, other)
    assert min(half.area for half in halves) > 0.25 * mask.area
    assert sum(half.area for half in halves) == mask.area


def test_split_follows_an_edge_of_the_image() -> None:
    image = np.zeros((5, 20))
    image[:, 15:] = 100.0
    mask = ObjectMask(np.ones((5, 20), bool), (0, 0))
    first, _ = split(mask, (2, 2), (2, 18), image)
    assert 14 <= first.box[3] <= 16
    plain, _ = split(mask, (2, 2), (2, 18))
    assert plain.area != first.area


def test_split_takes_the_nearest_pixel_of_the_object_and_gives_loose_parts_to_the_nearer_half() -> None:
    mask = drawn("###.....#", "###.....#", "#####.###")
    first, second = split(mask, (0, 0), (10, 40))
    assert first.paste((20, 40))[10, 20]
    assert second.paste((20, 40))[10, 28]
    assert first.area + second.area == mask.area


@pytest.mark.parametrize(
    ("mask", "points", "words"),
    [
        pytest.param(drawn("##"), ((10, 20), (10, 20)), "same pixel", id="same point"),
        pytest.param(drawn("#"), ((10, 20), (10, 21)), "two or more pixels", id="one pixel"),
    ],
)
def test_split_refuses_what_cannot_be_split(mask: ObjectMask, points: tuple, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        split(mask, *points)
