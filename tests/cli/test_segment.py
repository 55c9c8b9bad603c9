from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from skimage.io import imsave

from napari_sam.cli.main import main
from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import open_image

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from numpy.typing import NDArray


def make_plane(count: int) -> NDArray[np.uint8]:
    """(20, 60) uint8 with ``count`` bright squares."""
    plane = np.zeros((20, 60), np.uint8)
    for i in range(count):
        plane[4:10, 4 + 10 * i : 10 + 10 * i] = 200
    return plane


def count_objects(path: Path) -> int:
    labels = tifffile.imread(path)
    assert labels.dtype == np.int32
    return int(labels.max())


def test_a_picture(inference: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imsave(tmp_path / "a.png", make_plane(3))
    out = tmp_path / "new" / "out"
    code = main(
        ["segment", str(tmp_path / "a.png"), "--out", str(out), "--method", "grid", "--device", "cpu"]
    )
    assert code == 0
    assert [path.name for path in out.iterdir()] == ["a_labels.tif"]
    assert count_objects(out / "a_labels.tif") == 3
    assert inference.loaded == [("nuclei", "cpu")]
    assert inference.planes == [((20, 60), "grid")]
    assert capsys.readouterr().out == f"{out / 'a_labels.tif'}  3 objects\n"


def test_labels_are_compressed(inference: SimpleNamespace, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((500, 500), np.uint8))
    assert main(["segment", str(tmp_path / "a.tif"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "a_labels.tif").stat().st_size < 500 * 500 * 4 / 20


@pytest.mark.parametrize(
    ("shape", "axes", "planes", "labels"),
    [
        pytest.param((3, 20, 60), "ZYX", [(20, 60)] * 3, (3, 20, 60), id="z-stack"),
        pytest.param((2, 3, 20, 60), "TZYX", [(20, 60)] * 6, (2, 3, 20, 60), id="time and z"),
        pytest.param((2, 20, 60), "CYX", [(20, 60, 2)], (20, 60), id="channels first"),
        pytest.param((2, 3, 20, 60), "ZCYX", [(20, 60, 3)] * 2, (2, 20, 60), id="z and channels"),
        pytest.param((5, 20, 60), None, [(20, 60)] * 5, (5, 20, 60), id="axes not named"),
    ],
)
def test_stacks_plane_by_plane(
    shape: tuple[int, ...],
    axes: str | None,
    planes: list[tuple[int, ...]],
    labels: tuple[int, ...],
    inference: SimpleNamespace,
    tmp_path: Path,
) -> None:
    data = np.broadcast_to(make_plane(2).astype(np.uint16), shape)
    metadata = {"axes": axes} if axes else None
    tifffile.imwrite(tmp_path / "s.tif", data, photometric="minisblack", metadata=metadata)
    assert main(["segment", str(tmp_path / "s.tif"), "--out", str(tmp_path)]) == 0
    assert [plane for plane, _ in inference.planes] == planes
    written = tifffile.imread(tmp_path / "s_labels.tif")
    assert written.shape == labels
    assert (written.reshape(-1, 20, 60).max(axis=(1, 2)) == 2).all()


@pytest.mark.parametrize("channels", ["1", "2,1"])
def test_channels(channels: str, inference: SimpleNamespace, tmp_path: Path) -> None:
    image = np.zeros((3, 20, 60), np.uint8)
    image[1], image[0] = make_plane(2), make_plane(5)
    tifffile.imwrite(tmp_path / "c.tif", image, photometric="minisblack", metadata={"axes": "CYX"})
    assert main(["segment", str(tmp_path / "c.tif"), "--out", str(tmp_path), "--channels", channels]) == 0
    assert count_objects(tmp_path / "c_labels.tif") == 2
    assert inference.planes[0][0] == ((20, 60) if channels == "1" else (20, 60, 2))


def test_an_existing_file_is_kept(
    inference: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"is not read for that")
    target = tmp_path / "a_labels.tif"
    target.write_bytes(b"mine")
    command = ["segment", str(tmp_path / "a.png"), "--out", str(tmp_path)]
    assert main(command) == 2
    assert target.read_bytes() == b"mine"
    assert "exists already; add --overwrite" in capsys.readouterr().err
    assert inference.planes == []  # it said so before the work
    imsave(tmp_path / "a.png", make_plane(1))
    assert main([*command, "--overwrite"]) == 0
    assert count_objects(target) == 1


def test_one_bad_file_does_not_stop_the_others(
    inference: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imsave(tmp_path / "a.png", make_plane(1))
    (tmp_path / "b.png").write_bytes(b"\x89PNG but not for long")
    (tmp_path / "c.tif").write_bytes(b"")
    imsave(tmp_path / "e.png", make_plane(2))
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "c.tif", "d.tif", "e.png")]
    assert main(["segment", *files, "--out", str(tmp_path / "out")]) == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_labels.tif", "e_labels.tif"]
    lines = capsys.readouterr().err.splitlines()
    assert [f"{name}: " in line for name, line in zip(("b.png", "c.tif", "d.tif"), lines, strict=False)] == [
        True
    ] * 3
    assert lines[3:] == ["napari-sam: 3 of 5 files failed"]


def test_a_failing_segmentation_leaves_no_file(
    inference: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imsave(tmp_path / "a.png", make_plane(1))
    inference.fail = ImageError("constant image")
    assert main(["segment", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err.endswith("a.png: constant image\n")


def test_ctrl_c_keeps_what_is_finished(
    inference: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a.png", "b.png"):
        imsave(tmp_path / name, make_plane(1))
    write = tifffile.TiffWriter.write

    def interrupted(self: tifffile.TiffWriter, *arguments: object, **options: object) -> object:
        if "b_labels" in self.filehandle.name:
            raise KeyboardInterrupt
        return write(self, *arguments, **options)

    monkeypatch.setattr(tifffile.TiffWriter, "write", interrupted)
    assert main(["segment", str(tmp_path), "--out", str(tmp_path / "out")]) == 130
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a_labels.tif"]  # no half-written file either
    assert capsys.readouterr().err == "napari-sam: interrupted\n"


def test_equal_names_do_not_collide(inference: SimpleNamespace, tmp_path: Path) -> None:
    for count, folder in ((1, "one"), (2, "two")):
        (tmp_path / folder).mkdir()
        imsave(tmp_path / folder / "x.png", make_plane(count))
    inputs = [str(tmp_path / "one"), str(tmp_path / "two" / "x.png"), str(tmp_path / "one" / "x.png")]
    assert main(["segment", *inputs, "--out", str(tmp_path / "out")]) == 0
    counts = {p.name: count_objects(p) for p in (tmp_path / "out").iterdir()}
    assert counts == {"one_x_labels.tif": 1, "two_x_labels.tif": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing"], "got 'nothing'"),
        (["--channels", "1"], "Expected channels from 0 to 0, got 1."),
    ],
    ids=["unknown model", "no such channel"],
)
def test_wrong_choices_are_one_line(
    arguments: list[str],
    message: str,
    inference: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    imsave(tmp_path / "a.png", make_plane(1))
    assert main(["segment", str(tmp_path / "a.png"), "--out", str(tmp_path), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_an_empty_folder_is_an_error(
    inference: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "napari-sam: error: no image files found; name files, or a folder that holds images\n"
    )


@pytest.mark.parametrize(
    ("command", "more"),
    [("segment", ["--out"]), ("embed", ["--cache-dir"]), ("batch", ["--workers", "0", "--out"])],
)
def test_formats_that_cannot_be_read_are_not_passed_over_in_silence(
    command: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.czi").touch()
    command_line = [command, str(tmp_path / "in"), "--device", "cpu", *more, str(tmp_path / "out")]
    said = "1 file here is of a kind that cannot be read (.czi); convert to OME-TIFF or OME-Zarr"
    assert main(command_line) == 2
    assert capsys.readouterr().err.count(said) == 1
    imsave(tmp_path / "in" / "b.png", make_plane(1))
    assert main(command_line) == 0
    assert f"warning: {said}" in capsys.readouterr().err


def test_segment_finds_zarr_images_in_a_folder(inference: SimpleNamespace, tmp_path: Path) -> None:
    plane = np.zeros((20, 60), np.uint8)
    plane[4:9, 4:9] = plane[12:18, 30:40] = 200
    zarr.save_array(tmp_path / "in" / "a.zarr", plane)
    assert main(["segment", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    assert tifffile.imread(tmp_path / "out" / "a_labels.tif").max() == 2


def test_labels_have_the_scale_of_their_image(inference: SimpleNamespace, tmp_path: Path) -> None:
    planes = np.zeros((3, 20, 60), np.uint8)
    planes[:, 4:9, 4:9] = 200
    metadata = {"axes": "ZYX", "unit": "um", "spacing": 2.0}
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, resolution=(4, 2), metadata=metadata)
    assert main(["segment", str(tmp_path / "a.tif"), "--out", str(tmp_path)]) == 0
    back = open_image(tmp_path / "a_labels.tif")
    assert (back.axes, back.unit, back.scale) == ("ZYX", "micrometer", {"X": 0.25, "Y": 0.5, "Z": 2.0})
    assert back.data.dtype == np.int32
