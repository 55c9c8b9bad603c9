"""The instances of one embedding as candidates: masks on the pixels of its crop, with scores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects, maximum_filter
from skimage.transform import resize

from napari_sam.errors import SamError
from napari_sam.inference.candidates import Candidates
from napari_sam.inference.instance_maps import PROPOSALS, InstanceParams, segment_maps
from napari_sam.inference.unetr_instances import UnetrParams, decode_maps, segment_unetr_maps
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import ImageEmbedding

__all__ = ["read_instances", "score_labels"]

STABILITY_OFFSET = 0.1
"""Probability by which the foreground threshold is raised and lowered for the stability."""
REACH = 2
"""Pixels around an object in which it might be larger than it was drawn."""


def read_instances(
    model: LoadedModel, embedding: ImageEmbedding, params: InstanceParams | UnetrParams
) -> Candidates:
    """Everything that the dense maps of an embedding show, doubtful and small objects too.

    Parameters
    ----------
    model : LoadedModel
    embedding : ImageEmbedding
    params : InstanceParams or UnetrParams
        Its ``score`` and ``min_area`` have no say: candidates are filtered later.

    Raises
    ------
    SamError
        When the model has no instance decoder.
    """
    threshold = params.foreground
    maps = embedding.maps
    if maps is not None:
        wanted = params if isinstance(params, InstanceParams) else InstanceParams()
        wanted, threshold = replace(wanted, score=0.0, min_area=1), wanted.foreground
        if wanted == PROPOSALS and embedding.instances is not None:
            labels = embedding.instances.labels
        else:
            labels = segment_maps(maps.astype(np.float32), wanted)
    elif model.config.reads_embedding_only:
        maps = decode_maps(model, embedding)
        unetr = params if isinstance(params, UnetrParams) else UnetrParams()
        labels, threshold = segment_unetr_maps(maps, replace(unetr, min_area=1)), unetr.foreground
    else:
        raise SamError(f"The model {model.name!r} has no instance decoder; use the method 'grid'.")
    foreground = maps[0].astype(np.float32)
    predicted_iou, stability, means = score_labels(labels, foreground, threshold)
    r0, c0, r1, c1 = embedding.frame.crop
    drawn = _fit_labels(labels, foreground, threshold, (r1 - r0, c1 - c0))
    objects, numbers = [], []
    for number, box in enumerate(find_objects(drawn), 1):
        if box is not None:
            scores = float(predicted_iou[number - 1]), float(stability[number - 1])
            objects.append(ObjectMask(drawn[box] == number, (r0 + box[0].start, c0 + box[1].start), *scores))
            numbers.append(number - 1)
    return Candidates.from_objects(objects, embedding.plane_shape, means[numbers])


def score_labels(
    labels: NDArray[np.int32], foreground: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """How sure the foreground map is of each object.

    Parameters
    ----------
    labels : (H, W) int32
        Objects 1 .. N.
    foreground : (H, W) float32
        Probability.
    threshold : float
        At which the objects were cut out.

    Returns
    -------
    predicted_iou : (N,) float32
        The IoU that the probabilities let expect: foreground to be expected inside, over the area plus
        foreground to be expected around, where no other object is.
    stability : (N,) float32
        Pixels above a higher threshold over those above a lower one, of the object and around it.
    means : (N,) float32
        Mean probability inside.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[0, 1, 1, 0, 0, 0]])
    >>> foreground = np.array([[0.0, 0.9, 0.7, 0.6, 0.0, 0.0]], np.float32)
    >>> [round(float(score[0]), 2) for score in score_labels(labels, foreground, 0.65)]
    [0.62, 0.33, 0.8]
    """
    count = int(labels.max(initial=0)) + 1
    around = np.where(labels == 0, maximum_filter(labels, 2 * REACH + 1), 0)
    near = np.flatnonzero(around)
    outside, beyond = around.ravel()[near], foreground.ravel()[near]
    inside = np.flatnonzero(labels)
    numbers, values = labels.ravel()[inside], foreground.ravel()[inside]
    area = np.bincount(numbers, minlength=count)
    total = np.bincount(numbers, values, count)
    missed = np.bincount(outside, beyond, count)
    levels = []
    for level in (threshold + STABILITY_OFFSET, threshold - STABILITY_OFFSET):
        found = np.bincount(numbers[values > level], minlength=count)
        levels.append(found + np.bincount(outside[beyond > level], minlength=count))
    with np.errstate(invalid="ignore"):  # labels that no pixel has
        scores = total / (area + missed), levels[0] / np.maximum(levels[1], 1), total / area
    predicted_iou, stability, means = (score[1:].astype(np.float32) for score in scores)
    return predicted_iou, stability, means


def _fit_labels(
    labels: NDArray[np.int32], foreground: NDArray[np.float32], threshold: float, shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Labels on the pixels of a frame, on those of its crop."""
    if labels.shape == shape:
        return labels
    rows, cols = (
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(np.int64)
        for n, m in zip(shape, labels.shape, strict=True)
    )
    if labels.shape[0] >= shape[0]:
        return labels[np.ix_(rows, cols)]
    # Enlarged: outlines follow the smoothly enlarged map instead of the frame's coarse pixels.
    grown = np.where(labels == 0, maximum_filter(labels, 3), labels)
    smooth = resize(foreground, shape, order=1, mode="edge", anti_aliasing=False)
    fitted: NDArray[np.int32] = np.where(smooth > threshold, grown[np.ix_(rows, cols)], 0).astype(np.int32)
    return fitted
