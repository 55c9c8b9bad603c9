"""What the user said about objects of a stack, checked and sorted by object and plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sam.errors import PromptError
from napari_sam.inference.propagation_values import Anchor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_sam.types import ObjectMask, Prompts

__all__ = ["KnownObject", "read_known"]


@dataclass(frozen=True, slots=True, eq=False)
class KnownObject:
    """One object before it is followed.

    Attributes
    ----------
    anchors : dict of int to Anchor
        By plane, where it is known; never empty.
    hints : dict of int to Prompts
        By plane, prompts that say only where it is not.
    stops : set of int
        Planes in which it is not.
    """

    anchors: dict[int, Anchor] = field(default_factory=dict)
    hints: dict[int, Prompts] = field(default_factory=dict)
    stops: set[int] = field(default_factory=set)


def read_known(
    count: int,
    objects: Mapping[int, Sequence[Anchor]],
    stops: Mapping[int, Collection[int]],
    fixed: Mapping[int, Mapping[int, ObjectMask]],
) -> dict[int, KnownObject]:
    """Sort anchors, stops and fixed masks of a stack of ``count`` planes; a fixed mask beats an anchor.

    Raises
    ------
    PromptError
        When there is no object, one has nothing to begin from, or a plane does not exist.
    """
    known = {}
    for key in dict.fromkeys([*objects, *fixed]):
        corrected = [Anchor(plane, mask) for plane, mask in fixed.get(key, {}).items()]
        said = {anchor.plane: anchor for anchor in [*objects.get(key, ()), *corrected]}
        barred = set(stops.get(key, ()))
        for plane in [*said, *barred]:
            if not 0 <= plane < count:
                raise PromptError(f"Expected planes 0 to {count - 1}, got plane {plane} for object {key}.")
        absent = {p for p, anchor in said.items() if anchor.mask is not None and not anchor.mask.area}
        anchors = {p: a for p, a in said.items() if not a.is_hint and p not in absent | barred}
        hints = {p: a.prompts for p, a in said.items() if a.is_hint and a.prompts is not None}
        if not anchors:
            raise PromptError(
                f"Expected a plane in which object {key} is known, got none; click on it in one of them."
            )
        known[key] = KnownObject(anchors, hints, absent | barred)
    if not known:
        raise PromptError("Expected an object to follow, got none; click on one, or select its label.")
    return known
