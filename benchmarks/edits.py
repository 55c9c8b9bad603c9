"""What edits cost: time on the main thread and bytes of a step, on layers of several sizes.

    python benchmarks/edits.py

Times are CPU times in milliseconds, the median of several objects; ``look`` is the first edit of a layer,
which has to find out where its objects are. ``search`` looks for an object in all planes after the layer was
drawn anew and all of them were edited, ``again`` does so after it was drawn anew once more, as by Ctrl+Z.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel

from napari_sam.session.editing import Editing
from napari_sam.session.edits import Edits
from napari_sam.session.history import History
from napari_sam.session.provenance import ObjectBook
from napari_sam.viewer.label_surfaces import LabelSurfaces
from napari_sam.viewer.label_writer import LabelWriter
from napari_sam.viewer.large_labels import LargeLabels

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = ((512, 512), (2048, 2048), (8192, 8192), (50, 1024, 1024))
PITCH = 64


def draw(shape: tuple[int, ...]) -> Any:
    """Discs on a grid, the same in every plane."""
    rows, cols = np.ogrid[:PITCH, :PITCH]
    disc = (rows - PITCH / 2) ** 2 + (cols - PITCH / 2) ** 2 <= (0.4 * PITCH) ** 2
    height, width = shape[-2] // PITCH, shape[-1] // PITCH
    ids = np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)
    plane = np.kron(ids, disc.astype(np.uint16))
    return np.broadcast_to(plane, (*shape[:-2], *plane.shape)).copy()


def measure(act: Callable[[], object]) -> float:
    """CPU milliseconds."""
    begin = time.process_time()
    act()
    return 1e3 * (time.process_time() - begin)


def run(shape: tuple[int, ...], count: int) -> dict[str, float]:
    """One row of the table."""
    viewer = ViewerModel()
    layer = viewer.add_labels(draw(shape))
    surfaces = LabelSurfaces(viewer, LabelWriter(viewer), LargeLabels())
    history = History()
    edits = Edits(history, ObjectBook())
    edits.surfaces = surfaces
    editing, token = Editing(edits), surfaces.token(layer)
    index = (*(0 for _ in shape[:-2]), None, None)
    row = {"look": measure(lambda: editing.delete(token, index, [1]))}
    labels = range(2, 2 + count)
    row["delete"] = statistics.median(
        measure(lambda label=label: editing.delete(token, index, [label])) for label in labels
    )
    row["undo"] = statistics.median(measure(lambda: history.undo().apply()) for _ in labels)
    row["smooth"] = statistics.median(
        measure(lambda label=label: editing.smooth(token, index, label)) for label in labels
    )
    row["merge"] = measure(lambda: editing.merge(token, index, list(labels)))
    row["everywhere"] = measure(lambda: editing.delete(token, index, [2], everywhere=True))
    for name in ("search", "again"):
        layer.refresh()  # as after Ctrl+Z: any plane may have changed
        row[name] = measure(lambda: surfaces.surface(token).planes_of(count + 2, index))
    row["bytes"] = history.nbytes / history.depth
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=10, help="objects edited in each layer")
    count = parser.parse_args().objects
    rows = {shape: run(shape, count) for shape in SHAPES}
    names = list(next(iter(rows.values())))
    print(f"{'layer':>18} " + " ".join(f"{name:>10}" for name in names))
    for shape, row in rows.items():
        size = " x ".join(map(str, shape))
        print(f"{size:>18} " + " ".join(f"{row[name]:>10.1f}" for name in names))


if __name__ == "__main__":
    main()
