"""Batches are tested with the bundled model on small made images: real labels, and quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_sam.sample_data import make_nuclei
from napari_sam.stacks.batch import run_batch
from napari_sam.stacks.work_units import BatchJob, UnitStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_sam.stacks.batch import BatchReport


class Batch:
    """A folder of images, an output folder, and what the last run said."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "images"
        self.out = folder / "out"
        self.job = BatchJob(device="cpu")
        self.steps: list[UnitStep] = []

    def add(self, name: str, seed: int = 0, shape: tuple[int, ...] = (80, 96)) -> Path:
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, make_nuclei(shape, count=8, seed=seed)[0])
        return path

    def run(self, inputs: Sequence[Any] | None = None, workers: int = 0, **options: Any) -> BatchReport:
        steps = run_batch(self.job, inputs or [self.images], self.out, workers=workers, **options)
        self.steps = []
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                report: BatchReport = stop.value
                return report
            if isinstance(step.partial, UnitStep):
                self.steps.append(step.partial)

    @property
    def begun(self) -> list[str]:
        """The images that the last run took up, in order of their names."""
        return sorted({step.unit.name for step in self.steps})

    def messages(self) -> dict[str, str]:
        return {step.unit.name: step.message for step in self.steps if step.status == "failed"}

    def labels(self, name: str) -> Any:
        return tifffile.imread(self.out / f"{name}_labels.tif")

    def files(self) -> dict[str, bytes]:
        """What is in the output folder, less what says when it was made."""
        paths = [p for p in self.out.rglob("*") if p.is_file() and p.suffix not in (".jsonl", ".lock")]
        return {p.relative_to(self.out).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Three images of nuclei."""
    made = Batch(tmp_path)
    for seed, name in enumerate(("a.tif", "b.tif", "c.tif")):
        made.add(name, seed)
    return made


@pytest.fixture
def expected() -> Callable[[Path], Any]:
    """The labels of an image by the public function, for comparison."""
    import napari_sam as ns

    model = ns.load_model("nuclei", device="cpu")

    def segment(path: Path) -> Any:
        return np.asarray(ns.segment_image(tifffile.imread(path), model))

    return segment
