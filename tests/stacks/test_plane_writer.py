from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_sam.errors import ImageError
from napari_sam.stacks.plane_writer import PlaneWriter, check_output

SHAPE = (4, 6, 5)


def locked_numpy(folder):
    array = np.zeros(SHAPE, np.int32)
    array.flags.writeable = False
    return array


def locked_zarr(folder):
    zarr.create_array(folder / "a.zarr", shape=SHAPE, dtype="int32")
    return zarr.open_array(folder / "a.zarr", mode="r")


@pytest.mark.parametrize("make", [locked_numpy, locked_zarr], ids=["numpy", "zarr"])
def test_an_output_that_may_only_be_read_is_refused(make, tmp_path):
    with pytest.raises(ImageError, match="may be written to"):
        check_output(make(tmp_path), SHAPE)


@pytest.mark.parametrize("out", [[[0]], 7, "labels.tif"], ids=repr)
def test_what_is_no_array_is_refused(out):
    with pytest.raises(ImageError, match=r"integers of shape \(4, 6, 5\) to write labels to, got"):
        check_output(out, SHAPE)


@pytest.mark.parametrize("kind", ["numpy", "zarr", "memmap"])
def test_an_output_that_may_be_written_to_is_taken(kind, tmp_path):
    path = tmp_path / "labels"
    makers = {
        "numpy": lambda: np.zeros(SHAPE, np.uint16),
        "zarr": lambda: zarr.create_array(path, shape=SHAPE, dtype="uint16"),
        "memmap": lambda: np.lib.format.open_memmap(path, "w+", np.uint16, SHAPE),
    }
    out = makers[kind]()
    assert check_output(out, SHAPE) is out
    writer = PlaneWriter(out)
    for number in range(SHAPE[0]):
        writer.write((number,), np.full(SHAPE[1:], number, np.int32))
    writer.flush()
    np.testing.assert_array_equal(np.asarray(out)[:, 0, 0], range(SHAPE[0]))
