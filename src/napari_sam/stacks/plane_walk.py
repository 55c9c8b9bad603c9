"""Going through the planes of a stack with all objects that are alive, one direction at a time."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.inference.image_source import check_plane
from napari_sam.inference.propagation_values import SHRUNK, Flag, PlaneObject, read_kinds
from napari_sam.stacks.contrast import measure_contrast
from napari_sam.stacks.next_prompts import is_inside, make_next_prompts, predict_shift
from napari_sam.stacks.plane_overlaps import blend_masks, overlap_of, separate
from napari_sam.types import ObjectMask, Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from napari_sam.inference.propagation_values import PlanePredictor, PropagationParams
    from napari_sam.stacks.known_objects import KnownObject
    from napari_sam.stacks.propagation_plan import Chain

__all__ = ["PlaneWalk", "judge"]

SETTLED: Final = 0.98
"""IoU with an earlier run's mask from which on this run would only repeat it."""
UNTOUCHABLE: Final = 2.0
"""Score of what the user made; a model's are at most 1."""
NOTHING: Final = ObjectMask(np.zeros((0, 0), bool), (0, 0), predicted_iou=0.0, stability_score=0.0)


def judge(
    mask: ObjectMask,
    expected: ObjectMask,
    params: PropagationParams,
    regrowth: float = 1.0,
    contrast: float = 1.0,
) -> tuple[float, float, Flag, bool]:
    """Compare a mask with the one that it follows from.

    Parameters
    ----------
    mask, expected : ObjectMask
        The answer, and what was asked with.
    params : PropagationParams
        The thresholds.
    regrowth : float
        By what the object has grown since it was smallest.
    contrast : float
        Its contrast over that at its anchor.

    Returns
    -------
    overlap : float
        Share of the smaller one that both have.
    area_ratio : float
        Area over that of ``expected``.
    flag : str
        What is doubtful, or "".
    ends : bool
        Whether this is not the object any more.
    """
    if not mask.area:
        return 0.0, 0.0, "lost", True
    overlap, ratio = overlap_of(mask, expected), mask.area / max(expected.area, 1)
    change = max(ratio, 1 / ratio)
    measures: tuple[tuple[Flag, bool, bool], ...] = (
        ("overlap", overlap < params.min_overlap, overlap < params.doubt),
        (
            "area",
            change > params.max_area_change or regrowth > params.max_regrowth,
            change * params.doubt > 1,
        ),
        ("faded", contrast < params.min_contrast, False),
        ("score", mask.predicted_iou < params.min_score, mask.predicted_iou < params.doubt),
    )
    for flag, ends, _ in measures:
        if ends:
            return overlap, ratio, flag, params.stop_at_jumps
    doubtful: list[Flag] = [flag for flag, _, doubt in measures if doubt]
    return overlap, ratio, doubtful[0] if doubtful else "", False


@dataclass(eq=False, slots=True)
class _Live:
    """A chain that has not ended, and what it knows of the planes before."""

    chain: Chain
    mask: ObjectMask
    centroids: list[tuple[float, float]] = field(default_factory=list)
    largest: int = 0
    smallest: int = 0  # since it was largest
    contrast: float = math.nan  # where it is known; nan where it does not tell

    def __post_init__(self) -> None:
        self._note(self.mask.area)

    def expected(self, motion: bool) -> ObjectMask:
        """The mask where it should be in the next plane."""
        return self.mask.shifted(*predict_shift(self.centroids)) if motion else self.mask

    def advance(self, mask: ObjectMask) -> None:
        """Go on from this mask."""
        self.mask = mask
        self.centroids = [*self.centroids[-1:], mask.centroid]
        self._note(mask.area)

    def regrowth(self, mask: ObjectMask) -> float:
        """By what an object that had become small would have grown again; 1 when it has not."""
        small = self.smallest < SHRUNK * self.largest
        return mask.area / self.smallest if small and mask.area > self.smallest else 1.0

    def _note(self, area: int) -> None:
        if area >= self.largest:
            self.largest = self.smallest = area
        self.smallest = min(self.smallest, area)


