"""What is asked, looked at before anything is read or encoded for it."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.errors import ImageError, PromptError
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_sam.inference.tiling import Crop

__all__ = ["check_crop", "check_prompts", "list_prompts"]


def list_prompts(prompts: Iterable[Prompts]) -> list[Prompts]:
    """Prompts of many objects, also where they come one by one.

    Raises
    ------
    PromptError
        When it is no sequence.
    """
    try:
        return list(prompts)
    except TypeError as error:
        raise PromptError(
            f"Expected a sequence of Prompts, got {prompts!r:.60}; put a single one into a list."
        ) from error


def check_crop(crop: Crop | None, height: int, width: int) -> Crop:
    """A crop (r0, c0, r1, c1) of an image, or all of it.

    Raises
    ------
    ImageError
        When it holds no pixel, or some that the image does not have.
    """
    if crop is None:
        return 0, 0, height, width
    try:
        r0, c0, r1, c1 = (index(edge) for edge in crop)
    except (TypeError, ValueError):
        r0 = c0 = r1 = c1 = -1
    if not (0 <= r0 < r1 <= height and 0 <= c0 < c1 <= width):
        raise ImageError(
            f"Expected a crop (r0, c0, r1, c1) within the image of {height} x {width} pixels, got {crop!r}."
        )
    return r0, c0, r1, c1


def check_prompts(prompts: Prompts, height: int, width: int) -> Prompts:
    """The prompts with their box clipped to the image.

    Raises
    ------
    PromptError
        When they are none, name no place inside the image, or bring the mask of another image.
    """
    if not isinstance(prompts, Prompts):
        raise PromptError(f"Expected Prompts, got {prompts!r:.60}; see Prompts(points=[(row, col)]).")
    if prompts.mask_shape not in (None, (height, width)):
        raise PromptError(
            f"Expected a mask of {height} x {width} pixels, as the image has, "
            f"got {prompts.mask_shape[0]} x {prompts.mask_shape[1]}; "
            "make one of that size, or an ObjectMask with its origin."
        )
    r0, c0, r1, c1 = prompts.extent
    foreground = prompts.points[prompts.labels == 1]
    outside = (foreground < -0.5) | (foreground >= np.array([height, width]) - 0.5)
    if outside.any():
        point = tuple(round(float(v), 1) for v in foreground[outside.any(axis=1)][0])
        raise PromptError(
            f"Expected foreground points inside the image of {height} x {width} pixels, got {point}; "
            "move or delete that point."
        )
    if r1 < -0.5 or c1 < -0.5 or r0 > height - 0.5 or c0 > width - 0.5:
        raise PromptError(
            f"Expected prompts on the image of {height} x {width} pixels, "
            f"got one over rows {r0:.0f} to {r1:.0f} and columns {c0:.0f} to {c1:.0f}."
        )
    if prompts.box is None:
        return prompts
    b = prompts.box
    clipped = (max(b[0], -0.5), max(b[1], -0.5), min(b[2], height - 0.5), min(b[3], width - 0.5))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise PromptError(f"Expected a box on the image of {height} x {width} pixels, got {b}.")
    return Prompts(prompts.points, prompts.labels, clipped, prompts.mask)
