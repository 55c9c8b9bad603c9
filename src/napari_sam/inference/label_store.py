"""Labels of planes too large for memory: an OME-Zarr pyramid on disk, of which only what is written exists.

A viewer cannot show, and no machine can hold, one 100,000 x 100,000 label image. Here each level is a chunked
array whose untouched chunks take no room, and an object is written into its own box at every level.
Format: OME-NGFF 0.5 (https://ngff.openmicroscopy.org), so that other programs open the folder too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LabelStore", "default_label_dir"]

CHUNK = 512
COARSEST = 2048
"""Levels are added until none of the plane's sides is longer than this."""


def default_label_dir() -> Path:
    """The folder ``NAPARI_SAM_LABEL_DIR``, else one with the user's data."""
    chosen = os.environ.get("NAPARI_SAM_LABEL_DIR")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("napari-sam", appauthor=False)) / "labels"


class LabelStore:
    """A label image of any size on disk, written object by object.

    Parameters
    ----------
    folder : path
        Must not exist yet.
    shape : tuple of int
        Of the finest level.
    axes : (rows, cols)
        The axes that get coarser from level to level.
    scale : sequence of float
        World units per pixel along each axis.

    Attributes
    ----------
    levels : list of zarr.Array
        int32, the finest first; each is half as large as the one before.
    largest : int
        The largest id that was written.

    Raises
    ------
    ImageError
        When the folder cannot be written.
    """

    def __init__(
        self, folder: Path, shape: Sequence[int], axes: tuple[int, int], scale: Sequence[float]
    ) -> None:
        import zarr

        self.folder = folder
        self.axes = axes
        self.largest = 0
        self.factors = [1]
        while max(-(-shape[axis] // self.factors[-1]) for axis in axes) > COARSEST:
            self.factors.append(2 * self.factors[-1])
        try:
            group = zarr.open_group(folder, mode="w-", zarr_format=3)
            self.levels: list[Any] = [
                group.create_array(
                    str(number),
                    shape=[-(-n // factor) if a in axes else n for a, n in enumerate(shape)],
                    chunks=[min(CHUNK, n) if a in axes else 1 for a, n in enumerate(shape)],
                    dtype="int32",
                    fill_value=0,
                )
                for number, factor in enumerate(self.factors)
            ]
            group.attrs["ome"] = _describe(len(shape), axes, self.factors, scale)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"Expected to write labels to {folder}, got {type(error).__name__}: {error}; "
                "free some room, or name another folder in NAPARI_SAM_LABEL_DIR."
            ) from error

    def read(self, region: Sequence[slice | int]) -> NDArray[np.int32]:
        """The labels of a region of the finest level."""
        return np.asarray(self.levels[0][tuple(region)])

    def write(self, region: Sequence[slice | int], labels: NDArray[np.int32]) -> None:
        """Replace a region of the finest level, and what it is at the coarser ones.

        Parameters
        ----------
        region : sequence of slice or int
            Two slices with start and stop, along ``axes``; an index on every other axis.
        labels : (h, w) int32
            Of the region's shape.
        """
        for level, factor in zip(self.levels, self.factors, strict=True):
            picked: list[slice] = []
            coarse: list[slice | int] = []
            for part in region:
                if not isinstance(part, slice):
                    coarse.append(part)
                    continue
                first = -(-part.start // factor)  # every factor-th pixel of the finest level, from 0
                coarse.append(slice(first, -(-part.stop // factor)))
                picked.append(slice(first * factor - part.start, None, factor))
            values = labels[tuple(picked)]
            if values.size:
                level[tuple(coarse)] = values
        self.largest = max(self.largest, int(labels.max(initial=0)))


def _describe(
    ndim: int, axes: tuple[int, int], factors: Sequence[int], scale: Sequence[float]
) -> dict[str, Any]:
    names = [*"tcz"[max(0, 5 - ndim) :], "y", "x"][-ndim:]
    kinds = {"t": "time", "c": "channel"}
    steps = [[s * f if a in axes else s for a, s in enumerate(map(float, scale))] for f in factors]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": "labels",
                "axes": [{"name": name, "type": kinds.get(name, "space")} for name in names],
                "datasets": [
                    {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": step}]}
                    for n, step in enumerate(steps)
                ],
            }
        ],
        "image-label": {"version": "0.5"},
    }
