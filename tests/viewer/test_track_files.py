"""Tracks layers through napari's own saving."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_sam.errors import ImageError
from napari_sam.viewer.track_files import write_tracks_layer


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def make(data: Any, **options: Any) -> Any:
    return ViewerModel().add_tracks(np.array(data, float), name="cells", **options)


def test_napari_saves_tracks_with_their_mothers(plugin: str, tmp_path: Path) -> None:
    rows = [(1, 0, 5, 6), (1, 1, 5.5, 6), (2, 2, 3, 4), (3, 2, 8, 9)]
    layer = make(rows, graph={2: [1], 3: [1]}, features={"id": [1, 1, 2, 3], "area": [40, 42, 20, 21]})
    path = tmp_path / "cells.csv"
    assert layer.save(str(path), plugin=plugin) == [str(path)]
    assert read(path) == [
        ["id", "t", "y", "x", "area", "parent"],
        ["1", "0", "5.00", "6.00", "40", "0"],
        ["1", "1", "5.50", "6.00", "42", "0"],
        ["2", "2", "3.00", "4.00", "20", "1"],
        ["3", "2", "8.00", "9.00", "21", "1"],
    ]


@pytest.mark.parametrize("features", [{}, {"area": [3, np.nan]}, {"area": ["small", "large"]}], ids=str)
def test_tracks_of_others_in_volumes(features: dict[str, Any], plugin: str, tmp_path: Path) -> None:
    layer = make([(7, 0, 1, 2, 3), (7, 1, 1, 2, 4)], features=features)
    [written] = layer.save(str(tmp_path / "cells.csv"), plugin=plugin)
    assert read(Path(written)) == [
        ["id", "t", "z", "y", "x", "parent"],
        ["7", "0", "1.00", "2.00", "3.00", "0"],
        ["7", "1", "1.00", "2.00", "4.00", "0"],
    ]


def test_a_name_without_an_ending_gets_one(tmp_path: Path) -> None:
    assert write_tracks_layer(str(tmp_path / "a"), np.array([(1, 0, 2, 3)]), {}) == [str(tmp_path / "a.csv")]


def test_what_cannot_be_saved_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"at most the axes T, Z, Y and X, got 5"):
        write_tracks_layer(str(tmp_path / "a.csv"), np.zeros((1, 6)), {})
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="Choose another folder"):
        write_tracks_layer(str(tmp_path / "file" / "a.csv"), np.array([(1, 0, 2, 3)]), {})
