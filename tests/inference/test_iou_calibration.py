from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_sam.errors import CheckpointError
from napari_sam.inference.iou_calibration import (
    KEY,
    calibrate_iou,
    fit_calibration,
    read_calibration,
    weigh_agreement,
)


def test_a_fitted_curve_brings_predictions_nearer_and_keeps_their_order() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.2, 1.0, 600)
    measured = np.clip(predicted**2 + rng.normal(0, 0.05, 600), 0, 1)
    curve = read_calibration({KEY: fit_calibration(predicted[::2], measured[::2])})
    found = calibrate_iou(predicted[1::2].astype(np.float32), curve)
    before, after = (np.abs(v - measured[1::2]).mean() for v in (predicted[1::2], found))
    assert after < 0.5 * before
    np.testing.assert_array_equal(np.argsort(found), np.argsort(predicted[1::2].astype(np.float32)))


def test_equal_predictions_make_no_curve_that_stands_still() -> None:
    x, y = fit_calibration(np.repeat([0.5, 0.8], 30), np.repeat([0.7, 0.6], 30))
    assert np.all(np.diff(x) > 0)
    assert np.all(np.diff(y) > 0)


def test_without_a_curve_there_is_none() -> None:
    assert read_calibration({}) is None


def test_the_mask_that_others_resemble_wins() -> None:
    logits = torch.full((2, 4, 6, 6), -3.0)
    logits[:, 0, :3] = logits[:, 1, :3] = logits[:, 2, :4] = logits[:, 3, 5:] = 3
    iou = torch.tensor([[0.6, 0.6, 0.6, 0.7], [0.0, 0.0, 0.0, 0.0]])
    found = weigh_agreement(logits, iou)
    assert found.shape == iou.shape
    assert int(found[0].argmax()) in (0, 1)
    assert found[0, 3] < found[0, 2] < found[0, 0]
    assert (found[0] <= iou[0]).all()
    assert (found[1] == 0).all()  # nothing is there, however alike the masks are


def test_empty_masks_are_no_good_guess() -> None:
    assert (weigh_agreement(-torch.ones(1, 2, 3, 3), torch.tensor([[0.2, 0.4]])) == 0).all()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1, id="a number"),
        pytest.param([[0.1, 0.2]], id="one list"),
        pytest.param([[0.1, 0.2], [0.3]], id="lengths"),
        pytest.param([[0.2, 0.1], [0.3, 0.4]], id="falling"),
        pytest.param([[0.1, 0.2], [0.3, 0.3]], id="flat"),
        pytest.param([[0.1, float("nan")], [0.3, 0.4]], id="nan"),
        pytest.param([["a", "b"], [0.3, 0.4]], id="words"),
        pytest.param([[[0.1, 0.2]], [[0.3, 0.4]]], id="nested"),
    ],
)
def test_a_damaged_curve_is_refused(value: Any) -> None:
    with pytest.raises(CheckpointError, match="two rising lists"):
        read_calibration({KEY: value})
