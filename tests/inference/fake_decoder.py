"""A mask decoder that is sure of discs on a lattice, so that what is done with its answers can be tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.inference.decode_window import Window
from napari_sam.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest
    from numpy.typing import NDArray

    from napari_sam.types import Prompts

SPACING, RADIUS = 40, 14
FIRST = 20

Answer = tuple[int, Window, "NDArray[np.float32]", "NDArray[np.float32]"]


def distance_to_disc(rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.float64]:
    """Pixels outside (negative: inside) the nearest disc of a plane."""
    r, c = (np.maximum(np.rint((x - FIRST) / SPACING), 0) * SPACING + FIRST for x in (rows, cols))
    return np.hypot(rows - r, cols - c) - RADIUS


def draw_discs(height: int, width: int) -> NDArray[np.int64]:
    """The true labels: disc k of the lattice is k, row by row."""
    rows, cols = np.mgrid[:height, :width]
    inside = distance_to_disc(rows, cols) < 0
    n, m = (np.maximum(np.rint((x - FIRST) / SPACING), 0).astype(int) for x in (rows, cols))
    return np.where(inside, n * 1000 + m + 1, 0)


class DiscDecoder:
    """Stands in for ``Predictor.iter_logits``; remembers the points it was asked.

    The alternatives of a click on a disc are the disc, good, its upper half, which is not, and the whole
    plane, of low score. A click beside the discs gives nothing good.
    """

    def __init__(self, everything: float = 0.4, steepness: float = 4.0) -> None:
        self.points: list[tuple[float, float]] = []
        self.everything = everything
        self.steepness = steepness

    def install(self, monkeypatch: pytest.MonkeyPatch) -> DiscDecoder:
        decoder = self

        def iter_logits(self: Predictor, embedding: Any, prompts: Sequence[Prompts]) -> Iterator[Answer]:
            return decoder.answer(self, embedding, prompts)

        monkeypatch.setattr(Predictor, "iter_logits", iter_logits)
        return self

    def answer(self, predictor: Predictor, embedding: Any, prompts: Sequence[Prompts]) -> Iterator[Answer]:
        height, width = embedding.tokens
        window = Window(0, 0, height, width)
        r0, c0, r1, c1 = window.edges(embedding.frame, predictor.config.stride)
        rows, cols = np.meshgrid(
            r0 + (np.arange(4 * height) + 0.5) * (r1 - r0) / (4 * height) - 0.5,
            c0 + (np.arange(4 * width) + 0.5) * (c1 - c0) / (4 * width) - 0.5,
            indexing="ij",
        )
        outside = distance_to_disc(rows, cols)
        for i, prompt in enumerate(prompts):
            row, col = (float(v) for v in prompt.points[0])
            self.points.append((row, col))
            r, c = (max(round((v - FIRST) / SPACING), 0) * SPACING + FIRST for v in (row, col))
            hit = np.hypot(row - r, col - c) < RADIUS
            near = np.hypot(rows - r, cols - c) < RADIUS + 8
            disc = np.where(near & hit, -outside * self.steepness, -20.0)
            half = np.where(rows < r, disc, -20.0)
            logits = np.stack([disc, disc, half, np.full_like(disc, 20.0)]).astype(np.float32)
            iou = np.array([0.99, 0.95, 0.6, self.everything] if hit else [0.1, 0.1, 0.1, self.everything])
            yield i, window, logits, iou.astype(np.float32)


def run_job(job: Any) -> tuple[list[Any], Any]:
    """Every step of a job, and what it returns."""
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as end:
            return steps, end.value


def assert_same_objects(labels: NDArray[Any], true: NDArray[Any], iou: float = 0.9) -> None:
    """Every object is there once, and nothing else."""
    assert labels.max() == len(np.unique(true[true > 0]))
    for k in np.unique(true[true > 0]):
        mask = true == k
        values, counts = np.unique(labels[mask], return_counts=True)
        best = values[counts.argmax()]
        found = labels == best
        assert best > 0
        assert np.count_nonzero(mask & found) >= iou * np.count_nonzero(mask | found)
