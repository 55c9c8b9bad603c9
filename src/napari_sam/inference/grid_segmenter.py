"""Candidates from a grid of point prompts (Kirillov et al. 2023, Sec. 5 and App. B), in fewer decodes.

The grid is gone through from coarse to fine, and a point is skipped where an accepted mask or certain
background already lies. Foreground that no mask covers then, as of objects between the points, is asked
once more. Masks are judged and compared at the decoder's resolution; only survivors are
upscaled, each inside its box.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import label as label_components
from scipy.ndimage import maximum_position

from napari_sam.errors import SamError
from napari_sam.inference.candidates import Candidates
from napari_sam.inference.exact_grid import iter_exact_candidates
from napari_sam.inference.filter_params import check_numbers
from napari_sam.inference.foreground import Foreground
from napari_sam.inference.low_res_masks import LowResMask, drop_duplicates, read_alternatives
from napari_sam.inference.shared_work import choose_batch
from napari_sam.inference.stitching import Stitcher
from napari_sam.inference.transforms import check_plane
from napari_sam.types import Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.embedding import ImageEmbedding
    from napari_sam.inference.region import Region

    Crop = tuple[int, int, int, int]

BATCH = 16
"""Most points decoded at once: those of a batch cannot be skipped for each other's masks."""
FOREGROUND = 0.5
"""Probability from which uncovered foreground is asked once more ..."""
LEAST_CELLS = 3
"""... where it is at least so many cells of the low-resolution masks."""
PENDING = 512
"""Low-resolution masks held before duplicates are dropped: bounds the memory of a tile."""


@dataclass(frozen=True, slots=True)
class GridParams:
    """How candidates are found by a grid.

    Attributes
    ----------
    points_per_side : int
        Points along the longer side of each tile.
    exact : bool
        The original procedure, step by step: the whole image at once, every point, boxes and stability at
        full resolution, duplicates by their boxes. Slow; for comparison.
    skip : bool
        Whether points are left out where a mask or background is already certain.
    certain_iou, certain_stability : float
        A mask with this predicted IoU and stability is certain, and points on it are skipped. Higher than
        what a filter asks for, because another point might have given a better mask.
    predicted_iou, stability : float
        For ``exact`` only: masks with lower scores are dropped before anything else is done with them.
    floor : float
        Candidates with a lower predicted IoU or stability are not kept for filtering.
    background : float
        Where the model knows the foreground: points with a lower probability are skipped.
    duplicates : float
        Of two candidates of one tile with a higher IoU only the better one is kept; of boxes in ``exact``.
    """

    points_per_side: int = 32
    exact: bool = False
    skip: bool = True
    certain_iou: float = 0.8
    certain_stability: float = 0.9
    predicted_iou: float = 0.88
    stability: float = 0.95
    floor: float = 0.5
    background: float = 0.1
    duplicates: float = 0.9

    def __post_init__(self) -> None:
        if not isinstance(self.points_per_side, int | np.integer) or self.points_per_side < 1:
            raise SamError(f"Expected points_per_side of 1 or more, got {self.points_per_side!r}.")
        check_numbers(self, (field.name for field in fields(self)[3:]), highest=1)


EXACT = GridParams(exact=True, skip=False, duplicates=0.7)
"""The original generator's own settings."""


