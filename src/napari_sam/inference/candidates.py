"""Possible objects of a plane: found once, then filtered and drawn as often as one likes.

Everything that a filter looks at is in arrays, and the masks' overlaps are counted once, so another
threshold costs milliseconds and never a decode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import SamError
from napari_sam.inference.filter_params import FILTER_DEFAULTS, FILTER_OPTIONS, FILTER_WORDS, FilterParams
from napari_sam.inference.packed_masks import PackedMasks, find_overlapping
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Overlaps = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


__all__ = [
    "FILTER_DEFAULTS",
    "FILTER_OPTIONS",
    "Candidates",
    "FilterParams",
    "draw_candidates",
    "draw_with_indices",
    "explain_nothing",
    "filter_candidates",
]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """N possible objects of one plane.

    Attributes
    ----------
    plane_shape : (H, W)
    packed : PackedMasks
        The cropped masks, one bit a pixel.
    areas : (N,) int64
        In pixels.
    predicted_iou, stability, foreground : (N,) float32
        0 to 1: the model's estimate of the IoU, the stability score, the mean foreground probability inside
        the mask. NaN where it is not known.
    centers : (N, 2) float32
        Mean (row, col); NaN of an empty mask.
    """

    plane_shape: tuple[int, int]
    packed: PackedMasks
    areas: NDArray[np.int64]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    foreground: NDArray[np.float32]
    centers: NDArray[np.float32]
    _overlaps: list[Overlaps] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def from_objects(
        cls, objects: Iterable[ObjectMask], plane_shape: Sequence[int], foreground: ArrayLike | None = None
    ) -> Candidates:
        """Pack objects, in their order; what lies outside the plane is left out.

        Parameters
        ----------
        objects : iterable of ObjectMask
        plane_shape : (H, W)
        foreground : (N,) array-like, optional
            Mean foreground probability of each.
        """
        shape = int(plane_shape[0]), int(plane_shape[1])
        masks, origins, areas, centers, ious, stabilities = [], [], [], [], [], []
        for obj in objects:
            inside = _clip_to_plane(obj, shape)
            masks.append(inside.mask)
            origins.append(inside.origin)
            area, center = _measure(inside)
            areas.append(area)
            centers.append(center)
            ious.append(obj.predicted_iou)
            stabilities.append(obj.stability_score)
        if foreground is None:
            foreground = np.full(len(masks), np.nan)
        return cls(
            shape,
            PackedMasks.pack(masks, origins),
            np.array(areas, np.int64),
            np.array(ious, np.float32),
            np.array(stabilities, np.float32),
            np.asarray(foreground, np.float32).reshape(len(masks)),
            np.array(centers, np.float32).reshape(-1, 2),
        )

    @classmethod
    def empty(cls, plane_shape: Sequence[int]) -> Candidates:
        """None at all."""
        return cls.from_objects([], plane_shape)

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        """Candidates of one plane, those of one part after those of the other.

        Raises
        ------
        SamError
            When there is no part, or they are of planes of several sizes.
        """
        shapes = {part.plane_shape for part in parts}
        if len(shapes) != 1:
            raise SamError(f"Expected candidates of one plane, got plane shapes {sorted(shapes)}.")
        return cls(
            shapes.pop(),
            PackedMasks.concatenate([p.packed for p in parts]),
            np.concatenate([p.areas for p in parts]),
            np.concatenate([p.predicted_iou for p in parts]),
            np.concatenate([p.stability for p in parts]),
            np.concatenate([p.foreground for p in parts]),
            np.concatenate([p.centers for p in parts]),
        )

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def boxes(self) -> NDArray[np.int32]:
        """(N, 4) half-open (r0, c0, r1, c1) in plane pixels."""
        return self.packed.boxes

    @property
    def on_border(self) -> NDArray[np.bool_]:
        """(N,) True where the object touches the border of the plane."""
        height, width = self.plane_shape
        b = self.boxes
        touches = (b[:, 0] <= 0) | (b[:, 1] <= 0) | (b[:, 2] >= height) | (b[:, 3] >= width)
        return np.asarray(touches & (self.areas > 0))

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) product of the scores that are known: of two that overlap the higher one wins."""
        known = [np.nan_to_num(s, nan=1.0) for s in (self.predicted_iou, self.stability, self.foreground)]
        return np.asarray(known[0] * known[1] * known[2])

    @property
    def nbytes(self) -> int:
        """Memory that they hold, in bytes."""
        arrays: list[NDArray[Any]] = [self.areas, self.predicted_iou, self.stability, self.foreground]
        arrays += [self.centers, *(a for overlaps in self._overlaps for a in overlaps)]
        return self.packed.nbytes + sum(a.nbytes for a in arrays)

    def mask(self, i: int) -> ObjectMask:
        """One object, its mask cropped to its box."""
        r0, c0 = self.boxes[i, :2].tolist()
        scores = float(self.predicted_iou[i]), float(self.stability[i])
        return ObjectMask(self.packed.unpack(i), (r0, c0), *scores)

    def take(self, indices: ArrayLike) -> Candidates:
        """Some of them, in this order; a boolean array chooses as well."""
        chosen = np.asarray(indices)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return Candidates(
            self.plane_shape,
            self.packed.take(chosen),
            self.areas[chosen],
            self.predicted_iou[chosen],
            self.stability[chosen],
            self.foreground[chosen],
            self.centers[chosen],
        )

    def find_overlaps(self) -> Overlaps:
        """Pairs of candidates that share pixels, and how many; counted at the first call only.

        Returns
        -------
        first, second : (P,) int32
        shared : (P,) int32
        """
        if not self._overlaps:
            first, second = find_overlapping(self.boxes)
            shared = self.packed.intersections(first, second)
            some = shared > 0
            self._overlaps.append((first[some], second[some], shared[some]))
        return self._overlaps[0]


