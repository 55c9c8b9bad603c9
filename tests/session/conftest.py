from __future__ import annotations

import importlib.util
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import ImageError
from napari_sam.inference.candidates import draw_with_indices
from napari_sam.session.auto_requests import Written
from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.requests import ModelChoice, Plane
from napari_sam.session.session import Session
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

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


class Surface:
    """A label image in memory; counts what is written to it."""

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.int32) -> None:
        self.data = np.zeros(shape, dtype)
        self.name = "objects"
        self.pixels_written = 0
        self.pixels_read = 0
        self.items: list[list[tuple[Any, NDArray[Any], NDArray[Any]]]] = []  # as napari's own undo keeps them
        self.largest = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def read(self, index: Any, box: Any) -> NDArray[Any]:
        window = self.data[self.region(index, box)]
        self.pixels_read += window.size
        return window.copy()

    def write(self, writes: Any) -> None:
        item = []
        for write in writes:
            (row, col), (height, width) = write.origin, write.mask.shape
            view = self.data[self.region(write.index, (row, col, row + height, col + width))]
            item.append((write, view[write.mask], write.values[write.mask]))
            view[write.mask] = write.values[write.mask]
            self.pixels_written += int(write.mask.sum())
            self.largest = max(self.largest, int(write.values[write.mask].max()))
        self.items.append(item)

    def undo_natively(self) -> None:
        """As Ctrl+Z in the viewer, which tells nobody."""
        if self.items:
            for write, before, _ in reversed(self.items.pop()):
                (row, col), (height, width) = write.origin, write.mask.shape
                self.data[self.region(write.index, (row, col, row + height, col + width))][write.mask] = (
                    before
                )

    def next_label(self, index: Any) -> int:
        return self.largest + 1

    def check_label(self, label: int) -> None:
        if label > np.iinfo(self.data.dtype).max:
            raise ImageError(f"Expected an id of at most {np.iinfo(self.data.dtype).max}, got {label}.")

    def release(self, first: int, last: int) -> None:
        if self.largest == last:
            self.largest = first - 1

    def look_again(self, index: Any) -> None:
        pass

    def find(self, label: int, index: Any) -> Any:
        box = ObjectMask.from_plane(self.data[self.region(index, None)] == label).box
        return box if box[2] > box[0] else None

    def planes_of(self, label: int, like: Any) -> Any:
        axes = [[None] if v is None else range(n) for n, v in zip(self.shape, like, strict=True)]
        return [index for index in product(*axes) if self.find(label, index) is not None]

    def areas_in(self, index: Any) -> dict[int, int]:
        labels, areas = np.unique(self.data[self.region(index, None)], return_counts=True)
        return {int(label): int(area) for label, area in zip(labels, areas, strict=True) if label}

    @staticmethod
    def region(index: Any, box: Any) -> tuple[Any, ...]:
        inside = iter(
            (slice(None), slice(None)) if box is None else (slice(box[0], box[2]), slice(box[1], box[3]))
        )
        return tuple(next(inside) if value is None else value for value in index)


class Sink:
    """One layer for accepted objects; refuses them while ``error`` is set."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.layer = Surface(shape)
        self.error: Exception | None = None
        self.gone = False

    @property
    def chosen(self) -> str:
        return "layer"

    def target(self, plane: Plane) -> str:
        if self.error is not None:
            raise self.error
        return "layer"

    def surface(self, layer: Any) -> Surface:
        if self.gone:
            raise ImageError("Expected the layer 'objects', got none: it was deleted.")
        return self.layer

    def mask(self, label: int) -> NDArray[np.bool_]:
        return self.layer.data == label

    @property
    def labels(self) -> list[int]:
        return np.unique(self.layer.data[self.layer.data != 0]).tolist()


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
        return Written(labels, np.arange(1, len(indices) + 1), indices, self.fill, layer="auto layer")

    def write_table(self, written: Written, columns: Any) -> None:
        self.tables.append(dict(columns))

    def write_rest(self, written: Written, columns: Any) -> Any:
        self.write_table(written, columns)
        return written.ids

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
        self.sink = Sink(shape[:2])
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


@pytest.fixture
def stack() -> World:
    """Three planes of 64 x 64."""
    world = World()
    world.sink.layer = Surface((3, 64, 64))
    world.session.show_plane(world.plane(0))
    return world
