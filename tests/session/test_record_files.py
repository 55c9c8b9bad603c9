from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_sam.session.provenance import Maker, ObjectRecord
from napari_sam.session.record_files import (
    RecordFile,
    list_boxes,
    mark_records,
    read_record_file,
    record_path,
    write_record_file,
)
from napari_sam.session.record_json import RecordError
from napari_sam.types import ObjectMask, Prompts

MASK = ObjectMask(np.ones((2, 2), bool), (0, 0))


def stack():
    labels = np.zeros((2, 8, 9), np.int32)
    labels[0, 1:3, 1:4] = 5
    labels[0, 5:8, 6:9] = 70_000
    labels[1, 1:3, 1:4] = 5
    return labels


def records():
    maker = Maker("nuclei", "ab", {"percentiles": [1, 99]}, "cpu")
    places = [(5, 0), (70_000, 0), (5, 1), (9, 1)]  # there is no object 9
    return [
        ObjectRecord.of_mask(label, (z, None, None), MASK, prompts=Prompts([(z, label)]), maker=maker)
        for label, z in places
    ]


def reader(labels):
    return lambda index: labels[index[0]] if index[0] < len(labels) else None


def saved(tmp_path, labels):
    path = tmp_path / "cells.sam.json"
    write_record_file(path, RecordFile(*mark_records(records(), reader(labels)), image={"name": "cells"}))
    return path


def keys(found):
    return [(record.label, record.plane[0]) for record in found]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tif", "a.sam.json"), ("a.ome.tif", "a.ome.sam.json"), ("a.zarr", "a.sam.json"), ("a.sam.json",) * 2],
)
def test_records_lie_beside_their_labels(tmp_path, name, expected):
    assert record_path(tmp_path / name) == tmp_path / expected


def test_boxes_are_those_of_a_naive_search():
    labels = np.random.default_rng(0).integers(0, 6, (20, 30)) * 1000
    expected = {}
    for label in np.unique(labels[labels > 0]):
        rows, cols = np.nonzero(labels == label)
        expected[int(label)] = (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
    assert list_boxes(labels) == expected
    assert list_boxes(np.zeros((3, 3), int)) == {}


def test_a_file_gives_its_records_back(tmp_path):
    path = saved(tmp_path, stack())
    file = read_record_file(path)
    assert keys(file.records) == [(5, 0), (70_000, 0), (5, 1)]
    assert file.image == {"name": "cells"}
    assert file.records[1].prompts.points.tolist() == [[0, 70_000]]
    assert file.records[1].model == "nuclei"
    assert file.records[1].settings == {"percentiles": [1, 99]}
    assert keys(file.believe(reader(stack()))) == keys(file.records)
    assert len(json.loads(path.read_text())["makers"]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["cells.sam.json"]


@pytest.mark.parametrize(
    ("change", "believed"),
    [
        pytest.param(lambda a: a[0].__setitem__((1, 1), 0), [(70_000, 0), (5, 1)], id="pixel-erased"),
        pytest.param(lambda a: a[0].__setitem__((3, 1), 5), [(70_000, 0), (5, 1)], id="grown"),
        pytest.param(lambda a: a[0].__setitem__((0, 8), 3), [(5, 0), (70_000, 0), (5, 1)], id="other-object"),
        pytest.param(lambda a: a.__setitem__(a == 5, 6), [(70_000, 0)], id="renumbered"),
        pytest.param(lambda a: a.__setitem__(slice(None), np.roll(a, 1, 1)), [], id="shifted"),
    ],
)
def test_objects_that_changed_are_not_believed(tmp_path, change, believed):
    file = read_record_file(saved(tmp_path, stack()))
    labels = stack()
    change(labels)
    assert keys(file.believe(reader(labels))) == believed


def test_records_of_another_image_are_not_believed(tmp_path):
    file = read_record_file(saved(tmp_path, stack()))
    assert keys(file.believe(reader(stack()[:, :4, :5]))) == [(5, 0), (5, 1)]  # the same objects, cropped
    assert keys(file.believe(reader(stack()[:, :4, :4]))) == []
    assert keys(file.believe(reader(np.zeros((1, 3, 3), np.int32)))) == []
    assert file.believe(lambda index: None) == ()


def test_a_record_without_a_mark_is_not_believed(tmp_path):
    path = tmp_path / "a.sam.json"
    write_record_file(path, RecordFile(tuple(records())))
    file = read_record_file(path)
    assert len(file.records) == 4
    assert file.believe(reader(stack())) == ()


def test_later_versions_may_add_names(tmp_path):
    path = saved(tmp_path, stack())
    values = json.loads(path.read_text())
    values["weather"] = "rain"
    values["objects"][0]["mood"] = [1, 2]
    path.write_text(json.dumps(values))
    assert len(read_record_file(path).records) == 3


def changed(**changes):
    return lambda values: {**values, **changes}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\xff" * 50, id="binary"),
        pytest.param(b'{"format": "napari-sam objects", "vers', id="cut-off"),
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"format": "coco"}', id="another-format"),
        pytest.param(changed(version=2), id="later-version"),
        pytest.param(changed(version="1"), id="version-as-text"),
        pytest.param(changed(objects={}), id="objects-by-name"),
        pytest.param(changed(makers=[]), id="no-makers"),
        pytest.param(changed(makers=[5]), id="maker-is-a-number"),
        pytest.param(lambda v: {**v, "objects": [{**v["objects"][0], "box": [0, 0, -1, 5]}]}, id="box"),
        pytest.param(lambda v: {**v, "objects": [{**v["objects"][0], "maker": 10**9}]}, id="maker"),
        pytest.param(lambda v: {**v, "objects": [{**v["objects"][0], "label": "5"}]}, id="label"),
    ],
)
def test_damaged_files_are_refused_with_their_name(tmp_path, content):
    path = saved(tmp_path, stack())
    if not isinstance(content, bytes):
        content = json.dumps(content(json.loads(path.read_text()))).encode()
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"cells\.sam\.json"):
        read_record_file(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RecordError, match="missing"):
        read_record_file(tmp_path / "missing.sam.json")


def test_a_file_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_sam.session.record_files.MOST_BYTES", 100)
    with pytest.raises(RecordError, match="at most"):
        read_record_file(saved(tmp_path, stack()))


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = saved(tmp_path, stack())
    before = path.read_bytes()
    unwritable = replace(records()[0], params={"f": object()})
    with pytest.raises(TypeError):
        write_record_file(path, RecordFile((unwritable,)))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
