"""A fake engine: the mask of a click is a disc around it, of a box the box itself."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_sam.errors import CheckpointError, ImageError
from napari_sam.inference.candidates import Candidates, FilterParams
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.session.models import ModelInfo
from napari_sam.stacks.linking import Linker
from napari_sam.stacks.segment_stack import StackLabels
from napari_sam.stacks.tracks import measure_tracks
from napari_sam.types import LowResLogits, ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.session.requests import Crop, ModelChoice
    from napari_sam.session.settings import CacheChoice

RADIUS = 3


def finest(image: Any) -> Any:
    return image[0] if isinstance(image, list | tuple) else image


def disc(shape: tuple[int, ...], row: float, col: float, radius: float = RADIUS) -> NDArray[np.bool_]:
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


FIELD = 64  # side of a tile


@dataclass(frozen=True)
class FakeEmbedding:
    nbytes: int = 1000


def halves(shape: tuple[int, ...]) -> list[ObjectMask]:
    upper, lower = shape[0] // 2, shape[0] - shape[0] // 2
    return [
        ObjectMask(np.ones((upper, shape[1]), bool), (0, 0), predicted_iou=0.9),
        ObjectMask(np.ones((lower, shape[1]), bool), (upper, 0), predicted_iou=0.8),
    ]


@dataclass
class FakePredictor:
    """Discs around foreground points, less those around background points."""

    engine: FakeEngine
    settings: EncodeSettings = field(default_factory=EncodeSettings)
    digest: str = "fa4e"
    device: str = "cpu"

    def with_settings(self, settings: EncodeSettings) -> FakePredictor:
        return FakePredictor(self.engine, settings)

    def list_tiles(self, shape: tuple[int, int]) -> list[tuple[Crop, Crop]]:
        rows, cols = ([(i, min(i + FIELD, n)) for i in range(0, n, FIELD)] for n in shape)
        crops = [(r0, c0, r1, c1) for r0, r1 in rows for c0, c1 in cols]
        return list(zip(crops, crops, strict=True))

    def tier(self, image: Any, crop: Crop) -> Any:
        return self.engine.cache.get(self._key(image, crop))

    def encode(self, image: Any, crop: Crop) -> FakeEmbedding:
        if self.engine.read_error is not None:
            raise self.engine.read_error
        if self.engine.encode_gate is not None:
            self.engine.encode_gate.wait(20)
        self.engine.encoded.append(crop)
        self.engine.log.append(f"encode {crop[:2]}")
        self.engine.cache[self._key(image, crop)] = "memory"
        return FakeEmbedding()

    def _key(self, image: Any, crop: Crop) -> Any:
        r0, c0, r1, c1 = crop
        return np.asarray(finest(image)[r0:r1, c0:c1]).tobytes(), crop, self.settings

    def embed(self, image: Any) -> Generator[Progress, None, int]:
        tiles = [crop for crop, _ in self.list_tiles(finest(image).shape[:2])]
        todo = [crop for crop in tiles if self.tier(image, crop) is None]
        for i, crop in enumerate(todo):
            yield Progress(i, len(todo), "Encoding")
            time.sleep(self.engine.step_delay)
            self.encode(image, crop)
        return len(todo)

    def predict_candidates(self, image: Any, prompts: Prompts) -> list[ObjectMask]:
        """The answer of ``predict``, and ``alternatives`` that are larger and less likely."""
        best = self.predict(image, prompts)
        if not best.area:
            return [best]
        shape, found = finest(image).shape[:2], [best]
        for more in range(1, self.engine.alternatives + 1):
            plane = ndimage.binary_dilation(best.paste(shape), iterations=2 * more)
            found.append(ObjectMask.from_plane(plane, predicted_iou=0.9 - more / 10, logits=best.logits))
        return [found[0], *found] if len(prompts.points) + (prompts.box is not None) == 1 else found

    def peek(self, image: Any, prompts: Prompts) -> ObjectMask | None:
        self.engine.peeked.append(prompts)
        if not self.engine.in_memory:
            return None
        asked = list(self.engine.asked)
        answer = self.predict(image, prompts)
        self.engine.asked[:] = asked
        return answer

    def predict_many(self, image: Any, prompts: Any) -> list[ObjectMask]:
        return [self.predict(image, each) for each in prompts]

    def predict(self, image: Any, prompts: Prompts) -> ObjectMask:
        self.engine.asked.append(prompts)
        image = finest(image)
        self.engine.images.append(np.asarray(image))
        self.engine.seen.append(self.settings)
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
    objects: list[ObjectMask] | None = None
    searched: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[Prompts] = field(default_factory=list)
    images: list[NDArray[Any]] = field(default_factory=list)
    broken: str = "broken"
    load_error: BaseException | None = None
    tried: list[str] = field(default_factory=list)
    loads: list[ModelChoice] = field(default_factory=list)
    fetched: bool = False
    fetch_gate: threading.Event | None = None
    fetch_error: Exception | None = None
    threads: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    seen: list[EncodeSettings] = field(default_factory=list)
    encoded: list[Crop] = field(default_factory=list)
    cache: dict[Any, str] = field(default_factory=dict)
    read_error: BaseException | None = None
    encode_gate: threading.Event | None = None
    measured: list[Any] = field(default_factory=list)
    cleared: list[CacheChoice] = field(default_factory=list)
    alternatives: int = 0
    in_memory: bool = True
    peeked: list[Prompts] = field(default_factory=list)

    def iter_models(self) -> Generator[Progress, None, list[ModelInfo]]:
        yield Progress(0, 1, "Looking")
        url = "https://example.org/vit_h.pth"
        return [
            ModelInfo("nuclei", "Nuclei (bundled)", "Nuclei.", "CC0-1.0", "bundled"),
            ModelInfo("vit_t", "MobileSAM (ViT-T)", "Anything, small.", "Apache-2.0", "anything", 41),
            ModelInfo(
                "vit_h", "Segment Anything (ViT-H)", "Anything, huge.", "Apache-2.0", "anything", 2565,
                self.fetched, (url,), "models",
            ),
        ]  # fmt: skip

    def iter_fetch(self, name: str) -> Generator[Progress, None, None]:
        self.threads.add(threading.current_thread().name)
        for step in range(3):
            yield Progress(step * 1000, 2565, f"Downloading {name}")
            if self.fetch_gate is not None:
                self.fetch_gate.wait(20)
            if self.fetch_error is not None:
                raise self.fetch_error
        self.fetched = True

    def iter_tune(self, predictor: FakePredictor) -> Generator[Progress, None, str]:
        for step in range(self.steps):
            self.log.append(f"try {step}")
            yield Progress(step, self.steps, "Trying abacus")
            if self.fetch_gate is not None:
                self.fetch_gate.wait(20)
            if self.segment_error is not None:
                raise self.segment_error
            time.sleep(self.step_delay)
        return "encoder abacus"

    def list_devices(self) -> list[str]:
        return ["auto", "cpu"]

    def measure_limits(self, images: Any, channels: Any, percentiles: Any) -> tuple[tuple[float, float], ...]:
        self.measured.append([int(np.asarray(finest(image)).max(initial=0)) for image in images])
        return ((0.0, float(max(self.measured[-1], default=0)) + 1),)

    def render_input(self, image: Any, predictor: Any, crop: Crop, max_side: int) -> NDArray[np.uint8]:
        step = max(1, -(-max(crop[2] - crop[0], crop[3] - crop[1]) // max_side))
        pixels = np.asarray(finest(image)[crop[0] : crop[2] : step, crop[1] : crop[3] : step])
        return np.zeros((*pixels.shape[:2], 3), np.uint8) + 128

    def measure_cache(self, cache: CacheChoice) -> tuple[str, int]:
        return (cache.folder or "platform", 0 if self.cleared else 3_000_000)

    def clear_cache(self, cache: CacheChoice) -> None:
        self.cleared.append(cache)
        self.cache.clear()

    def load(self, choice: ModelChoice, cache: CacheChoice) -> FakePredictor:
        self.threads.add(threading.current_thread().name)
        self.tried.append(choice.name)
        if self.load_error is not None:
            raise self.load_error
        if choice.name == self.broken:
            raise CheckpointError("Expected a checkpoint of a known architecture, got 'broken'.")
        self.loads.append(choice)
        return FakePredictor(self)

    def filter_defaults(self, predictor: Any, method: str) -> FilterParams:
        return FilterParams(predicted_iou=0.5)

    def iter_candidates(
        self, image: Any, predictor: Any, method: str, region: Any
    ) -> Generator[Progress, None, Candidates]:
        """The two halves of the image, or ``objects``, each finished by one of the steps."""
        if self.segment_error is not None:
            raise self.segment_error
        self.searched.append((method, region))
        shape = finest(image).shape[:2]
        objects = halves(shape) if self.objects is None else self.objects
        if region is not None:
            objects = [o for o in objects if region.holds([o.centroid])[0]]
        for i in range(self.steps):
            self.log.append(f"step {i}")
            finished = objects[i - 1 : i] if i else []
            yield Progress(i, self.steps, "Segmenting", Candidates.from_objects(finished, shape))
            time.sleep(self.step_delay)
        return Candidates.from_objects(objects, shape)

    def iter_segment_stack(
        self,
        planes: Any,
        predictor: Any,
        axis: Any,
        method: str,
        region: Any,
        filters: FilterParams,
        cut: bool = False,
    ) -> Generator[Progress, None, Any]:
        """Everything above 100 is an object; the linking is the real one."""
        self.searched.append((method, region))
        linker, shown = Linker(axis), []
        for k in range(len(planes)):
            self.log.append(f"plane {k}")
            time.sleep(self.step_delay)
            if self.segment_error is not None and k == 2:
                raise self.segment_error
            labels = ndimage.label(np.asarray(finest(planes[k])) > 100)[0]
            areas = np.bincount(labels.ravel())
            labels[(areas < filters.min_area)[labels]] = 0
            shown.append(linker.add(labels))
            yield Progress(k + 1, len(planes), "Segmenting plane", (k, shown[-1]))
        linked = linker.finish()
        final = np.stack([linked.relabel_provisional(k, plane) for k, plane in enumerate(shown)])
        columns = measure_tracks(linked)
        columns |= {name: np.full(len(columns["id"]), 0.75) for name in ("predicted_iou", "stability")}
        return StackLabels(final, linked.parents, columns, (linked,), predictor.settings)

    def iter_propagate(
        self, planes: Any, predictor: Any, objects: Any, **options: Any
    ) -> Generator[Progress, None, Any]:
        """The real thing, with answers of the fake predictor."""
        from napari_sam.stacks.propagation import iter_propagate

        job = iter_propagate(planes, predictor, objects, **options)
        while True:
            try:
                progress = next(job)
            except StopIteration as stop:
                return stop.value
            self.log.append(progress.description)
            time.sleep(self.step_delay)
            yield progress

    def user_requests(self) -> list[Prompts]:
        """What was asked beyond warming up, which clicks the centre of a 64 x 64 plane."""
        return [p for p in self.asked if not np.array_equal(p.points, [(31.5, 31.5)])]
