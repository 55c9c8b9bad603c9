from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


def _load_fakes() -> ModuleType:
    name = "napari_sam_fakes"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "session" / "fakes.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Desk:
    """A viewer with the widget, whose engine is fake; a real window unless the viewer is a bare model."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.engine = _load_fakes().FakeEngine()
        self.image = viewer.add_image(np.zeros((64, 64), np.uint8), name="cells", contrast_limits=(0, 255))
        self.widget = SamWidget(viewer, engine=self.engine)
        if hasattr(viewer, "window"):
            self.dock = viewer.window.add_dock_widget(self.widget, name="SAM")
        assert self.widget.wait(30)
        self._seen = len(notification_manager.records)

    def layer(self, name: str) -> Any:
        return self.viewer.layers[name]

    def click(self, *position: float) -> None:
        self.layer("SAM points").add(position)

    @property
    def covered(self) -> int:
        return int(np.count_nonzero(self.layer("SAM preview").data))

    @property
    def messages(self) -> list[str]:
        return [str(record.message) for record in notification_manager.records[self._seen :]]

    @staticmethod
    def settle(seconds: float = 0.05) -> None:
        """Let Qt do what is queued, deletions included."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            time.sleep(0.005)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            QApplication.processEvents()
            time.sleep(0.002)


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither settings nor cache of whoever runs the tests."""
    monkeypatch.setenv("NAPARI_SAM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def open_window(make_napari_viewer: Any) -> Iterator[Callable[..., Desk]]:
    """Makes windows; the options are those of ``napari.Viewer``."""
    opened: list[tuple[Desk, Any]] = []

    def open_one(**options: Any) -> Desk:
        window = Desk(make_napari_viewer(**options))
        opened.append((window, window.widget._runner))
        return window

    yield open_one
    for window, runner in opened:
        window.widget.shutdown()
        assert runner.join(20), "the worker thread did not end"


@pytest.fixture
def window(open_window: Callable[..., Desk]) -> Desk:
    return open_window()


@pytest.fixture
def desk(qtbot: Any) -> Iterator[Desk]:
    """The widget on a bare viewer model, for what needs no window: twenty times cheaper."""
    desk = Desk(ViewerModel())
    qtbot.addWidget(desk.widget)
    runner = desk.widget._runner
    yield desk
    desk.widget.shutdown()
    assert runner.join(20), "the worker thread did not end"