LARGE: Final = 0.5
"""Candidates over a larger part of the plane give way to all others."""


def filter_candidates(candidates: Candidates, params: FilterParams) -> NDArray[np.int64]:
    """Choose by score, size, border and overlap (non-maximum suppression by mask IoU).

    A candidate over more than half of the plane gives way to everything else, and is kept below it: it may
    be one large object, or the background, and must not cost the objects on it.

    Returns
    -------
    (K,) int64
        Indices of what is kept, the best first.
    """
    areas, boxes = candidates.areas, candidates.boxes
    passed = _passes(candidates, params)
    height, width = candidates.plane_shape
    large = areas > LARGE * height * width
    order = np.lexsort((boxes[:, 1], boxes[:, 0], -candidates.scores, large))
    order = order[passed[order]]
    if params.nms_iou >= 1 and params.containment >= 1:
        return order
    first, second, shared = candidates.find_overlaps()
    duplicate = shared > params.nms_iou * (areas[first] + areas[second] - shared)
    nested = shared > params.containment * np.minimum(areas[first], areas[second])
    duplicate |= nested & (large[first] == large[second])
    duplicate &= passed[first] & passed[second]
    return order[_suppress(order, first[duplicate], second[duplicate])]


def _passes(candidates: Candidates, params: FilterParams) -> NDArray[np.bool_]:
    """What every candidate is asked for itself."""
    passed = (candidates.areas >= max(params.min_area, 1)) & (candidates.areas <= params.max_area)
    for name in ("predicted_iou", "stability", "foreground"):
        passed &= ~(getattr(candidates, name) < getattr(params, name))
    return passed if params.keep_border else passed & ~candidates.on_border


