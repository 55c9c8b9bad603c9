"""Live thresholds: sliders, numbers, histogram, and the way from a key to the layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sam.errors import SamError
from napari_sam.inference.candidates import FilterParams
from napari_sam.session.auto_requests import AutoState
from napari_sam.session.left_session import read_session
from napari_sam.types import ObjectMask
from napari_sam.widgets.section import Section
from napari_sam.widgets.size_histogram import SizeHistogram
from napari_sam.widgets.threshold_panel import ThresholdPanel
from napari_sam.widgets.value_slider import STEPS, ValueSlider

if TYPE_CHECKING:
    from conftest import Desk


def square(r: int, c: int, side: int, score: float) -> ObjectMask:
    return ObjectMask(np.ones((side, side), bool), (r, c), predicted_iou=score)


FOUR = [square(0, 0, 3, 0.9), square(10, 10, 5, 0.8), square(30, 30, 10, 0.7), square(50, 50, 4, 0.4)]


# ------------------------------------------------------------------ what is kept
def test_parts_of_a_result_are_kept_as_they_come(desk: Desk) -> None:
    desk.engine.objects, desk.engine.steps, desk.engine.step_delay = list(FOUR), 400, 0.05
    assert desk.widget.wait(20)
    recovery = desk.widget._recovery
    desk.widget.segment_everything()
    desk.wait_for(lambda: recovery.autosave.session is not None and not recovery.autosave.is_dirty)
    assert desk.widget._session.is_segmenting
    (layer,) = read_session(recovery.autosave.session.path).layers
    assert layer.head["name"] == "cells objects"
    assert layer.read().any()
    desk.widget.cancel()
    assert desk.widget.wait(20)


# ------------------------------------------------------------------ one slider
@pytest.mark.parametrize(
    ("options", "position", "value"),
    [
        pytest.param({"low": 0, "high": 1}, 0, 0, id="left"),
        pytest.param({"low": 0, "high": 1}, 25, 0.25, id="between"),
        pytest.param({"low": 0, "high": 1}, 100, 1, id="right"),
        pytest.param({"low": 1, "high": 10_000, "logarithmic": True, "decimals": 0}, 0, 0, id="log left"),
        pytest.param({"low": 1, "high": 10_000, "logarithmic": True, "decimals": 0}, 1, 1, id="log one"),
        pytest.param(
            {"low": 1, "high": 10_000, "logarithmic": True, "decimals": 0}, STEPS, 10_000, id="log right"
        ),
        pytest.param(
            {"low": 1, "high": 100, "logarithmic": True, "infinite": True, "decimals": 0},
            STEPS,
            math.inf,
            id="no limit",
        ),
    ],
)
def test_positions_stand_for_values(qtbot: Any, options: dict[str, Any], position: int, value: float) -> None:
    slider = ValueSlider(tip="How much.", **options)
    qtbot.addWidget(slider)
    slider.show_value(5 if options["high"] > 5 else 0.5)
    emitted: list[float] = []
    slider.value_changed.connect(emitted.append)
    slider.slider.setValue(position)
    assert emitted == [pytest.approx(value)]
    slider.show_value(value)
    assert slider.slider.value() == position
    assert len(emitted) == 1


def test_every_position_of_a_logarithmic_slider_is_reached_by_the_arrow_keys(qtbot: Any) -> None:
    slider = ValueSlider(1, 500, "Size.", decimals=0, logarithmic=True)
    qtbot.addWidget(slider)
    slider.show()
    slider.show_value(1)
    slider.slider.setFocus()
    for _ in range(STEPS):
        QTest.keyClick(slider.slider, Qt.Key.Key_Right)
    assert slider.value == 500


def test_numbers_are_typed_and_any_is_no_limit(qtbot: Any) -> None:
    slider = ValueSlider(1, 500, "Size.", decimals=0, logarithmic=True, infinite=True)
    qtbot.addWidget(slider)
    slider.show_value(math.inf)
    assert slider.box.text() == "any"
    assert slider.slider.value() == STEPS
    emitted: list[float] = []
    slider.value_changed.connect(emitted.append)
    slider.box.selectAll()
    QTest.keyClicks(slider.box, "77")
    QTest.keyClick(slider.box, Qt.Key.Key_Return)
    assert emitted == [77]
    assert slider.value == 77
    slider.slider.setValue(STEPS)
    assert emitted == [77, math.inf]
    assert slider.box.text() == "any"


def test_another_range_keeps_the_value(qtbot: Any) -> None:
    slider = ValueSlider(1, 100, "Size.", decimals=0, logarithmic=True)
    qtbot.addWidget(slider)
    slider.show_value(50)
    emitted: list[float] = []
    slider.value_changed.connect(emitted.append)
    slider.show_range(1, 5000)
    assert slider.value == 50
    assert slider.box.value() == 50
    assert emitted == []


# ------------------------------------------------------------------ the panel
def make_panel(qtbot: Any, **changes: Any) -> ThresholdPanel:
    panel = ThresholdPanel()
    qtbot.addWidget(panel)
    areas = np.array([9, 25, 100, 16])
    state = AutoState(
        "3 of 4 objects",
        True,
        FilterParams(**changes),
        FilterParams(),
        areas,
        areas > 10,
        frozenset({"predicted_iou", "stability"}),
    )
    panel.show_state(state)
    return panel


def test_showing_a_state_emits_nothing(qtbot: Any) -> None:
    panel = make_panel(qtbot, predicted_iou=0.3, max_area=50)
    emitted: list[Any] = []
    panel.thresholds_changed.connect(emitted.append)
    panel.show_state(AutoState("Gone.", False, FilterParams(), FilterParams()))
    qtbot.wait(50)
    assert emitted == []
    assert panel.note.text() == "Gone."
    assert not any(slider.isEnabled() for slider in panel.sliders.values())


def test_scores_that_no_candidate_has_are_inactive(qtbot: Any) -> None:
    panel = make_panel(qtbot)
    assert [name for name, slider in panel.sliders.items() if not slider.isEnabled()] == ["foreground"]
    assert not panel.reset.isEnabled()
    assert make_panel(qtbot, min_area=5).reset.isEnabled()


def test_many_moves_are_one_change_and_one_rest(qtbot: Any) -> None:
    panel = make_panel(qtbot)
    emitted: list[Any] = []
    rests: list[int] = []
    panel.thresholds_changed.connect(emitted.append)
    panel.rested.connect(lambda: rests.append(1))
    for position in range(5, 30, 5):
        panel.sliders["predicted_iou"].slider.setValue(position)
    panel.sliders["stability"].slider.setValue(50)
    panel.border.click()
    qtbot.waitUntil(lambda: len(rests) == 1)
    assert emitted == [{"predicted_iou": 0.25, "stability": 0.5, "keep_border": False}]


def test_the_size_limits_push_each_other(qtbot: Any) -> None:
    panel = make_panel(qtbot, min_area=10, max_area=20)
    emitted: list[Any] = []
    panel.thresholds_changed.connect(emitted.append)
    panel.sliders["min_area"].box.setValue(30)
    qtbot.waitUntil(lambda: len(emitted) == 1)
    panel.sliders["max_area"].box.setValue(5)
    qtbot.waitUntil(lambda: len(emitted) == 2)
    assert emitted == [{"min_area": 30, "max_area": 30}, {"max_area": 5, "min_area": 5}]


def test_the_histogram_counts_on_a_logarithmic_scale(qtbot: Any) -> None:
    histogram = SizeHistogram()
    qtbot.addWidget(histogram)
    areas = np.array([10, 10, 1000, 0])
    histogram.show_areas(areas, np.array([True, False, False, False]), (5, 100))
    found, kept = histogram.counts
    assert (found[0], found[-1], found.sum()) == (2, 1, 3)
    assert (kept[0], kept.sum()) == (1, 1)
    assert "1 objects" in histogram.toolTip()
    before = histogram.grab().toImage()
    histogram.show_areas(areas, np.array([True, True, True, False]), (5, 5000))
    assert histogram.grab().toImage() != before
    histogram.show_areas(np.zeros(0, int), np.zeros(0, bool), (0, math.inf))
    assert not histogram.counts[0].any()
    histogram.grab()


def test_a_section_folds_by_the_keyboard(qtbot: Any) -> None:
    panel = ThresholdPanel()
    section = Section("Thresholds", panel, "What counts.")
    qtbot.addWidget(section)
    section.show()
    assert not panel.isVisible()
    QTest.keyClick(section.button, Qt.Key.Key_Space)
    assert panel.isVisible()


# ------------------------------------------------------------------ in the dock
def segment(desk: Desk) -> Any:
    desk.engine.objects = list(FOUR)
    desk.widget.segment_everything()
    assert desk.widget.wait(20)
    return desk.layer("cells objects")


def test_a_key_on_a_slider_changes_the_layer_and_then_its_table(desk: Desk) -> None:
    assert not desk.widget._auto_panel.section.is_open
    layer = segment(desk)
    assert desk.widget._auto_panel.section.is_open
    panel = desk.widget._auto_panel.thresholds
    assert panel.note.text() == "3 of 4 objects"
    slider = panel.sliders["predicted_iou"].slider
    for _ in range(25):
        QTest.keyClick(slider, Qt.Key.Key_Right)
    desk.wait_for(lambda: panel.note.text() == "2 of 4 objects")
    assert np.unique(layer.data).tolist() == [0, 1, 2]
    assert desk.widget.filter.predicted_iou == pytest.approx(0.75)
    desk.wait_for(lambda: layer.features["index"].tolist() == [1, 2])
    panel.reset.click()
    assert panel.note.text() == "3 of 4 objects"
    assert panel.sliders["predicted_iou"].value == 0.5
    assert desk.widget.wait(20)
    assert len(desk.engine.searched) == 1


def test_scripts_set_what_the_sliders_set(desk: Desk) -> None:
    layer = segment(desk)
    desk.widget.filter = {"min_area": 20}
    assert desk.widget.wait(20)
    assert sorted(layer.features["area"]) == [25, 100]
    assert desk.widget._auto_panel.thresholds.sliders["min_area"].value == 20
    desk.widget.filter = FilterParams()
    assert desk.widget.wait(20)
    assert sorted(layer.features["area"]) == [9, 16, 25, 100]
    with pytest.raises(SamError, match="Expected thresholds out of"):
        desk.widget.filter = {"iou": 1}


def test_objects_keep_their_ids_while_others_go(desk: Desk) -> None:
    layer = segment(desk)
    desk.widget.filter = {"min_area": 20}
    # of 1, 2 and 3 the first is too small: 2 keeps its id, and 3 takes the free one
    assert [layer.data[0, 0], layer.data[10, 10], layer.data[30, 30]] == [0, 2, 1]
    desk.widget.wait(20)
    np.testing.assert_allclose(layer.features["predicted_iou"], [0.7, 0.8])


def test_gaps_and_regions_for_scripts(desk: Desk) -> None:
    widget = desk.widget
    mine = desk.viewer.add_labels(np.zeros((64, 64), int), name="mine")
    mine.data[10:15, 10:12] = 4
    roi = desk.viewer.add_shapes([[(0, 0), (0, 40), (40, 40), (40, 0)]], shape_type="polygon", name="roi")
    desk.engine.objects = list(FOUR)
    widget.target_layer, widget.fill_gaps, widget.region = mine, True, "roi"
    assert widget.region is roi
    assert widget._auto_panel.region.currentText() == "roi"
    widget.segment_everything()
    assert widget.wait(20)
    assert np.unique(mine.data).tolist() == [0, 4, 5, 6, 7]
    assert (mine.data[10:15, 10:12] == 4).all()
    widget.undo()
    assert np.unique(mine.data).tolist() == [0, 4]
    desk.viewer.layers.remove(roi)
    assert widget.region is None
    widget.method = "grid"
    assert widget.method == "grid"
    with pytest.raises(ValueError, match="Expected one of"):
        widget.method = "magic"
    with pytest.raises(ValueError, match="Expected a Shapes or Labels layer"):
        widget.region = "nothing"
    widget.region = "visible"
    assert widget._auto_panel.region.currentText() == "visible region"


def test_an_empty_region_gives_one_message(desk: Desk) -> None:
    desk.viewer.add_shapes(name="roi")
    desk.widget.region = "roi"
    desk.widget.segment_everything()
    assert desk.widget.wait(20)
    assert len(desk.messages) == 1
    assert "Expected a closed shape of 'roi'" in desk.messages[0]


@pytest.mark.parametrize("event", ["slice", "delete", "model", "image"])
def test_whatever_happens_while_sliders_move(desk: Desk, event: str) -> None:
    desk.viewer.add_image(np.zeros((3, 64, 64), np.uint8), name="stack")
    layer = segment(desk)
    slider = desk.widget._auto_panel.thresholds.sliders["predicted_iou"].slider
    for position in range(0, 100, 4):
        slider.setValue(position)
        if position == 48:
            if event == "slice":
                desk.viewer.dims.set_point(0, 2)
            elif event == "delete":
                desk.viewer.layers.remove(layer)
            elif event == "model":
                desk.widget.model_name = "vit_t"
            else:
                desk.viewer.layers.remove(desk.image)
        desk.settle(0.01)
    assert desk.widget.wait(20)
    desk.settle(0.4)
    assert desk.messages == []
    state = desk.widget._session.auto.state
    assert state.active == (event != "delete")


def test_closing_the_window_while_sliders_move(window: Desk) -> None:
    segment(window)
    slider = window.widget._auto_panel.thresholds.sliders["predicted_iou"].slider
    for position in (10, 20, 30):
        slider.setValue(position)
    window.viewer.window.remove_dock_widget(window.dock)
    window.settle(0.5)
    assert window.messages == []
    assert window.widget._runner.join(20)
