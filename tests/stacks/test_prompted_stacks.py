from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, PromptError
from napari_sam.stacks.image_io import ImageStack
from napari_sam.stacks.prompt_tables import PromptRow
from napari_sam.stacks.prompted_stacks import choose_axis, iter_propagated_labels
from napari_sam.types import ObjectMask, Prompts


class Bright:
    """Everything that is not 0 is the object, where a point lies on it."""

    def predict_many(self, image: Any, prompts: Any) -> list[ObjectMask]:
        return [
            ObjectMask.from_plane(image if image[tuple(p.points[0].astype(int))] else np.zeros_like(image))
            for p in prompts
        ]


def run(stack: ImageStack, rows: Any, **options: Any) -> Any:
    job = iter_propagated_labels(stack, rows, Bright(), **options)
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as stop:
            assert all(step.done <= step.total for step in steps)
            return stop.value


def row(plane: tuple[int, ...], axes: str, key: int = 1, label: int = 1) -> PromptRow:
    return PromptRow("", plane, key, Prompts([(3, 3)], [label]), axes)


@pytest.fixture
def movie() -> ImageStack:
    """(T, Z, Y, X) with one object through all."""
    pixels = np.zeros((2, 4, 8, 8), np.uint8)
    pixels[..., 2:5, 2:5] = 1
    return ImageStack(pixels, "TZYX", name="movie")


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        pytest.param(None, [[9, 9, 9, 9], [0, 0, 0, 0]], id="along-z-within-its-time"),
        pytest.param("T", [[0, 9, 0, 0], [0, 9, 0, 0]], id="along-t-within-its-depth"),
    ],
)
def test_planes_along_other_axes_are_stacks_of_their_own(movie, axis, expected):
    found = run(movie, [row((0, 1), "TZ")], axis=axis)
    assert (found.labels == 1).sum(axis=(2, 3)).tolist() == expected
    assert found.axes == "TZYX"
    assert found.notes == []


def test_an_object_in_two_stacks_keeps_its_number(movie):
    found = run(movie, [row((0, 1), "TZ", 4), row((1, 2), "TZ", 4)])
    assert (found.labels == 4).sum() == 9 * 8
    assert {place for place, result in found.rows if result.is_anchor} == {(0, 1), (1, 2)}


def test_what_is_not_found_is_noted(movie):
    movie.data[1] = 0
    found = run(movie, [row((0, 1), "TZ"), row((1, 2), "TZ", 5)])
    assert found.notes == ["object 5 at 1 was not found: the model saw nothing at its prompts"]


@pytest.mark.parametrize(
    ("axes", "wanted", "chosen"),
    [("ZYX", None, "Z"), ("TYX", None, "T"), ("TZYX", None, "Z"), ("TZYX", "T", "T"), ("QYX", None, "Q")],
)
def test_the_axis(axes, wanted, chosen):
    assert choose_axis(ImageStack(np.zeros((2,) * len(axes)), axes), wanted) == chosen


@pytest.mark.parametrize(("axes", "wanted"), [("YX", None), ("ZYX", "T"), ("YXC", "C")])
def test_no_such_axis(axes, wanted):
    with pytest.raises(ImageError, match="Expected a stack"):
        choose_axis(ImageStack(np.zeros((2,) * len(axes)), axes), wanted)


def test_bad_tables(movie):
    with pytest.raises(PromptError, match="got none"):
        run(movie, [])
    with pytest.raises(PromptError, match="from 0 to 3"):
        run(movie, [row((0, 9), "TZ")])
    with pytest.raises(ImageError, match="below 2"):
        run(movie, [row((0, 1), "TZ", 1 << 31)])
