from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest

from napari_sam.session.provenance import Maker, ObjectBook, ObjectRecord
from napari_sam.session.record_json import RecordError, pack_bits, read_mask, read_prompts, unpack_bits
from napari_sam.types import ObjectMask, Prompts

ROUGH = ObjectMask(np.array([[True, False, True], [False, True, True]]), (4, -1), 0.75, 0.5)


def same(one: Prompts | None, other: Prompts | None) -> bool:
    if one is None or other is None:
        return one is other
    masks = [(p.mask.origin, p.mask.mask.tolist()) if p.mask is not None else None for p in (one, other)]
    return (
        one.points.tolist() == other.points.tolist()
        and one.labels.tolist() == other.labels.tolist()
        and one.box == other.box
        and masks[0] == masks[1]
    )


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(None, id="none"),
        pytest.param(Prompts([(1.5, 2)]), id="click"),
        pytest.param(Prompts([(0.1, 2), (3, 4)], [1, 0]), id="correction"),
        pytest.param(Prompts(box=(1, 2, 3.25, 4)), id="box"),
        pytest.param(Prompts(mask=ROUGH), id="rough-mask"),
        pytest.param(Prompts([(1, 2)], box=(0, 0, 9, 9), mask=ROUGH), id="all"),
    ],
)
def test_a_record_goes_into_json_and_back(prompts):
    maker = Maker("nuclei", "ab12", {"percentiles": [1.0, 99.8], "limits": None}, "cpu")
    record = ObjectRecord.of_mask(
        7, (3, None, None), ROUGH, prompts=prompts, maker=maker, params={"keep": "pixels"},
        earlier=(Prompts([(5, 5)]),),
    )  # fmt: skip
    back = ObjectRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert same(back.prompts, prompts)
    assert [same(p, Prompts([(5, 5)])) for p in back.earlier] == [True]
    assert (back.label, back.plane, back.source, back.area) == (7, (3, None, None), "prompts", 4)
    assert (back.predicted_iou, back.stability, back.created) == (0.75, 0.5, record.created)
    assert (back.model, back.digest, back.settings) == ("nuclei", "ab12", maker.settings)
    assert back.params == {"device": "cpu", "keep": "pixels"}
    assert back.versions == dict(record.versions)
    assert "torch" in back.versions


def test_points_survive_to_the_last_bit():
    points = np.random.default_rng(0).uniform(0, 5000, (50, 2)).astype(np.float32)
    record = ObjectRecord(1, (None, None), prompts=Prompts(points))
    back = ObjectRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert back.prompts is not None
    assert back.prompts.points.tobytes() == points.tobytes()


def test_what_a_later_version_added_is_left_alone():
    values = {
        "label": 2,
        "plane": [None, None],
        "source": "dreamt",
        "mood": "good",
        "prompts": {"points": [[1, 2]]},
    }
    record = ObjectRecord.from_json(values)
    assert (record.label, record.source) == (2, "imported")
    assert record.prompts is not None
    assert record.prompts.labels.tolist() == [1]


GOOD = {"label": 1, "plane": [None, None]}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="a-list"),
        pytest.param(None, id="null"),
        pytest.param({"plane": [None, None]}, id="no-label"),
        pytest.param({**GOOD, "label": 0}, id="background"),
        pytest.param({**GOOD, "label": True}, id="truth-as-label"),
        pytest.param({**GOOD, "label": 1 << 60}, id="label-too-large"),
        pytest.param({**GOOD, "plane": [-1, None]}, id="negative-plane"),
        pytest.param({**GOOD, "plane": "zyx"}, id="plane-of-text"),
        pytest.param({**GOOD, "area": float("nan")}, id="nan"),
        pytest.param({**GOOD, "model": "x" * 100_000}, id="endless-name"),
        pytest.param({**GOOD, "settings": 5}, id="settings"),
        pytest.param({**GOOD, "prompts": 5}, id="prompts"),
        pytest.param({**GOOD, "prompts": {"points": [[1, 2, 3]]}}, id="points-3d"),
        pytest.param({**GOOD, "prompts": {"points": [[1, 1e999]]}}, id="infinite-point"),
        pytest.param({**GOOD, "prompts": {"points": [[1, 2]], "labels": [7]}}, id="labels"),
        pytest.param({**GOOD, "prompts": {"points": [[1, 2]] * 100_001}}, id="too-many-points"),
        pytest.param({**GOOD, "prompts": {"box": [1, 2]}}, id="box"),
        pytest.param({**GOOD, "prompts": {"box": [1, 2, 3, "a"]}}, id="box-of-text"),
        pytest.param({**GOOD, "earlier": [{}] * 1001}, id="endless-history"),
    ],
)
def test_damaged_records_are_refused(values):
    with pytest.raises(RecordError):
        ObjectRecord.from_json(values)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"bits": "!!"}, id="no-base64"),
        pytest.param({"bits": base64.b64encode(b"x").decode()}, id="not-compressed"),
        pytest.param({"bits": pack_bits(np.zeros((9, 9), bool))}, id="another-size"),
        pytest.param({"bits": base64.b64encode(zlib.compress(bytes(1 << 24))).decode()}, id="bomb"),
        pytest.param({"bits": None}, id="none"),
        pytest.param({"shape": [1 << 20, 1 << 20]}, id="huge"),
        pytest.param({"shape": [2]}, id="one-axis"),
        pytest.param({"shape": [-2, -3]}, id="negative"),
        pytest.param({"origin": [0.5, 1]}, id="half-a-pixel"),
    ],
)
def test_damaged_masks_are_refused(changes):
    good = {"origin": [0, 0], "shape": [2, 3], "bits": pack_bits(ROUGH.mask)}
    assert read_mask(good).mask.tolist() == ROUGH.mask.tolist()
    with pytest.raises(RecordError):
        read_prompts({"mask": {**good, **changes}})


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (3, 5), (64, 33)], ids=str)
def test_bits_are_packed_and_unpacked(shape):
    mask = np.random.default_rng(1).random(shape) < 0.5
    assert np.array_equal(unpack_bits(pack_bits(mask), shape), mask)


def test_the_book_replaces_records_and_tells_what_was_there():
    book, heard = ObjectBook(), []
    book.changed.connect(lambda layer, labels: heard.append((layer, labels)))
    one, two = ObjectRecord(5, (0, None, None)), ObjectRecord(5, (1, None, None))
    assert book.change("a", 5, [one, two]) == ()
    assert book.get("a", 5) == (one, two)
    assert book.get("a", 6) == book.get("b", 5) == ()
    assert book.change_many("a", {5: [two], 7: [ObjectRecord(7, (0, None, None))]}) == {5: (one, two), 7: ()}
    assert book.labels("a") == (5, 7)
    assert len(book.records("a")) == 2
    assert book.change("a", 7, ()) != ()
    assert book.labels("a") == (5,)
    assert heard == [("a", {5}), ("a", {5, 7}), ("a", {7})]


def test_the_book_follows_layers():
    book = ObjectBook()
    record = ObjectRecord(5, (None, None))
    book.change("a", 5, [record])
    book.move("a", "b")
    assert book.layers() == ("b",)
    assert book.get("b", 5) == (record,)
    book.forget("b")
    assert book.layers() == ()
    book.move("nowhere", "b")
    book.forget("nowhere")
    assert book.layers() == ()


def test_an_edited_object_keeps_its_prompts():
    record = ObjectRecord(5, (None, None), prompts=Prompts([(1, 2)]), area=10)
    edited = record.touched(area=8)
    assert (edited.source, edited.area, edited.prompts) == ("edited", 8, record.prompts)
