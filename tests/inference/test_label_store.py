"""Labels of any size on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.errors import ImageError
from napari_sam.inference import label_store
from napari_sam.inference.label_store import LabelStore, default_label_dir

if TYPE_CHECKING:
    from pathlib import Path


def test_every_level_shows_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_store, "COARSEST", 10)
    store = LabelStore(tmp_path / "labels.zarr", (3, 37, 50), (1, 2), (1, 1, 1))
    assert [level.shape for level in store.levels] == [(3, 37, 50), (3, 19, 25), (3, 10, 13), (3, 5, 7)]
    expected = np.zeros((3, 37, 50), np.int32)
    rng = np.random.default_rng(0)
    for label in range(1, 30):
        z, r, c = rng.integers(0, (3, 30, 40))
        h, w = rng.integers(1, 8, 2)
        block = np.full((h, w), label, np.int32)
        store.write((int(z), slice(int(r), int(r + h)), slice(int(c), int(c + w))), block)
        expected[z, r : r + h, c : c + w] = label
    for level, factor in zip(store.levels, (1, 2, 4, 8), strict=True):
        np.testing.assert_array_equal(level[:], expected[:, ::factor, ::factor])
    assert store.largest == 29
    np.testing.assert_array_equal(store.read((1, slice(3, 9), slice(0, 50))), expected[1, 3:9])


def test_only_what_is_written_takes_room(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.zarr", (100_000, 100_000), (0, 1), (0.5, 0.25))
    store.write((slice(99_990, 100_000), slice(5, 25)), np.full((10, 20), 7, np.int32))
    assert store.read((slice(99_995, 99_996), slice(0, 8))).tolist() == [[0, 0, 0, 0, 0, 7, 7, 7]]
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 1_000_000
    assert store.levels[-1].shape == (1563, 1563)
    described = json.loads((tmp_path / "labels.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    first, second = described["multiscales"][0]["datasets"][:2]
    assert [axis["name"] for axis in described["multiscales"][0]["axes"]] == ["y", "x"]
    assert first["coordinateTransformations"][0]["scale"] == [0.5, 0.25]
    assert second["coordinateTransformations"][0]["scale"] == [1.0, 0.5]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match="Expected to write labels to"):
        LabelStore(tmp_path / "file" / "labels.zarr", (10, 10), (0, 1), (1, 1))


def test_the_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_SAM_LABEL_DIR", str(tmp_path))
    assert default_label_dir() == tmp_path


def test_a_folder_that_exists_is_not_replaced(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels.zarr", (10, 10), (0, 1), (1, 1))
    store.write((slice(0, 2), slice(0, 2)), np.ones((2, 2), np.int32))
    with pytest.raises(ImageError, match="Expected to write labels to"):
        LabelStore(tmp_path / "labels.zarr", (10, 10), (0, 1), (1, 1))
    assert store.levels[0][:].sum() == 4
