"""Makes the pictures of docs/desk.md: a real window in each state of the desk, on samples that are made.

    python scripts/make_screenshots.py [--out docs/images/desk] [--only review lasso]

Without a screen prefix it with ``bash scripts/headless.sh``. Each picture is a window of its own, so that one
state cannot spoil the next.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import tifffile
from PIL import Image
from qtpy.QtWidgets import QApplication, QWidget

from napari_sam import sample_data
from napari_sam.widgets.column import Column
from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIZE = (1120, 800)
COLOURS = 64


class Window:
    """A viewer with the widget, and the positions of the sample's objects."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window.resize(*SIZE)
        self.widget = SamWidget(self.viewer)
        self.dock = self.viewer.window.add_dock_widget(self.widget, name="SAM")
        self.centres: NDArray[np.float64] = np.zeros((0, 2))
        self.settle()

    def settle(self, seconds: float = 0.6) -> None:
        """Let the worker finish and Qt draw."""
        assert self.widget.wait(300), "the model did not answer"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)

    def open_nuclei(self) -> NDArray[np.int32]:
        """Open the sample; its true labels."""
        spacing = (0.25, 0.25)
        image, truth = sample_data.make_nuclei((400, 480), spacing=spacing, count=70, seed=7)
        self.viewer.add_image(image, name="Nuclei 2-D", scale=spacing)
        self._find(truth)
        return truth

    def open_stack(self) -> NDArray[np.int32]:
        """Open the sample stack at its middle; its true labels."""
        spacing = (1.0, 0.25, 0.25)
        image, truth = sample_data.make_nuclei((20, 200, 240), spacing=spacing, count=45, seed=11)
        self.viewer.add_image(image, name="Nuclei 3-D", scale=spacing)
        self.viewer.dims.set_current_step(0, 9)
        self._find(truth[9])
        return truth

    def _find(self, truth: NDArray[np.int32]) -> None:
        """Middles of the objects that lie inside, the largest first."""
        found = []
        for label in np.unique(truth[truth > 0]):
            rows, cols = np.nonzero(truth == label)
            inside = rows.min() > 20 and cols.min() > 20 and rows.max() < truth.shape[0] - 20
            if inside and cols.max() < truth.shape[1] - 20:
                found.append((len(rows), rows.mean(), cols.mean()))
        self.centres = np.array(sorted(found, reverse=True))[:, 1:]
        self.settle()

    def click(self, number: int, shift: tuple[float, float] = (0, 0)) -> None:
        """A point on one of the objects, or beside its middle."""
        point = self.centres[number] + shift
        layer = self.viewer.layers["SAM points"]
        layer.add([*self.viewer.dims.current_step[: layer.ndim - 2], *point])
        self.settle(0.2)

    def show(self, part: QWidget) -> None:
        """Scroll the dock to a part of it."""
        self.settle(0.2)
        column = self.widget.findChild(Column)
        column.verticalScrollBar().setValue(part.mapTo(column.widget(), part.rect().topLeft()).y() - 6)

    def zoom(self, number: int, zoom: float = 14.0) -> None:
        """Bring an object to the middle of the view."""
        camera = getattr(self.viewer, "scene", self.viewer).camera
        camera.center = (0, *(self.centres[number] * 0.25))
        camera.zoom = zoom

    def save(self, path: Path) -> None:
        """Write the window as a picture of few colours, which is small."""
        self.settle(1.0)
        pixels = self.viewer.screenshot(canvas_only=False, flash=False)[..., :3]
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        # without dithering, which would blur text and make the picture larger
        picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            path, optimize=True
        )

    def close(self) -> None:
        """Close everything."""
        self.widget.shutdown()
        self.viewer.close()
        QApplication.processEvents()


def show_first_use(window: Window) -> None:
    """An empty viewer."""


def show_click(window: Window) -> None:
    """A click and its mask."""
    window.open_nuclei()
    window.click(3)
    window.zoom(3)


def show_candidates(window: Window) -> None:
    """The model's next mask of the same click."""
    show_click(window)
    window.widget._prompt_controls.next_mask()


def show_box(window: Window) -> None:
    """A box and its mask."""
    window.open_nuclei()
    (row, col), half = window.centres[5], 19
    signs = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
    corners = np.array([row, col]) + half * signs
    window.viewer.layers["SAM shapes"].add_rectangles([corners])
    window.zoom(5)


