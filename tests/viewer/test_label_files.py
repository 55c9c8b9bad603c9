"""Through napari's own saving: the manifest, the writers and what they get of a layer."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManager

from napari_sam.errors import ImageError
from napari_sam.viewer.label_files import describe_objects, iter_write_labels, read_axes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def labels() -> Any:
    data = np.zeros((2, 20, 30), np.int32)
    data[0, 2:6, 3:9] = 1
    data[1, 10:15, 10:20] = 4
    features = {"index": [1, 4], "predicted_iou": [0.5, np.nan], "checked": ["yes", None]}
    return ViewerModel().add_labels(data, name="mine", scale=(2, 0.5, 0.5), features=features)


@pytest.mark.parametrize(
    ("ending", "title"),
    [
        (".zip", "ImageJ ROIs"),
        (".geojson", "GeoJSON polygons for QuPath"),
        (".json", "COCO JSON with RLE"),
        (".csv", "Measurements"),
    ],
)
def test_napari_saves_labels_layers(
    ending: str, title: str, plugin: str, labels: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    assert labels.save(str(path), plugin=plugin) == [str(path)]
    assert path.stat().st_size
    writers = PluginManager.instance().iter_compatible_writers(["labels"])
    assert title in {writer.display_name for writer in writers if ending in writer.filename_extensions}
    labels.data[...] = 0  # napari's dialog has asked whether to replace it
    assert labels.save(str(path), plugin=plugin) == [str(path)]


def test_scale_and_table_go_along(plugin: str, labels: Any, tmp_path: Path) -> None:
    labels.save(str(tmp_path / "a.csv"), plugin=plugin)
    with (tmp_path / "a.csv").open(newline="") as file:
        one, four = csv.DictReader(file)
    assert (one["z"], one["label"], one["area"], one["area_world2"]) == ("0", "1", "24", "6")
    assert (four["z"], four["label"], four["area"], four["area_world2"]) == ("1", "4", "50", "12.5")
    assert [(row["predicted_iou"], row["checked"]) for row in (one, four)] == [("0.5", "yes"), ("", "")]
    labels.save(str(tmp_path / "a.geojson"), plugin=plugin)
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert features[0]["properties"]["measurements"] == {"Area px^2": 24, "predicted_iou": 0.5}
    assert features[1]["geometry"]["plane"] == {"c": -1, "z": 1, "t": 0}


def test_records_go_along() -> None:
    class Record:
        source, model, predicted_iou, stability = "prompts", "nuclei", 0.875, 0.75

    held = SimpleNamespace(page={4: (Record(), Record()), 5: ()})
    found = describe_objects({"metadata": {"napari_sam_records": held}})
    assert found == {
        4: {"source": "prompts", "model": "nuclei", "predicted_iou": 0.875, "stability": 0.75},
        5: {},
    }


@pytest.mark.parametrize(
    ("ndim", "attributes", "expected"),
    [
        pytest.param(2, {"scale": [1, 1]}, ("YX", {}, "pixel"), id="nothing known"),
        pytest.param(2, {"scale": [0.5, 0.25]}, ("YX", {"Y": 0.5, "X": 0.25}, "pixel"), id="no unit"),
        pytest.param(
            3,
            {"scale": [60, 1, 1], "units": ["second", "um", "micron"], "axis_labels": ["t", "y", "x"]},
            ("TYX", {"T": 60, "Y": 1, "X": 1}, "micrometer"),
            id="a movie",
        ),
        pytest.param(
            4,
            {"scale": [2, 1, 1, 1], "units": ["minute", "um", "um", "um"]},
            ("TZYX", {"T": 120, "Z": 1, "Y": 1, "X": 1}, "micrometer"),
            id="minutes are seconds",
        ),
        pytest.param(
            3, {"axis_labels": ["axis -3", "axis -2", "axis -1"]}, ("ZYX", {}, "pixel"), id="numbers"
        ),
        pytest.param(3, {"axis_labels": ["x", "y", "z"]}, ("ZYX", {}, "pixel"), id="seen from the side"),
    ],
)
def test_axes_of_layers(ndim: int, attributes: dict[str, Any], expected: Any) -> None:
    assert read_axes(ndim, attributes) == expected


def test_a_layer_with_too_many_axes(plugin: str, tmp_path: Path) -> None:
    layer = ViewerModel().add_labels(np.zeros((2, 2, 2, 5, 5), int))
    with pytest.raises(ImageError, match="at most the axes T, Z, Y and X, got 5"):
        layer.save(str(tmp_path / "a.csv"), plugin=plugin)


def test_multiscale_labels_are_written_at_full_size(plugin: str, tmp_path: Path) -> None:
    fine = np.ones((40, 40), np.uint8)
    layer = ViewerModel().add_labels([fine, fine[::2, ::2]], multiscale=True)
    layer.save(str(tmp_path / "a.csv"), plugin=plugin)
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("1,1600,")


def test_a_folder_that_cannot_be_written(labels: Any, tmp_path: Path) -> None:
    from napari_sam.viewer.export import stack_of

    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="Choose another folder"):
        list(iter_write_labels("csv", tmp_path / "file" / "a.csv", stack_of(labels), {}))
