"""Axes and scale of every kind of file, plates and wells, and files that are not what they seem."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from skimage.io import imsave

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import LazyArray, list_images, name_image, open_image, tiff_files

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = np.random.default_rng(0).integers(1, 60000, (2, 3, 20, 30)).astype(np.uint16)
MICRO = "\u00b5m"


# --- TIFF --------------------------------------------------------------------------------------------------


def _imagej(path: Path, **metadata: Any) -> None:
    resolution = (1 / 0.25, 1 / 0.5)  # x, y
    tifffile.imwrite(path, DATA, imagej=True, resolution=resolution, metadata={"axes": "TZYX", **metadata})


def _ome(path: Path, data: np.ndarray = DATA, **metadata: Any) -> None:
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata={"axes": "TZYX", **metadata})


def _tags(path: Path, unit: str) -> None:
    tifffile.imwrite(path, DATA[0, 0], resolution=(40000, 20000), resolutionunit=unit, metadata=None)


def _aperio(path: Path, text: str) -> None:
    description = f"Aperio Image Library v1\r\n{text}"
    options = {"tile": (16, 16), "photometric": "minisblack", "description": description}
    tifffile.imwrite(path, DATA[0, 0], metadata=None, **options)


SIZES = {"PhysicalSizeX": 250, "PhysicalSizeY": 500, "PhysicalSizeZ": 2}
NANO = {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm", "PhysicalSizeZUnit": MICRO}


@pytest.mark.parametrize(
    ("write", "axes", "scale", "unit"),
    [
        pytest.param(
            lambda p: _imagej(p, unit="um", spacing=2.0, finterval=1.5),
            "TZYX",
            {"X": 0.25, "Y": 0.5, "Z": 2.0, "T": 1.5},
            "micrometer",
            id="ImageJ",
        ),
        pytest.param(
            lambda p: _imagej(p, unit="\\u00B5m"), "TZYX", {"X": 0.25, "Y": 0.5}, "micrometer", id="escape"
        ),
        pytest.param(lambda p: _imagej(p, unit="pixel"), "TZYX", {}, "pixel", id="ImageJ in pixels"),
        pytest.param(lambda p: _imagej(p), "TZYX", {}, "pixel", id="ImageJ without a unit"),
        pytest.param(
            lambda p: _ome(
                p, PhysicalSizeX=0.25, PhysicalSizeY=0.5, TimeIncrement=90, TimeIncrementUnit="ms"
            ),
            "TZYX",
            {"X": 0.25, "Y": 0.5, "T": 0.09},
            "micrometer",
            id="OME, whose default is a micrometre",
        ),
        pytest.param(
            lambda p: _ome(p, **SIZES, **NANO),
            "TZYX",
            {"X": 250.0, "Y": 500.0, "Z": 2000.0},
            "nanometer",
            id="OME in two units",
        ),
        pytest.param(lambda p: _ome(p), "TZYX", {}, "pixel", id="OME without sizes"),
        pytest.param(
            lambda p: _tags(p, "CENTIMETER"), "YX", {"X": 0.25, "Y": 0.5}, "micrometer", id="centimetres"
        ),
        pytest.param(lambda p: _tags(p, "INCH"), "YX", {}, "pixel", id="inches are for printers"),
        pytest.param(
            lambda p: _aperio(p, "|AppMag = 20|MPP = 0.499"),
            "YX",
            {"X": 0.499, "Y": 0.499},
            "micrometer",
            id="Aperio",
        ),
        pytest.param(lambda p: _aperio(p, "|AppMag = 20"), "YX", {}, "pixel", id="Aperio without a size"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True], ids=["read", "lazy"])
def test_scale_of_tiffs(
    write: Callable[[Path], None],
    axes: str,
    scale: dict[str, float],
    unit: str,
    lazy: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if lazy:
        monkeypatch.setattr(tiff_files, "LARGE", 100)
    write(tmp_path / "a.tif")
    stack = open_image(tmp_path / "a.tif")
    assert isinstance(stack.data, LazyArray) == lazy
    assert (stack.axes, stack.unit, stack.name) == (axes, unit, "a.tif")
    assert stack.scale == pytest.approx(scale)
    np.testing.assert_array_equal(np.asarray(stack.data), DATA if axes == "TZYX" else DATA[0, 0])


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        pytest.param(
            (2, 3, 20, 30), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "ZYXC", id="ImageJ channels"
        ),
        pytest.param((3, 20, 30), {"ome": True, "metadata": {"axes": "CYX"}}, "YXC", id="OME channels"),
        pytest.param((20, 30, 3), {"photometric": "rgb"}, "YXC", id="colour"),
        pytest.param((5, 20, 30), {"photometric": "minisblack", "metadata": None}, "QYX", id="pages"),
    ],
)
def test_axes_of_tiffs(shape: tuple[int, ...], options: dict[str, Any], axes: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), **options)
    found = open_image(tmp_path / "a.tif").axes
    assert found.replace("I", "Q") == axes


# --- other files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((20, 30), "YX"), ((4, 20, 30), "ZYX"), ((20, 30, 3), "YXC"), ((2, 3, 4, 20, 30), "TZYXC")],
    ids=str,
)
def test_numpy_files_are_mapped(shape: tuple[int, ...], axes: str, tmp_path: Path) -> None:
    data = np.random.default_rng(1).random(shape)
    np.save(tmp_path / "a.npy", data)
    stack = open_image(tmp_path / "a.npy")
    assert (stack.axes, stack.name) == (axes, "a.npy")
    assert isinstance(stack.data, np.memmap)
    expected = data.transpose(0, 2, 3, 4, 1) if axes == "TZYXC" else data
    np.testing.assert_array_equal(stack.data, expected)


@pytest.mark.parametrize(("name", "true_name"), [("a.png", "a.tif"), ("a.tif", "a.png"), ("a.jpg", "a.npy")])
def test_files_are_known_by_what_is_in_them(name: str, true_name: str, tmp_path: Path) -> None:
    plane = DATA[0, 0]
    if true_name == "a.npy":
        np.save(tmp_path / true_name, plane)
    else:
        imsave(tmp_path / true_name, plane, check_contrast=False)
    (tmp_path / true_name).rename(tmp_path / name)
    np.testing.assert_array_equal(open_image(tmp_path / name).data, plane)


def _cut(path: Path, source: str, part: float) -> None:
    original = path.with_name(f"whole.{source}")
    if source == "png":
        imsave(original, DATA[0, 0], check_contrast=False)
    elif source == "npy":
        np.save(original, DATA)
    else:
        tifffile.imwrite(
            original, DATA, photometric="minisblack", compression="zlib" if source == "z.tif" else None
        )
    whole = original.read_bytes()
    original.unlink()
    path.write_bytes(whole[: int(len(whole) * part)])


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        pytest.param(
            "a.tif", lambda p: p.write_bytes(b""), r"a\.tif, got an empty file \(0 bytes\)", id="empty"
        ),
        pytest.param("a.png", lambda p: p.write_bytes(b""), r"a\.png, got an empty file", id="empty picture"),
        pytest.param(
            "a.tif", lambda p: p.write_text("hello"), r"TIFF file in .*begins with b'hello'", id="text"
        ),
        pytest.param("a.npy", lambda p: p.write_text("hello"), r"NumPy file in .*b'hello'", id="text as npy"),
        pytest.param("a.png", lambda p: p.write_text("hello"), r"Cannot read .*a\.png", id="text as png"),
        pytest.param(
            "a.doc", lambda p: p.write_text("hello"), "neither TIFF, NPY nor a picture", id="document"
        ),
        pytest.param("a.tif", _zip, "a zip archive; unpack it", id="zip"),
        pytest.param("a.tif", lambda p: p.write_text("<!DOCTYPE html>"), "a web page", id="web page"),
        pytest.param("a.tif", lambda p: p.write_bytes(b"\x89HDF\r\n"), "an HDF5 file", id="hdf5"),
        pytest.param("a.tif", lambda p: _cut(p, "tif", 0.5), "the file is cut off", id="half a TIFF"),
        pytest.param("a.tif", lambda p: _cut(p, "tif", 0.95), "the file is cut off", id="most of a TIFF"),
        pytest.param("a.tif", lambda p: _cut(p, "z.tif", 0.5), "the file is cut off", id="half compressed"),
        pytest.param("a.tif", lambda p: _cut(p, "z.tif", 0.999), "the file is cut off", id="the last bytes"),
        pytest.param("a.tif", lambda p: _cut(p, "tif", 0.002), r"a\.tif", id="the beginning of a TIFF"),
        pytest.param("a.png", lambda p: _cut(p, "png", 0.5), r"Cannot read .*a\.png", id="half a picture"),
        pytest.param("a.npy", lambda p: _cut(p, "npy", 0.5), r"Cannot read .*a\.npy", id="half an array"),
    ],
)
@pytest.mark.parametrize("large", [False, True], ids=["", "as if large"])
def test_files_that_are_no_images(
    name: str,
    write: Callable[[Path], None],
    message: str,
    large: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        monkeypatch.setattr(tiff_files, "LARGE", 8)
    write(tmp_path / name)
    with pytest.raises(ImageError, match=message):
        open_image(tmp_path / name)


@pytest.mark.parametrize(
    "data", [np.zeros((4, 4), np.complex64), np.array(["a"]), np.zeros(5)], ids=["c", "U", "1-D"]
)
def test_arrays_that_are_no_images(data: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(ImageError, match=r"a\.npy"):
        open_image(tmp_path / "a.npy")


# --- OME-Zarr ----------------------------------------------------------------------------------------------


def _multiscale(
    group: Any, version: str, data: np.ndarray, axes: list[dict[str, str]], *transforms: Any, below: Any = ()
) -> None:
    """One image of two levels; the second is half as large along the last axes."""
    v2 = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version != "0.5" else {}
    group.create_array("0", data=data, **v2)
    group.create_array("1", data=data[..., ::2, ::2], **v2)
    levels = [{"path": "0"}, {"path": "1"}]
    if transforms:
        levels[0]["coordinateTransformations"] = list(transforms)  # type: ignore[assignment]
    metadata: dict[str, Any] = {"axes": axes, "datasets": levels}
    if below:
        metadata["coordinateTransformations"] = list(below)
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [metadata]}
    else:
        group.attrs["multiscales"] = [metadata | {"version": version}]


def _axes(names: str, **units: str) -> list[dict[str, str]]:
    kinds = {"t": "time", "c": "channel"}
    return [
        {"name": n, "type": kinds.get(n, "space")} | ({"unit": units[n]} if n in units else {}) for n in names
    ]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("names", "units", "steps", "below", "axes", "scale", "unit"),
    [
        pytest.param(
            "tzyx",
            {"t": "minute", "z": "micrometer", "y": "micrometer", "x": "micrometer"},
            [0.5, 2, 0.5, 0.25],
            None,
            "TZYX",
            {"T": 30.0, "Z": 2.0, "Y": 0.5, "X": 0.25},
            "micrometer",
            id="minutes are seconds",
        ),
        pytest.param(
            "tzyx",
            {"z": "micrometer", "y": "nanometer", "x": "nanometer"},
            [1, 2, 500, 250],
            [60, 1, 1, 1],
            "TZYX",
            {"T": 60.0, "Z": 2000.0, "Y": 500.0, "X": 250.0},
            "nanometer",
            id="two units, and a scale of all levels",
        ),
        pytest.param("czyx", {}, [1, 1, 1, 1], None, "ZYXC", {}, "pixel", id="nothing known"),
        pytest.param("tcyx", {}, None, None, "TYXC", {}, "pixel", id="no scale at all"),
        pytest.param(
            "zcyx", {}, [3, 1, 0.5, 0.5], None, "ZYXC", {"Z": 3.0, "Y": 0.5, "X": 0.5}, "pixel", id="no unit"
        ),
    ],
)
def test_scale_of_ome_zarr(
    version: str,
    names: str,
    units: dict[str, str],
    steps: list[float] | None,
    below: list[float] | None,
    axes: str,
    scale: dict[str, float],
    unit: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    own = (
        [{"type": "scale", "scale": steps}, {"type": "translation", "translation": [0] * 4}] if steps else []
    )
    above = [{"type": "scale", "scale": below}] if below else []
    _multiscale(group, version, DATA, _axes(names, **units), *own, below=above)
    stack = open_image(path)
    assert isinstance(stack.data, LazyArray)
    assert (stack.axes, stack.unit, stack.name) == (axes, unit, "a")
    assert stack.scale == pytest.approx(scale)
    expected = DATA if "C" not in axes else np.moveaxis(DATA, names.index("c"), -1)
    np.testing.assert_array_equal(np.asarray(stack.data), expected)


def test_a_single_channel_is_none(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    _multiscale(group, "0.5", DATA[:, :1], _axes("tcyx"))
    stack = open_image(tmp_path / "a.zarr")
    assert (stack.axes, stack.data.shape) == ("TYX", (2, 20, 30))


def _plate(path: Path, version: str) -> None:
    """Wells A/1 with two fields and B/2 with one."""
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    wells = {"A/1": ["0", "1"], "B/2": ["0"]}
    plate = {"wells": [{"path": name} for name in wells], "rows": [], "columns": []}
    _set(group, "plate", plate, version)
    for number, (name, fields) in enumerate(wells.items()):
        well = group.create_group(name)
        _set(well, "well", {"images": [{"path": field} for field in fields]}, version)
        for field in fields:
            data = np.full((20, 30), 10 * number + int(field) + 1, np.uint8)
            _multiscale(well.create_group(field), version, data, _axes("yx"))


def _set(group: Any, name: str, value: Any, version: str) -> None:
    if version == "0.5":
        group.attrs["ome"] = {"version": version, name: value}
    else:
        group.attrs[name] = value


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plates_and_wells(version: str, tmp_path: Path) -> None:
    plate = tmp_path / "p.zarr"
    _plate(plate, version)
    images = list_images(plate)
    assert images == [plate / "A/1/0", plate / "A/1/1", plate / "B/2/0"]
    assert [name_image(path) for path in images] == ["p_A_1_0", "p_A_1_1", "p_B_2_0"]
    assert [int(np.asarray(open_image(path).data).max()) for path in images] == [1, 2, 11]
    assert open_image(images[0]).name == "p_A_1_0"
    assert list_images(plate / "A" / "1") == images[:2]
    assert list_images([tmp_path, str(plate / "A" / "1" / "0")]) == images  # each once
    assert np.asarray(open_image(plate / "B" / "2").data).max() == 11  # a well with one field
    with pytest.raises(ImageError, match=r"one image in .*p\.zarr, got a plate or collection of 3; .*0\."):
        open_image(plate)


@pytest.mark.parametrize("named", [True, False], ids=["named", "numbered"])
def test_collections_of_series(named: bool, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for number in ("0", "1", "10"):
        _multiscale(group.create_group(number), "0.4", DATA[0, 0], _axes("yx"))
    if named:
        group.create_group("OME").attrs["series"] = ["1", "0"]
    expected = ["1", "0"] if named else ["0", "1", "10"]
    assert list_images(tmp_path / "s.zarr") == [tmp_path / "s.zarr" / name for name in expected]


def test_labels_inside_an_image(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    _multiscale(group, "0.5", DATA[0], _axes("zyx"))
    labels = group.create_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    _multiscale(labels.create_group("cells"), "0.5", DATA[0] % 7, _axes("zyx"))
    stack = open_image(tmp_path / "a.zarr" / "labels" / "cells")
    assert (stack.axes, stack.name) == ("ZYX", "a_labels_cells")
    np.testing.assert_array_equal(np.asarray(stack.data), DATA[0] % 7)


def _damage(path: Path, kind: str) -> None:
    group = zarr.open_group(path, mode="w")
    _multiscale(group, "0.5", DATA[0, 0], _axes("yx"))
    if kind == "level":
        group.attrs["ome"] = {"multiscales": [{"axes": _axes("yx"), "datasets": [{"path": "9"}]}]}
    elif kind == "text":
        (path / "zarr.json").write_text("{")
    elif kind == "nothing":
        (path / "zarr.json").unlink()
    elif kind == "datasets":
        group.attrs["ome"] = {"multiscales": [{"axes": _axes("yx"), "datasets": []}]}


@pytest.mark.parametrize("kind", ["level", "text", "nothing", "datasets"])
def test_zarrs_that_are_damaged(kind: str, tmp_path: Path) -> None:
    _damage(tmp_path / "a.zarr", kind)
    with pytest.raises(ImageError, match=r"a\.zarr"):
        open_image(tmp_path / "a.zarr")
    assert list_images(tmp_path) == [tmp_path / "a.zarr"]  # listed, so that opening it says what is wrong


# --- which images there are --------------------------------------------------------------------------------


def _touch(tmp_path: Path, *names: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


def test_patterns_go_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "a/x.tif", "a/b/y.tif", "a/b/y_labels.tif", "a/notes.txt", "z.tif")
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(str(tmp_path / "**" / "*.tif"))] == [
        "a/b/y.tif",
        "a/b/y_labels.tif",  # a pattern means what it says
        "a/x.tif",
        "z.tif",
    ]
    monkeypatch.chdir(tmp_path)
    assert list_images("a") == [Path("a/x.tif")]
    assert list_images("no/*.tif") == [Path("no/*.tif")]


def test_label_images_of_a_folder(tmp_path: Path) -> None:
    _touch(tmp_path, "x.tif", "x_labels.tif", "y_labels.png", ".z_labels.tif", ".half.zarr/zarr.json")
    assert [path.name for path in list_images(tmp_path)] == ["x.tif"]
    assert [path.name for path in list_images(tmp_path, labels=True)] == ["x_labels.tif", "y_labels.png"]
    _touch(tmp_path, "masks/x.tif")
    assert [path.name for path in list_images(tmp_path / "masks", labels=True)] == ["x.tif"]
