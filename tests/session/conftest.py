from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.inference.candidates import draw_with_indices
from napari_sam.session.auto_requests import Written
from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.requests import ModelChoice, ObjectRef, Plane, Preview
from napari_sam.session.session import Session

if TYPE_CHECKING:
    from types import ModuleType

    from napari_sam.errors import SamError
    from napari_sam.inference.candidates import Candidates
    from napari_sam.session.auto_requests import AutoRequest, Shown


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


class Board:
    """A sink that keeps what it is shown; also the fill of its one result."""

    def __init__(self) -> None:
        self.begun: list[AutoRequest] = []
        self.parts: list[list[int]] = []
        self.shown: list[Shown] = []
        self.tables: list[dict[str, Any]] = []
        self.steps: list[str] = []
        self.ended = 0
        self.error: SamError | None = None
        self.gone = False

    def begin(self, request: AutoRequest) -> None:
        if self.error is not None:
            raise self.error
        self.begun.append(request)
        self.fill = Fill(self.steps)

    def add_part(self, part: Candidates, kept: Any) -> None:
        self.parts.append(kept.tolist())

    def show(self, shown: Shown) -> Written | None:
        if self.error is not None:
            raise self.error
        if self.gone:
            return None
        self.shown.append(shown)
        labels, indices = draw_with_indices(shown.candidates, shown.kept)
        return Written(labels, np.arange(1, len(indices) + 1), indices, self.fill)

    def write_table(self, written: Written, columns: Any) -> None:
        self.tables.append(dict(columns))

    def end(self) -> None:
        self.ended += 1


class Fill:
    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    def undo(self) -> str:
        self.steps.append("undo")
        return "taken back"

    def redo(self) -> str:
        self.steps.append("redo")
        return "back"


class World:
    """A session with everything around it, and what it announced."""

    def __init__(self, automatic: bool = True, shape: tuple[int, ...] = (64, 64)) -> None:
        self.engine = fakes.FakeEngine()
        self.runner = SynchronousRunner(automatic)
        self.session = Session(self.engine, self.runner, ModelChoice("nuclei"))
        self.sink = Sink()
        self.session.sink = self.sink
        self.board = Board()
        self.session.auto.sink = self.board
        self.shape = shape
        self.previews: list[Any] = []
        self.restored: list[Any] = []
        self.messages: list[str] = []
        self.status: list[str] = []
        self.session.preview_changed.connect(lambda value: self.previews.append(value))
        self.session.prompts_restored.connect(lambda value: self.restored.append(value))
        self.session.warned.connect(lambda value: self.messages.append(value))
        self.session.status_changed.connect(lambda value: self.status.append(value))
        self.session.show_plane(self.plane())

    def plane(self, z: int | None = None) -> Plane:
        index = (None, None) if z is None else (z, None, None)
        return Plane("image", index, self.shape[:2], lambda: np.zeros(self.shape, np.uint8))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def lazy_world() -> World:
    """Nothing runs until ``world.runner.run()``."""
    world = World(automatic=False)
    world.runner.run()
    return world
