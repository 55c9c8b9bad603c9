"""A day at the desk, by script: what it costs to outline nuclei in the real window, and what goes wrong.

    bash scripts/headless.sh python benchmarks/desk_session.py [FOLDER] [--split test] [--objects 100]

FOLDER holds ``images/``, ``labels/`` with files of the same names, and perhaps ``index.csv`` with columns
``id`` and ``split``, of which rows only those of the split are used. Without a folder the images are
synthetic.

The simulated user opens an image, goes to a nucleus, clicks its most interior pixel, and then corrects at the
deepest error, with T before a click of the other sign, until the IoU reaches 0.85 or after 20 clicks; then N
accepts. All of it are mouse and key events on the canvas of a napari window. An *action* is a click or a key.
Seconds are those between the first click and the written object, with a user who thinks in no time: what the
program takes. A stall is a turn of the Qt loop that comes 50 ms late or more, as in ``window_stalls.py``;
what the simulated user thinks does not count.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam.types import ObjectMask

os.environ.setdefault("NAPARI_CONFIG", "")
for variable in ("NAPARI_SAM_CONFIG_DIR", "NAPARI_SAM_CACHE_DIR"):
    os.environ[variable] = tempfile.mkdtemp()

LEAST = 30
"""Pixels of the smallest nucleus that is asked for."""
GOOD_ZOOM = 1.5
"""Screen pixels of an image pixel below which the user moves closer."""


OPENING, WORKING, MAKING = "opening images", "clicking and accepting", "napari adds the layer for objects"


@dataclass
class Tally:
    """What was counted."""

    clicks: list[int] = field(default_factory=list)  # until the IoU was reached, or all
    actions: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    reached: list[bool] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    late: dict[str, list[np.ndarray]] = field(
        default_factory=lambda: {name: [] for name in (OPENING, WORKING, MAKING)}
    )


def read_folder(folder: Path, split: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, image, labels) of the images of a split, in the order of their names."""
    from skimage.io import imread

    index = folder / "index.csv"
    rows = {}
    if index.exists():
        with index.open(newline="", encoding="utf-8") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
    images = {path.stem: path for path in (folder / "images").iterdir()}
    labels = {path.stem: path for path in (folder / "labels").iterdir()}
    for name in sorted(images.keys() & labels.keys()):
        if rows.get(name, {}).get("split", split) == split:
            yield name, np.asarray(imread(images[name])), np.asarray(imread(labels[name]))


def make_synthetic() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Nuclei of the sample data, ever new ones."""
    from napari_sam.sample_data import make_nuclei

    seed = 0
    while True:
        image, labels = make_nuclei((256, 256), seed=seed)
        yield f"synthetic {seed}", image, labels
        seed += 1


class Desk:
    """A napari window with the widget, and the hand and eye of a user."""

    def __init__(self, hover: bool) -> None:
        import napari
        from qtpy.QtWidgets import QOpenGLWidget
        from window_stalls import Lateness

        from napari_sam.widgets.dock import SamWidget

        self.viewer = napari.Viewer()
        self.widget = SamWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.widget, name="SAM")
        session = self.widget._session
        session.set_settings(replace(session.settings, hover=hover))
        (self.canvas,) = self.widget.window().findChildren(QOpenGLWidget)
        self.camera = getattr(self.viewer, "scene", self.viewer).camera  # napari 0.9, before
        self.late = Lateness()
        self.image: Any = None

    def pump(self, seconds: float = 0.0) -> None:
        """Let Qt do what there is to do."""
        from qtpy.QtWidgets import QApplication

        end = time.perf_counter() + seconds
        while True:
            QApplication.processEvents()
            if time.perf_counter() >= end:
                return
            time.sleep(0.0005)

    @contextmanager
    def thinking(self) -> Iterator[None]:
        """What is done in here is the user's: the window is not late meanwhile."""
        yield
        noted = len(self.late.values)
        self.pump(0.006)
        del self.late.values[noted:]

    def open(self, name: str, image: np.ndarray) -> None:
        """Show another image, and wait until it is encoded."""
        layers = self.viewer.layers
        layers.clear()
        rgb = image.ndim == 3 and image.shape[-1] in (3, 4)
        self.image = self.viewer.add_image(image[..., :3] if rgb else image, name=name, rgb=rgb)
        self.widget.wait(600)
        warming = self.widget._session.warming
        end = time.perf_counter() + 120
        while warming.is_running and time.perf_counter() < end:
            self.pump(0.01)
        self.viewer.reset_view()
        self.pump(0.05)

    def go_to(self, place: tuple[float, float]) -> None:
        """Move closer where the image is shown too small to click on."""
        if self.camera.zoom < GOOD_ZOOM:
            self.camera.zoom = 2 * GOOD_ZOOM
        if self.camera.zoom >= 2 * GOOD_ZOOM:
            self.camera.center = (0, *place)
            self.pump(0.02)

    def _place(self, row: float, col: float) -> Any:
        from qtpy.QtCore import QPoint

        down, right = (np.array([row, col]) - np.array(self.camera.center[-2:])) * self.camera.zoom
        return QPoint(round(self.canvas.width() / 2 + right), round(self.canvas.height() / 2 + down))

    def click(self, row: float, col: float) -> float:
        """Click on the canvas and wait for the answer; seconds that took."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        place = self._place(row, col)
        QTest.mouseMove(self.canvas, place)
        self.pump()
        start = time.perf_counter()
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
        self.wait()
        return time.perf_counter() - start

    def press(self, key: str) -> None:
        """Press a key over the canvas."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.keyClick(self.canvas, getattr(Qt.Key, f"Key_{key}"))
        self.wait()

    def wait(self) -> None:
        """Until nothing is awaited, with a loop that turns often enough to be measured."""
        while True:
            self.pump()
            if not self.widget._runner.is_busy:
                self.pump()
                return
            time.sleep(0.0005)

    @property
    def answer(self) -> ObjectMask | None:
        """What the preview shows."""
        preview = self.widget._session.preview
        return None if preview is None else preview.mask


