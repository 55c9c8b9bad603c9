"""At which scale the model sees an image, from the size of the objects in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.tiling import Crop

__all__ = [
    "LARGE",
    "SMALL",
    "WANTED",
    "choose_scale",
    "expected_object_size",
    "field_size",
    "measure_rescale",
]

OBJECT_SIZE: Final = 20.0
"""Pixels; what a model with frames of any size expects unless its record says otherwise ..."""
OBJECTS_PER_FRAME: Final = 16
"""... and how many objects fit side by side into a frame of fixed size."""
SMALL: Final = 20.0
"""Objects of a smaller median diameter, in frame pixels, are shown enlarged ..."""
LARGE: Final = 40.0
"""... and those of a larger one shrunk ..."""
WANTED: Final = 28.0
"""... to about this diameter, by quarters ..."""
MOST: Final = 3.0
"""... and enlarged at most by this factor."""
LARGEST: Final = 16.0
"""Pixels are enlarged by no more: there is nothing more to be seen in them."""


def expected_object_size(model: LoadedModel) -> float:
    """Diameter, in frame pixels, of the objects that the model has learned from."""
    stated = model.record.get("object_size")
    if isinstance(stated, int | float) and stated > 0:
        return float(stated)
    return OBJECT_SIZE if model.config.any_frame_size else model.config.image_size / OBJECTS_PER_FRAME


def _wanted_scale(model: LoadedModel, object_size: float) -> float:
    return min(expected_object_size(model) / object_size, LARGEST)


def measure_rescale(diameter: float, room: float = MOST) -> float:
    """By how much a frame is enlarged, or shrunk, so that its objects are outlined well; 1 for not at all.

    Parameters
    ----------
    diameter : float
        Their median, in frame pixels.
    room : float
        By how much the frame may grow.

    Examples
    --------
    >>> [round(measure_rescale(d), 2) for d in (5, 10, 19, 20, 40, 60, 140)]
    [3.0, 2.75, 1.25, 1.0, 1.0, 0.5, 0.2]
    """
    if diameter < SMALL:
        return max(1.0, math.floor(4 * min(WANTED / max(diameter, 1.0), MOST, room)) / 4)
    if diameter > LARGE:
        return 4 / math.floor(4 * diameter / WANTED)
    return 1.0


def field_size(model: LoadedModel, object_size: float | None) -> int:
    """Side, in plane pixels, of the square that fills the model's frame."""
    side = model.config.image_size
    return side if object_size is None else max(1, round(side / _wanted_scale(model, object_size)))


def choose_scale(model: LoadedModel, object_size: float | None, crop: Crop) -> float | None:
    """Frame pixels per plane pixel for a crop; None leaves it to the model.

    Parameters
    ----------
    model : LoadedModel
        One with frames of fixed size sees the whole crop in its frame, whatever the size of the objects:
        there the size decides how large crops are.
    object_size : float or None
        In plane pixels.
    crop : (r0, c0, r1, c1)
    """
    if object_size is None or not model.config.any_frame_size:
        return None
    longest = max(crop[2] - crop[0], crop[3] - crop[1])
    return min(_wanted_scale(model, object_size), model.config.image_size / longest)
