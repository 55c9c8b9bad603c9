"""A fake engine: the mask of a click is a disc around it, of a box the box itself."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import CheckpointError, ImageError
from napari_sam.types import LowResLogits, ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.session.requests import ModelChoice

RADIUS = 3


def disc(shape: tuple[int, ...], row: float, col: float, radius: float = RADIUS) -> NDArray[np.bool_]:
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


@dataclass
class FakePredictor:
    """Discs around foreground points, less those around background points."""

    engine: FakeEngine

    def predict(self, image: Any, prompts: Prompts) -> ObjectMask:
        self.engine.asked.append(prompts)
        self.engine.images.append(np.asarray(image))
        self.engine.threads.add(threading.current_thread().name)
        if self.engine.error is not None:
            raise self.engine.error
        if self.engine.gate is not None:
            self.engine.gate.wait(20)
        pixels = np.asarray(image)
        if pixels.ndim not in (2, 3):
            raise ImageError(f"Expected (H, W) or (H, W, C), got {pixels.shape}; pass one plane.")
        plane = np.zeros(pixels.shape[:2], bool)
        if prompts.box is not None:
            r0, c0, r1, c1 = (round(value) for value in prompts.box)
            plane[max(r0, 0) : max(r1, 0), max(c0, 0) : max(c1, 0)] = True
        for (row, col), label in zip(prompts.points, prompts.labels, strict=True):
            if label == 1:
                plane |= disc(plane.shape, row, col, self.engine.radius)
        for (row, col), label in zip(prompts.points, prompts.labels, strict=True):
            if label == 0:
                plane &= ~disc(plane.shape, row, col, self.engine.radius)
        logits = LowResLogits(np.ones((4, 4), np.float32), (0.0, 0.0, 4.0, 4.0))
        return ObjectMask.from_plane(plane, predicted_iou=0.9, logits=logits)


@dataclass
class FakeEngine:
    """Counts what it is asked; ``error`` is raised by predict, ``gate`` is waited for there."""

    gate: threading.Event | None = None
    radius: float = RADIUS
    error: BaseException | None = None
    step_delay: float = 0.0
    steps: int = 5
    segment_error: BaseException | None = None
    asked: list[Prompts] = field(default_factory=list)
    images: list[NDArray[Any]] = field(default_factory=list)
    broken: str = "broken"
    load_error: BaseException | None = None
    tried: list[str] = field(default_factory=list)
    loads: list[ModelChoice] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)

    def list_models(self) -> list[tuple[str, str]]:
        return [("nuclei", "Nuclei."), ("vit_t", "Anything, small.")]

    def list_devices(self) -> list[str]:
        return ["auto", "cpu"]

    def load(self, choice: ModelChoice) -> FakePredictor:
        self.threads.add(threading.current_thread().name)
        self.tried.append(choice.name)
        if self.load_error is not None:
            raise self.load_error
        if choice.name == self.broken:
            raise CheckpointError("Expected a checkpoint of a known architecture, got 'broken'.")
        self.loads.append(choice)
        return FakePredictor(self)

    def iter_segment(
        self, image: Any, predictor: Any, method: str
    ) -> Generator[Progress, None, NDArray[np.int32]]:
        if self.segment_error is not None:
            raise self.segment_error
        shape = np.asarray(image).shape[:2]
        labels = np.zeros(shape, np.int32)
        for i in range(self.steps):
            self.log.append(f"step {i}")
            yield Progress(i, self.steps, "Segmenting")
            time.sleep(self.step_delay)
        labels[: shape[0] // 2] = 1
        labels[shape[0] // 2 :] = 2
        return labels

    def user_requests(self) -> list[Prompts]:
        """What was asked beyond warming up, which clicks the centre of a 64 x 64 plane."""
        return [p for p in self.asked if not np.array_equal(p.points, [(31.5, 31.5)])]
