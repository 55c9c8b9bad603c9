"""Which planes of an object follow from which of its anchors, and in which order planes are visited."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari_sam.inference.propagation_values import Direction

__all__ = ["Chain", "plan_chains"]


@dataclass(frozen=True, slots=True)
class Chain:
    """A run of planes, each of which follows from the one before it.

    Attributes
    ----------
    object_id : int
        Whose.
    source : int
        The anchor's plane, from which the first one follows.
    step : 1 or -1
        Towards larger or smaller plane numbers.
    planes : range
        In the order in which they are visited; never empty.
    gap : int
        Planes from this anchor to the next one in this direction; 0 where there is none.
    """

    object_id: int
    source: int
    step: int
    planes: range
    gap: int = 0


def plan_chains(
    object_id: int,
    anchors: Iterable[int],
    stops: Collection[int],
    first: int,
    last: int,
    direction: Direction = "both",
    meet: bool = True,
) -> list[Chain]:
    """The chains of one object.

    Parameters
    ----------
    object_id : int
        Whose.
    anchors : iterable of int
        Planes in which the object is known.
    stops : collection of int
        Planes in which it is not: no chain enters them.
    first, last : int
        Planes outside this range are left alone; anchors may lie there.
    direction : "both", "forward" or "backward"
        Towards larger plane numbers, smaller ones, or both.
    meet : bool
        Between two anchors each chain ends in the middle, the middle plane itself going to the lower
        anchor; else both run through, to be blended.

    Examples
    --------
    >>> [(c.source, list(c.planes)) for c in plan_chains(1, [2, 7], [], 0, 9)]
    [(2, [3, 4]), (2, [1, 0]), (7, [8, 9]), (7, [6, 5])]
    """
    known, barriers = sorted(set(anchors)), sorted(set(stops) - set(anchors))
    chains = []
    for i, source in enumerate(known):
        if direction != "backward":
            after = known[i + 1] if i + 1 < len(known) else None
            stop = _next(barriers, source)
            end = last if after is None else after - 1
            if stop is not None and stop <= end:
                end = stop - 1
            elif after is not None and meet and direction == "both":
                end = (source + after) // 2
            planes = range(max(source + 1, first), min(end, last) + 1)
            # a chain cannot begin beyond its anchor's neighbour
            if len(planes) and planes[0] == source + 1:
                chains.append(Chain(object_id, source, 1, planes, 0 if after is None else after - source))
        if direction != "forward":
            before = known[i - 1] if i else None
            stop = _previous(barriers, source)
            end = first if before is None else before + 1
            if stop is not None and stop >= end:
                end = stop + 1
            elif before is not None and meet and direction == "both":
                end = (before + source) // 2 + 1
            planes = range(min(source - 1, last), max(end, first) - 1, -1)
            if len(planes) and planes[0] == source - 1:
                chains.append(Chain(object_id, source, -1, planes, 0 if before is None else source - before))
    return chains


def _next(values: list[int], than: int) -> int | None:
    i = bisect_right(values, than)
    return values[i] if i < len(values) else None


def _previous(values: list[int], than: int) -> int | None:
    i = bisect_left(values, than)
    return values[i - 1] if i else None
