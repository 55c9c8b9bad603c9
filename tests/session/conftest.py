from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.requests import ModelChoice, ObjectRef, Plane, Preview
from napari_sam.session.session import Session

if TYPE_CHECKING:
    from types import ModuleType


def _load_fakes() -> ModuleType:
    name = "napari_sam_fakes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("fakes.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


fakes = _load_fakes()


class Sink:
    """Collects accepted objects; refuses them while ``error`` is set."""

    def __init__(self) -> None:
        self.written: list[tuple[Preview, ObjectRef | None]] = []
        self.error: Exception | None = None

    def write_object(self, preview: Preview, replaces: ObjectRef | None) -> ObjectRef:
        if self.error is not None:
            raise self.error
        self.written.append((preview, replaces))
        label = len(self.written) if replaces is None else replaces.label
        return ObjectRef("layer", label, preview.mask)


class World:
    """A session with everything around it, and what it announced."""

    def __init__(self, automatic: bool = True, shape: tuple[int, ...] = (64, 64)) -> None:
        self.engine = fakes.FakeEngine()
        self.runner = SynchronousRunner(automatic)
        self.session = Session(self.engine, self.runner, ModelChoice("nuclei"))
        self.sink = Sink()
        self.session.sink = self.sink
        self.shape = shape
        self.previews: list[Any] = []
        self.restored: list[Any] = []
        self.messages: list[str] = []
        self.status: list[str] = []
        self.labels: list[Any] = []
        self.session.preview_changed.connect(lambda value: self.previews.append(value))
        self.session.prompts_restored.connect(lambda value: self.restored.append(value))
        self.session.warned.connect(lambda value: self.messages.append(value))
        self.session.status_changed.connect(lambda value: self.status.append(value))
        self.session.labels_made.connect(self._on_labels_made)
        self.session.show_plane(self.plane())

    def plane(self, z: int | None = None) -> Plane:
        index = (None, None) if z is None else (z, None, None)
        return Plane("image", index, self.shape[:2], lambda: np.zeros(self.shape, np.uint8))

    def _on_labels_made(self, plane: Plane, labels: Any) -> None:
        self.labels.append((plane, labels))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def lazy_world() -> World:
    """Nothing runs until ``world.runner.run()``."""
    world = World(automatic=False)
    world.runner.run()
    return world
