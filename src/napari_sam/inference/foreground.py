"""What an instance decoder's foreground map says at points and inside masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.inference.unetr_instances import decode_maps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import ImageEmbedding
    from napari_sam.types import ObjectMask


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """Probability of foreground over a crop.

    Attributes
    ----------
    values : (h, w) floating or None
        On cells that cover the crop; None where the model has no instance decoder.
    crop : (r0, c0, r1, c1)
        Half-open plane pixels.
    """

    values: NDArray[np.floating[Any]] | None
    crop: tuple[int, int, int, int]

    @classmethod
    def of(cls, model: LoadedModel, embedding: ImageEmbedding) -> Foreground:
        """The map of an embedding, which some models have to make first."""
        maps = embedding.maps
        if maps is None and model.config.reads_embedding_only:
            maps = decode_maps(model, embedding)
        return cls(None if maps is None else maps[0], embedding.frame.crop)

    @property
    def is_known(self) -> bool:
        """True where the model has a map of it."""
        return self.values is not None

    def at(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """At (N, 2) plane points (row, col); NaN where it is not known."""
        if self.values is None:
            return np.full(len(points), np.nan, np.float32)
        r0, c0, r1, c1 = self.crop
        height, width = self.values.shape
        rows = np.floor((points[:, 0] - r0 + 0.5) * (height / (r1 - r0))).astype(np.int64)
        cols = np.floor((points[:, 1] - c0 + 0.5) * (width / (c1 - c0))).astype(np.int64)
        found = self.values[np.clip(rows, 0, height - 1), np.clip(cols, 0, width - 1)]
        return np.asarray(found, np.float32)

    def inside(self, objects: Sequence[ObjectMask]) -> NDArray[np.float32]:
        """Mean inside each mask, NaN where it is not known."""
        means = np.full(len(objects), np.nan, np.float32)
        for i, obj in enumerate(objects):
            if self.values is not None and obj.mask.any():
                means[i] = self.at(np.argwhere(obj.mask) + obj.origin).mean()
        return means
