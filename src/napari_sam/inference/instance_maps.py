"""From the instance decoder's dense maps to objects.

Every foreground pixel votes for the centre of its object (the offset maps, after Cheng et al. 2020);
peaks of the votes are seeds, and each pixel goes to the seed that its vote is nearest to.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import binary_dilation, binary_fill_holes, find_objects, gaussian_filter, maximum_filter
from scipy.ndimage import label as label_components
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from napari_sam.inference.filter_params import check_numbers
from napari_sam.modeling.prompt_encoder import BOX_FIRST, BOX_SECOND, FOREGROUND
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class InstanceParams:
    """Thresholds of the instance method; the defaults are those of the bundled model.

    Attributes
    ----------
    foreground : float
        Probability above which a pixel belongs to some object.
    vote_sigma : float
        Standard deviation in pixels by which votes are smoothed.
    vote_peak : float
        Least height of a peak of smoothed votes, in votes per pixel. N pixels that agree make a peak of
        N / (2 pi sigma^2): 0.65 lets objects of 26 pixels through.
    merge_distance : float
        Peaks closer than this to a stronger one, relative to its object's radius, are the same object.
    score : float
        Objects whose mean foreground probability is lower are dropped.
    min_area : int
        Smaller objects are dropped, in pixels.

    Raises
    ------
    SamError
        When a value is impossible.
    """

    foreground: float = 0.6
    vote_sigma: float = 2.5
    vote_peak: float = 0.65
    merge_distance: float = 0.5
    score: float = 0.85
    min_area: int = 12

    def __post_init__(self) -> None:
        check_numbers(self, ("foreground", "score"), highest=1)
        check_numbers(self, (field.name for field in fields(self)))


PROPOSALS: Final = InstanceParams(score=0.0, min_area=1)
"""How instances are found that are only proposed to the mask decoder: doubtful ones as well."""


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The automatic instances of a frame, doubtful ones too, to be proposed to the mask decoder.

    Attributes
    ----------
    labels : (H, W) int32
    boxes : tuple of (slice, slice) or None
        Of label 1, 2, ...
    """

    labels: NDArray[np.int32]
    boxes: tuple[tuple[slice, slice] | None, ...]

    @classmethod
    def from_maps(cls, maps: NDArray[np.float32]) -> Instances:
        """Find them in the five activated maps (5, H, W)."""
        labels = segment_maps(maps, PROPOSALS)
        return cls(labels, tuple(find_objects(labels)))

    def at(self, row: float, col: float) -> ObjectMask | None:
        """The instance at a pixel, or None."""
        r, c = round(row), round(col)
        if not (0 <= r < self.labels.shape[0] and 0 <= c < self.labels.shape[1]):
            return None
        number = int(self.labels[r, c])
        box = self.boxes[number - 1] if number else None
        if box is None:
            return None
        return ObjectMask(self.labels[box] == number, (box[0].start, box[1].start))


