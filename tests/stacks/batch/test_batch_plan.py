from __future__ import annotations

import ntpath
import os.path
from dataclasses import replace
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

import napari_sam as ns
from napari_sam.errors import BatchError, CheckpointError
from napari_sam.stacks import batch_plan
from napari_sam.stacks.batch_plan import digest_model, make_plan, name_units
from napari_sam.stacks.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("sources", "taken", "stems"),
    [
        pytest.param(["/d/x.tif", "/d/y.tif"], {}, ["x", "y"], id="different"),
        pytest.param(["/d/a/x.tif", "/d/b/x.tif"], {}, ["a_x", "b_x"], id="in-two-folders"),
        pytest.param(["/d/x.tif", "/d/x.png"], {}, ["x_tif", "x_png"], id="two-suffixes"),
        pytest.param(["/d/X.tif", "/d/e/x.tif"], {}, ["X", "e_x"], id="only-case"),
        pytest.param(["/d/p.zarr/A/1/0", "/d/p.zarr/A/2/0"], {}, ["p_A_1_0", "p_A_2_0"], id="plate"),
        pytest.param(["/d/a/x.tif", "/d/b/x.tif"], {"/d/a/x.tif": "x"}, ["x", "b_x"], id="named-before"),
        pytest.param(["/d/b/y.tif"], {"/d/a/y.tif": "z"}, ["y"], id="other-name-taken"),
    ],
)
def test_names(sources: list[str], taken: dict[str, str], stems: list[str]) -> None:
    assert [unit.stem for unit in name_units(sources, taken)] == stems


@pytest.mark.parametrize(
    ("sources", "stems"),
    [
        pytest.param([r"C:\d\x.tif", r"D:\d\x.tif", r"D:\y.tif"], ["C_d_x", "D_d_x", "y"], id="drives"),
        pytest.param([r"C:\x.tif", r"\\lab-1\scans\x.tif"], ["C_x", "lab_1_scans_x"], id="network"),
        pytest.param([r"C:\d\a\x.tif", r"c:\D\b\x.tif"], ["a_x", "b_x"], id="one-drive"),
    ],
)
def test_names_on_windows(sources: list[str], stems: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:
        windows.setattr(os.path, "commonpath", ntpath.commonpath)
        windows.setattr(batch_plan, "Path", PureWindowsPath)
        units = name_units(sources, {})
    assert [unit.stem for unit in units] == stems


@pytest.mark.parametrize(
    ("sources", "taken"),
    [
        pytest.param(["/d/b/x.tif"], {"/d/a/x.tif": "x"}, id="taken-by-an-image-of-another-run"),
        pytest.param(["/d/a_x.tif", "/d/a/x.tif", "/d/b/x.tif"], {}, id="longer-names-clash"),
    ],
)
def test_names_are_different_whatever_is_there(sources: list[str], taken: dict[str, str]) -> None:
    units = name_units(sources, taken)
    stems = [unit.stem.casefold() for unit in units]
    assert not set(stems) & set(taken.values())
    assert len(set(stems)) == len(stems)
    assert units == name_units(sources, taken)


def test_models_are_known_without_loading_them(tmp_path: Any) -> None:
    assert digest_model("nuclei") == ns.load_model("nuclei", device="cpu").sha256
    with pytest.raises(CheckpointError, match=r"nowhere\.pt"):
        digest_model(str(tmp_path / "nowhere.pt"))


def _change_image(batch: Any) -> None:
    batch.add("a.tif", seed=77)


def _lose_output(batch: Any) -> None:
    (batch.out / "a_labels.tif").unlink()


def _spoil_output(batch: Any) -> None:
    (batch.out / "a_labels.tif").write_bytes(b"")


def _want_table(batch: Any) -> None:
    batch.job = replace(batch.job, formats=("tiff", "csv"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda batch: None, "done before", id="nothing"),
        pytest.param(_change_image, "the image was changed", id="image"),
        pytest.param(_lose_output, "a_labels.tif is missing", id="output-missing"),
        pytest.param(_spoil_output, "a_labels.tif was changed", id="output-changed"),
        pytest.param(_want_table, "another format is wanted", id="format"),
    ],
)
def test_what_the_manifest_does_not_vouch_for_is_done_again(
    change: Callable[[Any], None], why: str, batch: Any
) -> None:
    batch.run([batch.images / "a.tif"])
    change(batch)
    [planned] = make_plan(batch.job, [batch.images / "a.tif"], batch.out).units
    assert planned.why == why
    assert planned.to_do is (why != "done before")


