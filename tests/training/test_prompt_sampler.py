from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from skimage.draw import disk
from torch.nn.functional import avg_pool2d

from napari_sam.modeling.prompt_encoder import BACKGROUND, BOX_FIRST, BOX_SECOND, FOREGROUND, MASK_LOGIT, PAD
from napari_sam.training.prompt_sampler import (
    MIN_AREA,
    PromptBatch,
    draw_corrections,
    make_rough_logits,
    sample_first_prompts,
    take_windows,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STRIDE, WINDOW = 8, 8


@pytest.fixture
def planes(draw_cells: Callable[..., tuple[NDArray[np.uint8], NDArray[np.int32]]]) -> NDArray[np.int32]:
    """(3, 128, 160) labels, the last without objects"""
    drawn = [draw_cells(128, 160, seed=seed, count=8)[1] for seed in range(2)]
    return np.stack([*drawn, np.zeros((128, 160), np.int32)])


def draw_batches(planes: NDArray[np.int32], count: int) -> list[PromptBatch]:
    batches = []
    for seed in range(count):
        batch = sample_first_prompts(planes, 4, WINDOW, STRIDE, np.random.default_rng(seed))
        assert batch is not None
        batches.append(batch)
    return batches


# ---- first prompts ----------------------------------------------------------------------------------------


def test_first_prompts_are_on_their_objects(planes: NDArray[np.int32]) -> None:
    seen = {"point": 0, "box": 0, "rough": 0, "background": 0}
    for batch in draw_batches(planes, 40):
        assert (np.bincount(batch.image.numpy()[batch.object_id.numpy() > 0]) <= 4).all()
        for n in range(len(batch.image)):
            plane = planes[int(batch.image[n])]
            number, labels = int(batch.object_id[n]), batch.labels[n].tolist()
            origin = batch.origin[n].numpy() * STRIDE
            points = batch.coords[n].numpy()[:, ::-1] + origin  # (row, col) in the plane
            if number == 0:
                seen["background"] += 1
                assert labels == [FOREGROUND, PAD]
                assert plane[tuple(points[0].astype(int))] == 0
                continue
            rows, cols = np.nonzero(plane == number)
            assert len(rows) >= MIN_AREA
            low, high = (rows.min() - 0.5, cols.min() - 0.5), (rows.max() + 0.5, cols.max() + 0.5)
            if bool(batch.rough[n]):
                seen["rough"] += 1
                assert labels == [PAD, PAD]
            elif labels == [BOX_FIRST, BOX_SECOND]:
                seen["box"] += 1
                assert np.abs(points - [low, high]).max() <= 20
            else:
                seen["point"] += 1
                assert labels == [FOREGROUND, PAD]
                assert plane[tuple(points[0].astype(int))] == number
    assert min(seen.values()) > 5
    assert seen["point"] > seen["box"] > seen["rough"]


def test_clicks_fall_where_they_are_wanted() -> None:
    """In a disc of radius 30: all near the middle, or two in three farther than half a radius from it."""
    plane = np.zeros((1, 128, 128), np.int32)
    plane[0][disk((64, 64), 30)] = 1

    def measure_far(middle: float) -> float:
        far = []
        for seed in range(200):
            rng = np.random.default_rng(seed)
            batch = sample_first_prompts(plane, 1, WINDOW, STRIDE, rng, middle=middle)
            assert batch is not None
            if batch.object_id[0] and batch.labels[0].tolist() == [FOREGROUND, PAD]:
                point = batch.coords[0, 0].numpy()[::-1] + batch.origin[0].numpy() * STRIDE
                far.append(np.hypot(*(point - 64)) > 15)
        assert len(far) > 80
        return float(np.mean(far))

    assert measure_far(1) < 0.15
    assert 0.6 < measure_far(0) < 0.9


def test_windows_lie_in_the_embedding_and_hold_the_clicks(planes: NDArray[np.int32]) -> None:
    for batch in draw_batches(planes, 20):
        origin = batch.origin.numpy()
        assert (origin >= 0).all()
        assert (origin + WINDOW <= np.array([128, 160]) // STRIDE).all()
        clicks = batch.coords[batch.labels == FOREGROUND].numpy()
        assert (clicks >= 0).all()
        assert (clicks < WINDOW * STRIDE).all()


def test_a_window_as_large_as_the_frame_starts_at_its_corner(planes: NDArray[np.int32]) -> None:
    batch = sample_first_prompts(planes, 4, 20, STRIDE, np.random.default_rng(0))
    assert batch is not None
    assert not batch.origin.any()


def test_nothing_to_prompt() -> None:
    full = np.ones((1, 32, 32), np.int32)
    full[0, :2] = 0
    tiny = np.zeros((1, 32, 32), np.int32)
    tiny[0, 0, : MIN_AREA - 1] = 1
    found = [sample_first_prompts(tiny, 4, 4, 8, np.random.default_rng(seed)) for seed in range(20)]
    assert any(batch is None for batch in found)
    assert all(batch is None or not batch.object_id.any() for batch in found)
    batch = sample_first_prompts(full, 4, 4, 8, np.random.default_rng(0))
    assert batch is not None
    assert batch.object_id.tolist()[0] == 1


# ---- windows ----------------------------------------------------------------------------------------------


def test_windows_equal_slices() -> None:
    maps = torch.randn(3, 5, 12, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps.requires_grad_()
    image, origin = torch.tensor([2, 0, 0, 1]), torch.tensor([[0, 0], [4, 6], [5, 3], [8, 10]])
    taken = take_windows(maps, image, origin, 4)
    expected = torch.stack(
        [maps[i, :, r : r + 4, c : c + 4] for i, (r, c) in zip(image, origin, strict=True)]
    )
    assert torch.equal(taken, expected)
    weight = torch.randn(taken.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (ours,) = torch.autograd.grad((taken * weight).sum(), maps)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), maps)
    torch.testing.assert_close(ours, theirs)
    assert ours.abs().sum() > 0


def test_windows_keep_whole_numbers() -> None:
    labels = torch.arange(2**24, 2**24 + 16, dtype=torch.int32).reshape(1, 1, 4, 4)
    taken = take_windows(labels, torch.tensor([0]), torch.tensor([[1, 1]]), 2)
    assert taken.tolist() == [[[[2**24 + 5, 2**24 + 6], [2**24 + 9, 2**24 + 10]]]]


# ---- rough masks ------------------------------------------------------------------------------------------


def test_rough_masks_resemble_their_objects() -> None:
    target = torch.zeros(6, 1, 32, 32)
    target[:3, :, 8:24, 8:24] = 1
    for seed in range(10):
        rough = make_rough_logits(target, torch.Generator().manual_seed(seed))
        assert set(rough.unique().tolist()) == {-MASK_LOGIT, MASK_LOGIT}
        assert not (rough[3:] > 0).any()
        mask = rough[:3] > 0
        shared = (mask & (target[:3] > 0)).sum((1, 2, 3)) / (mask | (target[:3] > 0)).sum((1, 2, 3))
        assert (shared > 0.5).all()
    assert (make_rough_logits(target, torch.Generator().manual_seed(0))[:3] > 0).sum() != 3 * 256


# ---- corrections ------------------------------------------------------------------------------------------


def random_masks(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 6, 1, 40, 40, generator=generator)
    masks = avg_pool2d(noise.flatten(0, 1), 7, 1, 3).unflatten(0, (2, 6))[:, :, 0] > 0.05
    masks[1, 0] = masks[0, 0]  # one without an error
    return masks[0], masks[1]


def test_corrections_click_only_where_it_is_wrong() -> None:
    for seed in range(20):
        predicted, target = random_masks(seed)
        coords, labels = draw_corrections(predicted, target, torch.Generator().manual_seed(seed))
        assert (coords.shape, labels.shape) == ((6, 1, 2), (6, 1))
        assert labels[0, 0] == PAD
        for n in range(1, 6):
            x, y = (int(v) for v in coords[n, 0])
            assert predicted[n, y, x] != target[n, y, x]
            assert labels[n, 0] == (FOREGROUND if target[n, y, x] else BACKGROUND)


def test_half_of_the_corrections_are_in_the_middle_of_the_error() -> None:
    predicted = torch.zeros(1, 60, 60, dtype=torch.bool).expand(400, -1, -1)
    target = predicted.clone()
    target[:, 10:31, 10:31] = True
    coords, labels = draw_corrections(predicted, target, torch.Generator().manual_seed(0))
    assert (labels == FOREGROUND).all()
    inner = ((coords[:, 0] >= 13) & (coords[:, 0] <= 27)).all(dim=1)  # of 21 x 21 the inner 15 x 15
    # all of the middle ones, and of those anywhere 225 of 441
    assert 0.5 + 0.5 * 225 / 441 - 0.08 < inner.float().mean() < 0.5 + 0.5 * 225 / 441 + 0.08


def test_corrections_follow_their_generator() -> None:
    predicted, target = random_masks(0)
    one, two, other = (
        draw_corrections(predicted, target, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
