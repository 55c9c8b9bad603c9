"""When an object ends, and what it is compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from napari_sam.inference.propagation_values import PropagationParams
from napari_sam.stacks.contrast import measure_contrast
from napari_sam.stacks.plane_walk import judge
from napari_sam.stacks.propagation import Anchor, iter_propagate
from napari_sam.types import ObjectMask, Prompts

PARAMS = PropagationParams(
    min_overlap=0.5, max_area_change=2.5, max_regrowth=1.5, min_contrast=0.2, min_score=0.4, doubt=0.6
)


def row(start: int, stop: int, score: float = 0.9) -> ObjectMask:
    return ObjectMask(np.ones((1, stop - start), bool), (0, start), predicted_iou=score)


@pytest.mark.parametrize(
    ("mask", "more", "flag", "ends"),
    [
        pytest.param(row(0, 10), {}, "", False, id="same"),
        pytest.param(row(0, 24), {}, "area", False, id="grows-doubtful"),
        pytest.param(row(0, 26), {}, "area", True, id="grows-too-much"),
        pytest.param(row(0, 3), {}, "area", True, id="shrinks-too-much"),
        pytest.param(row(6, 16), {}, "overlap", True, id="moves-too-far"),
        pytest.param(row(4, 14), {}, "", False, id="moves"),
        pytest.param(row(5, 15), {}, "overlap", False, id="moves-doubtfully"),
        pytest.param(row(0, 10, 0.3), {}, "score", True, id="unlikely"),
        pytest.param(row(0, 10, 0.5), {}, "score", False, id="doubtful"),
        pytest.param(row(0, 10), {"regrowth": 1.6}, "area", True, id="grows-again"),
        pytest.param(row(0, 10), {"regrowth": 1.4}, "", False, id="grows-again-a-little"),
        pytest.param(row(0, 10), {"contrast": 0.1}, "faded", True, id="faded"),
        pytest.param(row(0, 10), {"contrast": -1.0}, "faded", True, id="inverted"),
        pytest.param(row(0, 10), {"contrast": math.nan}, "", False, id="nothing-to-compare"),
        pytest.param(row(0, 0), {}, "lost", True, id="nothing"),
    ],
)
def test_what_follows_from_ten_pixels(mask, more, flag, ends):
    before = row(0, 10)
    assert judge(mask, before, PARAMS, **more)[2:] == (flag, ends)


def test_measures():
    overlap, ratio, _, _ = judge(row(5, 25), row(0, 10), PARAMS)
    assert (overlap, ratio) == (0.5, 2.0)


def square(value: float, around: float = 0.0, noise: float = 0.0) -> np.ndarray:
    image = np.full((30, 30), around)
    image[10:20, 10:20] = value
    if noise:
        image += noise * (np.indices(image.shape).sum(axis=0) % 2 * 2 - 1)
    return image


def beside(value: float) -> np.ndarray:
    """A square of 50 on 10 whose right half of the surroundings is a neighbour."""
    image = square(50, 10)
    image[:, 20:] = value
    return image


SQUARE = ObjectMask(np.ones((10, 10), bool), (10, 10))


@pytest.mark.parametrize(
    ("image", "mask", "certain", "expected"),
    [
        pytest.param(square(50, 10), SQUARE, False, 40.0, id="bright"),
        pytest.param(square(10, 50), SQUARE, True, -40.0, id="dark"),
        pytest.param(beside(50), SQUARE, False, 40.0, id="touching"),
        pytest.param(-beside(50), SQUARE, True, -40.0, id="dark-and-touching"),
        pytest.param(square(12, 10, noise=5), SQUARE, True, math.nan, id="lost-in-texture"),
        pytest.param(np.dstack([square(50), square(10)]), SQUARE, False, 30.0, id="channels"),
        pytest.param([square(50, 10), square(0)[::2, ::2]], SQUARE, False, 40.0, id="pyramid"),
        pytest.param(square(50), SQUARE.shifted(100, 0), False, math.nan, id="outside"),
        pytest.param(np.ones((10, 10)), SQUARE.shifted(-10, -10), False, math.nan, id="no-surroundings"),
    ],
)
def test_contrast(image: Any, mask: ObjectMask, certain: bool, expected: float):
    assert measure_contrast(image, mask, certain=certain) == pytest.approx(expected, nan_ok=True)


def test_only_the_surroundings_are_read():
    class Far:
        shape = (10**6, 10**6)
        read: tuple[slice, ...] = ()

        def __getitem__(self, key: Any) -> np.ndarray:
            self.read = key
            return np.ones([part.stop - part.start for part in key])

    image = Far()
    measure_contrast(image, SQUARE)
    assert image.read == (slice(6, 24), slice(6, 24))


class Same:
    """Answers with a square of the size that the plane's first pixel says, whatever it is asked."""

    def predict_many(self, image: Any, prompts: Any) -> list[ObjectMask]:
        side = int(image[0, 0])
        return [ObjectMask(np.ones((side, side), bool), (2, 2), predicted_iou=0.9) for _ in prompts]


def follow(stack: Any, **params: Any) -> dict[int, str]:
    """Flags by plane, of an object clicked in the first one; planes without a mask end with '!'."""
    anchor = Anchor(0, prompts=Prompts([(5, 5)]))
    job = iter_propagate(list(stack), Same(), {1: [anchor]}, params=PropagationParams(**params))
    found = [result for step in job for result in step.partial]
    return {r.plane: r.flag + "!" * (r.mask is None) for r in found}


@pytest.mark.parametrize(
    ("sides", "limit", "expected"),
    [
        pytest.param([10, 9, 7, 6, 8], 1.5, ["", "", "", "", "area!"], id="shrinks-and-grows"),
        pytest.param([10, 9, 7, 6, 8], 2.0, ["", "", "", "", "area"], id="within-the-limit"),
        pytest.param([10, 9, 8, 10, 11], 1.2, ["", "", "", "", ""], id="never-became-small"),
        pytest.param([6, 7, 8, 10, 12], 1.2, ["", "", "", "", ""], id="only-grows"),
    ],
)
def test_what_has_shrunk_does_not_grow_again(sides, limit, expected):
    stack = np.zeros((len(sides), 20, 20))
    stack[:, 0, 0] = sides
    assert list(follow(stack, max_regrowth=limit, min_contrast=0).values()) == expected


@pytest.mark.parametrize(
    ("least", "last"),
    [pytest.param(0.25, 3, id="a-quarter"), pytest.param(0.6, 1, id="more"), pytest.param(0.0, 5, id="off")],
)
def test_what_fades_ends(least, last):
    stack = np.zeros((6, 20, 20))
    for plane, value in zip(stack, (100, 80, 50, 30, 10, 0), strict=True):
        plane[2:8, 2:8] = value
        plane[0, 0] = 6
    flags = follow(stack, min_contrast=least)
    assert max(plane for plane, flag in flags.items() if "!" not in flag) == last
    assert flags.get(last + 1, "faded!") == "faded!"
