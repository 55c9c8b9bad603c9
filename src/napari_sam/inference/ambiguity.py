"""A click can mean several objects: which of the model's masks is shown first, and which come after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.types import ObjectMask, Prompts

__all__ = ["choose_best", "rank_candidates"]

ALIKE: Final = 0.97
"""IoU from which two masks are one to the eye."""


def choose_best(candidates: Sequence[ObjectMask], prompts: Prompts) -> ObjectMask:
    """The alternative of highest predicted IoU for one click or a box; the single mask for clearer prompts.

    As in Kirillov et al. 2023, Sec. 3 ("Resolving ambiguity"), but for boxes: where nuclei touch they are
    ambiguous too.
    """
    ambiguous = prompts.mask is None and len(prompts.points) + (prompts.box is not None) == 1
    choice = candidates[1:] if ambiguous else candidates[:1]
    nonempty = [c for c in choice if c.area] or [c for c in candidates if c.area] or list(choice)
    return max(nonempty, key=lambda c: c.predicted_iou)


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
