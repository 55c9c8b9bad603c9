from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.embedding import Frame
from napari_sam.inference.predictor import Predictor

if TYPE_CHECKING:
    from napari_sam.inference.checkpoints import LoadedModel


@pytest.mark.parametrize(
    ("frame", "point", "expected"),
    [
        pytest.param(Frame((0, 0, 64, 64), 1.0, (64, 64)), (3, 5), (5, 3), id="identity, (x, y)"),
        pytest.param(Frame((10, 20, 74, 84), 1.0, (64, 64)), (13, 25), (5, 3), id="crop"),
        # pixel 0 covers 0 .. 1, so its centre 0.5 goes to 1.0, which is between frame pixels 0 and 1
        pytest.param(Frame((0, 0, 32, 32), 2.0, (64, 64)), (0, 0), (0.5, 0.5), id="magnified"),
        pytest.param(Frame((0, 0, 64, 64), 0.5, (32, 32)), (0.5, 2.5), (1, 0), id="reduced"),
    ],
)
def test_to_frame(frame: Frame, point: tuple[float, float], expected: tuple[float, float]) -> None:
    np.testing.assert_allclose(frame.to_frame(np.array([point], np.float32)), [expected])


@pytest.mark.parametrize("scale", [0.37, 1.0, 2.5])
def test_there_and_back(scale: float) -> None:
    frame = Frame((7, 11, 107, 131), scale, (256, 256))
    points = np.random.default_rng(0).uniform(0, 130, (20, 2)).astype(np.float32)
    for point, (x, y) in zip(points, frame.to_frame(points), strict=True):
        # a pixel centre at i lies half a pixel behind edge i
        top, left, _, _ = frame.edges_to_plane((y + 0.5, x + 0.5, 0, 0))
        np.testing.assert_allclose((top - 0.5, left - 0.5), point, atol=1e-3)


def test_edges_to_plane() -> None:
    frame = Frame((10, 20, 110, 120), 0.5, (64, 64))
    assert frame.edges_to_plane((0, 0, 50, 50)) == (10, 20, 110, 120)
    assert frame.edges_to_plane((8, 16, 16, 32)) == (26, 52, 42, 84)


@pytest.mark.parametrize(
    ("crop", "scale", "size"),
    [
        pytest.param((0, 0, 128, 128), 1.0, (128, 128), id="fits"),
        pytest.param((0, 0, 130, 200), 1.0, (144, 208), id="rounded up to sixteens"),
        pytest.param((0, 0, 1, 1), 1.0, (128, 128), id="at least a decoder window"),
        pytest.param((5, 5, 517, 261), 0.5, (256, 128), id="larger than the field: reduced"),
    ],
)
def test_frames_of_a_convolutional_model(
    conv_model: LoadedModel, crop: tuple[int, int, int, int], scale: float, size: tuple[int, int]
) -> None:
    assert Predictor(conv_model).make_frame(crop) == Frame(crop, scale, size)


@pytest.mark.parametrize(
    ("crop", "scale"),
    [((0, 0, 128, 128), 1.0), ((0, 0, 64, 32), 2.0), ((0, 0, 1, 256), 0.5), ((3, 3, 4, 4), 128.0)],
    ids=["fits", "small", "wide", "pixel"],
)
def test_frames_of_a_transformer_are_square(
    vit_model: LoadedModel, crop: tuple[int, int, int, int], scale: float
) -> None:
    assert Predictor(vit_model).make_frame(crop) == Frame(crop, scale, (128, 128))


def test_nbytes_counts_everything(conv_model: LoadedModel) -> None:
    embedding = CachedPredictor(conv_model).encode(np.zeros((128, 160), np.uint8))
    assert embedding.detail is not None
    # features (32, 16, 20), detail (D, 64, 80) as float32, maps (5, 128, 160) as float16,
    # instances (128, 160) as int32
    depth = embedding.detail.shape[1]
    assert embedding.nbytes == 4 * 32 * 16 * 20 + 4 * depth * 64 * 80 + (2 * 5 + 4) * 128 * 160
