from __future__ import annotations

import csv
import json
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from skimage.measure import label as number_parts

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import ImageStack, LazyArray, open_image
from napari_sam.stacks.outputs import FORMATS, add_labels, make_content, write_format, write_outputs
from napari_sam.stacks.outputs.label_objects import find_boxes, iter_objects
from napari_sam.stacks.outputs.outlines import fill_polygons

if TYPE_CHECKING:
    from pathlib import Path

SCALES = {"T": 10.0, "Z": 2.0, "Y": 0.5, "X": 0.25}


def _labels(*shape: int, seed: int = 0) -> np.ndarray:
    """Parts with holes, in several pieces after some ids are joined."""
    rng = np.random.default_rng(seed)
    stack = np.zeros(shape, np.int32)
    for index in np.ndindex(*shape[:-2]):
        parts = number_parts(rng.random(shape[-2:]) < 0.45, connectivity=1)
        stack[index] = np.where(parts % 5 == 4, parts - 1, parts)
    return stack


CASES = [
    pytest.param("YX", (30, 40), id="plane"),
    pytest.param("ZYX", (3, 20, 25), id="volume"),
    pytest.param("TYX", (3, 20, 25), id="movie"),
    pytest.param("TZYX", (2, 3, 20, 25), id="movie of volumes"),
]


def _write(name: str, path: Path, labels: np.ndarray, axes: str, **more: Any) -> Path:
    scale = {axis: SCALES[axis] for axis in axes}
    return write_outputs([name], path / "a", labels, axes=axes, scale=scale, unit="micrometer", **more)[0]


# --- round trips, each through another library's reader -------------------------------------------------


