"""Objects made in the widget with the bundled model come out of their records the same, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_sam as ns
from napari_sam.errors import SamError
from napari_sam.sample_data import load_nuclei_2d
from napari_sam.session.provenance import ObjectRecord
from napari_sam.stacks.replay_records import replay_records
from napari_sam.types import Prompts
from napari_sam.widgets.dock import SamWidget


@pytest.fixture
def image():
    return np.ascontiguousarray(load_nuclei_2d()[0][0][:160, :180])


@pytest.fixture
def bench(qtbot, image):
    viewer = ViewerModel()
    viewer.add_image(image, name="nuclei")
    widget = SamWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.wait(120)
    yield widget
    widget.shutdown()
    assert widget._runner.join(20)


@pytest.fixture(scope="module")
def predictor():
    return ns.CachedPredictor(ns.load_model("nuclei", device="cpu"))


def through_json(records):
    return [ObjectRecord.from_json(json.loads(json.dumps(record.to_json()))) for record in records]


def records_of(widget, layer):
    return through_json(widget._session.book.records(widget._controller.target.token(layer)))


def brightest(image, count):
    """Places on nuclei, far from each other."""
    left = image.astype(float).copy()
    for _ in range(count):
        row, col = np.unravel_index(np.argmax(left), left.shape)
        yield int(row), int(col)
        left[max(row - 25, 0) : row + 25, max(col - 25, 0) : col + 25] = -1


def test_clicked_objects_are_made_again_bit_for_bit(bench, image, predictor):
    points = bench._controller.viewer.layers["SAM points"]
    for number, (row, col) in enumerate(brightest(image, 6)):
        points.add((row, col))
        assert bench.wait(60)
        if number % 2:
            points.add((row + 3.5, col - 2.25))
            assert bench.wait(60)
            bench.toggle_label()
            points.add((min(row + 14, 159), col))
            bench.toggle_label()
            assert bench.wait(60)
        if number == 2:
            bench._session.prompting.choose_candidate()
        if number == 4:
            bench._session.set_settings(replace(bench._session.settings, percentiles=(2.0, 95.0)))
            assert bench.wait(60)
        bench.accept()
        assert bench.wait(60)
    layer = bench.target_layer
    records = records_of(bench, layer)
    assert len(records) == 6
    assert [len(record.earlier) for record in records] == [0, 2, 0, 2, 0, 2]
    assert records[2].params["choices"] != [0]
    assert records[5].settings["percentiles"] == [2.0, 95.0]
    replayed = replay_records(image, predictor, records)
    assert replayed.max() == 6
    assert np.array_equal(replayed, layer.data)


def test_automatic_objects_are_made_again_bit_for_bit(bench, image, predictor):
    bench.segment_everything()
    assert bench.wait(120)
    layer = next(x for x in bench._controller.targets())
    records = records_of(bench, layer)
    assert len(records) == len(np.unique(layer.data)) - 1 > 3
    assert np.array_equal(replay_records(image, predictor, records), layer.data)


RECORD = ObjectRecord(1, (None, None), prompts=Prompts([(5, 5)]))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        pytest.param([RECORD, replace(RECORD, plane=(1, None, None))], "several", id="planes"),
        pytest.param([replace(RECORD, digest="ff")], "load the model", id="another-model"),
        pytest.param([replace(RECORD, source="edited", digest=None)], "which is edited", id="edited"),
        pytest.param([replace(RECORD, prompts=None, digest=None)], "cannot be made again", id="no-prompts"),
        pytest.param(
            [replace(RECORD, params={"choices": [9]}, digest=None)], "Expected mask 10", id="choice"
        ),
        pytest.param([replace(RECORD, params={"choices": [0, 0]}, digest=None)], "1 chosen", id="choices"),
        pytest.param(
            [replace(RECORD, source="automatic", params={"region": {}}, digest=None)],
            "in a region",
            id="region",
        ),
    ],
)
def test_what_cannot_be_replayed_says_why(image, predictor, records, message):
    records = [replace(r, digest=predictor.digest) if r.digest is None else r for r in records]
    with pytest.raises(SamError, match=message):
        replay_records(image, predictor, records)


def test_nothing_gives_an_empty_plane(image, predictor):
    assert replay_records(image, predictor, []).any() == np.False_
