"""A process with a real window that accepts objects, waits until they are kept, and never ends by itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import napari
import numpy as np
import tifffile
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.dock import SamWidget

spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "session" / "fakes.py")
fakes = importlib.util.module_from_spec(spec)
sys.modules["fakes"] = fakes
spec.loader.exec_module(fakes)

image, results = Path(sys.argv[1]), Path(sys.argv[2])
viewer = napari.Viewer(show=False)
viewer.add_image(tifffile.imread(image), name="cells", scale=(0.5, 0.25))
widget = SamWidget(viewer, engine=fakes.FakeEngine())
viewer.window.add_dock_widget(widget, name="SAM")
kept = []
widget._recovery.autosave.saved.connect(lambda when: kept.append(when))
points = viewer.layers["SAM points"]
for position in ((20, 20), (40, 41)):
    points.add(position)
    points.add((position[0] + 3, position[1]))
    widget.accept()
    assert widget.wait(60)
objects = viewer.layers["SAM objects"]
objects.selected_label = 9
objects.paint((5, 5), 9)  # the user's brush counts too
points.add((50, 10))
assert widget.wait(60)
while not (kept and not widget._recovery.autosave.is_dirty):
    QApplication.processEvents()
np.save(results, objects.data)
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    QApplication.processEvents()