def test_other_settings_need_another_folder(batch: Any) -> None:
    batch.run([batch.images / "a.tif"])
    batch.job = replace(batch.job, method="grid")
    with pytest.raises(
        BatchError, match=r"\(method auto then, grid now\).*'Overwrite other results' in the panel"
    ):
        make_plan(batch.job, [batch.images], batch.out)
    plan = make_plan(batch.job, [batch.images], batch.out, overwrite=True)
    assert [planned.why for planned in plan.units] == ["done with other settings", "new", "new"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"options": {"min_area": 90.0}}, "min_area none then, 90 now"),
        ({"options": {"keep_border": False}}, "keep_border none then, False now"),
        (
            {"channels": (2, 0), "object_size": 30.0},
            "channels none then, 2,0 now; object_size none then, 30 now",
        ),
    ],
)
def test_settings_that_differ_are_told_one_by_one(changes: dict[str, Any], said: str, batch: Any) -> None:
    batch.run([batch.images / "a.tif"])
    batch.job = replace(batch.job, **changes)
    with pytest.raises(BatchError, match=rf"other settings \({said}\)"):
        make_plan(batch.job, [batch.images], batch.out)


def test_a_model_that_is_not_here_can_be_got_in_the_dock_too() -> None:
    with pytest.raises(
        CheckpointError, match=r"in the section Model of the widget SAM, or with `napari-sam models"
    ):
        digest_model("vit_b")


def test_files_of_the_users_are_not_replaced(batch: Any) -> None:
    batch.out.mkdir()
    (batch.out / "b_labels.tif").write_bytes(b"mine")
    with pytest.raises(
        BatchError, match=r"b_labels.tif exists .* of no batch.*'Overwrite other results' in the panel"
    ):
        batch.run()
    assert (batch.out / "b_labels.tif").read_bytes() == b"mine"
    assert batch.run(overwrite=True).done == 3
    assert tifffile.imread(batch.out / "b_labels.tif").shape == (80, 96)


@pytest.mark.parametrize(
    ("formats", "said"),
    [(("jpeg",), "among tiff"), (("tiff", "svg"), "got 'svg'")],
    ids=["one", "second"],
)
def test_formats_are_checked_before_anything_is_done(formats: tuple[str, ...], said: str, batch: Any) -> None:
    batch.job = replace(batch.job, formats=formats)
    with pytest.raises(BatchError, match=said):
        batch.run()


def test_no_images_is_an_error(batch: Any, tmp_path: Any) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "d.czi").touch()
    with pytest.raises(BatchError, match=r"Expected images, got none.* 1 file here .* \(\.czi\)"):
        batch.run([tmp_path / "empty"])


def test_outputs_may_lie_among_the_images(batch: Any) -> None:
    batch.out = batch.images
    batch.job = replace(batch.job, formats=("tiff", "ome-zarr"))
    assert batch.run().done == 3
    plan = make_plan(batch.job, [batch.images], batch.out)
    assert [planned.why for planned in plan.units] == ["done before"] * 3


def _other_formats(batch: Any) -> None:
    batch.job = replace(batch.job, formats=("csv",))
    batch.run()


def _fail_later(batch: Any) -> None:
    (batch.images / "a.tif").write_bytes(b"")
    batch.run([batch.images / f"{name}.tif" for name in "abc"])
    batch.add("a.tif")


def _lose_lines(batch: Any) -> None:
    path = batch.out / MANIFEST_NAME
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"kind": "unit"' not in line))


@pytest.mark.parametrize("change", [_other_formats, _fail_later, _lose_lines])
def test_outputs_among_the_images_are_never_images(change: Callable[[Any], None], batch: Any) -> None:
    batch.out = batch.images
    batch.run()
    change(batch)
    plan = make_plan(batch.job, [str(batch.images / "*.tif")], batch.out)
    assert [planned.unit.name for planned in plan.units] == ["a.tif", "b.tif", "c.tif"]


def test_an_image_that_is_called_like_an_output_stays_one(batch: Any) -> None:
    batch.out = batch.images
    batch.job = replace(batch.job, formats=("csv",))
    inputs = [batch.images / "a.tif", batch.add("a_labels.tif", seed=5)]
    for done in (2, 0):
        report = batch.run(inputs)
        assert (report.done, report.done + report.before) == (done, 2)


def test_formats_may_be_written_one_after_the_other(batch: Any) -> None:
    for formats in (("tiff",), ("csv",)):
        batch.job = replace(batch.job, formats=formats)
        assert batch.run().done == 3
    for formats in (("tiff",), ("csv",), ("csv", "tiff")):
        batch.job = replace(batch.job, formats=formats)
        assert batch.run().before == 3
    (batch.out / "b_labels.tif").unlink()
    batch.job = replace(batch.job, formats=("csv",))
    assert (batch.run().done, batch.begun) == (1, ["b.tif"])
    assert batch.run().before == 3
    batch.job = replace(batch.job, formats=("tiff",))
    assert (batch.run().done, batch.begun) == (1, ["b.tif"])


def test_formats_written_of_an_image_that_was_changed_are_written_again(batch: Any) -> None:
    batch.run()
    batch.job = replace(batch.job, formats=("csv",))
    batch.add("a.tif", seed=77)
    batch.run()
    batch.job = replace(batch.job, formats=("tiff",))
    assert (batch.run().done, batch.begun) == (1, ["a.tif"])
