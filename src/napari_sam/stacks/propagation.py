"""Objects that are known in some planes of a stack, followed through its other planes.

The mask of one plane is turned into prompts for the next, as Archit et al. 2025 ("Segment Anything for
Microscopy") do for volumes. All objects go along together: in each direction every plane is encoded once and
all its objects are decoded at once. One plane at a time is in memory, and the cropped masks of those done.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_sam.inference.propagation_values import Anchor, PlaneObject, PlanePredictor, PropagationParams
from napari_sam.stacks.known_objects import KnownObject, read_known
from napari_sam.stacks.plane_walk import PlaneWalk
from napari_sam.stacks.propagation_plan import Chain, plan_chains

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Mapping, Sequence

    from napari_sam.types import ObjectMask, Progress

__all__ = ["Anchor", "PlaneObject", "PropagationParams", "iter_propagate"]


def iter_propagate(
    planes: Sequence[Any],
    predictor: PlanePredictor,
    objects: Mapping[int, Sequence[Anchor]],
    *,
    stops: Mapping[int, Collection[int]] | None = None,
    fixed: Mapping[int, Mapping[int, ObjectMask]] | None = None,
    params: PropagationParams | None = None,
    before: Mapping[int, Mapping[int, ObjectMask]] | None = None,
    changed: Mapping[int, Collection[int]] | None = None,
) -> Generator[Progress, None, dict[int, dict[int, PlaneObject]]]:
    """Follow objects from the planes in which they are known through the others, as a job.

    Parameters
    ----------
    planes : sequence of (H, W) or (H, W, C) array-likes
        The stack along z or t; only what is indexed is read, one plane at a time.
    predictor : PlanePredictor
        What answers prompts, a ``CachedPredictor``.
    objects : mapping of int to sequence of Anchor
        By id, the planes in which the user said something.
    stops : mapping of int to collection of int, optional
        By id, planes in which the object is not, and beyond which it is not looked for.
    fixed : mapping of int to mapping of int to ObjectMask, optional
        By id and plane, masks corrected by hand: they are never changed, objects are followed from them as
        from anchors, and an empty one is a stop.
    params : PropagationParams, optional
        How objects are followed, and when that ends.
    before : mapping of int to mapping of int to ObjectMask, optional
        By id and plane, what an earlier run of the same objects gave: what it had and this run has not is
        told as objects without a mask.
    changed : mapping of int to collection of int, optional
        By id, planes whose anchors, stops, prompts or fixed masks are others than in the earlier run: only
        planes that follow from these are looked at again, and only until nothing changes any more.

    Yields
    ------
    Progress
        In planes; ``partial`` is a tuple of PlaneObject, all that a step found. A later one for the same
        object and plane replaces an earlier one; one without a mask says that the object is not there.

    Returns
    -------
    dict of int to dict of int to PlaneObject
        By id and plane, what is new.

    Raises
    ------
    PromptError
        When there is nothing to begin from, or a plane that is named does not exist.
    ImageError
        When a plane cannot be read.

    Examples
    --------
    >>> said = {1: [Anchor(4, prompts=Prompts([(30, 41)]))]}  # doctest: +SKIP
    >>> for progress in iter_propagate(stack, predictor, said):  # doctest: +SKIP
    ...     print(progress.done, [found.area for found in progress.partial])
    """
    params, before = params or PropagationParams(), before or {}
    count = len(planes)
    known = read_known(count, objects, stops or {}, fixed or {})
    first = 0 if params.first is None else max(params.first, 0)
    last = count - 1 if params.last is None else min(params.last, count - 1)
    chains: list[Chain] = []
    stale: list[PlaneObject] = []
    for key, one in known.items():
        meet = params.between == "nearest"
        full = plan_chains(key, one.anchors, one.stops, first, last, params.direction, meet)
        had, reached = before.get(key, {}), {p for chain in full for p in chain.planes}
        gone = [p for p in had if first <= p <= last and p not in reached and p not in one.anchors]
        stale += [PlaneObject(key, p, None) for p in gone]
        chains += full if changed is None else _affected(full, set(changed.get(key, ())), had)
    wanted = _wanted_anchors(known, chains, before, changed)
    walk = PlaneWalk(planes, predictor, params, known, before, changed)
    walk.expect(wanted, chains)
    if stale:
        yield walk.tell(stale)
    for plane, keys in sorted(wanted.items()):
        yield walk.answer_anchors(plane, keys)
    for step in (1, -1):
        yield from walk.sweep([chain for chain in chains if chain.step == step])
    if params.direction == "both" and params.between == "nearest":
        rest = [more for chain in chains if (more := _beyond(chain, walk)) is not None]
        for step in (1, -1):
            yield from walk.sweep([chain for chain in rest if chain.step == step])
    found: dict[int, dict[int, PlaneObject]] = defaultdict(dict)
    for plane, by_id in sorted(walk.results.items()):
        for key, result in by_id.items():
            found[key][plane] = result
    return dict(found)


def _affected(chains: Iterable[Chain], changed: set[int], had: Mapping[int, Any]) -> Iterable[Chain]:
    """Of the chains of one object, what follows from planes that changed."""
    for chain in chains:
        if chain.source in changed:
            yield chain
            continue
        start = next((i for i, plane in enumerate(chain.planes) if plane in changed), None)
        while start and chain.planes[start - 1] not in had:  # it ended before: go on from there
            start -= 1
        if start is not None:
            yield replace(chain, planes=chain.planes[start:])


def _wanted_anchors(
    known: Mapping[int, KnownObject],
    chains: Iterable[Chain],
    before: Mapping[int, Mapping[int, ObjectMask]],
    changed: Mapping[int, Collection[int]] | None,
) -> dict[int, list[int]]:
    """By plane, the objects whose anchors are to be answered and told."""
    wanted: dict[int, list[int]] = defaultdict(list)
    sources = {(chain.object_id, chain.source) for chain in chains}
    for key, one in known.items():
        for plane in one.anchors:
            unknown = (key, plane) in sources and plane not in before.get(key, {})
            if changed is None or unknown or plane in changed.get(key, ()):
                wanted[plane].append(key)
    return wanted


def _beyond(chain: Chain, walk: PlaneWalk) -> Chain | None:
    """How a chain goes on past the middle, where the one that should have met it ended early."""
    if not chain.gap or not walk.reached_end(chain):
        return None
    other = chain.source + chain.step * chain.gap
    if any(p in walk.known[chain.object_id].stops for p in range(chain.source, other, chain.step)):
        return None
    here = chain.planes[-1]
    free = []
    for plane in range(here + chain.step, other, chain.step):
        if walk.mask_at(chain.object_id, plane) is not None:
            break
        free.append(plane)
    if not free:
        return None
    return replace(chain, source=here, planes=range(free[0], free[-1] + chain.step, chain.step))
