"""How long the dock widget takes to open in an empty viewer: import, construction, first show.

Each repetition is a process of its own, in which napari's window is up before the clock starts, as it is
when a user chooses the widget from the menu. CPU is the main thread's alone: on a busy machine it is what the
clock would say on a quiet one. ``python benchmarks/widget_open.py --repeat 5``; without a screen prefix it
with ``bash scripts/headless.sh``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

STEPS = ("import", "construct", "first show", "together", "ready")
TEXTS = {
    "import": "import napari_sam.widgets.dock",
    "construct": "SamWidget(viewer)",
    "first show": "docked, drawn, and the window answers again",
    "together": "what the user waits for",
    "ready": "until the bundled model is loaded, in the background",
}


def now() -> tuple[float, float]:
    """Seconds of the clock, and of this thread's CPU."""
    return time.perf_counter(), time.thread_time()


def measure(image: bool) -> dict[str, list[float]]:
    """(seconds, CPU seconds of the main thread) for each step, in this process."""
    import napari
    import numpy as np
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    if image:
        viewer.add_image(np.zeros((512, 512), np.uint8))
    QApplication.processEvents()
    times = [now()]
    from napari_sam.widgets.dock import SamWidget

    times.append(now())
    widget = SamWidget(viewer)
    times.append(now())
    viewer.window.add_dock_widget(widget, name="SAM")
    QApplication.processEvents()
    times.append(now())
    widget.wait(120)
    times.append(now())
    widget.shutdown()
    viewer.close()
    spans = ((0, 1), (1, 2), (2, 3), (0, 3), (0, 4))
    return {
        step: [times[end][clock] - times[start][clock] for clock in (0, 1)]
        for step, (start, end) in zip(STEPS, spans, strict=True)
    }


def main() -> None:
    """Measure in processes of their own, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--image", action="store_true", help="with an image in the viewer")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.image)))
        return
    runs = []
    for _ in range(options.repeat):
        command = [sys.executable, __file__, "--one", *(["--image"] if options.image else [])]
        with tempfile.TemporaryDirectory() as folder:
            own = dict.fromkeys(
                ("NAPARI_SAM_CONFIG_DIR", "NAPARI_SAM_STATE_DIR", "NAPARI_SAM_CACHE_DIR"), folder
            )
            run = subprocess.run(
                command, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True, check=True
            )
        runs.append(json.loads(run.stdout.splitlines()[-1]))
    print(f"| step | median, s | {options.repeat} runs | CPU, s | what |\n|---|---|---|---|---|")
    for step in STEPS:
        clock, cpu = (sorted(run[step][which] for run in runs) for which in (0, 1))
        times = f"{statistics.median(clock):.2f} | {clock[0]:.2f} to {clock[-1]:.2f}"
        print(f"| {step} | {times} | {statistics.median(cpu):.2f} | {TEXTS[step]} |")


if __name__ == "__main__":
    main()