@pytest.mark.parametrize(("axes", "shape"), CASES)
def test_imagej_tiff(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    labels = _labels(*shape)
    path = _write("tiff", tmp_path, labels, axes)
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej
        assert file.series[0].axes == axes
        assert file.series[0].asarray().dtype == np.uint16
        meta = file.imagej_metadata
        assert meta.get("frames", 1) == (shape[axes.index("T")] if "T" in axes else 1)
        assert meta.get("slices", 1) == (shape[axes.index("Z")] if "Z" in axes else 1)
        assert meta.get("unit") == "um"
        if "Z" in axes:
            assert meta["spacing"] == 2.0
        if "T" in axes:
            assert meta["finterval"] == 10.0
        count, per = file.pages[0].tags["XResolution"].value
        assert per / count == 0.25
        np.testing.assert_array_equal(file.series[0].asarray(), labels)
    back = open_image(path)
    assert (back.axes, back.unit) == (axes, "micrometer")
    assert back.scale == {axis: SCALES[axis] for axis in axes}


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
@pytest.mark.parametrize(("axes", "shape"), CASES)
def test_ids_beyond_imagej_go_to_ome_tiff(
    axes: str, shape: tuple[int, ...], dtype: type, tmp_path: Path
) -> None:
    labels = _labels(*shape).astype(dtype)
    labels[labels > 0] += 70000
    path = _write("tiff", tmp_path, labels, axes)
    assert path.name == "a_labels.ome.tif"
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert file.series[0].axes == axes
        np.testing.assert_array_equal(file.series[0].asarray(), labels)
    back = open_image(path)
    assert (back.axes, back.unit, back.scale) == (axes, "micrometer", {axis: SCALES[axis] for axis in axes})


def test_a_tiff_never_loses_the_high_bits_of_ids(tmp_path: Path) -> None:
    content = make_content(ImageStack(np.full((4, 5), 65536, np.int32), "YX"))
    write_format("tiff", tmp_path / "a.tif", content)  # napari's user chose the name
    assert (tifffile.imread(tmp_path / "a.tif") == 65536).all()
    content = make_content(ImageStack(np.full((4, 5), 1 << 32, np.int64), "YX"))
    with pytest.raises(ImageError, match=r"below 2\*\*32"):
        write_format("tiff", tmp_path / "b.ome.tif", content)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(("axes", "shape"), CASES)
def test_imagej_rois(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    import roifile

    labels = _labels(*shape)
    path = _write("rois", tmp_path, labels, axes)
    rois = roifile.roiread(path)
    back = np.zeros_like(labels)
    for roi in rois:
        where: list[int] = []
        if axes == "TZYX":
            assert roi.position == 0
            where = [roi.t_position - 1, roi.z_position - 1]
        elif len(axes) == 3:
            where = [roi.position - 1]
        rings = [ring[:, ::-1] for ring in roi.coordinates(multi=True)]
        filled = fill_polygons([rings], shape[-2:])
        label = int(roi.props.split("label:")[1])
        assert roi.name.startswith(f"{label:04d}")
        assert (roi.top, roi.left) == tuple(np.min(np.concatenate(rings), axis=0))
        plane = back[tuple(where)]
        assert not plane[filled].any()
        plane[filled] = label
    np.testing.assert_array_equal(back, labels)
    assert len({info.filename for info in zipfile.ZipFile(path).infolist()}) == len(rois)


def test_rois_are_traced_where_they_can_be(tmp_path: Path) -> None:
    """Whole corners and ImageJ's type for them: a composite is slower and cannot be edited by its corners."""
    import roifile

    labels = np.zeros((9, 9), np.uint8)
    labels[1:4, 2:6] = 1
    labels[5:8, 5:8] = 2
    labels[6, 6] = 0
    solid, ring = roifile.roiread(_write("rois", tmp_path, labels, "YX"))
    assert (solid.roitype, solid.composite) == (roifile.ROI_TYPE.TRACED, False)
    assert sorted(map(tuple, solid.coordinates())) == [(2, 1), (2, 4), (6, 1), (6, 4)]
    assert (solid.top, solid.left, solid.bottom, solid.right) == (1, 2, 4, 6)
    assert ring.composite
    assert len(ring.coordinates(multi=True)) == 2


@pytest.mark.parametrize(("axes", "shape"), CASES)
def test_geojson(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    labels = _labels(*shape)
    data = json.loads(_write("geojson", tmp_path, labels, axes).read_text())
    back = np.zeros_like(labels)
    ids = set()
    for feature in data["features"]:
        geometry, properties = feature["geometry"], feature["properties"]
        ids.add(feature["id"])
        plane = geometry.get("plane", {"z": 0, "t": 0})
        where = tuple(plane[axis.lower()] for axis in axes[:-2])
        parts = geometry["coordinates"]
        parts = [parts] if geometry["type"] == "Polygon" else parts
        for part in parts:
            assert all(ring[0] == ring[-1] for ring in part)
        filled = fill_polygons([[np.array(r)[:, ::-1] for r in part] for part in parts], shape[-2:])
        back[where][filled] = properties["label"]
        assert properties["measurements"]["Area px^2"] == filled.sum()
        assert (properties["objectType"], properties["name"]) == ("annotation", str(properties["label"]))
    np.testing.assert_array_equal(back, labels)
    assert len(ids) == len(data["features"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools decodes so
@pytest.mark.parametrize(("axes", "shape"), CASES)
def test_coco(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    labels = _labels(*shape)
    labels[..., -1, :4] = 9999  # runs that go on from one column to the next
    labels[..., :, 1] = 9999
    labels[..., :, 2] = 9999
    data = COCO(_write("coco", tmp_path, labels, axes))
    back = np.zeros_like(labels)
    for annotation in data.loadAnns(data.getAnnIds()):
        image = data.loadImgs(annotation["image_id"])[0]
        where = tuple(image["plane"][axis.lower()] for axis in axes[:-2]) if len(axes) > 2 else ()
        mask = data.annToMask(annotation).astype(bool)
        back[where][mask] = annotation["label"]
        x, y, width, height = annotation["bbox"]
        rows, cols = np.nonzero(mask)
        assert (y, x, y + height - 1, x + width - 1) == (rows.min(), cols.min(), rows.max(), cols.max())
        assert annotation["area"] == mask.sum()
    np.testing.assert_array_equal(back, labels)


@pytest.mark.parametrize(("axes", "shape"), CASES)
def test_a_new_ome_zarr(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    labels = _labels(*shape)
    path = _write("ome-zarr", tmp_path, labels, axes, records={1: {"source": "prompts"}})
    nodes = {str(node.zarr.basename()): node for node in Reader(parse_url(str(path)))()}
    found = nodes["objects"]
    assert [axis["name"].upper() for axis in found.metadata["axes"]] == list(axes)
    assert found.metadata["properties"] == {1: {"source": "prompts"}}
    np.testing.assert_array_equal(np.asarray(found.data[0]), labels)
    back = open_image(path / "labels" / "objects")
    assert (back.axes, back.unit, back.scale) == (axes, "micrometer", {axis: SCALES[axis] for axis in axes})
    np.testing.assert_array_equal(np.asarray(open_image(path).data), labels)  # a viewer of the whole zarr
    listed = zarr.open_group(path, mode="r")["labels"].attrs["ome"]
    assert listed["labels"] == ["objects"]


# --- labels beside their image -----------------------------------------------------------------------------


def _write_image(path: Path, version: int, shape: tuple[int, ...], axes: str) -> None:
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.writer import write_multiscales_metadata

    root = zarr.open_group(path, mode="w", zarr_format=version)
    datasets = []
    for level in range(3):
        size = [n >> level if axis in "yx" else n for axis, n in zip(axes, shape, strict=True)]
        root.create_array(str(level), shape=size, chunks=size, dtype="uint16")
        steps = [float(1 << level) if axis in "yx" else 1.0 for axis in axes]
        transforms = [{"type": "scale", "scale": steps}]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    write_multiscales_metadata(root, datasets, fmt=FormatV05() if version == 3 else FormatV04(), axes=axes)


@pytest.mark.parametrize("version", [2, 3])
def test_labels_are_added_to_their_image(version: int, tmp_path: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    image = tmp_path / "i.zarr"
    _write_image(image, version, (2, 3, 45, 57), "czyx")
    labels = _labels(3, 45, 57)
    content = make_content(ImageStack(labels, "ZYX", {"Z": 2.0, "Y": 0.5, "X": 0.5}, "micrometer"))
    assert add_labels(image, content, "cells") == image / "labels" / "cells"
    nodes = {str(node.zarr.basename()): node for node in Reader(parse_url(str(image)))()}
    np.testing.assert_array_equal(np.asarray(nodes["cells"].data[0]), labels)
    assert [level.shape for level in nodes["cells"].data] == [(3, 45, 57), (3, 22, 28), (3, 11, 14)]
    coarse = np.asarray(nodes["cells"].data[1])
    assert coarse[1, 3, 5] == labels[1, 7, 11]  # the pixel at (3 + 0.5) * 45 / 22, (5 + 0.5) * 57 / 28
    with pytest.raises(FileExistsError):
        add_labels(image, content, "cells")
    add_labels(image, content, "more")
    changed = make_content(ImageStack(labels[:, ::-1], "ZYX"))
    add_labels(image, changed, "cells", overwrite=True)
    np.testing.assert_array_equal(np.asarray(open_image(image / "labels" / "cells").data), labels[:, ::-1])
    attributes = dict(zarr.open_group(image, mode="r")["labels"].attrs)
    assert sorted(attributes.get("ome", attributes)["labels"]) == ["cells", "more"]
    assert sorted(p.name for p in (image / "labels").iterdir() if p.is_dir()) == ["cells", "more"]


@pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")  # zarr 3 warns whoever makes them
@pytest.mark.parametrize("version", [2, 3])
def test_labels_are_found_in_an_image_with_consolidated_metadata(version: int, tmp_path: Path) -> None:
    image = tmp_path / "i.zarr"
    _write_image(image, version, (45, 57), "yx")
    zarr.consolidate_metadata(image)
    labels = _labels(45, 57)
    add_labels(image, make_content(ImageStack(labels, "YX")), "cells")
    add_labels(image, make_content(ImageStack(labels, "YX")), "more")
    add_labels(image, make_content(ImageStack(labels[::-1], "YX")), "cells", overwrite=True)
    root = zarr.open_group(image, mode="r")
    assert root.metadata.consolidated_metadata is not None
    assert sorted(root["labels"]) == ["cells", "more"]
    np.testing.assert_array_equal(root["labels/cells/0"][:], labels[::-1])
    attributes = dict(root["labels"].attrs)
    assert sorted(attributes.get("ome", attributes)["labels"]) == ["cells", "more"]


@pytest.mark.parametrize(
    ("shape", "name", "message"),
    [
        pytest.param((45, 57), "../cells", "a folder's", id="name"),
        pytest.param((45, 58), "cells", r"image's shape \(45, 57\) \(YX\).*got \(45, 58\)", id="shape"),
    ],
)
def test_labels_that_do_not_fit_their_image(
    shape: tuple[int, ...], name: str, message: str, tmp_path: Path
) -> None:
    _write_image(tmp_path / "i.zarr", 3, (45, 57), "yx")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageError, match=message):
        add_labels(tmp_path / "i.zarr", make_content(ImageStack(np.ones(shape, int), "YX")), name)
    assert sorted(tmp_path.rglob("*")) == before


# --- tables ------------------------------------------------------------------------------------------------


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_measurements_by_hand(tmp_path: Path) -> None:
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 2:6] = 7  # 2 x 4, touches nothing
    labels[5, 0] = 3
    image = np.zeros((6, 8, 2))
    image[..., 0] = np.arange(48).reshape(6, 8)
    image[1, 2, 1] = 8
    path = write_outputs(
        ["csv"],
        tmp_path / "a",
        labels,
        axes="YX",
        scale={"Y": 0.5, "X": 0.5},
        unit="micrometer",
        image=ImageStack(image, "YXC"),
        records={7: {"source": "prompts", "predicted_iou": 0.875}},
    )[0]
    one, seven = _read_table(path)
    assert {name: seven[name] for name in ("label", "area", "on_border", "source", "predicted_iou")} == {
        "label": "7",
        "area": "8",
        "on_border": "0",
        "source": "prompts",
        "predicted_iou": "0.875",
    }
    expected = {
        "centroid-row": 1.5,
        "centroid-col": 3.5,
        "first-row": 1,
        "first-col": 2,
        "size-row": 2,
        "size-col": 4,
        "area_um2": 2.0,
        "y_um": 0.75,
        "x_um": 1.75,
        "equivalent_diameter_area": np.sqrt(4 * 8 / np.pi),
        "equivalent_diameter_area_um": np.sqrt(4 * 2 / np.pi),
        # 4 sqrt of the larger eigenvalue of the second moments: 1.25, those of four columns
        "axis_major_length": 4 * np.sqrt(1.25),
        "axis_major_length_um": 2 * np.sqrt(1.25),
        "axis_minor_length": 4 * np.sqrt(0.25),
        "solidity": 1.0,
        "mean_intensity-0": 15.5,  # rows 10..13 and 18..21
        "min_intensity-0": 10,
        "max_intensity-0": 21,
        "mean_intensity-1": 1.0,
        "std_intensity-1": np.sqrt(7),
    }
    for name, value in expected.items():
        assert float(seven[name]) == pytest.approx(value, rel=1e-5), name
    assert (one["label"], one["area"], one["on_border"], one["source"]) == ("3", "1", "1", "")


def test_volumes_are_measured_across_planes(tmp_path: Path) -> None:
    labels = np.zeros((2, 4, 6, 8), np.int32)
    labels[0, 1:3, 2:4, 2:6] = 5
    labels[1, 0, 0, 0] = 5
    scale = {"Z": 2.0, "Y": 0.5, "X": 0.5}
    image = ImageStack(np.ones((2, 4, 6, 8)), "TZYX")
    path = write_outputs(
        ["csv"],
        tmp_path / "a",
        labels,
        axes="TZYX",
        scale=scale,
        unit="micrometer",
        image=image,
        volumes=True,
    )[0]
    first, second = _read_table(path)
    assert [row["t"] for row in (first, second)] == ["0", "1"]
    names = ("volume", "centroid-plane", "volume_um3", "z_um", "mean_intensity", "on_border")
    assert [float(first[name]) for name in names] == [16, 1.5, 8.0, 3.0, 1.0, 0]
    assert [float(second[name]) for name in names] == [1, 0, 0.5, 0, 1.0, 1]


def test_a_perimeter_in_world_units_needs_square_pixels(tmp_path: Path) -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 1
    row = _read_table(_write("csv", tmp_path, labels, "YX"))[0]
    assert float(row["perimeter"]) == 16
    assert row["perimeter_um"] == ""


@pytest.mark.parametrize("name", FORMATS)
def test_no_objects_at_all(name: str, tmp_path: Path) -> None:
    path = _write(name, tmp_path, np.zeros((2, 8, 9), np.uint8), "ZYX")
    assert path.exists()
    if name == "csv":
        assert path.read_text().split() == ["z,label,area"]
    if name == "geojson":
        assert json.loads(path.read_text())["features"] == []


# --- what goes in, and what happens when it cannot ---------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "axes", "message"),
    [
        pytest.param(np.zeros((4, 5)), "YX", "label image.*float64", id="floats"),
        pytest.param(np.zeros((4, 5, 3), np.uint8), "YXC", "without channels.*YXC", id="channels"),
        pytest.param(np.full((4, 5), -1), "YX", "ids from 0.*got -1", id="negative"),
        pytest.param(np.zeros((1, 1, 1, 4, 5), int), "ABTYX", "at most the axes T, Z, Y and X", id="axes"),
    ],
)
def test_what_are_no_labels(data: np.ndarray, axes: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        write_outputs(["geojson"], tmp_path / "a", data, axes=axes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["zarr", "lazy", "dask"])
@pytest.mark.parametrize("name", FORMATS)
def test_labels_that_are_not_in_memory_give_the_same_files(name: str, kind: str, tmp_path: Path) -> None:
    import dask.array

    labels = _labels(3, 20, 25)
    array = zarr.create_array({}, data=labels, chunks=(1, 8, 8))
    data: Any = {"zarr": array, "lazy": LazyArray(array, (1, 2)), "dask": dask.array.from_array(array)}[kind]
    paths = [_write(name, tmp_path / where, each, "ZYX") for where, each in (("m", labels), ("z", data))]
    if name == "ome-zarr":
        one, other = (np.asarray(open_image(path).data) for path in paths)
        np.testing.assert_array_equal(one, other)
    elif name == "rois":
        one, other = ({i.filename: i.CRC for i in zipfile.ZipFile(path).infolist()} for path in paths)
        assert one == other
    else:
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("name", ["tiff", "ome-zarr", "csv"])
def test_axes_are_put_in_order(name: str, tmp_path: Path) -> None:
    labels = _labels(3, 2, 20, 25)
    swapped = _write(name, tmp_path / "s", labels, "ZTYX")
    plain = _write(name, tmp_path / "p", labels.swapaxes(0, 1), "TZYX")
    if name == "csv":
        assert swapped.read_text() == plain.read_text()
    else:
        one, other = open_image(swapped), open_image(plain)
        assert one.axes == other.axes == "TZYX"
        np.testing.assert_array_equal(np.asarray(one.data), np.asarray(other.data))


def test_pages_without_a_meaning_become_z(tmp_path: Path) -> None:
    path = write_outputs(["tiff"], tmp_path / "a", _labels(3, 9, 9), axes="QYX")[0]
    assert open_image(path).axes == "ZYX"


def test_boxes_of_large_planes_are_found_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = _labels(60, 50).astype(np.int64)
    labels[labels == 3] = 1 << 40  # far beyond any table
    expected = {label: (mask.box, mask.area) for label, mask in iter_objects(labels)}
    monkeypatch.setattr("napari_sam.stacks.outputs.label_objects.AT_ONCE", 7 * 50)
    found = {label: (mask.box, mask.area) for label, mask in iter_objects(labels)}
    assert found == expected
    assert 1 << 40 in find_boxes(labels)


def test_all_formats_at_once_and_none_replaced_unasked(tmp_path: Path) -> None:
    labels = _labels(12, 14)
    paths = write_outputs(FORMATS, tmp_path / "a", labels, axes="YX")
    assert [path.name for path in paths] == [f"a{form.ending}" for form in FORMATS.values()]
    assert sorted(tmp_path.iterdir()) == sorted(paths)  # no temporary file is left
    with pytest.raises(FileExistsError, match="overwrite"):
        write_outputs(["csv"], tmp_path / "a", labels, axes="YX")
    again = write_outputs(FORMATS, tmp_path / "a", labels[::-1], axes="YX", overwrite=True)
    assert again == paths
    np.testing.assert_array_equal(tifffile.imread(paths[0]), labels[::-1])
    np.testing.assert_array_equal(np.asarray(open_image(paths[1]).data), labels[::-1])
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.parametrize("name", FORMATS)
def test_a_write_that_fails_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    class Failing:
        """Can be looked at once, as long as it takes to choose a file name, and breaks when it is written."""

        shape, dtype, ndim = (3, 8, 9), np.dtype(np.int32), 3
        reads = 0

        def __getitem__(self, index: Any) -> Any:
            self.reads += 1
            if self.reads > (8 if name == "tiff" else 2):
                raise OSError(28, "No space left on device")
            return np.ones((3, 8, 9), np.int32)[index]

    old = _write(name, tmp_path, np.ones((3, 8, 9), np.int32), "ZYX")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(OSError, match="No space left"):
        _write(name, tmp_path, Failing(), "ZYX", overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert old.exists()


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"package ome-zarr .*napari-sam-workbench\[formats\]"):
        write_outputs(["csv", "ome-zarr"], tmp_path / "a", _labels(5, 5), axes="YX")
    with pytest.raises(ImageError, match=r"among tiff, .*csv, got 'xlsx'"):
        write_outputs(["csv", "xlsx"], tmp_path / "a", _labels(5, 5), axes="YX")
    assert list(tmp_path.iterdir()) == []


def test_values_that_json_cannot_hold_are_left_out(tmp_path: Path) -> None:
    labels = np.zeros((5, 5), np.uint8)
    labels[2, 2] = 1
    known = {1: {"iou": float("nan"), "plane": [0, 1], "model": "nuclei", "area": 1}}
    feature = json.loads(_write("geojson", tmp_path, labels, "YX", records=known).read_text())["features"][0]
    assert feature["properties"]["measurements"] == {"Area px^2": 1, "area": 1}
    assert feature["properties"]["metadata"] == {"label": "1", "plane": "[0, 1]", "model": "nuclei"}
    coco = json.loads(_write("coco", tmp_path, labels, "YX", records=known).read_text())
    assert coco["annotations"][0]["attributes"] == {"plane": [0, 1], "model": "nuclei", "area": 1}


def test_writing_warns_of_nothing(tmp_path: Path) -> None:
    """Single pixels, lines and diagonals: what regionprops and ome-zarr warn of is dealt with."""
    labels = np.zeros((12, 12), np.int32)
    labels[0, 0] = 1
    labels[2, 2:9] = 2
    labels[np.arange(4, 9), np.arange(4, 9)] = 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_outputs(
            FORMATS, tmp_path / "a", labels, axes="YX", scale={"Y": 0.5, "X": 0.25}, unit="micrometer"
        )
