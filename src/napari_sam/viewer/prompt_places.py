"""Which coordinates lie on a plane, and coordinates of a plane as those of its image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Plane

__all__ = ["in_image", "on_plane"]


def on_plane(inside: NDArray[np.float64], plane: Plane) -> NDArray[np.bool_]:
    """Which of (N, D) image coordinates lie on the plane."""
    here = np.isfinite(inside).all(axis=1)
    for axis, value in enumerate(plane.index):
        if value is not None:
            here &= np.round(inside[:, axis]) == value
    return np.asarray(here, bool)


def in_image(positions: NDArray[Any], plane: Plane) -> NDArray[np.float64]:
    """(N, 2) plane coordinates as (N, D) image coordinates."""
    inside = np.empty((len(positions), len(plane.index)))
    for axis, value in enumerate(plane.index):
        inside[:, axis] = 0 if value is None else value
    inside[:, plane.axes] = positions
    return inside
