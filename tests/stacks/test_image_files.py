from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.io import imsave

from napari_sam.cli.output_files import name_outputs
from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import (
    describe_unreadable,
    list_by_stem,
    list_images,
    pick_channels,
    read_image,
    read_labels,
)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        pytest.param((20, 30), "YX", (20, 30), id="gray"),
        pytest.param((20, 30, 3), "YXC", (20, 30, 3), id="rgb"),
        pytest.param((20, 30, 4), "YXC", (20, 30, 3), id="alpha is dropped"),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures(
    suffix: str, shape: tuple[int, ...], axes: str, expected: tuple[int, ...], tmp_path: Path
) -> None:
    data = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        imsave(path, data, check_contrast=False)
    elif len(shape) == 3:
        extra = {"extrasamples": ["unassalpha"]} if shape[-1] == 4 else {}
        tifffile.imwrite(path, data, photometric="rgb", **extra)
    else:
        tifffile.imwrite(path, data)
    stack = read_image(path)
    assert (stack.axes, stack.data.shape, stack.plane_shape) == (axes, expected, ())
    assert (stack.data == data[..., :3] if len(shape) == 3 else stack.data == data).all()


def test_a_colour_image_without_named_axes(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((20, 30, 3), np.uint16), photometric="minisblack", metadata=None
    )
    assert read_image(tmp_path / "a.tif").axes == "YXC"


def test_planes_come_with_their_index(tmp_path: Path) -> None:
    data = np.arange(2 * 3 * 20 * 30, dtype=np.uint16).reshape(2, 3, 20, 30)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata={"axes": "TCYX"})
    stack = read_image(tmp_path / "a.tif")
    planes = dict(stack.planes())
    assert list(planes) == [(0,), (1,)]
    assert (planes[1,][..., 2] == data[1, 2]).all()


def test_channels_keep_their_order() -> None:
    stack = pick_channels(read_stack := _stack(np.arange(24).reshape(2, 4, 3)), (2, 0))
    assert (stack.data == read_stack.data[..., [2, 0]]).all()


def _stack(data: np.ndarray):  # type: ignore[no-untyped-def]
    from napari_sam.stacks.image_io import ImageStack

    return ImageStack(data, "YXC")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: path.write_bytes(b"II*\x00\x08\x00"),
            r"a\.tif up to byte 14, got 6 bytes: the file is cut off",
        ),
        (lambda path: tifffile.imwrite(path, np.zeros((4, 4), np.complex64)), "real pixels"),
        (lambda path: tifffile.imwrite(path, np.zeros((0, 4), np.uint8)), "a.tif"),
    ],
    ids=["damaged", "complex", "no pixels"],
)
@pytest.mark.filterwarnings("ignore:.*writing zero-size array.*")
def test_unusable_files_are_one_message(write, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.tif")


def test_labels_must_be_one_plane_of_integers(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((5, 6), np.float32))
    with pytest.raises(ImageError, match=r"integer labels in .*float32"):
        read_labels(tmp_path / "f.tif")


def test_sixteen_bit_png_labels_survive(tmp_path: Path) -> None:
    labels = np.zeros((5, 6), np.uint16)
    labels[2, 3] = 40000
    imsave(tmp_path / "l.png", labels, check_contrast=False)
    assert (read_labels(tmp_path / "l.png") == labels).all()


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["a/x.tif", "a/y.tif"], ["x", "y"]),
        (["a/x.tif", "b/x.tif", "b/y.tif"], ["a_x", "b_x", "y"]),
        (["a/x.tif", "a/x.png"], ["x_tif", "x_png"]),
        (["d/a/x.tif", "d/x.tif"], ["a_x", "x"]),
        (["a/x.tif", "a/X.tif", "a/y.tif"], ["x_tif", "X_tif", "y"]),
        (["a/p.zarr/A/1", "b/p.zarr/A/1", "b/p.zarr/A/2"], ["a_p_A_1", "b_p_A_1", "p_A_2"]),
    ],
    ids=["different", "folders", "suffixes", "nested", "case", "plates"],
)
def test_output_names(inputs: list[str], names: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / name for name in inputs]
    if names[0] == "x_tif" and names[1] == "X_tif":
        with pytest.raises(ImageError, match="would both be written"):
            name_outputs(paths, Path("out"))
    else:
        assert name_outputs(paths, Path("out")) == [Path("out") / f"{name}_labels.tif" for name in names]


def test_a_long_name_may_not_meet_another(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a/x.tif", "b/x.tif", "c/a_x.tif")]
    with pytest.raises(ImageError, match="would both be written to"):
        name_outputs(paths, Path("out"))


def test_inputs_are_expanded_once(tmp_path: Path) -> None:
    for name in ("b.png", "a.tif", "a_labels.tif", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    inputs = [str(tmp_path / "*.png"), str(tmp_path), str(tmp_path / "b.png"), str(tmp_path / "no.tif")]
    assert [path.name for path in list_images(inputs)] == ["b.png", "a.tif", "no.tif"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        pytest.param(["a.tif", "notes.txt", ".b.czi"], "", id="none"),
        pytest.param(["a.CZI"], "1 file here is of a kind that cannot be read (.czi)", id="one"),
        pytest.param(
            ["a.lif", "b.czi", "c.czi"],
            "3 files here are of kinds that cannot be read (.czi, .lif)",
            id="more",
        ),
    ],
)
def test_formats_of_microscopes_are_counted(names: list[str], said: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    told = describe_unreadable([tmp_path, tmp_path / "a.czi"])
    assert told == (
        f"{said}; convert to OME-TIFF or OME-Zarr, for example with bioformats2raw" if said else ""
    )


def test_label_folders_pair_with_what_segment_writes(tmp_path: Path) -> None:
    for name in ("a_labels.tif", "b.png"):
        (tmp_path / name).touch()
    assert list(list_by_stem(tmp_path, labels=True)) == ["a", "b"]
    assert list(list_by_stem(tmp_path)) == ["b"]
    (tmp_path / "c_labels.ome.tif").touch()
    assert list(list_by_stem(tmp_path, labels=True)) == ["a", "b", "c"]
    assert list(list_by_stem(tmp_path)) == ["b"]
    (tmp_path / "b.tif").touch()
    with pytest.raises(ImageError, match=r"b\.png and b\.tif"):
        list_by_stem(tmp_path)
