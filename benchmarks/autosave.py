"""What saving as one goes costs: the longest pause of the main thread, and how soon it is on disk.

    python benchmarks/autosave.py --objects 5000 --side 4096

A timer of 1 ms ticks while objects are accepted into a layer with many objects already; how late it is,
beyond what it is without autosave, is what a user would feel. Needs a display; see ``scripts/headless.sh``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--changes", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("CONFIG", "CACHE", "STATE"):
            os.environ[f"NAPARI_SAM_{name}_DIR"] = str(Path(scratch) / name.lower())
        _run(options)


def _run(options: argparse.Namespace) -> None:
    import numpy as np
    from napari.components import ViewerModel
    from napari.qt import get_qapp
    from qtpy.QtCore import Qt, QTimer

    from napari_sam.session.provenance import ObjectRecord
    from napari_sam.types import Prompts
    from napari_sam.widgets.dock import SamWidget

    app = get_qapp()
    viewer = ViewerModel()
    side, grid = options.side, int(np.ceil(np.sqrt(options.objects)))
    viewer.add_image(np.zeros((side, side), np.uint8), name="image")
    labels = np.zeros((side, side), np.int32)
    step = side // grid
    for label in range(1, options.objects + 1):
        row, col = divmod(label - 1, grid)
        labels[row * step : row * step + step // 2, col * step : col * step + step // 2] = label
    widget = SamWidget(viewer)
    layer = viewer.add_labels(labels, name="objects")
    widget.target_layer = layer
    widget.wait(60)
    session, recovery = widget._session, widget._recovery
    token = widget._controller.target.token(layer)
    prompts = Prompts([(1, 2), (3, 4)], [1, 0])
    records = {k: [ObjectRecord(k, (None, None), prompts=prompts)] for k in range(1, options.objects + 1)}

    late: list[float] = []
    last = [time.perf_counter()]
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)

    def tick() -> None:
        now = time.perf_counter()
        late.append(now - last[0] - 0.001)
        last[0] = now

    timer.timeout.connect(tick)
    timer.start(1)

    def measure(what: str, change: object, seconds: float) -> None:
        app.processEvents()
        late.clear()
        last[0] = begun = time.perf_counter()
        if change is not None:
            change()
        taken = time.perf_counter() - begun
        last[0] = time.perf_counter()  # the change itself is not what is measured
        if change is not None:
            begun = time.perf_counter()
            recovery.autosave.save()
            called = time.perf_counter() - begun
        else:
            called = 0.0
        while recovery.autosave.is_dirty or time.perf_counter() - begun < seconds:
            app.processEvents()
        took = time.perf_counter() - begun if change is not None else 0.0
        pauses = np.array(late) * 1000
        print(
            f"{what:<28} {1000 * taken:>9.1f} {1000 * called:>9.2f} {pauses.max():>9.1f} "
            f"{np.percentile(pauses, 99):>9.1f} {took:>9.2f}"
        )

    print(f"{'':<28} {'change ms':>9} {'call ms':>9} {'worst ms':>9} {'p99 ms':>9} {'saved s':>9}")
    measure("idle", None, 1.0)
    measure("first save, all objects", lambda: session.book.change_many(token, records), 0.3)

    def one() -> None:
        layer.data[5:9, 5:9] = 7
        session.book.change(token, 7, [ObjectRecord(7, (None, None), prompts=prompts)])

    for _ in range(options.changes):
        measure("one object more", one, 0.3)
    widget.shutdown()
    widget._runner.join(20)


if __name__ == "__main__":
    main()