def find_proposals(
    labels: NDArray[np.integer], coords: NDArray[np.float32], codes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The automatic instance that each prompt lies on.

    Parameters
    ----------
    labels : (N, h, w) int
        Instances in the window of each prompt.
    coords : (N, P, 2) float32
        (x, y) of points and box corners in pixels of the window.
    codes : (N, P) int
        As ``PromptEncoder`` reads them.

    Returns
    -------
    (N,) int64
        Label under the first foreground point, else under the box's middle; 0 for none.
    """
    found = np.zeros(len(labels), np.int64)
    for n, (plane, points, kinds) in enumerate(zip(labels, coords, codes, strict=True)):
        clicks = points[kinds == FOREGROUND]
        corners = points[(kinds == BOX_FIRST) | (kinds == BOX_SECOND)]
        if len(clicks):
            x, y = clicks[0]
        elif len(corners):
            x, y = corners.mean(axis=0)
        else:
            continue
        row, col = round(float(y)), round(float(x))
        if 0 <= row < plane.shape[0] and 0 <= col < plane.shape[1]:
            found[n] = plane[row, col]
    return found


def segment_maps(maps: NDArray[np.float32], params: InstanceParams | None = None) -> NDArray[np.int32]:
    """Turn the five activated maps (5, H, W) into (H, W) int32 labels."""
    params = params or InstanceParams()
    foreground = maps[0] > params.foreground
    pixels = np.flatnonzero(foreground)
    offsets = maps[3:].reshape(2, -1)[:, pixels]
    seeds = find_seeds(pixels, offsets, foreground.shape, params)
    if len(seeds) == 0:
        return np.zeros(foreground.shape, np.int32)
    votes = np.stack(np.unravel_index(pixels, foreground.shape)) + offsets
    distance, nearest = cKDTree(seeds).query(votes.T)
    # Pixels whose vote is far from every seed are left to the watershed.
    sure = distance < np.maximum(3.0, 0.35 * np.hypot(*offsets) + 2)
    markers = np.zeros(foreground.shape, np.int32)
    markers.flat[pixels[sure]] = nearest[sure] + 1
    unsure = foreground & (markers == 0)
    if unsure.any():
        # Of the sure pixels only those beside the others have a say in the watershed.
        flooded = watershed(-maps[2], markers, mask=binary_dilation(unsure) & foreground)
        markers = np.where(unsure, flooded, markers).astype(np.int32)
    return tidy_labels(drop_doubtful(markers, maps[0], params.score), params.min_area)


def drop_doubtful(
    labels: NDArray[np.int32], foreground: NDArray[np.float32], score: float
) -> NDArray[np.int32]:
    """Set objects of a lower mean foreground probability than ``score`` to background."""
    area = np.bincount(labels.ravel())
    total = np.bincount(labels.ravel(), foreground.ravel())
    kept = np.where(total >= score * area, np.arange(len(area)), 0)
    kept[0] = 0
    return kept.astype(np.int32)[labels]


def find_seeds(
    pixels: NDArray[np.int64],
    offsets: NDArray[np.float32],
    shape: tuple[int, int],
    params: InstanceParams,
) -> NDArray[np.float64]:
    """Centres (S, 2) of the objects: peaks of the smoothed votes, near duplicates merged.

    Parameters
    ----------
    pixels : (N,) int64
        Those of the foreground, as flat indices.
    offsets : (2, N) float32
        Their offsets to the centre.
    shape : (H, W)
    params : InstanceParams
    """
    if pixels.size == 0:
        return np.zeros((0, 2))
    row, col = (
        np.clip(np.round(place + offset), 0, side - 1).astype(np.int64)
        for place, offset, side in zip(np.unravel_index(pixels, shape), offsets, shape, strict=True)
    )
    cells = row * shape[1] + col
    votes = np.bincount(cells, minlength=shape[0] * shape[1])
    smooth = gaussian_filter(votes.reshape(shape).astype(np.float32), params.vote_sigma)
    peaks = (smooth == maximum_filter(smooth, 3)) & (smooth > params.vote_peak)
    found = np.argwhere(peaks)
    if len(found) == 0:
        return found.astype(np.float64)
    # Size around each peak: mean length of the offsets that lead to it.
    lengths = np.bincount(cells, np.hypot(*offsets), minlength=votes.size)
    voted = np.flatnonzero(votes)
    tree = cKDTree(found)
    _, nearest = tree.query(np.column_stack(np.unravel_index(voted, shape)))
    count = np.bincount(nearest, votes[voted], minlength=len(found))
    radius = 1.5 * np.bincount(nearest, lengths[voted], minlength=len(found)) / np.maximum(count, 1)
    kept = np.zeros(len(found), bool)
    merged = np.zeros(len(found), bool)
    for i in np.argsort(-count, kind="stable"):
        if not merged[i]:
            kept[i] = True
            merged[tree.query_ball_point(found[i], max(params.merge_distance * radius[i], 1.5))] = True
    seeds: NDArray[np.float64] = found[kept].astype(np.float64)
    return seeds


def tidy_labels(labels: NDArray[np.int32], min_area: int) -> NDArray[np.int32]:
    """Keep the largest part of each object, fill its holes, drop small ones, number 1, 2, ..."""
    out = np.zeros_like(labels)
    number = 0
    for i, box in enumerate(find_objects(labels), 1):
        if box is None:
            continue
        mask = labels[box] == i
        tidy = _is_plain(mask)
        if not tidy:
            parts, count = label_components(mask)
            if count > 1:
                mask = parts == np.bincount(parts.ravel())[1:].argmax() + 1
        if np.count_nonzero(mask) < min_area:
            continue
        if not tidy:
            mask = binary_fill_holes(mask) & ((labels[box] == i) | (labels[box] == 0))
        number += 1
        out[box][mask] = number
    return out


def _is_plain(mask: NDArray[np.bool_]) -> bool:
    """True where no row is interrupted and each touches the next: one part, no holes, as most objects are."""
    begins = mask[:, 1:] > mask[:, :-1]
    one_run = begins.sum(axis=1) + mask[:, 0] == 1
    return bool(one_run.all() and (mask[1:] & mask[:-1]).any(axis=1).all())
