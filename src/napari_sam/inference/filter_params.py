"""The thresholds by which candidates become objects."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from napari_sam.errors import SamError


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class FilterParams:
    """Which candidates become objects. A score that is not known passes its threshold.

    Attributes
    ----------
    predicted_iou, stability, foreground : float
        Candidates with a lower score are dropped.
    nms_iou : float
        Of two candidates with a higher IoU the one of higher score stays.
    containment : float
        The same of two of which one lies with a larger part of it within the other; 1 keeps nested objects.
    min_area, max_area : float
        In pixels, both allowed.
    keep_border : bool
        Whether objects that touch the border of the plane are kept.
    """

    predicted_iou: float = 0.0
    stability: float = 0.0
    foreground: float = 0.0
    nms_iou: float = 0.5
    containment: float = 0.9
    min_area: float = 1
    max_area: float = float("inf")
    keep_border: bool = True

    def __post_init__(self) -> None:
        for name in ("predicted_iou", "stability", "foreground", "nms_iou", "containment"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise SamError(f"Expected {name} from 0 to 1, got {value!r}.")
        for name in ("min_area", "max_area"):
            value = getattr(self, name)
            if not _is_number(value) or not value >= 0:
                raise SamError(f"Expected {name} as a number of pixels of 0 or more, got {value!r}.")
        if self.min_area > self.max_area:
            raise SamError(
                f"Expected min_area of at most max_area, got {self.min_area} and {self.max_area}; "
                "no object can be both. Where min_area is not given it is the model's own."
            )


FILTER_OPTIONS: Final = tuple(f.name for f in fields(FilterParams))
"""Names of the thresholds."""
FILTER_DEFAULTS: Final = {
    "grid": FilterParams(predicted_iou=0.6, stability=0.7, foreground=0.5, min_area=12),
    "exact": FilterParams(predicted_iou=0.88, stability=0.95, nms_iou=1, containment=1),
    "instances": FilterParams(foreground=0.85, min_area=12),
}
"""Thresholds of each method where the model's record has none: those that suit the bundled model.

``"exact"`` is the grid with that option.
"""
