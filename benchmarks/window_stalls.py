"""How long the window does not answer while the model works, and what a click costs beside the model.

    bash scripts/headless.sh python benchmarks/window_stalls.py [--side 8192] [--seconds 20] [--clicks 10]

Opens a real napari window on a large image. A Qt timer that should fire every 5 ms notes how late it does:
first with nothing to do, then while tiles are encoded in the background and the user clicks, accepts and
pans. What a click costs beside the model is measured with a model that answers at once: layer events,
transforms, history and painting, on a small image and on the large one in turns. That is CPU time of the one
thread which does it all, so that a busy machine does not count.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

os.environ.setdefault("NAPARI_CONFIG", "")
for variable in ("NAPARI_SAM_CONFIG_DIR", "NAPARI_SAM_CACHE_DIR"):
    os.environ[variable] = tempfile.mkdtemp()

TICK = 0.005
STALL = 0.05


def make_image(side: int) -> np.ndarray:
    """A (side, side) uint8 image of blobs: one tile of them, repeated with another offset each time."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    seeds = np.zeros((512, 512))
    seeds[tuple(rng.integers(0, 512, (2, 120)))] = rng.uniform(0.5, 1, 120)
    blob = ndimage.gaussian_filter(seeds, 6, mode="wrap")
    tile = (blob / blob.max() * 200 + rng.normal(20, 4, blob.shape)).clip(0, 255).astype(np.uint8)
    rows = [np.roll(np.tile(tile, (1, -(-side // 512))), 37 * n, axis=1) for n in range(-(-side // 512))]
    return np.concatenate(rows)[:side, :side]


class Lateness:
    """How late a timer of the Qt loop fires, in seconds."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.values: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_timeout)
        self._timer.start(round(TICK * 1000))

    def _on_timeout(self) -> None:
        now = time.perf_counter()
        self.values.append(max(now - self._last - TICK, 0))
        self._last = now

    def take(self) -> np.ndarray:
        """What was noted since the last time."""
        values, self.values = np.array(self.values), []
        return values


class InstantPredictor:
    """A model that answers with a disc at once."""

    def with_settings(self, settings: Any) -> InstantPredictor:
        return self

    def list_tiles(self, shape: Any) -> list[Any]:
        return []

    def predict_candidates(self, image: Any, prompts: Any) -> Any:
        return [self.predict(image, prompts)]

    def predict(self, image: Any, prompts: Any) -> Any:
        from napari_sam.types import ObjectMask

        r, c = (int(v) for v in prompts.points[-1])
        rows, cols = np.ogrid[-15:16, -15:16]
        return ObjectMask.from_plane(rows**2 + cols**2 <= 225, (max(r - 15, 0), max(c - 15, 0)))


class InstantEngine:
    """The engine of such a model."""

    def list_models(self) -> list[Any]:
        return []

    def list_devices(self) -> list[str]:
        return ["cpu"]

    def load(self, choice: Any, cache: Any) -> InstantPredictor:
        return InstantPredictor()


def places(side: int, count: int) -> Generator[tuple[float, float], None, None]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        row, col = rng.integers(40, side - 40, 2)
        yield float(row), float(col)


def time_overhead(side: int, clicks: int) -> dict[str, np.ndarray]:
    """Seconds for each click and accept on a bare viewer model, the model's answer excluded."""
    from napari.components import ViewerModel

    from napari_sam.session.jobs import SynchronousRunner
    from napari_sam.session.requests import ModelChoice
    from napari_sam.session.session import Session
    from napari_sam.viewer.controller import Controller

    viewer = ViewerModel()
    viewer.add_image(make_image(side), contrast_limits=(0, 255))
    session = Session(InstantEngine(), SynchronousRunner(), ModelChoice("instant"))  # type: ignore[arg-type]
    controller = Controller(viewer, session)
    controller.enable()
    points = viewer.layers["SAM points"]
    times: dict[str, list[float]] = {"click": [], "accept": []}
    for place in places(side, clicks + 2):
        times["click"].append(_timed(lambda place=place: points.add(place)))  # type: ignore[misc]
        times["accept"].append(_timed(session.accept))
    session.close()
    controller.disable()
    alone = ViewerModel()
    alone.add_image(make_image(side), contrast_limits=(0, 255))
    bare = alone.add_points(ndim=2)
    times["napari"] = [_timed(lambda place=place: bare.add(place)) for place in places(side, clicks + 2)]  # type: ignore[misc]
    return {name: np.array(values[2:]) for name, values in times.items()}  # the first make layers


def _timed(action: Callable[[], object]) -> float:
    start = time.thread_time()
    action()
    return time.thread_time() - start


def run_window(options: argparse.Namespace) -> list[tuple[str, np.ndarray]]:
    """Lateness in a real window: idle, and while encoding in the background with clicks and panning."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_sam.widgets.dock import SamWidget

    def pump(seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            QApplication.processEvents()
            time.sleep(0.0005)

    viewer = napari.Viewer()
    side = options.side
    viewer.add_image(make_image(side), contrast_limits=(0, 255))
    widget = SamWidget(viewer)
    viewer.window.add_dock_widget(widget, name="SAM")
    widget.wait(600)
    camera = getattr(viewer, "scene", viewer).camera
    camera.zoom = 0.5
    warming = widget._session.warming
    found: list[tuple[str, np.ndarray]] = []
    late = Lateness()
    widget._session.set_settings(_without_warming(widget._session.settings))
    pump(3)
    late.take()
    pump(3)
    found.append(("idle", late.take()))
    widget._session.set_settings(_with_warming(widget._session.settings))
    for number, place in enumerate(places(side, max(2, round(options.seconds / 4)))):
        camera.center = (0, *place)
        pump(4)
        print(f"  view {number}: {'' if warming.cache is None else warming.cache.text}", flush=True)
    found.append(("encoding in the background", late.take()))
    points = viewer.layers["SAM points"]
    centre = np.array(camera.center[-2:])
    for number in range(options.clicks):
        points.add(centre + 7 * number)
        pump(1)
        widget.accept()
        pump(0.5)
    found.append(("clicking meanwhile", late.take()))
    widget.shutdown()
    viewer.close()
    return found


def _with_warming(settings: Any) -> Any:
    from dataclasses import replace

    return replace(settings, warm=True)


def _without_warming(settings: Any) -> Any:
    from dataclasses import replace

    return replace(settings, warm=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=8192, help="edge of the large image in px")
    parser.add_argument("--seconds", type=float, default=20, help="of encoding in the background")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--no-window", action="store_true", help="only what a click costs beside the model")
    options = parser.parse_args()

    rounds = {side: {"click": [], "accept": [], "napari": []} for side in (512, options.side)}
    for _ in range(2):  # in turns, so that a busy machine slows both
        for side, times in rounds.items():
            for name, values in time_overhead(side, options.clicks).items():
                times[name].append(values)
    print(f"{'beside the model':28s} {'512 px':>12s} {f'{options.side} px':>12s} {'ratio':>7s}")
    names = {"click": "a click", "napari": "  of which napari's own", "accept": "accepting"}
    for name, text in names.items():
        small, large = (np.median(np.concatenate(times[name])) * 1000 for times in rounds.values())
        print(f"{text:28s} {small:9.2f} ms {large:9.2f} ms {large / small:7.2f}")
    if options.no_window:
        return
    found = run_window(options)
    print(f"{'lateness of the window':28s} {'median':>9s} {'99 %':>9s} {'worst':>9s} {'> 50 ms':>8s}")
    for name, values in found:
        middle, high, worst = (float(np.percentile(values * 1000, q)) for q in (50, 99, 100))
        stalls = int((values > STALL).sum())
        print(f"{name:28s} {middle:6.1f} ms {high:6.1f} ms {worst:6.1f} ms {stalls:8d}")


if __name__ == "__main__":
    main()
