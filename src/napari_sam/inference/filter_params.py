"""The thresholds by which candidates become objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import SamError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FILTER_DEFAULTS", "FILTER_OPTIONS", "FILTER_WORDS", "FilterParams", "check_numbers"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def check_numbers(params: Any, names: Iterable[str], highest: float = math.inf) -> None:
    """Check that these attributes are finite numbers from 0 to the highest.

    Raises
    ------
    SamError
        When one is not.
    """
    for name in names:
        value = getattr(params, name)
        if not (_is_number(value) and math.isfinite(value) and 0 <= value <= highest):
            wanted = "as a finite number of 0 or more" if highest == math.inf else f"from 0 to {highest:g}"
            raise SamError(f"Expected {name} {wanted}, got {value!r}.")


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
        shares = ("predicted_iou", "stability", "foreground", "nms_iou", "containment")
        check_numbers(self, shares, highest=1)
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
FILTER_WORDS: Final = {
    "predicted_iou": "predicted IoU",
    "stability": "stability",
    "foreground": "foreground",
    "min_area": "min. size",
    "max_area": "max. size",
}
"""What messages call them, in the dock, on the command line and in scripts."""
FILTER_DEFAULTS: Final = {
    "grid": FilterParams(predicted_iou=0.6, stability=0.7, foreground=0.5, min_area=12),
    "exact": FilterParams(predicted_iou=0.88, stability=0.95, nms_iou=1, containment=1),
    "instances": FilterParams(foreground=0.85, min_area=12),
}
"""Thresholds of each method where the model's record has none: those that suit the bundled model.

``"exact"`` is the grid with that option.
"""
