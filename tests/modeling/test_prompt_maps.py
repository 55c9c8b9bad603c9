from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
import torch

from napari_sam.modeling.prompt_encoder import BACKGROUND, BOX_FIRST, BOX_SECOND, FOREGROUND, PAD
from napari_sam.modeling.prompt_maps import CHANNELS, CLICK_WIDTH, VOTE_WIDTHS, draw_prompt_maps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane: TypeAlias = NDArray[np.float64]

HEIGHT, WIDTH, CELL = 10, 12, 2.0


def naive_maps(
    offsets: Plane, coords: Plane, labels: NDArray[np.int64], mask: Plane | None
) -> NDArray[np.float64]:
    """Cell by cell, for one prompt."""

    def vote(row: int, col: int) -> Plane:
        center = np.array([(col + 0.5) * CELL - 0.5, (row + 0.5) * CELL - 0.5])
        return center + offsets[::-1, row, col]

    out = np.zeros((CHANNELS, HEIGHT, WIDTH))
    for row in range(HEIGHT):
        for col in range(WIDTH):
            place = np.array([(col + 0.5) * CELL - 0.5, (row + 0.5) * CELL - 0.5])
            for k, code in enumerate((FOREGROUND, BACKGROUND)):
                by_vote, by_place = [1e6], [1e6]
                for (x, y), label in zip(coords, labels, strict=True):
                    if label == code:
                        there = vote(
                            int(np.clip((y + 0.5) // CELL, 0, HEIGHT - 1)),
                            int(np.clip((x + 0.5) // CELL, 0, WIDTH - 1)),
                        )
                        by_vote.append(((vote(row, col) - there) ** 2).sum())
                        by_place.append(((place - (x, y)) ** 2).sum())
                first = k * (len(VOTE_WIDTHS) + 1)
                for i, width in enumerate(VOTE_WIDTHS):
                    out[first + i, row, col] = np.exp(-min(by_vote) / (2 * width**2))
                out[first + len(VOTE_WIDTHS), row, col] = np.exp(-min(by_place) / (2 * CLICK_WIDTH**2))
            if BOX_SECOND in labels:
                low, high = coords[labels == BOX_FIRST][0], coords[labels == BOX_SECOND][0]
                out[-3, row, col] = ((place >= low - 0.5) & (place <= high + 0.5)).all()
                sigma = np.maximum((high - low) / 5, 1.5)
                out[-2, row, col] = np.exp(-((((vote(row, col) - (low + high) / 2) / sigma) ** 2).sum()) / 2)
    if mask is not None:
        out[-1] = 1 / (1 + np.exp(-mask))
    return out


@pytest.mark.parametrize("with_mask", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param([(7.0, 9.0, FOREGROUND), (0.0, 0.0, PAD)], id="click"),
        pytest.param([(7.0, 9.0, FOREGROUND), (15.0, 3.0, FOREGROUND)], id="two clicks"),
        pytest.param([(7.0, 9.0, FOREGROUND), (8.0, 11.0, BACKGROUND)], id="foreground and background"),
        pytest.param([(4.0, 3.0, BOX_FIRST), (17.0, 12.0, BOX_SECOND)], id="box"),
        pytest.param([(-3.0, -2.0, BOX_FIRST), (99.0, 12.0, BOX_SECOND)], id="box beyond the window"),
        pytest.param([(-3.0, 40.0, BACKGROUND), (5.0, 5.0, FOREGROUND)], id="click beyond the window"),
        pytest.param([(1.0, 1.0, PAD), (2.0, 2.0, PAD)], id="nothing"),
    ],
)
def test_maps_equal_naive_ones(prompts: list[tuple[float, float, int]], with_mask: bool) -> None:
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, 3, (2, HEIGHT, WIDTH))
    mask = rng.normal(0, 3, (HEIGHT, WIDTH)) if with_mask else None
    coords, labels = np.array([p[:2] for p in prompts]), np.array([p[2] for p in prompts])
    found = draw_prompt_maps(
        torch.from_numpy(offsets)[None],
        torch.from_numpy(coords)[None],
        torch.from_numpy(labels)[None],
        None if mask is None else torch.from_numpy(mask)[None, None],
        CELL,
    )
    assert found.shape == (1, CHANNELS, HEIGHT, WIDTH)
    np.testing.assert_allclose(found[0].numpy(), naive_maps(offsets, coords, labels, mask), atol=1e-9)
    assert ((found >= 0) & (found <= 1)).all()


def test_a_click_lights_up_its_object_and_no_other() -> None:
    """Perfect offsets of two objects side by side: all pixels of the clicked one vote for one place."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH] * CELL + (CELL - 1) / 2
    left = cols < 12
    offsets = np.stack([9.5 - rows, np.where(left, 5.5, 17.5) - cols])
    found = draw_prompt_maps(
        torch.from_numpy(offsets)[None],
        torch.tensor([[[2.0, 2.0]]], dtype=torch.float64),
        torch.tensor([[FOREGROUND]]),
        None,
        CELL,
    )[0, 0].numpy()
    np.testing.assert_allclose(found[left], 1)
    assert found[~left].max() < 1e-3
