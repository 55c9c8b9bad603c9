"""Automatic segmentation of a plane from the instance decoder's maps, tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import SamError
from napari_sam.inference.instance_maps import InstanceParams, segment_maps
from napari_sam.inference.tiling import HALO, cover_plane
from napari_sam.inference.transforms import check_plane
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor


def iter_instances(
    image: Any, predictor: CachedPredictor, params: InstanceParams | None = None
) -> Generator[Progress, None, NDArray[np.int32]]:
    """Segment every object of a plane; a job that returns (H, W) int32 labels.

    Raises
    ------
    SamError
        When the model has no instance decoder.
    """
    params = params or InstanceParams()
    height, width, _ = check_plane(image)
    if not predictor.model.config.instance_decoder:
        raise SamError(f"The model {predictor.model.name!r} has no instance decoder; use the method 'grid'.")
    tiles = cover_plane((height, width), predictor.model.config.image_size, HALO)
    maps = np.zeros((5, height, width), np.float16)
    yield Progress(0, len(tiles) + 1, "encoding")
    for done, (crop, core) in enumerate(tiles, 1):
        tile = predictor.encode(image, crop).maps
        if tile is not None:
            r0, c0, r1, c1 = core
            maps[:, r0:r1, c0:c1] = tile[:, r0 - crop[0] : r1 - crop[0], c0 - crop[1] : c1 - crop[1]]
        yield Progress(done, len(tiles) + 1, "encoding")
    labels = segment_maps(maps.astype(np.float32), params)
    yield Progress(len(tiles) + 1, len(tiles) + 1, "objects separated")
    return labels