def draw_candidates(candidates: Candidates, kept: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Draw objects as labels 1, 2, ...; each pixel goes to the best one there.

    Parameters
    ----------
    candidates : Candidates
    kept : (K,) int
        Indices from ``filter_candidates``, the best first.

    Returns
    -------
    (H, W) int32
        0 is background; ids are compact.
    """
    return draw_with_indices(candidates, kept)[0]


def draw_with_indices(
    candidates: Candidates, kept: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """``draw_candidates``, and which candidate each label shows.

    Returns
    -------
    labels : (H, W) int32
    indices : (labels.max(),) int64
        Label k is candidate ``indices[k - 1]``.
    """
    chosen = np.asarray(kept, np.int64)
    labels = np.zeros(candidates.plane_shape, np.int32)
    boxes = candidates.boxes.tolist()
    for number, i in zip(
        range(len(chosen), 0, -1), chosen[::-1].tolist(), strict=True
    ):  # the best last, on top
        r0, c0, r1, c1 = boxes[i]
        labels[r0:r1, c0:c1][candidates.packed.unpack(i)] = number
    visible = np.bincount(labels.ravel(), minlength=len(chosen) + 1)[1:]
    for k in np.flatnonzero((visible > 0) & (visible < candidates.areas[chosen])).tolist():
        _remove_islands(labels, boxes[chosen[k]], k + 1)
    numbers = np.concatenate([[0], np.cumsum(visible > 0)]).astype(np.int32)
    return numbers[labels], chosen[visible > 0]


def explain_nothing(candidates: Candidates, params: FilterParams) -> str:
    """Why ``filter_candidates`` keeps none, in one line."""
    count = len(candidates)
    if not count:
        return "no objects found"
    values = {name: getattr(params, name) for name in FILTER_WORDS}
    single = {f"{FILTER_WORDS[name]} {value:g}": {name: value} for name, value in values.items()}
    if not params.keep_border:
        single["leaving out objects at the border"] = {"keep_border": False}
    left = {
        what: int(np.count_nonzero(_passes(candidates, FilterParams(**({"min_area": 0} | only)))))
        for what, only in single.items()
    }
    what, least = min(left.items(), key=lambda item: item[1])
    excluded = f"{what} excludes {count - least} of them" if least < count else "together they exclude all"
    return f"no objects: the thresholds exclude all {count} candidates, {excluded}; loosen them"


def _suppress(
    order: NDArray[np.int64], first: NDArray[np.int32], second: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which of ``order``, the best first, stay when of each pair at most one may."""
    alive = np.ones(len(order), bool)
    if len(first) == 0:
        return alive
    # here, not above: the dock widget imports this file when it opens, and scipy is most of its import
    from scipy.sparse import csr_matrix

    rank = np.zeros(int(order.max()) + 1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    better, worse = np.minimum(rank[first], rank[second]), np.maximum(rank[first], rank[second])
    graph = csr_matrix((np.ones(len(better), bool), (better, worse)), (len(order), len(order)))
    starts, others = graph.indptr.tolist(), graph.indices
    for i in np.unique(better).tolist():
        if alive[i]:
            alive[others[starts[i] : starts[i + 1]]] = False
    return alive


def _remove_islands(labels: NDArray[np.int32], box: Sequence[int], number: int) -> None:
    """Of what better objects left of one, only the largest part is still it."""
    from scipy.ndimage import label as label_components

    window = labels[box[0] : box[2], box[1] : box[3]]
    parts, count = label_components(window == number, np.ones((3, 3), bool))
    if count > 1:
        window[(parts > 0) & (parts != np.bincount(parts.ravel())[1:].argmax() + 1)] = 0


def _clip_to_plane(obj: ObjectMask, shape: tuple[int, int]) -> ObjectMask:
    r0, c0, r1, c1 = obj.box
    if r0 >= 0 and c0 >= 0 and r1 <= shape[0] and c1 <= shape[1]:
        return obj
    rows = slice(min(max(-r0, 0), r1 - r0), max(min(shape[0] - r0, r1 - r0), 0))
    cols = slice(min(max(-c0, 0), c1 - c0), max(min(shape[1] - c0, c1 - c0), 0))
    origin = max(r0, 0), max(c0, 0)
    inside = obj.mask[rows, cols]
    if not inside.any():
        return ObjectMask(np.zeros((0, 0), bool), (0, 0))
    return ObjectMask.from_plane(inside, origin)


def _measure(obj: ObjectMask) -> tuple[int, tuple[float, float]]:
    rows, cols = np.count_nonzero(obj.mask, axis=1), np.count_nonzero(obj.mask, axis=0)
    area = int(rows.sum())
    if area == 0:
        return 0, (float("nan"), float("nan"))
    row = float(rows @ np.arange(len(rows))) / area + obj.origin[0]
    return area, (row, float(cols @ np.arange(len(cols))) / area + obj.origin[1])
