"""One set of objects from overlapping tiles, tile by tile, without seams.

Neighbouring tiles overlap by a halo, so an object at their seam is seen by both. What two tiles show of it
within the area common to both is the same, and that is how it is recognised: every connected part of an
object in the common area is compared with those of the neighbour; two that are each other's best match, by
an IoU of at least ``SAME``, are of one object. Objects follow by union-find over any number of tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import find_objects
from scipy.ndimage import label as label_components

from napari_sam.errors import SamError
from napari_sam.inference.candidates import Candidates
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["SAME", "Stitcher", "meets"]

Crop = tuple[int, int, int, int]
SAME: Final = 0.5
"""Least IoU within the common area of two views of one object."""
EIGHT: Final = np.ones((3, 3), bool)


@dataclass(slots=True, eq=False)
class _View:
    """What one tile shows of an object that other tiles may see as well."""

    tile: int
    source: Candidates
    index: int
    box: Crop
    cut: bool
    waits: set[int] = field(default_factory=set)
    group: list[_View] = field(default_factory=list)

    def mask_in(self, area: Crop) -> NDArray[np.bool_]:
        """Its pixels within an area that meets its box, cropped to both."""
        r0, c0, r1, c1 = _intersect(self.box, area)
        top, left = self.box[:2]
        return self.source.packed.unpack(self.index)[r0 - top : r1 - top, c0 - left : c1 - left]


@dataclass(slots=True, eq=False)
class _Part:
    """A connected part of a view within the area that two tiles have in common."""

    view: _View
    mask: ObjectMask
    area: int


class Stitcher:
    """Merges the candidates of overlapping tiles; holds no more than what lies in unfinished overlaps.

    An object that one tile sees whole is taken from there, from the tile whose core holds most of it where
    there are several; one that is cut by every tile is put together, each pixel taken from the tile whose
    core it is in. What a tile shows in its halo only, and its neighbours do not confirm, is left out: they
    had the better view.

    Parameters
    ----------
    plane_shape : (H, W)
    tiles : sequence of (crop, core)
        Every tile that ``add`` will be called for, as ``cover_plane`` gives them: the cores are disjoint.

    Examples
    --------
    >>> import numpy as np
    >>> bar = ObjectMask(np.ones((2, 8), bool), (1, 1))
    >>> tiles = [((0, 0, 4, 6), (0, 0, 4, 5)), ((0, 4, 4, 10), (0, 5, 4, 10))]
    >>> stitcher = Stitcher((4, 10), tiles)
    >>> left = ObjectMask(np.ones((2, 5), bool), (1, 1))
    >>> right = ObjectMask(np.ones((2, 5), bool), (1, 4))
    >>> len(stitcher.add(Candidates.from_objects([left], (4, 10)), *tiles[0]))
    0
    >>> stitcher.add(Candidates.from_objects([right], (4, 10)), *tiles[1]).mask(0).box
    (1, 1, 3, 9)
    """

    def __init__(self, plane_shape: Sequence[int], tiles: Iterable[tuple[Crop, Crop]]) -> None:
        self.plane_shape = int(plane_shape[0]), int(plane_shape[1])
        self._tiles = list(tiles)
        self._number = {tile: i for i, tile in enumerate(self._tiles)}
        self._open = set(range(len(self._tiles)))
        self._crops = np.array([crop for crop, _ in self._tiles], np.int64).reshape(-1, 4)
        self._waiting: dict[int, list[_View]] = {}

    @property
    def held(self) -> int:
        """How many views of objects are held back."""
        return len({id(view) for views in self._waiting.values() for view in views})

    def add(self, candidates: Candidates, crop: Crop, core: Crop) -> Candidates:
        """Take what a tile shows, once for each tile and in any order, also when it shows nothing.

        Parameters
        ----------
        candidates : Candidates
            In plane coordinates, inside ``crop``.
        crop, core : (r0, c0, r1, c1)
            One of ``tiles``.

        Returns
        -------
        Candidates
            Objects that no tile to come can change.

        Raises
        ------
        SamError
            When it is none of ``tiles`` or was added before.
        """
        tile = self._number.get((crop, core), -1)
        if tile not in self._open:
            what = "added twice" if tile >= 0 else "unknown"
            raise SamError(
                f"Expected each of the {len(self._tiles)} tiles once, got {crop}, which is {what}."
            )
        self._open.discard(tile)
        neighbours = self._find_neighbours(crop, tile)
        shared = np.zeros(len(candidates), bool)
        for i in neighbours:
            shared |= meets(candidates.boxes, self._crops[i])
        shared &= candidates.areas > 0
        views = self._make_views(candidates.take(shared), tile, crop, neighbours)
        waited = self._waiting.pop(tile, [])
        for other in {view.tile for view in waited}:
            theirs = [view for view in waited if view.tile == other]
            area = _intersect(crop, self._tiles[other][0])
            self._match(theirs, views, area)
        for view in waited:
            view.waits.discard(tile)
        for view in views:
            for i in view.waits:
                self._waiting.setdefault(i, []).append(view)
        alone = candidates.take(~shared & (candidates.areas > 0))
        return Candidates.concatenate([alone, self._finish_groups([*waited, *views])])

    def finish(self) -> Candidates:
        """What is still held back, as if the tiles that never came showed nothing."""
        views = [view for views in self._waiting.values() for view in views]
        for view in views:
            view.waits.clear()
        self._waiting.clear()
        self._open.clear()
        return self._finish_groups(views)

    def _find_neighbours(self, crop: Crop, tile: int) -> list[int]:
        found = np.flatnonzero(meets(self._crops, crop))
        return [i for i in found.tolist() if i != tile]

    def _make_views(
        self, candidates: Candidates, tile: int, crop: Crop, neighbours: list[int]
    ) -> list[_View]:
        inner = np.array(
            [crop[0] > 0, crop[1] > 0, crop[2] < self.plane_shape[0], crop[3] < self.plane_shape[1]]
        )
        cut = ((candidates.boxes == np.array(crop)) & inner).any(axis=1)
        views = [
            _View(tile, candidates, i, (box[0], box[1], box[2], box[3]), bool(cut[i]))
            for i, box in enumerate(candidates.boxes.tolist())
        ]
        for view in views:
            view.group.append(view)
        for i in neighbours:
            if i in self._open:
                for k in np.flatnonzero(meets(candidates.boxes, self._crops[i])).tolist():
                    views[k].waits.add(i)
        return views

    def _match(self, first: list[_View], second: list[_View], area: Crop) -> None:
        """Join views of two tiles that show one object."""
        ours, theirs = _split(first, area), _split(second, area)
        if not ours or not theirs:
            return
        boxes = np.array([part.mask.box for part in theirs])
        best = [(0.0, -1)] * len(ours)
        best_of_theirs = [(0.0, -1)] * len(theirs)
        for i, part in enumerate(ours):
            for k in np.flatnonzero(meets(boxes, part.mask.box)).tolist():
                shared = part.mask.intersection(theirs[k].mask)
                iou = shared / (part.area + theirs[k].area - shared)
                if iou > best[i][0]:
                    best[i] = iou, k
                if iou > best_of_theirs[k][0]:
                    best_of_theirs[k] = iou, i
        for i, (iou, k) in enumerate(best):
            if iou >= SAME and best_of_theirs[k][1] == i and _is_same(ours[i].view, theirs[k].view):
                _join(ours[i].view, theirs[k].view)

    def _finish_groups(self, views: Iterable[_View]) -> Candidates:
        """Of the groups that these views belong to, the objects of those that wait for nothing."""
        done: list[list[_View]] = []
        seen: set[int] = set()
        for view in views:
            if id(view.group) not in seen:
                seen.add(id(view.group))
                if not any(member.waits for member in view.group):
                    done.append(view.group)
        whole: list[_View] = []
        merged: list[Candidates] = []
        for group in done:
            best = self._choose_whole(group)
            if best is None:
                merged.append(self._merge(group))
            elif self._is_owned(best.source.mask(best.index), group):
                whole.append(best)
        return Candidates.concatenate([_take(whole, self.plane_shape), *merged])

    def _is_owned(self, obj: ObjectMask, group: list[_View]) -> bool:
        """Whether at least half of an object lies in the cores of the tiles that show it."""
        cores = {self._tiles[view.tile][1] for view in group}
        return 2 * sum(_count_in(obj, core) for core in cores) >= obj.area

    def _choose_whole(self, group: list[_View]) -> _View | None:
        """The view that shows all that the others show; None when there is none."""
        if len(group) == 1:
            return group[0]
        whole = [view for view in group if not view.cut]
        if not whole:
            return None
        masks = {id(view): view.source.mask(view.index) for view in group}
        best = max(whole, key=lambda v: (_count_in(masks[id(v)], self._tiles[v.tile][1]), -v.tile, -v.index))
        for view in group:
            mask = masks[id(view)]
            if mask.intersection(masks[id(best)]) < SAME * mask.area:
                return None
        return best

    def _merge(self, group: list[_View]) -> Candidates:
        """One object out of cut ones, or none."""
        boxes = np.array([view.box for view in group])
        box: Crop = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
        merged = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
        for view in group:
            merged[_slices(view.box, box)] |= view.mask_in(box)
        by_core: dict[Crop, list[_View]] = {}
        for view in group:
            core = _intersect(self._tiles[view.tile][1], box)
            if core[0] < core[2] and core[1] < core[3]:
                by_core.setdefault(core, []).append(view)
        for core, views in by_core.items():
            merged[_slices(core, box)] = False
            for view in views:
                inner = _intersect(view.box, core)
                if inner[0] < inner[2] and inner[1] < inner[3]:
                    merged[_slices(inner, box)] |= view.mask_in(core)
        obj = ObjectMask.from_plane(merged, box[:2])
        if obj.area == 0 or not self._is_owned(obj, group):
            return Candidates.empty(self.plane_shape)
        weights = np.array([view.source.areas[view.index] for view in group], np.float64)
        iou, stability, foreground = (
            float(np.average([getattr(view.source, name)[view.index] for view in group], weights=weights))
            for name in ("predicted_iou", "stability", "foreground")
        )
        obj = replace(obj, predicted_iou=iou, stability_score=stability)
        return Candidates.from_objects([obj], self.plane_shape, [foreground])


def _intersect(a: Crop, b: Crop) -> Crop:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def meets(boxes: NDArray[np.integer[Any]], box: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of (N, 4) boxes share a pixel with ``box``."""
    low = (boxes[:, 0] < box[2]) & (boxes[:, 1] < box[3])
    return np.asarray(low & (boxes[:, 2] > box[0]) & (boxes[:, 3] > box[1]))


