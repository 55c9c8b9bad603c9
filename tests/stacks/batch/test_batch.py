from __future__ import annotations

import os
import shutil
from dataclasses import replace
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from filelock import FileLock
from skimage.io import imsave

from napari_sam.errors import BatchError, CheckpointError
from napari_sam.stacks.batch import LOCK_NAME, run_batch
from napari_sam.stacks.batch_control import BatchControl
from napari_sam.stacks.batch_results import read_earlier
from napari_sam.stacks.image_io import open_image
from napari_sam.stacks.manifest import MANIFEST_NAME, read_manifest
from napari_sam.stacks.output_folder import UNFINISHED, OutputFolder
from napari_sam.stacks.work_units import UnitStep

if TYPE_CHECKING:
    from pathlib import Path


def test_labels_are_those_of_segment_image(batch: Any, expected: Any) -> None:
    report = batch.run()
    assert (report.done, report.failed, report.left, report.stopped) == (3, 0, 0, "")
    for name in "abc":
        labels = expected(batch.images / f"{name}.tif")
        assert labels.max() > 2
        np.testing.assert_array_equal(batch.labels(name), labels)
    assert report.objects == sum(int(batch.labels(name).max()) for name in "abc")
    assert not (batch.out / UNFINISHED).exists()


def test_nothing_is_done_twice(batch: Any) -> None:
    batch.run()
    before = (batch.out / MANIFEST_NAME).read_bytes()
    report = batch.run()
    assert (report.done, report.before, batch.begun) == (0, 3, [])
    assert (batch.out / MANIFEST_NAME).read_bytes() == before
    batch.add("d.tif", 4)
    assert (batch.run().done, batch.begun) == (1, ["d.tif"])


def test_the_manifest_says_what_was_done(batch: Any) -> None:
    batch.run()
    found = read_manifest(batch.out / MANIFEST_NAME)
    [job] = found.jobs.values()
    assert (job.job, len(job.model_digest)) == (batch.job, 64)
    entry = found.units[str(batch.images / "a.tif")]
    assert entry.result is not None
    assert entry.result.input.still_holds(batch.images / "a.tif")
    [(path, state)] = entry.result.outputs
    assert state.still_holds(batch.out / path)
    assert set(entry.result.seconds) == {"read", "segment", "write"}
    assert {"device", "encoder", "threads", "torch", "napari_sam"} <= set(entry.result.engine)


BAD = {
    "zero.tif": (b"", "empty file"),
    "cut.tif": (None, "cut.tif"),
    "text.tif": (b"these are no pixels at all", "begins with"),
    "page.png": (b"<!DOCTYPE html><html></html>", "web page"),
    "noise.png": (b"\x89PNG\r\n\x1a\n" + bytes(64), "noise.png"),
}


