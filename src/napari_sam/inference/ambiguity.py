"""A click can mean several objects: which of the model's masks is shown first, and which come after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.types import ObjectMask, Prompts

__all__ = ["choose_best", "choose_index", "rank_candidates"]

ALIKE: Final = 0.97
"""IoU from which two masks are one to the eye."""


def choose_best(candidates: Sequence[ObjectMask], prompts: Prompts) -> ObjectMask:
    """The alternative of highest predicted IoU for one click; the single mask for clearer prompts.

    As in Kirillov et al. 2023, Sec. 3 ("Resolving ambiguity").
    """
    return candidates[
        choose_index([c.predicted_iou for c in candidates], [c.area > 0 for c in candidates], prompts)
    ]


def choose_index(scores: Sequence[float], filled: Sequence[bool], prompts: Prompts) -> int:
    """Which of the masks ``choose_best`` chooses, by predicted IoU and whether there is anything in it."""
    ambiguous = prompts.mask is None and prompts.box is None and len(prompts.points) == 1
    every = range(len(scores))
    choice = every[1:] if ambiguous and len(scores) > 1 else every[:1]
    nonempty = [i for i in choice if filled[i]] or [i for i in every if filled[i]] or list(choice)
    return max(nonempty, key=lambda i: scores[i])


def rank_candidates(candidates: Sequence[ObjectMask], prompts: Prompts) -> list[ObjectMask]:
    """The best mask, then the others that differ from it and from each other, by predicted IoU.

    Parameters
    ----------
    candidates : sequence of ObjectMask
        All masks for one prompt, as ``predict_candidates`` gives them.
    prompts : Prompts
        What they answer.

    Returns
    -------
    list of ObjectMask
        At least one; only the first may be empty.
    """
    ranked = [choose_best(candidates, prompts)]
    for mask in sorted(candidates, key=lambda c: -c.predicted_iou):
        if mask.area and all(mask.iou(other) < ALIKE for other in ranked):
            ranked.append(mask)
    return ranked
