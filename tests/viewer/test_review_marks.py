from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Labels

from napari_sam.viewer.review_marks import read_column, read_marks, write_marks


def make_layer(features: dict[str, Any] | None = None) -> Labels:
    return Labels(np.arange(6).reshape(2, 3), features=features)


def test_a_layer_without_a_table_gets_one() -> None:
    layer = make_layer()
    assert read_marks(layer) == frozenset()
    write_marks(layer, [4, 2], True)
    assert layer.features["index"].tolist() == [2, 4]
    assert read_marks(layer) == {2, 4}
    write_marks(layer, [2], False)
    assert read_marks(layer) == {4}


def test_rows_and_columns_of_others_stay() -> None:
    layer = make_layer({"index": [5, 3], "area": [7, 8], "kind": ["round", "long"]})
    write_marks(layer, [3, 1], True)
    table = layer.features
    assert table["index"].tolist() == [5, 3, 1]
    assert table["area"].tolist()[:2] == [7, 8]
    assert np.isnan(table["area"].tolist()[2])
    assert table["kind"].tolist()[:2] == ["round", "long"]
    assert table["kind"].isna().tolist() == [False, False, True]
    assert table["reviewed"].tolist() == [False, True, True]
    write_marks(layer, [5], True)
    assert layer.features["area"].tolist()[:2] == [7, 8]


def test_without_a_column_index_rows_are_labels() -> None:
    layer = make_layer({"score": [0.0, 0.1, 0.2]})
    assert read_column(layer, ["score"]) == {0: 0.0, 1: 0.1, 2: 0.2}
    write_marks(layer, [2, 5], True)
    assert layer.features["index"].tolist() == [0, 1, 2, 5]
    assert read_marks(layer) == {2, 5}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([True, False, True], {1, 3}),
        ([1, 0, 1], {1, 3}),
        ([1.0, np.nan, 0.0], {1}),
        (["True", "", "false"], {1}),
        (np.array([True, None, np.nan], dtype=object), {1}),
    ],
    ids=["bool", "int", "float", "text", "object"],
)
def test_marks_as_they_come_from_files(column: Any, expected: set[int]) -> None:
    assert read_marks(make_layer({"index": [1, 2, 3], "reviewed": column})) == expected


def test_the_first_column_of_numbers_counts() -> None:
    layer = make_layer({"index": [2, 3], "iou": [0.5, 0.6], "predicted_iou": ["a", "b"]})
    assert read_column(layer, ("predicted_iou", "iou")) == {2: 0.5, 3: 0.6}
    assert read_column(layer, ("other",)) == {}
