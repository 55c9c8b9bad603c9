from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tifffile
import zarr

from napari_sam.errors import CheckpointError, ManifestError
from napari_sam.stacks.image_io import open_image
from napari_sam.stacks.manifest import MANIFEST_NAME
from napari_sam.stacks.outputs import add_labels, make_content
from napari_sam.stacks.replay import ReplayStep, replay_batch

if TYPE_CHECKING:
    from napari_sam.stacks.replay import ReplayReport


def _replay(batch: Any) -> tuple[ReplayReport, dict[str, ReplayStep]]:
    steps = replay_batch(batch.out / MANIFEST_NAME, workers=0)
    found = {}
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            return stop.value, found
        if step.partial is not None:
            found[step.partial.unit.name] = step.partial


def _edit(batch: Any, name: str, change: Any) -> None:
    """Change the line of an image in the manifest."""
    path = batch.out / MANIFEST_NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "unit" and line["source"].endswith(name):
            change(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_labels_come_out_the_same_and_nothing_is_written(batch: Any) -> None:
    batch.run()
    before = batch.files()
    report, _ = _replay(batch)
    assert (report.same, report.different, report.failed, report.engines) == (3, 0, 0, [])
    assert batch.files() == before


def test_what_is_not_the_same_is_told(batch: Any) -> None:
    batch.run()
    _edit(batch, "a.tif", lambda line: line.update(labels="0" * 32, objects=99))
    batch.add("b.tif", seed=55)
    _edit(batch, "c.tif", lambda line: line["engine"].update(torch="0.1"))
    report, steps = _replay(batch)
    assert (report.same, report.different, report.failed) == (1, 1, 1)
    assert {name: step.status for name, step in steps.items()} == {
        "a.tif": "different",
        "b.tif": "failed",
        "c.tif": "same",
    }
    assert "99 objects then" in steps["a.tif"].message
    assert "was changed" in steps["b.tif"].message
    assert [line.split(",")[0] for line in report.engines] == ["torch: 0.1 then"]


@pytest.mark.parametrize("is_consolidated", [False, True], ids=["plain", "consolidated"])
def test_labels_in_an_image_do_not_change_it(is_consolidated: bool, batch: Any) -> None:
    image = batch.images.parent / "i.zarr"
    root = zarr.open_group(image, mode="w")
    root.create_array("0", data=tifffile.imread(batch.images / "a.tif"))
    axes = [{"name": name, "type": "space"} for name in "yx"]
    transforms = [{"type": "scale", "scale": [1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": transforms}]
    root.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    if is_consolidated:
        with pytest.warns(UserWarning, match="Consolidated metadata"):
            zarr.consolidate_metadata(image)
    assert batch.run([image]).done == 1
    add_labels(image, make_content(open_image(batch.out / "i_labels.tif")))
    assert batch.run([image]).before == 1
    report, _ = _replay(batch)
    assert (report.same, report.failed) == (1, 0)


def test_an_image_that_is_gone_is_told(batch: Any) -> None:
    batch.run()
    (batch.images / "a.tif").unlink()
    report, steps = _replay(batch)
    assert (report.same, report.failed) == (2, 1)
    assert "No such file" in steps["a.tif"].message


def test_another_model_is_refused(batch: Any) -> None:
    batch.run()
    path = batch.out / MANIFEST_NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "job":
            line["model_digest"] = "0" * 64
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CheckpointError, match="not the one of the batch"):
        _replay(batch)


@pytest.mark.parametrize("is_there", [True, False], ids=["nothing-done", "no-file"])
def test_a_manifest_that_says_nothing(is_there: bool, batch: Any) -> None:
    batch.out.mkdir()
    if is_there:
        (batch.out / MANIFEST_NAME).write_text('{"kind": "manifest", "version": 1}\n')
    with pytest.raises(ManifestError, match="Expected"):
        _replay(batch)
