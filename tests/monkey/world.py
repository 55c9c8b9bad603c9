"""A viewer with the widget and some images, and what the invariants need to know of it."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["World"]

SECONDS = 60


def _load_fakes() -> Any:
    name = "napari_sam_fakes"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "session" / "fakes.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class World:
    """What a monkey plays with.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
        Empty to begin with; docks the widget where it has a window.
    folder : Path
        For files.
    real : bool
        Use the bundled model instead of the fake engine.
    """

    def __init__(self, viewer: Any, folder: Path, real: bool = False) -> None:
        self.viewer = viewer
        self.folder = folder
        self.real = real
        self.widget: Any = None
        self.dock: Any = None
        self.runners: list[Any] = []
        rng = np.random.default_rng(0)
        blobs = np.clip(rng.normal(40, 10, (5, 64, 72)), 0, 255)
        for row, col in ((15, 15), (40, 20), (20, 50), (48, 55)):
            rows, cols = np.ogrid[:64, :72]
            blobs[:, (rows - row) ** 2 + (cols - col) ** 2 < 49] += 120
        self.stack = blobs.astype(np.uint8)
        self.open_widget()

    # ------------------------------------------------------------- life
    def add_image(self, kind: str) -> Any:
        """A plane, a stack or a colour image, not all of one scale."""
        if kind == "plane":
            return self.viewer.add_image(self.stack[0].copy(), name="plane")
        if kind == "stack":
            return self.viewer.add_image(self.stack.copy(), name="stack", scale=(2, 1, 1))
        colours = np.stack([self.stack[1]] * 3, axis=-1)
        return self.viewer.add_image(colours, rgb=True, name="colours", scale=(0.5, 0.5))

    def open_widget(self) -> None:
        """Make the widget and dock it."""
        engine = None
        if not self.real:
            engine = _load_fakes().FakeEngine(radius=5)
            discs = [(15, 15), (40, 20), (20, 50), (48, 55)]
            make = sys.modules["napari_sam_fakes"].disc
            from napari_sam.types import ObjectMask

            engine.objects = [ObjectMask.from_plane(make((64, 72), *d, 7), predicted_iou=0.9) for d in discs]
        self.widget = SamWidget(self.viewer, engine=engine)
        self.runners.append(self.widget._runner)
        if hasattr(self.viewer, "window"):
            self.dock = self.viewer.window.add_dock_widget(self.widget, name="SAM")

    def close_widget(self) -> None:
        """As the user does: the dock is taken away."""
        widget, self.widget = self.widget, None
        if self.dock is not None:
            self.viewer.window.remove_dock_widget(self.dock)
            self.dock = None
        widget.close()
        widget.deleteLater()

    def settle(self) -> None:
        """Until nothing is queued or running."""
        assert self.widget.wait(SECONDS), "waited in vain: something is running for ever"

    def breathe(self, seconds: float = 0.01) -> None:
        """Let Qt work for a moment."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()

    # ------------------------------------------------------------- what is
    @property
    def session(self) -> Any:
        return self.widget._session

    @property
    def controller(self) -> Any:
        return self.widget._controller

    @property
    def labels(self) -> list[Any]:
        """The Labels layers that hold somebody's objects."""
        return list(self.controller.targets())

    @property
    def images(self) -> list[Any]:
        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    @property
    def is_rapid(self) -> bool:
        return getattr(self.session.settings, "mode", "one") == "rapid"

    def pixels(self) -> dict[Any, np.ndarray]:
        """A copy of all labels, by layer."""
        return {layer: np.array(layer.data) for layer in self.labels if not layer.multiscale}

    def records(self) -> dict[Hashable, dict[int, list[Any]]]:
        """What is known of the objects, by layer and label."""
        book, target = self.session.book, self.controller.target
        found = {}
        for layer in self.labels:
            page = book.page(target.token(layer))
            found[layer] = {
                label: [record.to_json() for record in records] for label, records in page.items()
            }
        return found


def is_labels(layer: Any) -> bool:
    return isinstance(layer, Labels)
