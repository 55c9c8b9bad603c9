"""The model in the box, in a real window, on an image whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.evaluation.matching import evaluate_labels
from napari_sam.inference.label_image import read_objects
from napari_sam.sample_data import make_nuclei
from napari_sam.types import ObjectMask
from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120


@pytest.mark.slow
def test_click_accept_and_segment_everything(make_napari_viewer: Callable[..., Any]) -> None:
    image, truth = make_nuclei((256, 256), spacing=(0.25, 0.25), count=20, seed=4)
    viewer = make_napari_viewer()
    viewer.add_image(image, name="nuclei", scale=(0.25, 0.25))
    widget = SamWidget(viewer)
    viewer.window.add_dock_widget(widget, name="SAM")
    assert widget.wait(PATIENCE)
    assert widget.model_name == "nuclei"
    nuclei = sorted(read_objects(truth).values(), key=lambda o: -o.area)[:4]
    found = []
    for nucleus in nuclei:
        viewer.layers["SAM points"].add(nucleus.centroid)
        assert widget.wait(PATIENCE)
        found.append(ObjectMask.from_plane(np.asarray(viewer.layers["SAM preview"].data)))
        widget.accept()
        assert widget.wait(PATIENCE)
    overlap = [nucleus.iou(mask) for nucleus, mask in zip(nuclei, found, strict=True)]
    assert np.median(overlap) > 0.75, overlap
    labels = widget.target_layer
    assert np.unique(labels.data).tolist() == [0, 1, 2, 3, 4]
    before = labels.data.copy()
    widget.segment_everything()
    assert widget.wait(PATIENCE)
    automatic = viewer.layers["nuclei objects"].data
    assert evaluate_labels(truth, automatic).ap[0.5] > 0.7
    np.testing.assert_array_equal(labels.data, before)
    labels.undo()
    assert np.unique(labels.data).tolist() == [0, 1, 2, 3]
