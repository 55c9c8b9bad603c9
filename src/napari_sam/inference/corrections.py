"""A corrective click always has its way.

The mask decoder takes clicks as advice, and may leave a pixel as it was although the user has clicked it.
Then a bump about a cell wide is added to its logits, just high enough to turn that pixel: where the model is
sure, nothing else turns. (BRS, Jang and Kim 2019, enforces clicks too, by optimising the input.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from napari_sam.inference.mask_ops import interpolate_logits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_sam.types import Box, Prompts

__all__ = ["contains_any", "find_pixels", "honour_clicks", "is_correction"]

MARGIN: Final = 1.0
"""Logit that a contradicted click is given."""
WIDTH: Final = 1.2
"""Standard deviation of the bump, in cells of the logits or in pixels, whichever are larger."""


def find_pixels(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The pixels in which (K, 2) points lie: a mask is decided at their centres, not where a mouse clicked.

    Examples
    --------
    >>> find_pixels(np.array([[2.5, 2.4]])).tolist()
    [[3.0, 2.0]]
    """
    return np.asarray(np.floor(np.asarray(points, np.float64) + 0.5))


def is_correction(prompts: Prompts) -> bool:
    """Whether prompts correct an answer, so that their clicks are to be respected whatever the model says.

    One prompt by itself asks, and so does one click that agrees with the mask it comes with: following an
    object through a stack, it is a guess of where the object may still be.

    Examples
    --------
    >>> from napari_sam.types import Prompts
    >>> mask = np.array([[True, False]])
    >>> [is_correction(Prompts([(0, c)], mask=mask)) for c in (0, 1)]
    [False, True]
    """
    count, mask = len(prompts.points) + (prompts.box is not None), prompts.mask
    if count != 1 or mask is None or prompts.box is not None:
        return count > 1
    row, col = find_pixels(prompts.points[0]).astype(int) - mask.origin
    inside = 0 <= row < mask.mask.shape[0] and 0 <= col < mask.mask.shape[1]
    return bool(inside and mask.mask[row, col]) != bool(prompts.labels[0] == 1)


def honour_clicks(
    values: NDArray[np.float32], frame: Box, points: NDArray[np.float32], labels: NDArray[np.int8]
) -> NDArray[np.float32]:
    """Change logits so that the pixel of each click lies on the side of the mask that it asks for.

    Parameters
    ----------
    values : (h, w) float32
        Logits; > 0 is foreground. Not changed.
    frame : (r0, c0, r1, c1)
        Plane rectangle that they cover, in pixel edges.
    points : (K, 2) float
        (row, col) in the plane, pixel centres at integers; those outside the frame have no say.
    labels : (K,) int
        1 for foreground, 0 for background. Of clicks that contradict each other the later one has its way.

    Returns
    -------
    (h, w) float32
        ``values`` itself where all clicks are respected already.

    Examples
    --------
    >>> values = np.full((4, 4), -2, np.float32)
    >>> out = honour_clicks(values, (0, 0, 4, 4), np.array([[1, 2]]), np.array([1]))
    >>> [round(float(out[r, c]), 1) for r, c in ((1, 2), (1, 3), (3, 0))]
    [1.0, 0.1, -1.8]
    """
    cells = _cell_size(values, frame)
    sigma = WIDTH * np.maximum(1.0, 1.0 / cells)
    rows, cols = np.arange(values.shape[0]), np.arange(values.shape[1])
    for row, col, label in _place_clicks(values, frame, points, labels):
        sign = 1.0 if label == 1 else -1.0
        missing = MARGIN - sign * interpolate_logits(values, row, col)
        if missing <= MARGIN - 1e-6:  # it is on its side already
            continue
        bump = np.outer(
            np.exp(-((rows - row) ** 2) / (2 * sigma[0] ** 2)),
            np.exp(-((cols - col) ** 2) / (2 * sigma[1] ** 2)),
        )
        values = (values + sign * missing / interpolate_logits(bump, row, col) * bump).astype(np.float32)
    return values


def contains_any(values: NDArray[np.float32], frame: Box, points: NDArray[np.float32]) -> bool:
    """Whether the mask of some logits, as for ``honour_clicks``, holds any of the points."""
    places = _place_clicks(values, frame, points, np.ones(len(points), np.int8))
    return any(interpolate_logits(values, row, col) > 0 for row, col, _ in places)


def _cell_size(values: NDArray[np.float32], frame: Box) -> NDArray[np.float64]:
    """Pixels a cell, along rows and columns."""
    return np.array([(frame[2] - frame[0]) / values.shape[0], (frame[3] - frame[1]) / values.shape[1]])


def _place_clicks(
    values: NDArray[np.float32], frame: Box, points: NDArray[np.float32], labels: NDArray[np.int8]
) -> Iterator[tuple[float, float, int]]:
    """Row and column in cells, and label, of each click inside the frame."""
    places = (find_pixels(points) + 0.5 - np.array(frame[:2])) / _cell_size(values, frame) - 0.5
    for (row, col), label in zip(places, labels, strict=True):
        if -0.5 <= row <= values.shape[0] - 0.5 and -0.5 <= col <= values.shape[1] - 0.5:
            yield float(row), float(col), int(label)
