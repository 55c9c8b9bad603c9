"""What a panel shows of one object along a stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.inference.propagation_values import PlaneObject

__all__ = ["PropagationView"]


@dataclass(frozen=True, slots=True, eq=False)
class PropagationView:
    """What there is to see of one object along a stack.

    Attributes
    ----------
    count : int
        Planes of the stack; 0 where there is none.
    shown : int or None
        Number of the plane that the viewer shows.
    label : int or None
        The object; 0 for one that has no id yet, None where there is none.
    labels : tuple of int
        All objects of the last run.
    results : mapping of int to PlaneObject
        By plane number, how the object was found.
    stops : frozenset of int
        Planes that it does not enter.
    running : bool
        True while planes are still being looked at.
    """

    count: int = 0
    shown: int | None = None
    label: int | None = None
    labels: tuple[int, ...] = ()
    results: Mapping[int, PlaneObject] = field(default_factory=dict)
    stops: frozenset[int] = frozenset()
    running: bool = False

    @property
    def flags(self) -> tuple[int, ...]:
        """Planes to look at."""
        return tuple(number for number, r in sorted(self.results.items()) if r.is_suspicious)