def iter_grid_candidates(
    image: Any, predictor: CachedPredictor, params: GridParams | None = None, region: Region | None = None
) -> Generator[Progress, None, Candidates]:
    """Find candidates with a grid of prompts; a job that hands out those of each tile as it is finished.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array
    predictor : CachedPredictor
    params : GridParams, optional
    region : Region, optional
        Only points inside are asked, and candidates whose centre is outside are dropped.
    """
    params = params or GridParams()
    if params.exact:
        return (yield from iter_exact_candidates(image, predictor, params, region))
    height, width, _ = check_plane(image)
    tiles = predictor.list_tiles((height, width))
    grids = [_make_grid(crop, core, params.points_per_side) for crop, core in tiles]
    if region is not None:
        grids = [_restrict(points, core, region) for points, (_, core) in zip(grids, tiles, strict=True)]
    total = sum(len(points) for points in grids)
    stitcher = Stitcher((height, width), tiles)
    done = 0
    parts = [Candidates.empty((height, width))]
    for (crop, core), points in zip(tiles, grids, strict=True):
        if len(points) == 0:  # outside the region
            parts.append(stitcher.add(Candidates.empty((height, width)), crop, core))
            continue
        yield Progress(done, total, "encoding")
        embedding = predictor.encode(image, crop)
        job = _generate(predictor, embedding, points, params, _Within(core, region))
        part = yield from _advance(job, done, total)
        done += len(points)
        part = stitcher.add(part, crop, core)
        parts.append(part if region is None else part.take(region.holds(part.centers)))
        yield Progress(done, total, f"{sum(map(len, parts))} candidates found", parts[-1])
    found = Candidates.concatenate(parts)
    yield Progress(total, total, f"{len(found)} candidates found")
    return found


def _advance(
    job: Generator[int, None, Candidates], done: int, total: int
) -> Generator[Progress, None, Candidates]:
    """A tile's steps as those of the whole job."""
    try:
        while True:
            yield Progress(done + next(job), total, "prompting")
    except StopIteration as end:
        found: Candidates = end.value
        return found


def _generate(
    predictor: CachedPredictor,
    embedding: ImageEmbedding,
    points: NDArray[np.float32],
    params: GridParams,
    within: _Within,
) -> Generator[int, None, Candidates]:
    """The candidates of one tile; yields the number of points done."""
    config, frame = predictor.model.config, embedding.frame
    shape = 4 * embedding.tokens[0], 4 * embedding.tokens[1]
    foreground = Foreground.of(predictor.model, embedding)
    covered = _Covered(embedding, config.stride, foreground, params)
    tokens = config.decode_window**2 or embedding.tokens[0] * embedding.tokens[1]
    size = choose_batch(predictor.model.device, tokens, BATCH)
    found: list[LowResMask] = []
    done, held = 0, PENDING
    levels = (points[level] for level in _order(points, params.skip))
    for level in itertools.chain(levels, covered.iter_left(within)):
        rest = level
        while len(rest):
            asked = ~covered.at(rest)
            done += int(np.count_nonzero(~asked))
            rest, batch = rest[asked][size:], rest[asked][:size]
            prompts = [Prompts(points=[p]) for p in batch]
            for i, window, logits, iou in predictor.predictor.iter_logits(embedding, prompts):
                row, col = batch[i].tolist()
                masks = read_alternatives(logits, iou, window, frame, config.stride, (row, col), params.floor)
                covered.add(masks)
                found += masks
            if len(found) > held:
                found = drop_duplicates(found, shape, params.duplicates)
                held = len(found) + PENDING
            done = min(done + len(batch), len(points))
            yield done
    found = drop_duplicates(found, shape, params.duplicates)
    objects = [obj for obj in (mask.upscale(frame) for mask in found) if obj.mask.size]
    return Candidates.from_objects(objects, embedding.plane_shape, foreground.inside(objects))


