from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManager, PluginManifest

import napari_sam
from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.requests import ModelChoice
from napari_sam.session.session import Session
from napari_sam.viewer.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Iterator
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


class Bench:
    """A viewer without a window, a session with a fake engine, and the controller between them."""

    def __init__(self) -> None:
        self.viewer = ViewerModel()
        self.engine = _load_fakes().FakeEngine()
        self.runner = SynchronousRunner()
        self.session = Session(self.engine, self.runner, ModelChoice("nuclei"))
        self.controller = Controller(self.viewer, self.session)
        self._seen = len(notification_manager.records)
        self.status: list[str] = []
        self.session.status_changed.connect(lambda text: self.status.append(text))

    def open(self, data: Any, **options: Any) -> Any:
        """Add an image and enable the controller."""
        layer = self.viewer.add_image(data, **options)
        self.controller.enable()
        return layer

    @property
    def points(self) -> Any:
        return self.viewer.layers["SAM points"]

    @property
    def shapes(self) -> Any:
        return self.viewer.layers["SAM shapes"]

    @property
    def preview(self) -> Any:
        return self.viewer.layers["SAM preview"]

    @property
    def shown(self) -> Any:
        """Pixels of the preview."""
        return np.asarray(self.preview.data)

    @property
    def messages(self) -> list[str]:
        """Notifications since the bench was made."""
        return [str(record.message) for record in notification_manager.records[self._seen :]]

    def asked(self) -> Any:
        """The prompts that the engine answered last."""
        return self.engine.asked[-1]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.session.close()
    bench.controller.disable()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This plugin alone, from its manifest in the source."""
    manifest = PluginManifest.from_file(Path(napari_sam.__file__).parent / "napari.yaml")
    manager = PluginManager()
    manager.register(manifest)
    monkeypatch.setattr(PluginManager, "instance", classmethod(lambda cls: manager))
    return manifest.name
