from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import LazyArray, fit_axes, open_image, pick_channels, read_image, tiff_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Recorder:
    """An array that remembers the shapes that were read."""

    def __init__(self, data: np.ndarray[Any, Any]) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.reads: list[tuple[int, ...]] = []

    def __getitem__(self, index: Any) -> Any:
        part = self.data[index]
        self.reads.append(part.shape)
        return part


KEYS: list[Callable[[Any], Any]] = [
    lambda a: a[1, 2, 5:9, 3:7],
    lambda a: a[0][1][4:5, ::2],
    lambda a: a[1, 0][..., [2, 0]][3:8, 2:4],
    lambda a: a[..., 1][1, 2, 0:3, 0:2],
    lambda a: a[1, 1, 2:4, 5:6, 1:3],
    lambda a: a[..., :2][0, 2][6:20, 7:30],
]


@pytest.mark.parametrize("index", range(len(KEYS)))
def test_views_read_what_numpy_would(index: int) -> None:
    """(T, C, Z, Y, X) as (T, Z, Y, X, C)."""
    data = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 10, 12))
    source = Recorder(data)
    view = LazyArray(source, (3, 4)).transpose([0, 2, 3, 4, 1])
    expected = data.transpose([0, 2, 3, 4, 1])
    assert view.shape == expected.shape
    result, wanted = KEYS[index](view), KEYS[index](expected)
    assert isinstance(result, np.ndarray)
    np.testing.assert_array_equal(result, wanted)
    assert len(source.reads) == 1
    assert np.prod(source.reads[0]) <= 3 * 4 * wanted.size


def test_planes_of_a_view_are_not_read() -> None:
    source = Recorder(np.zeros((3, 50, 60)))
    view = LazyArray(source, (1, 2))
    plane = view[1]
    assert (plane.shape, plane.ndim, plane.size, plane.dtype) == ((50, 60), 2, 3000, np.float64)
    assert source.reads == []
    np.testing.assert_array_equal(np.asarray(plane), np.zeros((50, 60)))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        pytest.param((10, 12), (1, 1, 10, 12), id="added"),
        pytest.param((3, 10, 12), (1, 3, 1, 10, 12), id="around an axis"),
        pytest.param((1, 3, 10, 12), (3, 10, 12), id="dropped"),
        pytest.param((1, 3, 1, 10, 12), (3, 1, 10, 12), id="moved"),
        pytest.param((2, 3, 10, 12), (2, 3, 10, 12), id="the same"),
    ],
)
def test_axes_of_one_plane_come_and_go_without_reading(
    shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    data = np.random.default_rng(0).integers(0, 255, shape)
    source = Recorder(data)
    view = fit_axes(LazyArray(source, (len(shape) - 2, len(shape) - 1)), wanted)
    assert (view.shape, source.reads) == (wanted, [])
    expected = fit_axes(data, wanted)
    np.testing.assert_array_equal(expected, data.reshape(wanted))
    for index in np.ndindex(wanted[:-2]):
        np.testing.assert_array_equal(view[index][2:5, 3:7], expected[index][2:5, 3:7])
        assert np.prod(source.reads[-1]) == 12
    np.testing.assert_array_equal(view[..., 3:7], expected[..., 3:7])
    np.testing.assert_array_equal(view.transpose(range(view.ndim)[::-1]), expected.T)


@pytest.mark.parametrize("wanted", [(2, 10, 12), (3, 1, 10, 12), (4, 1, 12), (2, 2, 10, 12)])
def test_other_planes_are_left_as_they_are(wanted: tuple[int, ...]) -> None:
    assert fit_axes(np.zeros((4, 10, 12)), wanted).shape == (4, 10, 12)


TIFFS = {
    "one piece": {},
    "tiles, compressed": {"tile": (32, 32), "compression": "zlib"},
    "strips, compressed": {"rowsperstrip": 16, "compression": "zlib"},
}


@pytest.mark.parametrize("axes", ["ZYX", "CYX", "TCYX"])
@pytest.mark.parametrize("name", TIFFS)
def test_large_tiffs_are_opened_lazily(
    name: str, axes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_files, "LARGE", 1000)
    shape = {"ZYX": (3, 70, 90), "CYX": (2, 70, 90), "TCYX": (2, 3, 70, 90)}[axes]
    data = np.random.default_rng(1).integers(0, 60000, shape).astype(np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": axes}, **TIFFS[name])
    stack, eager = open_image(path), read_image(path)
    assert isinstance(stack.data, LazyArray)
    assert isinstance(eager.data, np.ndarray)
    assert (stack.axes, stack.data.shape) == (eager.axes, eager.data.shape)
    for (index, plane), (_, expected) in zip(stack.planes(), eager.planes(), strict=True):
        assert isinstance(plane, LazyArray), index
        np.testing.assert_array_equal(plane[10:30, 20:80], expected[10:30, 20:80])
    if "C" in eager.axes:
        picked, wanted = pick_channels(stack, [1, 0]).data, pick_channels(eager, [1, 0]).data
        np.testing.assert_array_equal(np.asarray(picked), wanted)


def test_small_and_damaged_tiffs_are_read_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 50), np.uint8))
    assert isinstance(open_image(tmp_path / "a.tif").data, np.ndarray)
    monkeypatch.setattr(tiff_files, "LARGE", 8)
    (tmp_path / "b.tif").write_bytes(b"II*\x00" + bytes(100))
    with pytest.raises(ImageError, match=r"b\.tif"):
        open_image(tmp_path / "b.tif")
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "none.tif")


def _write_zarr(path: Path, kind: str, data: np.ndarray[Any, Any]) -> None:
    if kind == "array":
        zarr.save_array(path, data)
        return
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=data, chunks=(1, 16, 16))
    group.create_array("1", data=data[:, ::2, ::2], chunks=(1, 16, 16))
    axes = [{"name": "c", "type": "channel"}, {"name": "y"}, {"name": "x"}]
    multiscales = [{"axes": axes, "datasets": [{"path": "0"}, {"path": "1"}]}]
    group.attrs.update(
        {"ome": {"multiscales": multiscales}} if kind == "ome" else {"multiscales": multiscales}
    )


@pytest.mark.parametrize(("kind", "axes"), [("array", "ZYX"), ("ome", "YXC"), ("ome before 0.5", "YXC")])
def test_zarr_folders(kind: str, axes: str, tmp_path: Path) -> None:
    data = np.random.default_rng(2).integers(0, 255, (2, 40, 50)).astype(np.uint8)
    _write_zarr(tmp_path / "a.zarr", kind, data)
    stack = open_image(tmp_path / "a.zarr")
    assert stack.axes == axes
    assert isinstance(stack.data, LazyArray)
    expected = data if axes == "ZYX" else data.transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(stack.data), expected)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ImageError, match="zarr"):
        open_image(tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "b.zarr", mode="w")
    with pytest.raises(ImageError, match="without one"):
        open_image(tmp_path / "b.zarr")