def test_bad_files_are_reported_and_the_others_done(batch: Any) -> None:
    for name, (content, _) in BAD.items():
        whole = (batch.images / "a.tif").read_bytes()
        (batch.images / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    missing = batch.images / "missing.tif"
    report = batch.run([batch.images, missing])
    assert (report.done, report.failed, report.left) == (3, len(BAD) + 1, 0)
    messages = batch.messages()
    assert set(messages) == {*BAD, "missing.tif"}
    for name, (_, said) in BAD.items():
        assert said in messages[name]
        assert "\n" not in messages[name]
    assert sorted(p.name for p in batch.out.glob("*.tif")) == ["a_labels.tif", "b_labels.tif", "c_labels.tif"]


def test_what_failed_is_tried_again_when_asked(batch: Any) -> None:
    good = (batch.images / "b.tif").read_bytes()
    (batch.images / "b.tif").write_bytes(b"")
    assert (batch.run().failed, batch.begun) == (1, ["a.tif", "b.tif", "c.tif"])
    (batch.images / "b.tif").write_bytes(good)
    report = batch.run()
    assert (report.done, report.failed, report.failed_before, batch.begun) == (0, 0, 1, [])
    assert (batch.run(retry_failed=True).done, batch.begun) == (1, ["b.tif"])
    entry = read_manifest(batch.out / MANIFEST_NAME).units[str(batch.images / "b.tif")]
    assert (entry.status, entry.attempt) == ("done", 2)


def test_dtypes_axes_and_formats_of_all_kinds(batch: Any) -> None:
    plane = tifffile.imread(batch.images / "a.tif")
    kinds = {
        "float.tif": (plane.astype(np.float32) / 7, "YX"),
        "byte.tif": ((plane // 256).astype(np.uint8), "YX"),
        "time.tif": (np.stack([plane, plane]), "TYX"),
        "channels.tif": (np.stack([plane, plane // 2]), "CYX"),
        "zt.tif": (np.stack([plane] * 6).reshape(3, 2, *plane.shape), "TZYX"),
    }
    for name, (data, axes) in kinds.items():
        tifffile.imwrite(batch.images / name, data, photometric="minisblack", metadata={"axes": axes})
    imsave(
        batch.images / "colour.png", np.stack([(plane // 256).astype(np.uint8)] * 3, -1), check_contrast=False
    )
    assert batch.run().failed == 0
    shapes = {
        name: batch.labels(name).shape for name in ("float", "byte", "time", "channels", "zt", "colour")
    }
    assert shapes == {
        "float": (80, 96),
        "byte": (80, 96),
        "time": (2, 80, 96),
        "channels": (80, 96),
        "zt": (3, 2, 80, 96),
        "colour": (80, 96),
    }
    np.testing.assert_array_equal(batch.labels("time")[1], batch.labels("a"))


def test_equal_names_get_outputs_of_their_own(batch: Any, expected: Any) -> None:
    paths = [batch.add("day1/x.tif", 1), batch.add("day2/x.tif", 2)]
    batch.run(paths)
    for path in paths:
        np.testing.assert_array_equal(batch.labels(f"{path.parent.name}_x"), expected(path))


@pytest.mark.parametrize("axis", ["z", "t"])
def test_linked_objects_keep_their_ids(axis: str, batch: Any) -> None:
    plane = tifffile.imread(batch.images / "a.tif")
    path = batch.images / "stack.tif"
    tifffile.imwrite(
        path, np.stack([plane] * 3), photometric="minisblack", metadata={"axes": f"{axis.upper()}YX"}
    )
    batch.job = replace(batch.job, link=axis)
    report = batch.run([path])
    labels = batch.labels("stack")
    assert labels.shape == (3, 80, 96)
    assert labels.max() > 2
    np.testing.assert_array_equal(labels[0], labels[2])
    assert report.objects == labels.max()


def test_planes_without_a_meaning_get_that_of_the_axis_that_is_linked_along(batch: Any) -> None:
    plane = tifffile.imread(batch.images / "a.tif")
    path = batch.images / "pages.tif"
    tifffile.imwrite(path, np.stack([plane] * 3), photometric="minisblack", metadata=None)
    batch.job = replace(batch.job, link="t", formats=("tiff", "csv"))
    assert batch.run([path]).failed == 0
    assert open_image(batch.out / "pages_labels.tif").axes == "TYX"
    assert (batch.out / "pages_objects.csv").read_text().startswith("t,label,")


def test_every_image_of_a_plate_is_a_unit(batch: Any, expected: Any) -> None:
    plate = batch.images.parent / "plate.zarr"
    root = zarr.open_group(plate, mode="w", zarr_format=2)
    root.attrs["plate"] = {
        "rows": [{"name": "A"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [{"path": f"A/{c}", "rowIndex": 0, "columnIndex": c - 1} for c in (1, 2)],
    }
    for column, name in (("1", "a"), ("2", "b")):
        well = root.create_group(f"A/{column}")
        well.attrs["well"] = {"images": [{"path": "0"}]}
        field = well.create_group("0")
        field.attrs["multiscales"] = [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]
        field.create_array("0", data=tifffile.imread(batch.images / f"{name}.tif"))
    assert batch.run([plate]).done == 2
    assert batch.begun == ["plate.zarr/A/1/0", "plate.zarr/A/2/0"]
    for column, name in (("1", "a"), ("2", "b")):
        np.testing.assert_array_equal(
            batch.labels(f"plate_A_{column}_0"), expected(batch.images / f"{name}.tif")
        )
    field["0"][0, 0] += 1
    assert batch.run([plate / "A" / "1"]).before == 1
    assert (batch.run([plate]).done, batch.begun) == (1, ["plate.zarr/A/2/0"])


def test_a_stack_without_the_axis_to_link_along_fails_alone(batch: Any) -> None:
    plane = tifffile.imread(batch.images / "a.tif")
    tifffile.imwrite(batch.images / "time.tif", np.stack([plane] * 2), metadata={"axes": "TYX"})
    batch.job = replace(batch.job, link="z")
    assert (batch.run().done, list(batch.messages())) == (3, ["time.tif"])
    assert "Expected an axis Z" in batch.messages()["time.tif"]


def test_large_labels_are_kept_on_the_disk(batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_sam.stacks import unit_steps

    batch.run()
    before = batch.files()
    monkeypatch.setattr(unit_steps, "LARGE", 100)
    seen = []
    make = OutputFolder.make_scratch
    monkeypatch.setattr(OutputFolder, "make_scratch", lambda self: seen.append(self.run) or make(self))
    batch.out = batch.out.with_name("other")
    batch.run()
    assert batch.files() == before
    assert len(seen) == 6  # for the labels of each image, and for its outputs


def test_the_settings_that_were_used_last_are_known(batch: Any) -> None:
    first, other = ({"min_area": area} for area in (10.0, 20.0))
    for options in (first, other, first):
        batch.job = replace(batch.job, options=options)
        batch.run(overwrite=True)
    assert read_earlier(batch.out).job == batch.job
    before = (batch.out / MANIFEST_NAME).read_bytes()
    batch.add("d.tif", seed=4)
    batch.run()
    lines = (batch.out / MANIFEST_NAME).read_bytes()[len(before) :]
    assert b'"kind": "job"' not in lines  # nothing new
    for seed, change in enumerate(({"formats": ("csv",)}, {"device": "auto"}), start=5):
        batch.job = replace(batch.job, **change)
        batch.add("d.tif", seed=seed)
        batch.run()
        assert read_earlier(batch.out).job == batch.job


def test_a_model_that_was_moved_is_found_where_it_was_used_last(batch: Any, tmp_path: Path) -> None:
    with as_file(files("napari_sam").joinpath("weights", "nuclei.safetensors")) as weights:
        shutil.copyfile(weights, tmp_path / "mine.safetensors")
    batch.job = replace(batch.job, model=str(tmp_path / "mine.safetensors"))
    batch.run()
    (tmp_path / "mine.safetensors").rename(tmp_path / "moved.safetensors")
    batch.job = replace(batch.job, model=str(tmp_path / "moved.safetensors"))
    batch.add("d.tif", seed=4)
    assert (batch.run().before, batch.begun) == (3, ["d.tif"])
    [job] = read_manifest(batch.out / MANIFEST_NAME).jobs.values()
    assert job.job.model == batch.job.model


def test_two_batches_in_one_folder_exclude_each_other(batch: Any) -> None:
    batch.out.mkdir()
    with FileLock(batch.out / LOCK_NAME), pytest.raises(BatchError, match="Another batch is writing"):
        batch.run()
    assert batch.run().done == 3


def test_closed_in_the_middle_it_leaves_nothing_unfinished(batch: Any) -> None:
    steps = run_batch(batch.job, [batch.images], batch.out, workers=0)
    while not (isinstance(step := next(steps).partial, UnitStep) and step.status == "done"):
        pass
    steps.close()
    assert not (batch.out / UNFINISHED).exists()
    found = read_manifest(batch.out / MANIFEST_NAME)
    done = [entry.result.outputs[0][0] for entry in found.units.values() if entry.result]
    assert 1 <= len(done) <= 3
    assert set(done) <= {path.name for path in batch.out.glob("*.tif")}
    assert batch.run().before == len(done)


def test_asked_to_finish_it_begins_nothing_more(batch: Any) -> None:
    for i in range(5):
        batch.add(f"more{i}.tif", 10 + i)
    control = BatchControl()
    control.finish()
    assert (batch.run(control=control).left, batch.begun) == (8, [])
    control = BatchControl()
    steps = run_batch(batch.job, [batch.images], batch.out, workers=0, control=control)
    begun = set()
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            report = stop.value
            break
        if isinstance(step.partial, UnitStep):
            begun.add(step.partial.unit.source)
            if step.partial.status == "done":
                control.finish()
    assert report.done == len(begun)
    assert (report.left, report.stopped) == (8 - len(begun), "")
    assert report.left > 0
    assert batch.run().done == report.left


def test_a_worker_that_outlives_its_run_puts_nothing_into_place(tmp_path: Path) -> None:
    place = OutputFolder(tmp_path, "first")
    place.open()
    scratch = place.make_scratch()
    (scratch / "x.tif").write_bytes(b"late")
    OutputFolder(tmp_path, "second").open()
    with pytest.raises(FileNotFoundError):
        place.make_scratch()
    with pytest.raises(FileNotFoundError):
        place.move_in(scratch / "x.tif")
    assert not (tmp_path / "x.tif").exists()


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    place = OutputFolder(tmp_path, "run")
    place.open()
    for content in (b"old", b"new"):
        scratch = place.make_scratch()
        (scratch / "x.zarr").mkdir()
        (scratch / "x.zarr" / "0").write_bytes(content)
        state = place.move_in(scratch / "x.zarr")
        assert state.still_holds(tmp_path / "x.zarr")
    assert (tmp_path / "x.zarr" / "0").read_bytes() == b"new"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_model_that_does_not_load_stops_the_batch(workers: int, batch: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\x00\x00")
    batch.job = replace(batch.job, model=str(tmp_path / "bad.safetensors"))
    report = batch.run(workers=workers)
    assert (report.done, report.failed, report.left) == (0, 0, 3)
    assert "bad.safetensors" in report.stopped


def test_a_model_that_is_not_there_is_said_at_once(batch: Any) -> None:
    batch.job = replace(batch.job, model="nuclear")
    with pytest.raises(CheckpointError, match="nuclear"):
        batch.run()


def test_options_that_no_method_has_stop_the_batch(batch: Any) -> None:
    batch.job = replace(batch.job, options={"min_size": 3})
    assert "min_size" in batch.run().stopped


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(batch: Any) -> None:
    batch.out.mkdir(mode=0o555)
    with pytest.raises(BatchError, match="Cannot write to"):
        batch.run()


def test_a_folder_that_is_a_file(batch: Any) -> None:
    batch.out.write_bytes(b"")
    with pytest.raises(BatchError, match="Cannot write to"):
        batch.run()


def test_a_folder_that_can_no_longer_be_written_stops_the_batch(
    batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_in = OutputFolder.move_in

    def refuse_second(self: OutputFolder, path: Path) -> Any:
        if path.name.startswith("b"):
            raise OSError(30, "Read-only file system", str(path))
        return move_in(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "move_in", refuse_second)
        report = batch.run()
    assert "Read-only file system" in report.stopped
    assert "goes on from where it stopped" in report.stopped
    assert report.failed == 0
    assert report.left >= 1
    assert batch.run().done == report.left


def test_a_table_of_linked_sections_has_a_row_for_each_object(batch: Any) -> None:
    plane = tifffile.imread(batch.images / "a.tif")
    path = batch.images / "stack.tif"
    tifffile.imwrite(path, np.stack([plane] * 3), photometric="minisblack", metadata={"axes": "ZYX"})
    batch.job = replace(batch.job, link="z", formats=("csv",))
    report = batch.run([path])
    header, *rows = (batch.out / "stack_objects.csv").read_text().splitlines()
    assert header.startswith("label,volume,")
    assert len(rows) == report.objects
