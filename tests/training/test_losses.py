from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_sam.training.config import CONFIGS
from napari_sam.training.losses import dice_loss, focal_loss, instance_loss, mask_losses, prompt_loss

RNG = np.random.default_rng(0)
PLAIN = replace(CONFIGS["smoke"], focal_weight=0.0, dice_weight=1.0, bce_weight=0.0)


def sigmoid(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return 1 / (1 + np.exp(-x))


def entropy(x: np.ndarray, t: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    p = sigmoid(x)
    return -t * np.log(p) - (1 - t) * np.log(1 - p)


def to_torch(*arrays: np.ndarray) -> tuple[torch.Tensor, ...]:  # type: ignore[type-arg]
    return tuple(torch.from_numpy(array) for array in arrays)


@pytest.mark.parametrize(
    ("probability", "target", "expected"),
    [
        pytest.param(1.0, 1.0, 0.0, id="all right"),
        pytest.param(0.0, 0.0, 0.0, id="rightly empty"),
        pytest.param(1.0, 0.0, 1 - 1 / 7, id="wrongly full"),
        pytest.param(0.0, 1.0, 1 - 1 / 7, id="wrongly empty"),
        pytest.param(0.5, 1.0, 1 - 7 / 10, id="half sure"),
    ],
)
def test_dice_loss_by_hand(probability: float, target: float, expected: float) -> None:
    loss = dice_loss(torch.full((2, 3), probability), torch.full((2, 3), target))
    assert float(loss) == pytest.approx(expected)


def test_weights_of_dice() -> None:
    p, t, w = RNG.random((4, 5, 6)), RNG.random((4, 5, 6)), RNG.random((4, 5, 6))
    expected = 1 - (2 * (w * p * t).sum((1, 2)) + 1) / ((w * (p + t)).sum((1, 2)) + 1)
    np.testing.assert_allclose(dice_loss(*to_torch(p, t, w)), expected)


def test_focal_loss() -> None:
    x, t = RNG.normal(0, 2, (3, 4, 5)), (RNG.random((3, 4, 5)) < 0.4).astype(float)
    right = np.where(t > 0, sigmoid(x), 1 - sigmoid(x))
    expected = (-((1 - right) ** 2) * np.log(right)).mean((1, 2))
    np.testing.assert_allclose(focal_loss(*to_torch(x, t)), expected)
    np.testing.assert_allclose(focal_loss(*to_torch(x, t), gamma=0), entropy(x, t).mean((1, 2)))


def test_instance_loss() -> None:
    maps = RNG.normal(0, 1, (2, 5, 8, 9))
    targets = RNG.random((2, 5, 8, 9))
    targets[:, 0] = targets[:, 0] < 0.5
    targets[:, 1:] *= targets[:, :1]
    weight = RNG.uniform(1, 3, (2, 8, 9))
    inside, outside = targets[:, 0] * weight, (1 - targets[:, 0]) * weight
    expected = (entropy(maps[:, 0], targets[:, 0]) * weight).sum() / weight.sum()
    for b in range(2):
        p, t, w = sigmoid(maps[b, 0]), targets[b, 0], weight[b]
        expected += 0.5 / 2 * (1 - (2 * (w * p * t).sum() + 1) / ((w * (p + t)).sum() + 1))
    center = (sigmoid(maps[:, 1]) - targets[:, 1]) ** 2
    boundary = (sigmoid(maps[:, 2]) - targets[:, 2]) ** 2
    expected += 2 * (center * inside).sum() / inside.sum()
    expected += 4 * (boundary * (inside + 0.3 * outside)).sum() / inside.sum()
    gap = np.abs(maps[:, 3:] - targets[:, 3:])
    smooth = np.where(gap < 0.1, gap**2 / 0.2, gap - 0.05).sum(1)
    expected += (smooth * inside).sum() / inside.sum()
    assert float(instance_loss(*to_torch(maps, targets, weight))) == pytest.approx(expected)


def test_perfect_maps_have_almost_no_loss() -> None:
    targets = np.zeros((1, 5, 8, 8))
    targets[:, 0, 2:6, 2:6] = 1
    maps = np.where(targets > 0, 30.0, -30.0)
    maps[:, 1:3] = -30
    maps[:, 3:] = targets[:, 3:]
    loss = instance_loss(*to_torch(maps, targets, np.ones((1, 8, 8))))
    assert float(loss) < 1e-6


def test_an_empty_crop_has_a_finite_loss_that_can_be_followed() -> None:
    maps = torch.zeros(1, 5, 8, 8, requires_grad=True)
    loss = instance_loss(maps, torch.zeros(1, 5, 8, 8), torch.ones(1, 8, 8))
    loss.backward()
    assert torch.isfinite(loss)
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("part", ["dice", "bce", "focal", "all"])
def test_mask_losses(part: str) -> None:
    x = RNG.normal(0, 2, (3, 4, 16, 16))
    t = RNG.random((3, 1, 16, 16))
    t[0] = 0
    t[1] = 0
    t[1, 0, :4, :4] = 1
    dice = 1 - (2 * (sigmoid(x) * t).sum((2, 3)) + 1) / ((sigmoid(x) + t).sum((2, 3)) + 1)
    # shared among four times the object's area, but at least an eighth of the window and at most all of it
    area = t.sum((2, 3))
    bce = entropy(x, t).sum((2, 3)) / np.where(area > 0, np.clip(4 * area, 256 / 8, 256), 256)
    wrong = sigmoid(x) * (1 - t) + (1 - sigmoid(x)) * t
    focal = (wrong**2 * entropy(x, t)).mean((2, 3))
    weights = {"dice": (1, 0, 0), "bce": (0, 1, 0), "focal": (0, 0, 1), "all": (2, 3, 4)}[part]
    config = replace(PLAIN, dice_weight=weights[0], bce_weight=weights[1], focal_weight=weights[2])
    expected = weights[0] * dice + weights[1] * bce + weights[2] * focal
    np.testing.assert_allclose(mask_losses(*to_torch(x, t), config), expected)


def test_prompt_loss_takes_the_best_alternative_and_the_single_mask() -> None:
    x, t = RNG.normal(0, 2, (5, 4, 8, 8)), RNG.random((5, 1, 8, 8))
    predicted, actual = RNG.random((5, 4)), RNG.random((5, 4))
    losses = mask_losses(*to_torch(x, t), PLAIN).numpy()
    error = np.abs(predicted - actual)  # squared below 0.2, linear beyond
    smooth = np.where(error < 0.2, error**2 / 0.4, error - 0.1)
    expected = np.mean(losses[:, 0] + losses[:, 1:].min(axis=1)) + 4 * smooth.mean()
    assert float(prompt_loss(*to_torch(x, predicted, t, actual), PLAIN)) == pytest.approx(expected)


def test_only_the_best_alternative_learns() -> None:
    logits = torch.from_numpy(RNG.normal(0, 2, (3, 4, 8, 8))).requires_grad_()
    target, iou = torch.rand(3, 1, 8, 8, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    best = mask_losses(logits, target, PLAIN)[:, 1:].argmin(dim=1) + 1
    prompt_loss(logits, iou, target, iou, PLAIN).backward()
    assert logits.grad is not None
    learns = logits.grad.abs().sum((2, 3)) > 0
    for n in range(3):
        assert learns[n].nonzero().flatten().tolist() == [0, int(best[n])]