@dataclass(frozen=True, slots=True, eq=False)
class _Within:
    """Where a tile may ask points: in its core, and in the region."""

    core: Crop
    region: Region | None

    def holds(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of the (N, 2) points are there."""
        low, high = np.array(self.core[:2]) - 0.5, np.array(self.core[2:]) - 0.5
        inside = np.all((points >= low) & (points < high), axis=1)
        return np.asarray(inside if self.region is None else inside & self.region.holds(points))


class _Covered:
    """Where no more points are asked: accepted masks and certain background, in cells of the frame."""

    def __init__(
        self, embedding: ImageEmbedding, stride: int, foreground: Foreground, params: GridParams
    ) -> None:
        self._frame = embedding.frame
        self._foreground = foreground
        self._params = params
        self._cell = stride / 4
        self._mask = np.zeros((4 * embedding.tokens[0], 4 * embedding.tokens[1]), bool)

    def at(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of the (N, 2) points are skipped."""
        if not self._params.skip:
            return np.zeros(len(points), bool)
        xy = self._frame.to_frame(points)
        cells = np.floor((xy[:, ::-1] + 0.5) / self._cell).astype(np.int64)
        cells = np.clip(cells, 0, np.array(self._mask.shape) - 1)
        background = self._foreground.at(points) < self._params.background
        return np.asarray(background | self._mask[cells[:, 0], cells[:, 1]])

    def iter_left(self, within: _Within) -> Iterator[NDArray[np.float32]]:
        """When everything was asked: the surest point of each part of the foreground that nothing covers."""
        if not self._params.skip or not self._foreground.is_known:
            return
        places = np.indices(self._mask.shape).reshape(2, -1).T
        centers = self._frame.to_plane(((places[:, ::-1] + 0.5) * self._cell - 0.5).astype(np.float32))
        sure = self._foreground.at(centers).reshape(self._mask.shape)
        parts, count = label_components((sure > FOREGROUND) & ~self._mask)
        if count == 0:
            return
        best = maximum_position(sure, parts, np.arange(1, count + 1))
        areas = np.bincount(parts.ravel())[1:]
        numbers = np.ravel_multi_index(np.array(best)[areas >= LEAST_CELLS].T, self._mask.shape)
        points = centers[numbers]
        yield points[within.holds(points)]

    def add(self, masks: list[LowResMask]) -> None:
        """Of one point's alternatives the smallest that is good enough: what else a point on it would say."""
        p = self._params
        good = [
            m.obj
            for m in masks
            if m.obj.predicted_iou >= p.certain_iou and m.obj.stability_score >= p.certain_stability
        ]
        if good:
            smallest = min(good, key=lambda obj: obj.area)
            self._mask[smallest.slices] |= smallest.mask


def _make_grid(crop: Crop, core: Crop, per_side: int) -> NDArray[np.float32]:
    """(N, 2) points over the core, row by row, as dense as ``per_side`` along the crop's longer side."""
    spacing = max(crop[2] - crop[0], crop[3] - crop[1]) / per_side
    rows = np.arange(core[0] + spacing / 2, core[2], spacing) - 0.5
    cols = np.arange(core[1] + spacing / 2, core[3], spacing) - 0.5
    rows = rows if rows.size else np.array([(core[0] + core[2] - 1) / 2])
    cols = cols if cols.size else np.array([(core[1] + core[3] - 1) / 2])
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def _restrict(points: NDArray[np.float32], core: Crop, region: Region) -> NDArray[np.float32]:
    """Those inside a region; of a region between the points the pixel that is nearest to its middle."""
    inside = points[region.holds(points)]
    if len(inside) or not region.covers(core):
        return inside
    low, high = np.maximum(core[:2], region.box[:2]), np.minimum(core[2:], region.box[2:])
    pixels = np.argwhere(region.mask((int(low[0]), int(low[1]), int(high[0]), int(high[1])))) + low
    nearest = np.square(pixels - pixels.mean(axis=0)).sum(axis=1).argmin()
    return pixels[nearest : nearest + 1].astype(np.float32)


def _order(points: NDArray[np.float32], coarse_first: bool) -> Iterator[NDArray[np.int64]]:
    """Indices level by level: every fourth row and column, every second, then the others.

    Within a level they are scattered, so that those of a batch seldom lie on one object.
    """
    numbers = np.arange(len(points))
    if not coarse_first:
        yield numbers
        return
    row, col = (np.unique(points[:, axis], return_inverse=True)[1] for axis in (0, 1))
    level = np.full(len(points), 2)
    level[(row % 2 == 1) & (col % 2 == 1)] = 1
    level[(row % 4 == 1) & (col % 4 == 1)] = 0
    scattered = np.random.default_rng(0).permutation(numbers)
    for n in range(3):
        yield scattered[level[scattered] == n]
