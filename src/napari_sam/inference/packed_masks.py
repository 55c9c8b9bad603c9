"""Many cropped masks in little memory: one bit a pixel, and intersections counted on the bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WORD = 64
"""Pixels of one row that share a word; words lie on multiples of this, so those of two masks align."""
CHUNK = 1 << 20
"""Pairs of words that are compared at once."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedMasks:
    """N masks, each cropped to its box, one bit a pixel.

    Attributes
    ----------
    boxes : (N, 4) int32
        Half-open (r0, c0, r1, c1) in plane pixels, none negative.
    words : (T,) uint64
        The rows of the first mask from top to bottom, then those of the second, ...
    starts : (N + 1,) int64
        Where the words of each mask start.

    Examples
    --------
    >>> import numpy as np
    >>> packed = PackedMasks.pack([np.ones((2, 3), bool), np.ones((4, 1), bool)], [(5, 62), (6, 64)])
    >>> packed.intersections(np.array([0]), np.array([1])).tolist()
    [1]
    """

    boxes: NDArray[np.int32]
    words: NDArray[np.uint64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def nbytes(self) -> int:
        """Memory that it holds, in bytes."""
        return self.boxes.nbytes + self.words.nbytes + self.starts.nbytes

    @classmethod
    def pack(cls, masks: Sequence[NDArray[np.bool_]], origins: Sequence[tuple[int, int]]) -> PackedMasks:
        """Pack (h, w) masks whose first pixels lie at ``origins`` (row, col), none negative."""
        boxes = np.zeros((len(masks), 4), np.int32)
        pieces = []
        starts = np.zeros(len(masks) + 1, np.int64)
        for i, (mask, (row, col)) in enumerate(zip(masks, origins, strict=True)):
            height, width = mask.shape
            boxes[i] = row, col, row + height, col + width
            left = col % WORD
            padded = np.zeros((height, -(-(left + width) // WORD) * WORD), np.uint8)
            padded[:, left : left + width] = mask
            pieces.append(np.packbits(padded).view(np.uint64))
            starts[i + 1] = starts[i] + pieces[-1].size
        words = np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)
        return cls(boxes, words, starts)

    @classmethod
    def concatenate(cls, parts: Sequence[PackedMasks]) -> PackedMasks:
        """The masks of one after those of the other."""
        shifts = np.cumsum([0, *(p.words.size for p in parts)])
        starts = [p.starts[:-1] + shift for p, shift in zip(parts, shifts[:-1], strict=True)]
        return cls(
            np.concatenate([np.zeros((0, 4), np.int32), *(p.boxes for p in parts)]),
            np.concatenate([np.zeros(0, np.uint64), *(p.words for p in parts)]),
            np.concatenate([*starts, shifts[-1:]]).astype(np.int64),
        )

    def take(self, indices: NDArray[np.integer[Any]]) -> PackedMasks:
        """Some of the masks, in this order."""
        counts = np.diff(self.starts)[indices]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return PackedMasks(self.boxes[indices], self.words[_ranges(self.starts[indices], counts)], starts)

    def unpack(self, i: int) -> NDArray[np.bool_]:
        """The (h, w) mask of one object."""
        r0, c0, r1, c1 = self.boxes[i].tolist()
        if r0 == r1 or c0 == c1:
            return np.zeros((r1 - r0, c1 - c0), bool)
        rows = np.unpackbits(self.words[self.starts[i] : self.starts[i + 1]].view(np.uint8)).reshape(
            r1 - r0, -1
        )
        return rows[:, c0 % WORD : c0 % WORD + c1 - c0].astype(bool)

    def intersections(
        self, first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]
    ) -> NDArray[np.int32]:
        """Number of pixels that mask ``first[k]`` and mask ``second[k]`` share, for each k."""
        one, two = self.boxes[first].astype(np.int64), self.boxes[second].astype(np.int64)
        top, bottom = np.maximum(one[:, 0], two[:, 0]), np.minimum(one[:, 2], two[:, 2])
        left = np.maximum(one[:, 1], two[:, 1]) // WORD
        right = -(-np.minimum(one[:, 3], two[:, 3]) // WORD)
        rows, across = np.maximum(bottom - top, 0), np.maximum(right - left, 0)
        sizes = rows * across
        shared = np.zeros(len(sizes), np.int32)
        edges = np.flatnonzero(np.diff(np.cumsum(sizes) // CHUNK, prepend=0)) + 1
        for low, high in zip([0, *edges], [*edges, len(sizes)], strict=True):
            part = slice(low, high)
            if not sizes[part].any():
                continue
            pair = np.repeat(np.arange(high - low), sizes[part])
            step = np.arange(len(pair)) - np.repeat(np.cumsum(sizes[part]) - sizes[part], sizes[part])
            row, col = np.divmod(step, np.maximum(across[part], 1)[pair])
            row, col = row + top[part][pair], col + left[part][pair]
            both = self._words_at(first[part], one[part], pair, row, col)
            both &= self._words_at(second[part], two[part], pair, row, col)
            shared[part] = np.bincount(pair, _count_bits(both), high - low)
        return shared

    def _words_at(
        self,
        index: NDArray[np.integer[Any]],
        boxes: NDArray[np.int64],
        pair: NDArray[np.int64],
        row: NDArray[np.int64],
        col: NDArray[np.int64],
    ) -> NDArray[np.uint64]:
        first = boxes[:, 1] // WORD
        across = -(-boxes[:, 3] // WORD) - first
        base = self.starts[index] - boxes[:, 0] * across - first
        words: NDArray[np.uint64] = self.words[base[pair] + row * across[pair] + col]
        return words


def find_overlapping(boxes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Every pair of half-open (N, 4) boxes that share a pixel, as two arrays of indices, once each.

    Boxes are sorted along the axis in which fewer of them lie beside each other; each is then compared with
    those that start before it ends.
    """
    filled = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    best: tuple[int, NDArray[Any], NDArray[Any], int] | None = None
    for axis in (0, 1):
        order = filled[np.argsort(boxes[filled, axis], kind="stable")]
        reach = np.searchsorted(boxes[order, axis], boxes[order, axis + 2])
        counts = reach - np.arange(len(order)) - 1
        if best is None or counts.sum() < best[0]:
            best = int(counts.sum()), order, counts, 1 - axis
    if best is None or best[0] == 0:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    _, order, counts, other = best
    low, high = boxes[order, other], boxes[order, other + 2]
    found: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    edges = np.flatnonzero(np.diff(np.cumsum(counts) // CHUNK, prepend=0)) + 1
    for start, stop in zip([0, *edges], [*edges, len(order)], strict=True):
        i = np.repeat(np.arange(start, stop), counts[start:stop])
        j = _ranges(np.arange(start, stop) + 1, counts[start:stop])
        both = (low[i] < high[j]) & (low[j] < high[i])
        found.append((order[i[both]].astype(np.int32), order[j[both]].astype(np.int32)))
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def _ranges(starts: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """starts[0], starts[0] + 1, ... (counts[0] of them), then those of starts[1], ..."""
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
    return np.asarray(np.repeat(starts, counts) + within, np.int64)


def _count_bits(words: NDArray[np.uint64]) -> NDArray[np.integer[Any]]:
    if hasattr(np, "bitwise_count"):  # NumPy 2
        counted: NDArray[np.uint8] = np.bitwise_count(words)
        return counted
    return np.asarray(_BITS[words.view(np.uint16)].reshape(-1, 4).sum(axis=1))


_BITS = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1)