def show_scribble(window: Window) -> None:
    """A stroke through an object."""
    window.open_nuclei()
    row, col = window.centres[2]
    path = [(row + 4 * np.sin(t), col + 8 * (t - 1.5) / 1.5) for t in np.linspace(0, 3, 12)]
    window.viewer.layers["SAM shapes"].add_paths([path])
    window.zoom(2)


def show_accepted(window: Window) -> None:
    """Some objects accepted one after the other, and the next one at hand."""
    window.open_nuclei()
    for number in range(9):
        window.click(number)
        window.widget.accept()
        window.settle(0.1)
    window.click(9)


def show_everything(window: Window) -> None:
    """All objects at once, with the thresholds."""
    window.open_nuclei()
    window.widget.segment_everything()
    window.settle()
    window.show(window.widget._auto_panel)


def show_light(window: Window) -> None:
    """The same in the light theme."""
    show_everything(window)
    window.viewer.theme = "light"


def show_review(window: Window) -> None:
    """The most suspicious object of all."""
    window.open_nuclei()
    window.widget.segment_everything()
    window.settle()
    review = window.widget._review
    review.section.open()
    window.settle(1.0)
    review.next()
    review.accept()
    window.show(review.section)


def show_lasso(window: Window) -> None:
    """Objects inside a lasso."""
    window.open_nuclei()
    window.widget.segment_everything()
    window.settle()
    review = window.widget._review
    review.section.open()
    window.settle(1.0)
    review.draw_lasso()
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rows, cols = 200 + 90 * np.sin(angles), 250 + (110 + 12 * np.cos(5 * angles)) * np.cos(angles)
    outline = np.stack([rows, cols], axis=1)
    review.lasso.layer.add_polygons([outline])
    window.show(review.section)


def show_stack(window: Window) -> None:
    """An object followed through a stack."""
    window.open_stack()
    window.widget._propagation_section.open()
    window.click(0)
    window.widget.propagate()
    window.settle()
    window.show(window.widget._propagation_section)


def show_batch(window: Window) -> None:
    """Some images segmented one after the other."""
    from napari_sam.widgets.batch_panel import BatchWidget

    folder = Path(tempfile.mkdtemp())
    (folder / "images").mkdir()
    for seed in range(4):
        image, _ = sample_data.make_nuclei((256, 256), count=30, seed=seed)
        tifffile.imwrite(folder / "images" / f"nuclei_{seed}.tif", image)
    window.viewer.window.remove_dock_widget(window.dock)
    batch = BatchWidget(window.viewer)
    window.viewer.window.add_dock_widget(batch, name="SAM batch")
    os.chdir(folder)  # so that the picture shows short paths
    batch.inputs, batch.output = "images", "results"
    batch.form.workers.setValue(1)
    batch.start()
    assert batch.wait(500), "the batch did not end"
    batch.open_result(1)
    assert batch.wait(60)
    window.batch = batch  # type: ignore[attr-defined]


def show_keys(window: Window) -> None:
    """The table of keys."""
    window.open_nuclei()
    window.widget._keys.section.open()
    window.show(window.widget._keys.section)


STATES: dict[str, Callable[[Window], None]] = {
    "first_use": show_first_use,
    "click": show_click,
    "candidates": show_candidates,
    "box": show_box,
    "scribble": show_scribble,
    "accepted": show_accepted,
    "everything": show_everything,
    "review": show_review,
    "lasso": show_lasso,
    "stack": show_stack,
    "batch": show_batch,
    "keys": show_keys,
    "light": show_light,
}


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/desk"))
    parser.add_argument("--only", nargs="+", choices=list(STATES), default=list(STATES))
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            # as on a new computer: nobody's settings, cache or unsaved work
            for variable in ("NAPARI_SAM_CONFIG_DIR", "NAPARI_SAM_STATE_DIR", "NAPARI_SAM_CACHE_DIR"):
                os.environ[variable] = folder
            window = Window()
            STATES[name](window)
            path = out / f"{name}.png"
            window.save(path)
            batch: Any = getattr(window, "batch", None)
            if batch is not None:
                batch.shutdown()
            window.close()
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
