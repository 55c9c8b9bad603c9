from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.training.augment import augment_geometry, augment_intensity

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@pytest.mark.parametrize("shape", [(200, 200), (90, 300), (40, 30)], ids=["larger", "wide", "smaller"])
def test_image_and_labels_move_together(
    draw_cells: Callable[..., tuple[NDArray[np.uint8], NDArray[np.int32]]], shape: tuple[int, int]
) -> None:
    """The labels' own outline is the image: wherever it goes, the labels must go as well."""
    _, labels = draw_cells(*shape, count=8)
    pixels = np.repeat((labels > 0)[..., None], 3, axis=2).astype(np.float16)
    turned = 0
    for seed in range(40):
        image, moved = augment_geometry(pixels, labels, 96, np.random.default_rng(seed))
        assert (image.shape, moved.shape) == ((96, 96, 3), (96, 96))
        assert (image.dtype, moved.dtype) == (np.float32, np.int32)
        sure = np.abs(image[..., 0] - 0.5) > 0.45  # not on an outline
        np.testing.assert_array_equal(moved[sure] > 0, image[..., 0][sure] > 0.5)
        assert sure.mean() > 0.5
        turned += int(not np.array_equal(moved > 0, (labels > 0)[:96, :96]))
    assert turned > 30


def test_touching_objects_stay_apart_and_parts_become_objects() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[:, :32], labels[:, 32:] = 5, 9
    pixels = np.zeros((64, 64, 3), np.float32)
    seen = set()
    for seed in range(30):
        _, moved = augment_geometry(pixels, labels, 64, np.random.default_rng(seed))
        ids = np.unique(moved)
        assert ids.tolist() == list(range(1, len(ids) + 1))
        seen.add(len(ids))
    assert 2 in seen


def test_what_is_shrunk_is_not_aliased() -> None:
    """Stripes finer than the crop's grid become gray, as in use; sampled, they would become other stripes."""
    labels = np.zeros((512, 512), np.int32)
    labels[100:400, 100:400] = 1  # a diameter of 339 pixels is shown at a tenth
    pixels = np.zeros((512, 512, 3), np.float32)
    pixels[:, ::2] = 1
    image, _ = augment_geometry(pixels, labels, 40, np.random.default_rng(0), in_use=True)
    assert np.abs(image - 0.5).max() < 0.1


def test_geometry_follows_its_generator(
    draw_cells: Callable[..., tuple[NDArray[np.uint8], NDArray[np.int32]]],
) -> None:
    image, labels = draw_cells(100, 100)
    pixels = np.repeat(image[..., None], 3, axis=2) / np.float32(255)
    one, two, other = (augment_geometry(pixels, labels, 64, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("kind", ["gray", "colour", "black", "white"])
def test_intensities_stay_in_range(kind: str) -> None:
    rng = np.random.default_rng(0)
    pixels = {
        "gray": np.repeat(rng.random((33, 47, 1)), 3, axis=2),
        "colour": rng.random((33, 47, 3)),
        "black": np.zeros((33, 47, 3)),
        "white": np.ones((33, 47, 3)),
    }[kind].astype(np.float32)
    before, changed = pixels.copy(), 0
    for seed in range(120):
        out = augment_intensity(pixels, np.random.default_rng(seed))
        assert (out.shape, out.dtype) == (pixels.shape, np.float32)
        assert np.isfinite(out).all()
        assert 0 <= out.min() <= out.max() <= 1
        if kind != "colour":
            np.testing.assert_allclose(out, out[..., :1].repeat(3, axis=2), atol=1e-6)
        changed += int(not np.array_equal(out, pixels))
    np.testing.assert_array_equal(pixels, before)
    assert changed > (60 if kind in ("gray", "colour") else 20)
