"""A stand-in for the inference floor: the command line is tested without torch and without weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

from napari_sam.errors import CheckpointError
from napari_sam.inference.candidates import Candidates, FilterParams
from napari_sam.inference.label_image import read_objects
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.inference.region import Region


class ThresholdPredictor:
    """Everything above 100 is an object; a prompt gets the object under it, whole."""

    def __init__(
        self, model: Any, cache_dir: Path | None = None, memory_bytes: int = 1 << 30, **_: Any
    ) -> None:
        self.model = model
        self.seen: set[int] = set()

    def is_cached(self, image: NDArray[Any], prompts: Prompts) -> bool:
        return id(image) in self.seen

    def predict(self, image: NDArray[Any], prompts: Prompts) -> ObjectMask:
        self.seen.add(id(image))
        if len(prompts.points):
            row, col = prompts.points[0].astype(int)
        else:
            assert prompts.box is not None
            row, col = int(prompts.box[0] + 0.5), int(prompts.box[1] + 0.5)
        labels = ndimage.label(image > 100)[0]
        return ObjectMask.from_plane(labels == labels[row, col], predicted_iou=0.75)

    def predict_many(self, image: NDArray[Any], prompts: Sequence[Prompts]) -> list[ObjectMask]:
        return [self.predict(image, p) for p in prompts]

    def predict_candidates(self, image: NDArray[Any], prompts: Prompts) -> list[ObjectMask]:
        return [self.predict(image, prompts)]


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody has chosen anything in the dock yet."""
    monkeypatch.setenv("NAPARI_SAM_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def inference(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replaces the modules that the commands import when they run; records what they were asked."""
    calls = SimpleNamespace(loaded=[], planes=[], fail=None)

    def load_model(name: str, device: str = "auto") -> SimpleNamespace:
        if name not in ("nuclei", "other"):
            raise CheckpointError(f"Expected a model's name or a checkpoint file, got {name!r}.")
        calls.loaded.append((name, device))
        return SimpleNamespace(name=name, sha256="0123456789abcdef", device="cpu")

    def list_models() -> tuple[SimpleNamespace, ...]:
        nuclei = {"name": "nuclei", "title": "Nuclei", "description": "Fluorescence.", "license": "BSD-3"}
        vit = {"name": "vit_b", "title": "Segment Anything", "description": "Large.", "license": "Apache-2.0"}
        return SimpleNamespace(**nuclei, bundled=True), SimpleNamespace(**vit, bundled=False)

    def iter_segment_image(
        image: NDArray[Any], predictor: ThresholdPredictor, method: str = "auto"
    ) -> Generator[Progress, None, NDArray[np.int32]]:
        assert isinstance(predictor, ThresholdPredictor)
        calls.planes.append((image.shape, method))
        yield Progress(1, 2, "encode")
        if calls.fail is not None:
            raise calls.fail
        yield Progress(2, 2, "decode")
        gray = image.max(axis=-1) if image.ndim == 3 else image
        return ndimage.label(gray > 100)[0].astype(np.int32)

    def iter_candidates(
        image: Any, predictor: ThresholdPredictor, method: str = "auto", *, region: Region | None = None
    ) -> Generator[Progress, None, Candidates]:
        labels = yield from iter_segment_image(np.asarray(image), predictor, method)
        objects = [replace(o, predicted_iou=0.9) for o in read_objects(labels).values()]
        found = Candidates.from_objects(objects, labels.shape, np.full(len(objects), 0.8))
        return found if region is None else found.take(region.holds(found.centers))

    def filter_defaults(predictor: ThresholdPredictor, method: str = "auto") -> FilterParams:
        return FilterParams(foreground=0.5)

    contents = {
        "checkpoints": {"load_model": load_model, "list_models": list_models},
        "cached_predictor": {"CachedPredictor": ThresholdPredictor},
        "segment_image": {
            "iter_segment_image": iter_segment_image,
            "iter_candidates": iter_candidates,
            "filter_defaults": filter_defaults,
        },
    }
    for name, members in contents.items():
        module = ModuleType(f"napari_sam.inference.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls
