"""The made time series: it repeats exactly, and its truth is one that can be tracked."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam import sample_series
from napari_sam.sample_series import make_dividing_nuclei


@pytest.fixture(scope="module")
def series():
    return make_dividing_nuclei((16, 120, 140), count=6, divisions=1.0, seed=3)


def test_sample_is_one_image_layer():
    [(image, arguments, kind)] = sample_series.load_dividing_nuclei()
    assert (kind, image.shape, image.dtype) == ("image", (24, 220, 260), np.uint16)
    assert arguments == {"name": "Dividing nuclei", "scale": (1.0, 0.5, 0.5)}


def test_the_same_seed_gives_the_same_series(series):
    image, labels, parents = make_dividing_nuclei((16, 120, 140), count=6, divisions=1.0, seed=3)
    assert (image == series[0]).all()
    assert (labels == series[1]).all()
    assert parents == series[2]


def test_every_daughter_begins_in_the_frame_after_her_mothers_last(series):
    _, labels, parents = series
    assert len(parents) == 12  # all six divide
    for daughter, (mother,) in parents.items():
        begin = np.flatnonzero((labels == daughter).any(axis=(1, 2)))[0]
        assert np.flatnonzero((labels == mother).any(axis=(1, 2)))[-1] == begin - 1


def test_nuclei_are_brighter_than_their_background(series):
    image, labels, _ = series
    for frame, truth in zip(image, labels, strict=True):
        assert np.median(frame[truth > 0]) > 2 * np.median(frame[truth == 0])


def test_nobody_divides_where_none_is_asked_to():
    _, labels, parents = make_dividing_nuclei((10, 96, 96), count=4, divisions=0.0, seed=1)
    assert parents == {}
    assert sorted(np.unique(labels).tolist()) == [0, 1, 2, 3, 4]