def _slices(inner: Crop, outer: Crop) -> tuple[slice, slice]:
    return (
        slice(inner[0] - outer[0], inner[2] - outer[0]),
        slice(inner[1] - outer[1], inner[3] - outer[1]),
    )


def _count_in(obj: ObjectMask, area: Crop) -> int:
    """Number of an object's pixels within an area."""
    r0, c0, r1, c1 = _intersect(obj.box, area)
    if r0 >= r1 or c0 >= c1:
        return 0
    return int(np.count_nonzero(obj.mask[_slices((r0, c0, r1, c1), obj.box)]))


def _split(views: Iterable[_View], area: Crop) -> list[_Part]:
    """The connected parts of views within an area."""
    parts = []
    for view in views:
        r0, c0, r1, c1 = _intersect(view.box, area)
        if r0 >= r1 or c0 >= c1:
            continue
        labels, _ = label_components(view.mask_in(area), EIGHT)
        for number, (rows, cols) in enumerate(find_objects(labels), 1):
            mask = ObjectMask(labels[rows, cols] == number, (r0 + rows.start, c0 + cols.start))
            parts.append(_Part(view, mask, mask.area))
    return parts


def _is_same(a: _View, b: _View) -> bool:
    """Whether views that agree in the common area may be of one object.

    Where a tile shows an object whole, all that another shows must lie in it: a sliver that two touching
    objects share at the edge of the common area does not join them.
    """
    if a.cut and b.cut:
        return True
    first, second = a.source.mask(a.index), b.source.mask(b.index)
    shared = first.intersection(second)
    if a.cut:
        return shared >= SAME * first.area
    if b.cut:
        return shared >= SAME * second.area
    return shared >= SAME * (first.area + second.area - shared)


def _join(a: _View, b: _View) -> None:
    if a.group is b.group:
        return
    large, small = (a.group, b.group) if len(a.group) >= len(b.group) else (b.group, a.group)
    large.extend(small)
    for view in small:
        view.group = large


def _take(views: Iterable[_View], plane_shape: tuple[int, int]) -> Candidates:
    """The objects of views as they are."""
    by_source: dict[int, tuple[Candidates, list[int]]] = {}
    for view in views:
        by_source.setdefault(id(view.source), (view.source, []))[1].append(view.index)
    taken = [source.take(indices) for source, indices in by_source.values()]
    return Candidates.concatenate([Candidates.empty(plane_shape), *taken])
