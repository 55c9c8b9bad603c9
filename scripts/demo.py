"""The plugin at work.

With a display: a window with a sample image and the SAM widget, one nucleus clicked already.
With ``--screenshot PATH``, or without a display: a scripted session that clicks, draws a box, accepts,
segments everything, says how long each step took, saves a picture of the window, and exits.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = "Click a nucleus.  N accepts it,  U undoes,\nT toggles object / not object,  Shift-C clears."


def find_nuclei(image: Any, count: int) -> list[tuple[tuple[float, float], tuple[int, int, int, int]]]:
    """Centre (row, col) and box of some nuclei that stand alone, where somebody would click."""
    from skimage.filters import gaussian, threshold_otsu
    from skimage.measure import label, regionprops
    from skimage.segmentation import clear_border

    smooth = gaussian(image.astype(float), 2)
    regions = regionprops(clear_border(label(smooth > threshold_otsu(smooth))))
    alone = [region for region in regions if region.solidity > 0.94 and region.area > 200]
    return [(region.centroid, region.bbox) for region in alone[:count]]


def open_window(theme: str, model: str) -> tuple[Any, Any, Any]:
    """A viewer with a sample image and the docked widget."""
    import napari

    from napari_sam.sample_data import load_nuclei_2d
    from napari_sam.widgets.dock import SamWidget

    viewer = napari.Viewer(title="napari-sam", show=True)
    viewer.theme = theme
    viewer.window.resize(1500, 950)
    data, options, _ = load_nuclei_2d()[0]
    image = viewer.add_image(data, **options)
    widget = SamWidget(viewer)
    widget.model_name = model
    viewer.window.add_dock_widget(widget, name="SAM", area="right")
    widget.wait(0)  # the canvas takes its final size before the view is fitted to it
    viewer.reset_view()
    overlay = viewer.canvas.overlays.text if hasattr(viewer, "canvas") else viewer.text_overlay  # before 0.9
    overlay.text = HELP
    overlay.visible = True
    return viewer, image, widget


def click(viewer: Any, widget: Any, position: tuple[float, float]) -> int:
    """Click, wait for the mask, and return its pixels."""
    viewer.layers["SAM points"].add(position)
    widget.wait(120)
    return int(np.count_nonzero(viewer.layers["SAM preview"].data))


def run_script(viewer: Any, image: Any, widget: Any, path: str) -> int:
    """The scripted session; the exit code is 1 when the model gave no mask."""
    nuclei = find_nuclei(image.data, 6)

    def step(text: str, action: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = action()
        widget.wait(300)
        seconds = time.perf_counter() - begin
        print(f"{seconds:8.3f} s  {text}" + ("" if result is None else f": {result}"), flush=True)
        return result

    step("load the model and encode the image", lambda: None)
    print(f"            status: {widget.status}")
    if not widget.status.startswith("Ready"):
        viewer.close()
        return 1
    found = []
    for position, _ in nuclei[:4]:
        place = f"row {position[0]:.0f}, column {position[1]:.0f}"
        found.append(step(f"click at {place}, pixels", partial(click, viewer, widget, position)))
        step("accept", widget.accept)
    r0, c0, r1, c1 = nuclei[4][1]
    corners = np.array([(r0, c0), (r0, c1), (r1, c1), (r1, c0)])
    step("draw a box", lambda: viewer.layers["SAM shapes"].add_rectangles([corners]) and None)
    step("accept", widget.accept)
    step("segment everything", widget.segment_everything)
    print(f"            status: {widget.status}")
    step("click once more and leave the preview", lambda: click(viewer, widget, nuclei[5][0]))
    target = widget.target_layer
    count = 0 if target is None else len(np.unique(target.data)) - 1
    print(f"{count} objects accepted; layers: {[layer.name for layer in viewer.layers]}")
    automatic = f"{viewer.layers[0].name} objects"
    if automatic in viewer.layers:
        viewer.layers[automatic].contour = 1  # outlines, so that the nuclei and the objects stay visible
    viewer.reset_view()
    for _ in range(20):
        widget.wait(0)
        time.sleep(0.02)
    viewer.screenshot(path, canvas_only=False, flash=False)
    print(f"saved {path}")
    viewer.close()
    return 0 if count and all(found) else 1


def main() -> int:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--screenshot", "--save", metavar="PATH", help="run the scripted session and save a picture"
    )
    parser.add_argument("--theme", default="dark", choices=("dark", "light"))
    parser.add_argument("--model", default="nuclei", help="a model's name, or the path of a checkpoint")
    options = parser.parse_args()
    has_display = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    path = options.screenshot or (None if has_display else "demo.png")
    if not has_display:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    begin = time.perf_counter()
    viewer, image, widget = open_window(options.theme, options.model)
    print(
        f"{time.perf_counter() - begin:8.3f} s  open napari with a sample image and the SAM widget",
        flush=True,
    )
    if path:
        return run_script(viewer, image, widget, path)
    import napari

    viewer.layers["SAM points"].add(find_nuclei(image.data, 1)[0][0])
    print(HELP)
    napari.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
