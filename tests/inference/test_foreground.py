from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_sam.inference import foreground as module
from napari_sam.inference.foreground import Foreground
from napari_sam.types import ObjectMask

CROP = (10, 20, 14, 26)
FINE = np.arange(24, dtype=np.float16).reshape(4, 6) / 24
COARSE = np.array([[0.25, 0.5, 0.75], [0.0, 1.0, 0.5]], np.float16)
"""Cells of two by two pixels."""


@pytest.mark.parametrize(
    ("values", "point", "expected"),
    [
        pytest.param(FINE, (10, 20), 0, id="first pixel"),
        pytest.param(FINE, (13, 25), 23 / 24, id="last pixel"),
        pytest.param(FINE, (11.4, 20.6), 7 / 24, id="between pixels"),
        pytest.param(FINE, (9, 99), 5 / 24, id="beyond the crop"),
        pytest.param(COARSE, (11, 21), 0.25, id="first cell"),
        pytest.param(COARSE, (12, 22), 1.0, id="a cell further"),
        pytest.param(COARSE, (11.4, 23.6), 0.75, id="between cells"),
        pytest.param(None, (11, 21), np.nan, id="not known"),
    ],
)
def test_at_points(values: Any, point: tuple[float, float], expected: float) -> None:
    found = Foreground(values, CROP).at(np.array([point, (10, 20)], np.float32))
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(expected, abs=1e-3, nan_ok=True)


def test_mean_inside_masks() -> None:
    corner = np.array([[True, True], [True, False]])
    objects = [ObjectMask(corner, (11, 21)), ObjectMask(np.zeros((0, 0), bool), (0, 0))]
    np.testing.assert_allclose(Foreground(COARSE, CROP).inside(objects), [0.25 / 3 + 0.5 / 3, np.nan])
    assert np.isnan(Foreground(None, CROP).inside(objects)).all()


@pytest.mark.parametrize(
    ("maps", "needs_decoder", "expected"),
    [(COARSE, False, 0.25), (None, True, 0.5), (None, False, np.nan)],
    ids=["part of the embedding", "made when needed", "no instance decoder"],
)
def test_where_the_map_comes_from(
    monkeypatch: pytest.MonkeyPatch, maps: Any, needs_decoder: bool, expected: float
) -> None:
    monkeypatch.setattr(module, "decode_maps", lambda *_: np.full((3, 2, 3), 0.5, np.float16))
    embedding: Any = SimpleNamespace(
        maps=None if maps is None else np.stack([maps, maps]), frame=SimpleNamespace(crop=CROP)
    )
    model: Any = SimpleNamespace(config=SimpleNamespace(reads_embedding_only=needs_decoder))
    found = Foreground.of(model, embedding).at(np.array([(10, 20)]))
    np.testing.assert_allclose(found, [expected])
