"""Automatic segmentation with a grid of point prompts (Kirillov et al. 2023, Sec. 5 and App. B)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import SamError
from napari_sam.inference.label_image import draw_objects
from napari_sam.inference.mask_ops import suppress_overlaps
from napari_sam.inference.tiling import HALO, cover_plane
from napari_sam.inference.transforms import check_plane
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor


@dataclass(frozen=True, slots=True)
class GridParams:
    """Thresholds of the grid method.

    Attributes
    ----------
    points_per_side : int
        Points along the longer side of each tile.
    predicted_iou, stability : float
        Candidates below are dropped.
    overlap : float
        Of two candidates with a higher IoU the better one stays.
    min_area : int
        In pixels.
    max_fraction : float
        Candidates that cover more of the tile are background.
    """

    points_per_side: int = 32
    predicted_iou: float = 0.7
    stability: float = 0.8
    overlap: float = 0.5
    min_area: int = 12
    max_fraction: float = 0.5

    def __post_init__(self) -> None:
        if self.points_per_side < 1:
            raise SamError(f"Expected points_per_side of 1 or more, got {self.points_per_side}.")


def iter_grid_objects(
    image: Any, predictor: CachedPredictor, params: GridParams | None = None
) -> Generator[Progress, None, list[ObjectMask]]:
    """Find objects with a grid of prompts; a job that returns them, the best first."""
    params = params or GridParams()
    height, width, _ = check_plane(image)
    tiles = cover_plane((height, width), predictor.model.config.image_size, HALO)
    rows_per_tile = params.points_per_side
    total = len(tiles) * rows_per_tile
    candidates: list[ObjectMask] = []
    for n, (crop, core) in enumerate(tiles):
        yield Progress(n * rows_per_tile, total, "encoding")
        embedding = predictor.encode(image, crop)
        limit = params.max_fraction * (crop[2] - crop[0]) * (crop[3] - crop[1])
        for done, points in enumerate(_make_grid(crop, core, params.points_per_side), 1):
            prompts = [Prompts(points=[p]) for p in points]
            for alternatives in predictor.predictor.decode_candidates(embedding, prompts):
                candidates += [o for o in alternatives[1:] if _is_good(o, params, limit)]
            yield Progress(n * rows_per_tile + done, total, "prompting")
    yield Progress(total, total, "objects found")  # tiles that are wider than high have fewer rows
    return suppress_overlaps(candidates, params.overlap)


def iter_grid(
    image: Any, predictor: CachedPredictor, params: GridParams | None = None
) -> Generator[Progress, None, NDArray[np.int32]]:
    """Segment every object of a plane by a grid; a job that returns (H, W) int32 labels."""
    height, width, _ = check_plane(image)
    objects = yield from iter_grid_objects(image, predictor, params)
    return draw_objects(objects, (height, width))


def _make_grid(
    crop: tuple[int, int, int, int], core: tuple[int, int, int, int], per_side: int
) -> list[NDArray[np.float32]]:
    """Rows of points over the core, as dense as ``per_side`` along the crop's longer side."""
    spacing = max(crop[2] - crop[0], crop[3] - crop[1]) / per_side
    rows = np.arange(core[0] + spacing / 2, core[2], spacing) - 0.5
    cols = np.arange(core[1] + spacing / 2, core[3], spacing) - 0.5
    rows = rows if rows.size else np.array([(core[0] + core[2] - 1) / 2])
    cols = cols if cols.size else np.array([(core[1] + core[3] - 1) / 2])
    return [np.column_stack([np.full(cols.size, r), cols]).astype(np.float32) for r in rows]


def _is_good(obj: ObjectMask, params: GridParams, limit: float) -> bool:
    return (
        obj.predicted_iou >= params.predicted_iou
        and obj.stability_score >= params.stability
        and params.min_area <= obj.area <= limit
    )
