"""How planes are linked to objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_sam.errors import SamError

__all__ = ["LinkParams"]


@dataclass(frozen=True, slots=True)
class LinkParams:
    """Thresholds of linking.

    Attributes
    ----------
    min_overlap : float
        IoU, 0 to 1, from which on sections of neighbouring planes may be of one object (z only).
    max_gap : int
        An object may be missing in so many planes in a row and still be the same.
    min_planes : int
        Objects in fewer planes are joined to one that they lie against (z only), else dropped. In a series,
        one that is there in the first or last frame is kept. Stacks that have no more planes than this
        keep everything.
    repair : bool
        Split or join objects in a plane whose neighbours agree that it is wrong.
    split_factor : float
        An object along z is cut at a waist where its area is this many times smaller than on both sides of
        it; infinite never.
    max_distance : float
        How far an object moves from one frame to the next at most, in diameters (t only).
    max_area_change : float
        How many times larger or smaller it becomes from one frame to the next at most (t only).
    divisions : bool
        Look for objects that divide (t only).

    Raises
    ------
    SamError
        When a value is impossible.
    """

    min_overlap: float = 0.3
    max_gap: int = 1
    min_planes: int = 2
    repair: bool = True
    split_factor: float = 1.15
    max_distance: float = 1.0
    max_area_change: float = 3.0
    divisions: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.min_overlap <= 1:
            raise SamError(f"Expected min_overlap above 0 and at most 1, got {self.min_overlap}.")
        for name, least in (("max_gap", 0), ("min_planes", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise SamError(f"Expected {name} as a whole number of {least} or more, got {value!r}.")
        if not (math.isfinite(self.max_distance) and self.max_distance > 0):
            raise SamError(f"Expected max_distance above 0 diameters, got {self.max_distance}.")
        for name in ("max_area_change", "split_factor"):
            if not getattr(self, name) > 1:
                raise SamError(f"Expected {name} above 1, got {getattr(self, name)}.")
