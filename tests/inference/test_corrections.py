from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_sam as ns
from napari_sam.inference.corrections import MARGIN, honour_clicks, is_correction
from napari_sam.inference.mask_ops import clean_mask, upscale_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKGROUND, FOREGROUND = 0, 1
FRAMES = {
    "a pixel a cell": (0.0, 0.0, 32.0, 32.0),
    "two pixels a cell": (10.0, 20.0, 74.0, 84.0),
    "half a pixel a cell": (3.0, 5.0, 19.0, 21.0),
}


def draw_disk(radius: float, sure: float = 4.0) -> NDArray[np.float32]:
    """Logits of a disk in 32 x 32 cells, positive inside."""
    y, x = np.mgrid[:32, :32] - 15.5
    return np.clip(radius - np.hypot(y, x), -sure, sure).astype(np.float32)


def to_plane(frame: tuple[float, float, float, float], row: float, col: float) -> tuple[int, int]:
    """The pixel under a cell."""
    cell = (frame[2] - frame[0]) / 32
    return int(frame[0] + (row + 0.5) * cell), int(frame[1] + (col + 0.5) * cell)


def is_set(
    values: NDArray[np.float32], frame: tuple[float, float, float, float], pixel: tuple[int, int]
) -> bool:
    mask, origin = upscale_logits(values, frame, (0, 0, 200, 200))
    row, col = pixel[0] - origin[0], pixel[1] - origin[1]
    return 0 <= row < mask.shape[0] and 0 <= col < mask.shape[1] and bool(mask[row, col])


# ---- honour_clicks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(
    ("row", "col", "label"),
    [
        (15, 15, BACKGROUND),
        (15, 20, BACKGROUND),
        (3, 4, FOREGROUND),
        (15, 27, FOREGROUND),
        (0, 31, FOREGROUND),
    ],
    ids=["middle out", "rim out", "far in", "beside in", "corner in"],
)
def test_a_contradicted_click_has_its_way(
    frame: tuple[float, float, float, float], row: int, col: int, label: int
) -> None:
    values = draw_disk(8)
    pixel = to_plane(frame, row, col)
    assert is_set(values, frame, pixel) != (label == FOREGROUND)
    found = honour_clicks(values, frame, np.array([pixel], np.float32), np.array([label], np.int8))
    assert is_set(found, frame, pixel) == (label == FOREGROUND)
    assert found.dtype == np.float32
    turned = np.count_nonzero((found > 0) != (values > 0))
    assert 0 < turned <= 40  # of 1024: about the click only
    np.testing.assert_array_equal(values, draw_disk(8))


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_click_between_pixels_has_its_way_with_the_one_it_lies_in(
    frame: tuple[float, float, float, float],
) -> None:
    values = draw_disk(8)
    pixels = [to_plane(frame, row, col) for row in range(2, 30, 3) for col in range(2, 30, 3)]
    for pixel in pixels:
        wanted = not is_set(values, frame, pixel)
        for offset in ((-0.49, -0.49), (0.49, -0.3), (0.1, 0.49), (-0.5, 0.2)):
            point = np.array([pixel], np.float32) + np.array(offset, np.float32)
            found = honour_clicks(values, frame, point, np.array([wanted], np.int8))
            assert is_set(found, frame, pixel) == wanted
            exact = honour_clicks(values, frame, np.array([pixel]), np.array([wanted], np.int8))
            np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        pytest.param([(15, 15), (2, 2)], [FOREGROUND, BACKGROUND], id="respected"),
        pytest.param([(-9, 4), (99, 4)], [FOREGROUND, FOREGROUND], id="outside"),
        pytest.param(np.zeros((0, 2)), [], id="none"),
    ],
)
def test_nothing_changes_without_a_contradiction(points: object, labels: list[int]) -> None:
    values = draw_disk(8)
    found = honour_clicks(values, FRAMES["a pixel a cell"], np.array(points, np.float32), np.array(labels))
    assert found is values


def test_of_two_clicks_on_one_pixel_the_later_counts() -> None:
    points = np.array([(15, 15), (15, 15)], np.float32)
    frame = FRAMES["a pixel a cell"]
    found = honour_clicks(draw_disk(8), frame, points, np.array([BACKGROUND, FOREGROUND], np.int8))
    assert found[15, 15] == pytest.approx(MARGIN)


def test_the_hole_of_a_background_click_stays_open() -> None:
    mask = np.ones((9, 9), bool)
    mask[2, 2] = mask[6, 6] = False
    cleaned = clean_mask(mask, np.array([[4, 4]]), open_at=np.array([[6, 6], [40, 2]]))
    assert cleaned[2, 2]
    assert not cleaned[6, 6]


def test_a_part_that_was_turned_by_force_does_not_replace_the_object() -> None:
    mask = np.zeros((9, 20), bool)
    mask[2:7, 2:9] = mask[4, 16] = mask[0, 19] = True
    keep = np.array([[4, 16]])
    assert clean_mask(mask, keep).sum() == 1
    kept = clean_mask(mask, keep, largest=True)
    assert kept[4, 4]
    assert kept[4, 16]
    assert not kept[0, 19]


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        pytest.param(ns.Prompts([(1, 1)]), False, id="a click"),
        pytest.param(ns.Prompts(box=(0, 0, 3, 3)), False, id="a box"),
        pytest.param(ns.Prompts([(1, 1), (3, 3)]), True, id="two clicks"),
        pytest.param(ns.Prompts([(1, 1)], box=(0, 0, 3, 3)), True, id="a click in a box"),
        pytest.param(ns.Prompts([(1, 1)], mask=np.ones((3, 3))), False, id="a guess in a mask"),
        pytest.param(ns.Prompts([(5, 5)], mask=np.ones((3, 3))), True, id="beside a mask"),
        pytest.param(ns.Prompts([(1, 1)], [0], mask=np.ones((3, 3))), True, id="not here"),
        pytest.param(ns.Prompts(mask=np.ones((3, 3))), False, id="a mask"),
    ],
)
def test_what_corrects(prompts: ns.Prompts, expected: bool) -> None:
    assert is_correction(prompts) is expected


# ---- with the model ---------------------------------------------------------------------------------------


def test_answers_of_the_model_respect_every_corrective_click() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    image = sum(200.0 * (np.hypot(y - r, x - c) < 12) for r, c in ((30, 30), (34, 52), (70, 60)))
    image = (image + rng.normal(0, 5, image.shape)).clip(0, 255)
    predictor = ns.CachedPredictor(ns.load_model("nuclei", "cpu"))
    points, labels = [(30.0, 30.0)], [1]
    answer = predictor.predict(image, ns.Prompts(points=points, labels=labels))
    for point, label in (((34.0, 50.0), 1), ((30.0, 24.0), 0), ((80.0, 20.0), 1)):
        points.append(point)
        labels.append(label)
        answer = predictor.predict(image, ns.Prompts(points=points, labels=labels, mask=answer))
        plane = answer.paste(image.shape)
        assert [bool(plane[int(r), int(c)]) for r, c in points] == [bool(v) for v in labels]
