"""What the writers write: labels, and what else is known of their objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.stacks.image_io import ImageStack

__all__ = ["Content"]


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """One label image with its objects' properties.

    Attributes
    ----------
    labels : ImageStack
        Integers without channels; 0 is the background.
    image : ImageStack or None
        What the labels are of, for intensities: of the same planes, with or without channels.
    properties : dict of int to dict
        Values of JSON, by id and name, that go along where the format has room.
    volumes : bool
        Whether an object's pixels along Z are one object, which tables then measure in 3-D.
    """

    labels: ImageStack
    image: ImageStack | None = None
    properties: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    volumes: bool = False
