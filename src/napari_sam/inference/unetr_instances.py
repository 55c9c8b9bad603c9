"""From the three maps of a UNETR instance decoder to objects, as micro-sam does it.

Seeds are where both distances are small; a watershed on the distance to the boundary grows them over the
foreground (Archit et al. 2025, "Segment Anything for Microscopy").
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as label_components
from skimage.segmentation import watershed
from torch.nn.functional import interpolate

from napari_sam.inference.filter_params import check_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import ImageEmbedding

WITH_DIAGONALS = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class UnetrParams:
    """Thresholds of the instance method for models with a UNETR decoder; the defaults are micro-sam's.

    Attributes
    ----------
    foreground : float
        Probability above which a pixel belongs to some object.
    center_distance, boundary_distance : float
        A seed is where both distances, 0 in the middle of an object and 1 at its edge, are below these.
    foreground_sigma, distance_sigma : float
        Standard deviations in pixels by which the maps are smoothed; 0 for not at all.
    min_area : int
        Smaller objects are dropped, in pixels.
    """

    foreground: float = 0.5
    center_distance: float = 0.5
    boundary_distance: float = 0.5
    foreground_sigma: float = 1.0
    distance_sigma: float = 1.6
    min_area: int = 12

    def __post_init__(self) -> None:
        check_numbers(self, ("foreground", "center_distance", "boundary_distance"), highest=1)
        check_numbers(self, (field.name for field in fields(self)))


def segment_unetr_maps(maps: NDArray[Any], params: UnetrParams | None = None) -> NDArray[np.int32]:
    """Turn foreground, centre distance and boundary distance (3, H, W) into (H, W) int32 labels 1, 2, ...

    Examples
    --------
    Two objects of 5 x 5 pixels, each with a seed in its middle:

    >>> import numpy as np
    >>> maps = np.ones((3, 9, 16), np.float32)
    >>> maps[0] = 0
    >>> for col in (4, 11):
    ...     maps[0, 2:7, col - 2 : col + 3] = 1
    ...     maps[1:, 3:6, col - 1 : col + 2] = 0
    >>> params = UnetrParams(foreground_sigma=0, distance_sigma=0)
    >>> np.bincount(segment_unetr_maps(maps, params).ravel()).tolist()
    [94, 25, 25]
    """
    params = params or UnetrParams()
    foreground = _smooth(maps[0], params.foreground_sigma) > params.foreground
    center = _smooth(maps[1], params.distance_sigma)
    boundary = _smooth(maps[2], params.distance_sigma)
    seeds = foreground & (center < params.center_distance) & (boundary < params.boundary_distance)
    markers, _ = label_components(seeds, WITH_DIAGONALS)
    labels = watershed(boundary, markers, mask=foreground)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept = (areas > 0) & (areas >= params.min_area)
    numbers: NDArray[np.int32] = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    numbered: NDArray[np.int32] = numbers[labels]
    return numbered


def _smooth(plane: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    plane = np.asarray(plane, np.float32)
    return gaussian_filter(plane, sigma, mode="mirror", truncate=3.0) if sigma else plane


def decode_maps(model: LoadedModel, embedding: ImageEmbedding) -> NDArray[np.float16]:
    """``UNETR_MAPS`` of an embedding on the pixels of its crop, (3, h, w).

    They are not part of the embedding: to make them takes as long as to encode, and a prompt needs none.

    Raises
    ------
    ValueError
        When the model has no UNETR decoder.
    """
    frame = embedding.frame
    size = frame.crop[2] - frame.crop[0], frame.crop[3] - frame.crop[1]
    height, width = frame.inner
    with torch.inference_mode():
        maps = model.module.decode_maps(embedding.features[:])[..., :height, :width].float()
        if (height, width) != size:
            maps = interpolate(maps, size, mode="bilinear", align_corners=False)
        half: NDArray[np.float16] = maps[0].half().cpu().numpy()
    return half
