from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label as label_components

from napari_sam.training.synthetic import STYLES, make_synthetic_image


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", range(3))
def test_an_image_and_its_objects(style: str, seed: int) -> None:
    pixels, labels = make_synthetic_image(np.random.default_rng(seed), 96, style)
    assert pixels.shape == (96, 96, 3)
    assert pixels.dtype == np.float32
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert np.ptp(pixels) > 0.3
    assert labels.shape == (96, 96)
    assert labels.dtype == np.int32
    ids = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    assert len(ids)


def test_the_seed_decides() -> None:
    first, second, other = (make_synthetic_image(np.random.default_rng(s), 64) for s in (5, 5, 6))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])


def test_an_unknown_style() -> None:
    with pytest.raises(ValueError, match="Expected a style out of blobs, "):
        make_synthetic_image(np.random.default_rng(0), 64, "nebula")


def test_objects_are_visible_and_mostly_in_one_piece() -> None:
    """An object that nothing tells from its surroundings, or in many pieces, would teach nonsense."""
    seen = 0
    for seed in range(6):
        pixels, labels = make_synthetic_image(np.random.default_rng(seed), 128, "blobs")
        inside, outside = pixels[labels > 0].mean(), pixels[labels == 0].mean()
        seen += abs(float(inside - outside)) > 0.1
        pieces = [label_components(labels == i)[1] for i in range(1, labels.max() + 1)]
        assert np.mean(np.array(pieces) == 1) > 0.8
    assert seen >= 5
