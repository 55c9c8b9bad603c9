"""Sample images: they load with no network, look like what they claim to be, and repeat exactly."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import label as connected_components

from napari_sam import sample_data

SAMPLES = [
    pytest.param(sample_data.load_nuclei_2d, (400, 480), np.uint16, (0.25, 0.25), False, id="nuclei-2d"),
    pytest.param(
        sample_data.load_nuclei_3d, (20, 200, 240), np.uint16, (1.0, 0.25, 0.25), False, id="nuclei-3d"
    ),
    pytest.param(sample_data.load_stained_tissue, (400, 480, 3), np.uint8, (0.25, 0.25), True, id="tissue"),
    pytest.param(sample_data.load_immunohistochemistry, (512, 512, 3), np.uint8, None, True, id="ihc"),
    pytest.param(sample_data.load_cell, (660, 550), np.uint8, (0.107, 0.107), False, id="cell"),
    pytest.param(sample_data.load_coins, (303, 384), np.uint8, None, False, id="coins"),
]


@pytest.mark.parametrize(("load", "shape", "dtype", "scale", "rgb"), SAMPLES)
def test_sample_is_one_image_layer_of_the_stated_kind(load, shape, dtype, scale, rgb):
    [(image, arguments, kind)] = load()
    assert kind == "image"
    assert (image.shape, image.dtype) == (shape, dtype)
    assert arguments.get("scale") == scale
    assert arguments.get("rgb", False) == rgb
    assert arguments["name"]
    assert image.std() > 5  # something is to be seen


def test_samples_load_where_nothing_was_ever_downloaded(tmp_path):
    """A fresh user: no cache, and a network whose every use is an error."""
    code = (
        "import socket\n"
        "def refuse(*arguments, **options): raise AssertionError('a sample wants the network')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from napari_sam import sample_data\n"
        "names = [name for name in sample_data.__all__ if name.startswith('load_')]\n"
        "for name in names: getattr(sample_data, name)()\n"
        "print(len(names))\n"
    )
    home = {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "SKIMAGE_DATADIR": str(tmp_path / "skimage"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **home}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(SAMPLES))]


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        pytest.param((128, 160), None, id="plane"),
        pytest.param((12, 96, 96), (1.0, 0.25, 0.25), id="anisotropic-stack"),
        pytest.param((1, 96, 96), (1.0, 0.25, 0.25), id="stack-of-one-plane"),
    ],
)
def test_nuclei_are_brighter_than_their_background(shape, spacing):
    image, labels = sample_data.make_nuclei(shape, spacing=spacing, count=6, seed=2)
    assert image.shape == labels.shape == shape
    assert (image.dtype, labels.dtype) == (np.uint16, np.int32)
    assert np.median(image[labels > 0]) > 2 * np.median(image[labels == 0])


def test_labels_are_consecutive_and_nuclei_compact():
    _, labels = sample_data.make_nuclei((256, 256), count=30, seed=4)
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    np.testing.assert_array_equal(ids, np.arange(1, 31))
    # a radius of 4.5 µm at 0.25 µm a pixel is 18 pixels; those cut by the border are smaller
    assert 0.5 < np.median(areas) / (np.pi * 18**2) < 1.3
    pieces = [np.bincount(connected_components(labels == i)[0].ravel())[1:] for i in ids]
    whole = [largest.max() / largest.sum() for largest in pieces]
    assert min(whole) > 0.9


def test_crowded_requests_stop_at_what_fits():
    _, labels = sample_data.make_nuclei((64, 64), count=60, seed=0)
    assert 0 < labels.max() < 20


def test_touching_nuclei_are_part_of_the_task():
    _, labels = sample_data.make_nuclei((400, 480), count=70, seed=7)
    side_by_side = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
    assert side_by_side.sum() > 20


def test_stained_nuclei_are_darker_and_bluer_than_stroma():
    image, labels = sample_data.make_stained_tissue((200, 200), count=30, seed=5)
    nuclei, stroma = image[labels > 0].mean(axis=0), image[labels == 0].mean(axis=0)
    assert (nuclei < stroma).all()
    assert nuclei[2] - nuclei[0] > stroma[2] - stroma[0]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda seed: sample_data.make_nuclei((64, 80), count=4, seed=seed), id="nuclei"),
        pytest.param(lambda seed: sample_data.make_stained_tissue((64, 80), count=4, seed=seed), id="tissue"),
    ],
)
def test_the_seed_decides_everything(make):
    (first, truth), (again, truth_again), (other, _) = make(1), make(1), make(2)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(truth, truth_again)
    assert (first != other).mean() > 0.5
