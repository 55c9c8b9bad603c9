from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.ambiguity import rank_candidates
from napari_sam.types import ObjectMask, Prompts


def square(side: int, iou: float) -> ObjectMask:
    return ObjectMask.from_plane(np.ones((side, side), bool), predicted_iou=iou)


CLICK, CLICKS, BOX = Prompts([(1, 1)]), Prompts([(1, 1), (2, 2)]), Prompts(box=(0, 0, 4, 4))


@pytest.mark.parametrize(
    ("sides", "ious", "prompts", "expected"),
    [
        pytest.param((5, 4, 6, 9), (0.9, 0.5, 0.8, 0.7), CLICK, [6, 5, 9, 4], id="a click: best alternative"),
        pytest.param((5, 4, 6, 9), (0.1, 0.5, 0.8, 0.7), CLICKS, [5, 6, 9, 4], id="clicks: the single mask"),
        pytest.param((5, 4, 6, 9), (0.1, 0.5, 0.8, 0.7), BOX, [5, 6, 9, 4], id="a box: the single mask"),
        pytest.param((6, 6, 6, 9), (0.9, 0.5, 0.8, 0.7), CLICK, [6, 9], id="the same mask is shown once"),
        pytest.param((5, 0, 6, 0), (0.9, 0.9, 0.8, 0.7), CLICK, [6, 5], id="empty ones are left out"),
        pytest.param((0, 0, 0, 0), (0.9, 0.9, 0.8, 0.7), CLICK, [0], id="nothing at all"),
    ],
)
def test_masks_are_ranked_and_told_apart(
    sides: tuple[int, ...], ious: tuple[float, ...], prompts: Prompts, expected: list[int]
) -> None:
    ranked = rank_candidates([square(s, i) for s, i in zip(sides, ious, strict=True)], prompts)
    assert [mask.mask.shape[0] for mask in ranked] == expected