class PlaneWalk:
    """The state of one propagation.

    Parameters
    ----------
    planes, predictor, params, before, changed
        As of ``iter_propagate``.
    known : mapping of int to KnownObject
        What the user said.

    Attributes
    ----------
    results : dict of int to dict of int to PlaneObject
        By plane and object, what was found so far.
    """

    def __init__(
        self,
        planes: Sequence[Any],
        predictor: PlanePredictor,
        params: PropagationParams,
        known: Mapping[int, KnownObject],
        before: Mapping[int, Mapping[int, ObjectMask]],
        changed: Mapping[int, Collection[int]] | None,
    ) -> None:
        self.known = known
        self.results: dict[int, dict[int, PlaneObject]] = defaultdict(dict)
        self._planes = planes
        self._predictor = predictor
        self._params = params
        self._kinds = read_kinds(params.prompts)
        self._before = before
        self._changed = changed
        self._given: dict[tuple[int, int, int], int] = {}  # last plane of chains, by object, source and step
        self._done = self._total = 0

    def expect(self, wanted: Mapping[int, Any], chains: Sequence[Chain]) -> None:
        """Count the planes that will be visited."""
        self._total = len(wanted) + len({(p, chain.step) for chain in chains for p in chain.planes})

    def mask_at(self, key: int, plane: int) -> ObjectMask | None:
        """What is known of an object in a plane, from this run or else the earlier one."""
        result = self.results[plane].get(key) if plane in self.results else None
        return self._before.get(key, {}).get(plane) if result is None else result.mask

    def reached_end(self, chain: Chain) -> bool:
        """Whether a chain found its object in all of its planes."""
        return self._given.get((chain.object_id, chain.source, chain.step)) == chain.planes[-1]

    def tell(self, found: Sequence[PlaneObject]) -> Progress:
        """Keep results, and hand them out."""
        for result in found:
            self.results[result.plane][result.id] = result
        text = f"Plane {found[-1].plane}" if found else ""
        return Progress(min(self._done, self._total), max(self._total, self._done), text, tuple(found))

    def answer_anchors(self, plane: int, keys: Sequence[int]) -> Progress:
        """Tell the objects that are known in a plane; those with prompts are decoded."""
        anchors = {key: self.known[key].anchors[plane] for key in keys}
        masks = {key: anchor.mask for key, anchor in anchors.items() if anchor.mask is not None}
        asked = {key: a.prompts for key, a in anchors.items() if a.mask is None and a.prompts is not None}
        if asked:
            answers = self._predictor.predict_many(self._planes[plane], list(asked.values()))
            masks |= dict(zip(asked, answers, strict=True))
        self._done += 1
        return self.tell([_as_anchor(key, plane, masks[key]) for key in keys])

    def sweep(self, chains: Sequence[Chain]) -> Generator[Progress, None, None]:
        """Go once over the planes that chains of one direction need."""
        starts: dict[int, list[Chain]] = defaultdict(list)
        for chain in chains:
            starts[chain.planes[0]].append(chain)
        live: dict[int, _Live] = {}
        backward = bool(chains) and chains[0].step < 0
        for plane in sorted({p for chain in chains for p in chain.planes}, reverse=backward):
            for chain in starts[plane]:
                mask = self.mask_at(chain.object_id, plane - chain.step)
                if mask is not None and mask.area:
                    one = live[chain.object_id] = _Live(chain, mask, [mask.centroid])
                    one.contrast = self._reference(chain, mask)
            self._done += 1
            if live:
                yield self.tell(self._follow(plane, live))

    # ------------------------------------------------------------- one plane
    def _follow(self, plane: int, live: dict[int, _Live]) -> list[PlaneObject]:
        """Find all live objects in a plane, keep them apart, and let go of those that end here."""
        expected = {key: one.expected(self._params.motion) for key, one in live.items()}
        image = self._planes[plane]
        answers = self._ask(plane, image, expected)
        contrasts = {key: _compare(image, mask, live[key]) for key, mask in answers.items()}
        judged = {
            key: self._judge(mask, expected[key], live[key], contrasts[key]) for key, mask in answers.items()
        }
        own = {key: mask for key, mask in answers.items() if not judged[key][3]}
        shown = {key: self._blend(live[key].chain, plane, mask) for key, mask in own.items()}
        others = self._others(plane, shown)
        scores = {key: mask.predicted_iou for key, mask in (shown | others).items()}
        scores |= {key: UNTOUCHABLE for key in others if plane in self.known[key].anchors}
        apart = separate(shown | others, scores)
        found = []
        for key in list(live):
            one = live[key]
            if key not in own:
                overlap, ratio, flag, _ = judged[key]
                found += self._end(one.chain, plane, PlaneObject(key, plane, None, overlap, ratio, flag))
                del live[key]
                continue
            overlap, ratio, flag, ends = self._judge(apart[key], expected[key], one, contrasts[key])
            if ends:
                found += self._end(one.chain, plane, PlaneObject(key, plane, None, overlap, ratio, flag))
                del live[key]
                continue
            # of thousands of planes, logits would be most of the memory; the next one gets them from ``one``
            slim = replace(apart[key], logits=None)
            found.append(PlaneObject(key, plane, slim, overlap, ratio, flag))
            self._given[key, one.chain.source, one.chain.step] = plane
            one.advance(apart[key] if shown[key] is own[key] else own[key])
            if plane == one.chain.planes[-1] or self._is_settled(one.chain, plane, apart[key]):
                del live[key]
        for key, mask in others.items():
            if apart[key] is not mask and plane not in self.known[key].anchors:
                found.append(self._shrunk(key, plane, apart[key]))
        return found

    def _ask(self, plane: int, image: Any, expected: Mapping[int, ObjectMask]) -> dict[int, ObjectMask]:
        """The model's answers; nothing for objects that have left the image."""
        height, width, _ = check_plane(image)
        margin = self._params.margin
        prompts = {
            key: make_next_prompts(
                mask, self._kinds, (height, width), margin=margin, extra=self.known[key].hints.get(plane)
            )
            for key, mask in expected.items()
            if is_inside(mask, (height, width))
        }
        answers = self._predictor.predict_many(image, list(prompts.values())) if prompts else []
        return dict.fromkeys(expected, NOTHING) | dict(zip(prompts, answers, strict=True))

    def _judge(
        self, mask: ObjectMask, expected: ObjectMask, one: _Live, contrast: float
    ) -> tuple[float, float, Flag, bool]:
        return judge(mask, expected, self._params, one.regrowth(mask), contrast)

    def _blend(self, chain: Chain, plane: int, mask: ObjectMask) -> ObjectMask:
        """The mask, or where a chain from the other side was here before, the shape between both."""
        if self._params.between != "blend" or chain.step > 0 or not chain.gap:
            return mask
        other = self.results[plane].get(chain.object_id)
        if other is None or other.mask is None:
            return mask
        return blend_masks(mask, other.mask, 1 - (chain.source - plane) / chain.gap)

    def _reference(self, chain: Chain, mask: ObjectMask) -> float:
        """An object's contrast in the plane where it is known."""
        if self._params.min_contrast == 0:
            return math.nan
        anchor = self.mask_at(chain.object_id, chain.source) or mask
        return measure_contrast(self._planes[chain.source], anchor, certain=True)

    def _others(self, plane: int, mine: Mapping[int, Any]) -> dict[int, ObjectMask]:
        """Objects of this run that are in the plane already."""
        found = {}
        for key in self.known:
            mask = None if key in mine else self.mask_at(key, plane)
            if mask is not None and mask.area:
                found[key] = mask
        return found

    def _end(self, chain: Chain, plane: int, last: PlaneObject) -> list[PlaneObject]:
        """An object is not in this plane, nor then in those that followed from it in an earlier run."""
        key = chain.object_id
        following = chain.planes[chain.planes.index(plane) :]
        had = self._before.get(key, {})
        gone = [PlaneObject(key, p, None) for p in following[1:] if p in had]
        here = self.results[plane].get(key)
        # a chain from the other side may have found it here
        return gone if here is not None and here.mask is not None else [last, *gone]

    def _is_settled(self, chain: Chain, plane: int, mask: ObjectMask) -> bool:
        """Whether all planes after this one would come out as they did in the earlier run."""
        if self._changed is None:
            return False
        changed = set(self._changed.get(chain.object_id, ()))
        if chain.source in changed or changed & set(chain.planes[chain.planes.index(plane) + 1 :]):
            return False
        had = self._before.get(chain.object_id, {}).get(plane)
        return had is not None and had.iou(mask) >= SETTLED

    def _shrunk(self, key: int, plane: int, mask: ObjectMask) -> PlaneObject:
        """An object that lost pixels to a better one."""
        known = self.results[plane].get(key)
        if known is None:
            return PlaneObject(key, plane, mask if mask.area else None, flag="area")
        ratio = known.area_ratio * mask.area / max(known.area, 1)
        return PlaneObject(
            key,
            plane,
            mask if mask.area else None,
            known.overlap,
            ratio,
            known.flag or ("" if mask.area else "lost"),
        )


def _compare(image: Any, mask: ObjectMask, one: _Live) -> float:
    """Contrast of a mask over that at its anchor; 1 where that does not tell."""
    if math.isnan(one.contrast):
        return 1.0
    return measure_contrast(image, mask, dark=one.contrast < 0) / one.contrast


def _as_anchor(key: int, plane: int, mask: ObjectMask) -> PlaneObject:
    if not mask.area:
        return PlaneObject(key, plane, None, 0.0, 0.0, "lost", is_anchor=True)
    return PlaneObject(key, plane, mask, is_anchor=True)
