"""The dock widget "SAM batch" with the bundled model on small images, working in a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_sam.sample_data import make_nuclei
from napari_sam.stacks.work_units import BatchJob
from napari_sam.widgets.batch_form import FORMATS, BatchForm
from napari_sam.widgets.batch_panel import BatchWidget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        tifffile.imwrite(folder / f"{seed}.tif", make_nuclei((64, 80), count=6, seed=seed)[0])
    (folder / "bad.tif").write_bytes(b"")
    return folder


@pytest.fixture
def widget(qtbot: Any) -> Iterator[BatchWidget]:
    made = BatchWidget(ViewerModel())
    qtbot.addWidget(made)
    yield made
    made.shutdown()
    assert made._runner.join(30), "the worker thread did not end"


def _run(widget: BatchWidget, images: Path) -> None:
    widget.inputs = images
    widget.output = images.parent / "out"
    widget.form.workers.setValue(1)
    assert widget.wait(30)
    widget.start()
    assert widget.is_running
    assert widget.wait(120)
    assert not widget.is_running


def _shown(widget: BatchWidget) -> dict[str, str]:
    return {row.unit.name: row.status for row in widget.table.rows}


@pytest.mark.slow
def test_a_batch_from_start_to_result(widget: BatchWidget, images: Path) -> None:
    _run(widget, images)
    assert _shown(widget) == {"0.tif": "done", "1.tif": "done", "2.tif": "done", "bad.tif": "failed"}
    assert widget.status.startswith("3 of 4 done, 1 failed")
    lines = (images.parent / "out" / "manifest.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["kind"] == "unit" for line in lines) == 4
    widget.open_result(1)
    assert widget.wait(30)
    image, labels = widget._viewer.layers
    np.testing.assert_array_equal(image.data, tifffile.imread(images / "1.tif"))
    np.testing.assert_array_equal(labels.data, tifffile.imread(images.parent / "out" / "1_labels.tif"))
    widget.open_result(3)
    assert widget.status == "It is not done yet."
    widget.table.selectRow(3)
    assert "empty file" in widget.status


@pytest.mark.slow
def test_a_folder_brings_its_settings_and_goes_on(widget: BatchWidget, images: Path, qtbot: Any) -> None:
    widget.form.min_area.setValue(15)
    widget.form.formats["csv"].setChecked(True)
    _run(widget, images)
    (images.parent / "out" / "0_labels.tif").unlink()
    other = BatchWidget(ViewerModel())
    qtbot.addWidget(other)
    try:
        other.output = images.parent / "out"
        assert other.wait(30)
        assert other.inputs == [str(images)]
        assert other.form.read_job() == widget.form.read_job()
        assert _shown(other)["bad.tif"] == "failed"
        assert "3 of 4 done, 1 failed" in other.status
        assert other.status.endswith(f"{other.start_button.text()} goes on.")
        other.form.workers.setValue(1)
        other.start()
        assert other.wait(120)
        assert set(_shown(other).values()) == {"done", "failed"}
        assert (images.parent / "out" / "0_labels.tif").exists()
    finally:
        other.shutdown()
        assert other._runner.join(30)


@pytest.mark.slow
def test_stopped_twice_it_drops_what_is_in_work(widget: BatchWidget, images: Path) -> None:
    widget.inputs = images
    widget.output = images.parent / "out"
    assert widget.wait(30)
    widget.start()
    widget.cancel()
    assert widget.cancel_button.text() == "Drop"
    widget.cancel()
    assert widget.wait(60)
    assert not widget.is_running
    assert widget.cancel_button.text() == "Stop"
    assert widget.status.endswith(f"{widget.start_button.text()} goes on.")
    assert not (images.parent / "out" / ".unfinished").exists()
    widget.start()
    assert widget.wait(120)
    assert widget.status.startswith("3 of 4 done")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({}, "Choose images first.", id="no-images"),
        pytest.param({"inputs": "x"}, "Choose a folder for the results.", id="no-folder"),
        pytest.param({"inputs": "{missing}/*.tif", "output": "{out}"}, "failed", id="nothing-there"),
        pytest.param(
            {"inputs": "{images}", "output": "{images}/0.tif"}, "Cannot write to", id="no-such-folder"
        ),
        pytest.param({"inputs": "{images}", "output": "{out}", "model": "nuclear"}, "nuclear", id="model"),
        pytest.param({"inputs": "{images}", "output": "{out}", "channels": "0;1"}, "0;1", id="channels"),
        pytest.param(
            {"inputs": "{images}", "output": "{out}", "tiff": False}, "at least one format", id="format"
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    settings: dict[str, Any], said: str, widget: BatchWidget, images: Path
) -> None:
    places = {"images": images, "out": images.parent / "out", "missing": images.parent / "missing"}
    widget.form.workers.setValue(1)
    if "inputs" in settings:
        widget.inputs = settings["inputs"].format(**places)
    if "output" in settings:
        widget.form.output.setText(settings["output"].format(**places))
    widget.form.model.setCurrentText(settings.get("model", "nuclei"))
    widget.form.channels.setText(settings.get("channels", ""))
    widget.form.formats["tiff"].setChecked(settings.get("tiff", True))
    widget.start()
    assert widget.wait(60)
    assert said in widget.status
    assert not widget.is_running
    assert widget.start_button.isEnabled()


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(BatchJob(), id="defaults"),
        pytest.param(
            BatchJob(
                method="grid",
                options={"min_area": 9.0, "max_area": 400.0, "keep_border": False},
                channels=(2, 0),
                object_size=30.0,
                link="t",
                formats=("ome-zarr", "csv"),
            ),
            id="everything",
        ),
    ],
)
def test_settings_are_shown_and_read(job: BatchJob, qtbot: Any) -> None:
    form = BatchForm()
    qtbot.addWidget(form)
    form.show_job(job)
    assert form.read_job() == job


def test_formats_are_those_that_can_be_written() -> None:
    from napari_sam.stacks import outputs

    assert list(FORMATS) == list(outputs.FORMATS)


def test_it_fits_into_a_narrow_dock(widget: BatchWidget) -> None:
    widget.form.more.open()
    widget.show()
    assert widget.minimumSizeHint().width() <= 320
    buttons = (widget.start_button, widget.cancel_button, widget.open_button, widget.form.pick_files)
    assert all(button.toolTip() for button in buttons)


@pytest.mark.slow
def test_closing_the_window_ends_the_batch(make_napari_viewer: Any, images: Path) -> None:
    viewer = make_napari_viewer()
    made = BatchWidget(viewer)
    dock = viewer.window.add_dock_widget(made, name="SAM batch")
    made.inputs = images
    made.output = images.parent / "out"
    made.start()
    viewer.window.remove_dock_widget(dock)
    assert made._runner.join(60)
    assert not (images.parent / "out" / ".unfinished").exists()
