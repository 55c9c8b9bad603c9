"""What the instance decoder's foreground map says at points and inside masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.embedding import ImageEmbedding
    from napari_sam.types import ObjectMask


def read_foreground(embedding: ImageEmbedding, points: NDArray[Any]) -> NDArray[np.float32] | None:
    """Probability at (N, 2) plane points (row, col); None where the model has no instance decoder."""
    if embedding.maps is None:
        return None
    r0, c0, r1, c1 = embedding.frame.crop
    height, width = embedding.maps.shape[1:]
    rows = np.floor((points[:, 0] - r0 + 0.5) * (height / (r1 - r0))).astype(np.int64)
    cols = np.floor((points[:, 1] - c0 + 0.5) * (width / (c1 - c0))).astype(np.int64)
    found = embedding.maps[0, np.clip(rows, 0, height - 1), np.clip(cols, 0, width - 1)]
    return np.asarray(found, np.float32)


def mean_foreground(objects: Sequence[ObjectMask], embedding: ImageEmbedding) -> NDArray[np.float32]:
    """Mean probability inside each mask, NaN where it is not known; objects inside the embedding's crop."""
    means = np.full(len(objects), np.nan, np.float32)
    for i, obj in enumerate(objects):
        inside = read_foreground(embedding, np.argwhere(obj.mask) + obj.origin)
        if inside is not None and inside.size:
            means[i] = inside.mean()
    return means
