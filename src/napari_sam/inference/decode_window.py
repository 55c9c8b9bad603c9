"""The window of an embedding in which a prompt is decoded; it follows the object's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.embedding import Frame, ImageEmbedding
    from napari_sam.types import Box

MARGIN = 4
"""Tokens that a window is at least wider than the prompts."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of tokens: first row and column, height and width."""

    row: int
    col: int
    height: int
    width: int

    def edges(self, frame: Frame, stride: int) -> Box:
        """The rectangle of the plane that it covers, in pixel edges."""
        rows = self.row * stride, (self.row + self.height) * stride
        cols = self.col * stride, (self.col + self.width) * stride
        return frame.edges_to_plane((rows[0], cols[0], rows[1], cols[1]))

    def grown(self, mask: NDArray[np.bool_], height: int, width: int) -> Window | None:
        """A window twice as large where ``mask``, decoded in this one, runs into its edge; else None.

        Edges that are those of the embedding of ``height`` x ``width`` tokens do not count.
        """
        cut = (
            (self.row > 0 and mask[0].any())
            or (self.col > 0 and mask[:, 0].any())
            or (self.row + self.height < height and mask[-1].any())
            or (self.col + self.width < width and mask[:, -1].any())
        )
        if not cut:
            return None
        center = np.array([self.row + self.height / 2, self.col + self.width / 2])
        return _place(center, 2 * max(self.height, self.width), height, width)


def choose_window(embedding: ImageEmbedding, extent: Box, side: int, stride: int) -> Window:
    """The window for prompts over ``extent`` (plane pixels): ``side`` tokens, doubled until they fit.

    With ``side`` 0 it is the whole frame.
    """
    height, width = embedding.tokens
    if not side:
        return Window(0, 0, height, width)
    ends = np.array(extent, np.float32).reshape(2, 2)
    corners = embedding.frame.to_frame(ends)[:, ::-1] / stride  # (row, col) in tokens
    span = float((corners[1] - corners[0]).max())
    while side < span + MARGIN and side < max(height, width):
        side *= 2
    return _place(corners.mean(axis=0), side, height, width)


def _place(center: NDArray[Any], side: int, height: int, width: int) -> Window:
    rows, cols = min(side, height), min(side, width)
    row = int(np.clip(round(float(center[0]) - rows / 2), 0, height - rows))
    col = int(np.clip(round(float(center[1]) - cols / 2), 0, width - cols))
    return Window(row, col, rows, cols)