def outline(desk: Desk, obj: ObjectMask, tally: Tally, options: argparse.Namespace) -> None:
    """One nucleus, from the first click until it is accepted."""
    from napari_sam.evaluation.simulated_user import first_click, next_click

    with desk.thinking():
        place, label = first_click(obj), 1
        desk.go_to(place)
    clicked: list[tuple[int, int]] = []
    actions, seconds, reached, sign = 0, 0.0, False, 1
    while len(clicked) < options.clicks:
        start = time.perf_counter()
        if label != sign:
            desk.press("T")
            sign, actions = label, actions + 1
        tally.answers.append(desk.click(*place))
        seconds += time.perf_counter() - start
        clicked.append(place)
        actions += 1
        with desk.thinking():
            answer = desk.answer
            reached = answer is not None and obj.iou(answer) >= options.iou
            following = None if reached else next_click(obj, answer, clicked)
        if following is None:
            break
        place, label = following
    start = time.perf_counter()
    if sign == 0:
        desk.press("T")
        actions += 1
    makes = desk.widget.target_layer is None
    tally.late[WORKING].append(desk.late.take())
    desk.press("N")
    tally.late[MAKING if makes else WORKING].append(desk.late.take())
    seconds += time.perf_counter() - start
    with desk.thinking():
        tally.ious.append(_written(desk, obj))
    tally.clicks.append(len(clicked) if reached else options.clicks)
    tally.actions.append(actions + 1)
    tally.seconds.append(seconds)
    tally.reached.append(reached)
    if desk.answer is not None:  # it was refused
        desk.widget.clear()
        desk.wait()


def _written(desk: Desk, obj: ObjectMask) -> float:
    """IoU with the object of the layer that covers most of it."""
    from napari_sam.types import ObjectMask

    layer = desk.widget.target_layer
    if layer is None:
        return 0.0
    labels = np.asarray(layer.data)
    under = labels[obj.slices][obj.mask]
    ids, counts = np.unique(under[under > 0], return_counts=True)
    return obj.iou(ObjectMask.from_plane(labels == ids[counts.argmax()])) if len(ids) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--objects", type=int, default=100, help="nuclei in all")
    parser.add_argument("--each", type=int, default=5, help="nuclei of an image, at most")
    parser.add_argument("--clicks", type=int, default=20, help="clicks on a nucleus, at most")
    parser.add_argument("--iou", type=float, default=0.85, help="with the truth, at which it is accepted")
    parser.add_argument("--hover", action="store_true", help="with the hover preview on")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from napari.utils.notifications import notification_manager

    from napari_sam.evaluation.simulated_user import read_objects

    rng, tally = np.random.default_rng(options.seed), Tally()
    sys.excepthook = lambda kind, error, _: tally.errors.append(f"{kind.__name__}: {error}")
    if options.folder is None:
        images: Any = make_synthetic()
    else:
        found = list(read_folder(options.folder, options.split))
        images = [found[i] for i in rng.permutation(len(found))]
    desk = Desk(options.hover)
    desk.pump(1)
    desk.late.take()
    for name, image, labels in images:
        with desk.thinking():
            objects = [obj for obj in read_objects(labels) if obj.area >= LEAST]
            chosen = [objects[i] for i in rng.permutation(len(objects))[: options.each]]
        desk.open(name, image)
        tally.late[OPENING].append(desk.late.take())
        for obj in chosen[: options.objects - len(tally.ious)]:
            outline(desk, obj, tally, options)
        tally.late[WORKING].append(desk.late.take())
        if len(tally.ious) >= options.objects:
            break
    said = [str(record.message) for record in notification_manager.records]
    desk.widget.shutdown()
    desk.viewer.close()
    report(tally, said, options)


def report(tally: Tally, said: list[str], options: argparse.Namespace) -> None:
    """Print one table."""
    seconds, answers = np.array(tally.seconds), np.array(tally.answers) * 1000
    rows = [
        ("nuclei", f"{len(tally.ious)}"),
        ("actions per object", f"{np.mean(tally.actions):.2f}"),
        (f"NoC@{round(options.iou * 100)}", f"{np.mean(tally.clicks):.2f}"),
        (f"reached within {options.clicks} clicks", f"{np.mean(tally.reached):.0%}"),
        ("mean IoU as written", f"{np.mean(tally.ious):.3f}"),
        ("seconds per object, mean and worst", f"{seconds.mean():.2f}  {seconds.max():.2f}"),
        (
            "answer to a click, median and 95 %",
            f"{np.median(answers):.0f} ms  {np.percentile(answers, 95):.0f} ms",
        ),
        ("exceptions", f"{len(tally.errors)}"),
        ("notifications", f"{len(said)}"),
    ]
    for name, parts in tally.late.items():
        values = np.concatenate(parts) * 1000
        rows.append(
            (f"stalls over 50 ms while {name}", f"{int((values > 50).sum())}, worst {values.max():.0f} ms")
        )
    for name, value in rows:
        print(f"{name:48s} {value}")
    for text in dict.fromkeys((*tally.errors, *said)):
        print(f"  {text}")


if __name__ == "__main__":
    main()
