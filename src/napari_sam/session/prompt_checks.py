"""Whether prompts can be answered, and what changed from some to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.errors import ImageError, PromptError

if TYPE_CHECKING:
    from napari_sam.session.prompt_state import PromptState
    from napari_sam.session.requests import Plane
    from napari_sam.types import Box, ObjectMask, Prompts

__all__ = ["check_plane", "check_prompts", "extends_prompts", "refuse_to_accept", "same_prompts"]


def check_plane(plane: Plane) -> None:
    """Raise ImageError when a plane has no pixels."""
    if 0 in plane.shape:
        raise ImageError(
            f"Expected an image with pixels, got a plane of shape {plane.shape} in {plane.name!r}; "
            "choose another image layer."
        )


def check_prompts(prompts: Prompts, plane: Plane) -> None:
    """Raise SamError when prompts cannot be answered on a plane.

    Raises
    ------
    ImageError
        When the plane has no pixels.
    PromptError
        When a point lies outside the plane, a box does not touch it, or nothing says where the
        object is.
    """
    check_plane(plane)
    height, width = plane.shape
    low, high = -0.5, np.array([height, width]) - 0.5
    outside = np.flatnonzero(((prompts.points < low) | (prompts.points > high)).any(axis=1))
    if outside.size:
        row, col = prompts.points[outside[0]]
        raise PromptError(
            f"Expected points inside {plane.name!r} ({height} x {width} pixels), got a point at "
            f"row {row:.1f}, column {col:.1f}; move or delete it."
        )
    if prompts.box is not None:
        r0, c0, r1, c1 = prompts.box
        if r1 <= 0 or c1 <= 0 or r0 >= height - 1 or c0 >= width - 1:
            raise PromptError(
                f"Expected a box that touches {plane.name!r} ({height} x {width} pixels), got rows "
                f"{r0:.1f} to {r1:.1f}, columns {c0:.1f} to {c1:.1f}; move or delete it."
            )
    if not prompts.has_foreground:
        raise PromptError(
            "Expected a foreground point or a box, got background points only; click on the object itself."
        )


def same_prompts(one: Prompts, other: Prompts) -> bool:
    """True when two prompts say the same, but for rounding."""
    if (one.box is None) != (other.box is None) or len(one.points) != len(other.points):
        return False
    boxes = one.box is None or other.box is None or np.allclose(one.box, other.box, atol=1e-3)
    points = np.allclose(one.points, other.points, atol=1e-3)
    return bool(
        boxes and points and np.array_equal(one.labels, other.labels) and _same_masks(one.mask, other.mask)
    )


def extends_prompts(new: Prompts, old: Prompts) -> bool:
    """True when ``new`` only adds points to ``old``: a correction, so the last answer is fed back."""
    count = len(old.points)
    if not count < len(new.points) or not old.has_foreground:
        return False
    grown = new.mask is not None and _holds(new.box, old.box)  # to hold the clicks, see ``Drawing``
    box = old.box if grown else new.box
    if not same_prompts(replace(new, points=old.points, labels=old.labels, box=box), old):
        return False
    # clicks come before samples of scribbles, so that what is new need not be last
    left = [(*point, label) for point, label in zip(new.points.tolist(), new.labels.tolist(), strict=True)]
    for point, label in zip(old.points.tolist(), old.labels.tolist(), strict=True):
        if (*point, label) not in left:
            return False
        left.remove((*point, label))
    return True


def refuse_to_accept(state: PromptState | None, asked: bool, failure: str | None) -> str:
    """Why there is no object to accept; "" where there is one.

    Parameters
    ----------
    state : PromptState or None
        The prompts at hand.
    asked : bool
        Their answer is on its way.
    failure : str or None
        Why the model cannot answer.
    """
    if state is None or state.prompts.is_empty:
        return "Nothing to accept yet: click on an object first."
    if state.mask is not None or asked:
        return ""
    if failure is not None:
        return f"Nothing to accept: {failure}"
    return "Nothing to accept: these prompts gave no mask; change or clear them."


def _holds(outer: Box | None, inner: Box | None) -> bool:
    if outer is None or inner is None:
        return False
    return all(a <= b for a, b in zip(outer[:2], inner[:2], strict=True)) and all(
        a >= b for a, b in zip(outer[2:], inner[2:], strict=True)
    )


def _same_masks(one: ObjectMask | None, other: ObjectMask | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    return one.origin == other.origin and np.array_equal(one.mask, other.mask)
