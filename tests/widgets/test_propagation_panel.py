"""The panel of propagation and its strip: what they show, and what a mouse and keys do to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_sam.inference.label_image import read_objects
from napari_sam.inference.propagation_values import PlaneObject, PropagationParams
from napari_sam.sample_data import make_nuclei
from napari_sam.session.left_session import read_session
from napari_sam.types import ObjectMask
from napari_sam.viewer.propagation_view import PropagationView
from napari_sam.widgets.dock import SamWidget
from napari_sam.widgets.quality_strip import QualityStrip, describe_plane

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Desk

COUNT = 8
PATIENCE = 120


def square(side: int) -> ObjectMask:
    return ObjectMask(np.ones((side, side), bool), (0, 0))


VIEW = PropagationView(
    count=10,
    shown=3,
    label=5,
    labels=(5,),
    results={
        2: PlaneObject(5, 2, square(4), overlap=0.9, area_ratio=0.5, flag="area"),
        3: PlaneObject(5, 3, square(6), is_anchor=True),
        4: PlaneObject(5, 4, square(5), overlap=1.0, area_ratio=0.7),
        5: PlaneObject(5, 5, None, flag="lost"),
    },
    stops=frozenset({8}),
)


# ------------------------------------------------------------------ the strip
@pytest.fixture
def strip(qtbot: Any) -> QualityStrip:
    strip = QualityStrip()
    qtbot.addWidget(strip)
    strip.resize(202, strip.height())
    strip.show()
    strip.show_view(VIEW)
    return strip


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2, "Plane 2: 16 px (x 0.50), overlap 90%, the area jumps"),
        (3, "Plane 3: 36 px, yours"),
        (5, "Plane 5: it ended, nothing was found"),
        (7, "Plane 7: not there"),
        (8, "Plane 8: a stop"),
    ],
)
def test_each_plane_in_words(number: int, text: str) -> None:
    assert describe_plane(number, VIEW) == text


@pytest.mark.parametrize(("x", "plane"), [(0, 0), (2, 0), (41, 2), (100, 4), (199, 9), (201, 9)])
def test_a_click_chooses_the_plane_under_it(strip: QualityStrip, x: int, plane: int) -> None:
    chosen: list[int] = []
    strip.plane_chosen.connect(chosen.append)
    QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(x, 30))
    assert chosen == [plane]


@pytest.mark.parametrize(
    ("key", "plane", "flag"),
    [
        ("Key_Left", [2], []),
        ("Key_Right", [4], []),
        ("Key_Home", [0], []),
        ("Key_End", [9], []),
        ("Key_PageDown", [], [1]),
        ("Key_PageUp", [], [-1]),
        ("Key_A", [], []),
    ],
)
def test_keys_go_through_planes_and_flags(
    strip: QualityStrip, key: str, plane: list[int], flag: list[int]
) -> None:
    planes: list[int] = []
    flags: list[int] = []
    strip.plane_chosen.connect(planes.append)
    strip.flag_asked.connect(flags.append)
    QTest.keyClick(strip, getattr(Qt.Key, key))
    assert (planes, flags) == (plane, flag)


def test_nothing_to_choose_without_a_stack(strip: QualityStrip) -> None:
    chosen: list[int] = []
    strip.plane_chosen.connect(chosen.append)
    strip.show_view(PropagationView())
    QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(50, 30))
    QTest.keyClick(strip, Qt.Key.Key_Right)
    assert chosen == []


def colours(strip: QualityStrip) -> np.ndarray:
    """(H, W, 3) what is painted."""
    image = strip.grab().toImage().convertToFormat(strip.grab().toImage().Format.Format_RGB888)
    pointer = image.constBits()
    if hasattr(pointer, "setsize"):
        pointer.setsize(image.sizeInBytes())
    flat = np.frombuffer(pointer, np.uint8).reshape(image.height(), image.bytesPerLine())
    return flat[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def share(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - colour).max(axis=-1) < 25).mean())


def test_bars_flags_and_stops_are_painted_where_they_belong(strip: QualityStrip) -> None:
    pixels = colours(strip)
    scale = pixels.shape[1] / strip.width()

    def column(number: int) -> np.ndarray:
        place = strip.column(number)
        return pixels[:, int(place.left() * scale) : int(place.right() * scale)]

    blue, orange, stop = (31, 182, 255), (255, 106, 0), (224, 48, 122)
    assert share(column(3), blue) > share(column(4), blue) > 0.2
    assert share(column(2), orange) > 0.1  # bar and triangle
    assert 0 < share(column(5), orange) < 0.1  # the triangle alone
    assert share(column(8), stop) > 0.02
    assert share(column(7), blue) + share(column(7), orange) + share(column(7), stop) == 0


def test_an_empty_strip_paints_nothing_that_is_not_there(strip: QualityStrip) -> None:
    strip.show_view(PropagationView(count=5, shown=0))
    assert share(colours(strip), (31, 182, 255)) == 0


# ------------------------------------------------------------------ the panel
@pytest.fixture
def stacked(desk: Desk) -> Desk:
    """The widget on a stack."""
    desk.viewer.layers.clear()
    desk.image = desk.viewer.add_image(np.zeros((COUNT, 64, 64), np.uint8), name="stack")
    assert desk.widget.wait(20)
    return desk


def panel_of(desk: Desk) -> Any:
    return desk.widget._propagation_section.panel


def press(desk: Desk, button: Any) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert desk.widget.wait(20)


def areas(desk: Desk, label: int = 1) -> list[int]:
    return (np.asarray(desk.widget.target_layer.data) == label).sum(axis=(1, 2)).tolist()


def test_without_a_stack_there_is_nothing_to_press(desk: Desk) -> None:
    panel = panel_of(desk)
    assert not any(b.isEnabled() for b in (panel.propagate, panel.correct, panel.stop, panel.cancel))
    assert "Open a stack" in panel.text.text()


def test_propagate_correct_and_stop_by_their_buttons(stacked: Desk) -> None:
    panel = panel_of(stacked)
    stacked.click(0, 20, 30)
    assert stacked.widget.wait(20)
    press(stacked, panel.propagate)
    assert areas(stacked) == [29] * COUNT
    assert "Object 1: planes 0 to 7" in panel.text.text()
    stacked.viewer.dims.set_point(0, 5)
    press(stacked, panel.stop)
    assert panel.stop.isChecked()
    press(stacked, panel.correct)
    assert areas(stacked) == [29] * 5 + [0] * 3
    stacked.widget.undo()
    assert areas(stacked) == [29] * COUNT


def test_what_is_set_is_what_is_asked(stacked: Desk) -> None:
    panel, desk = panel_of(stacked), stacked.widget._propagation
    panel.direction.setCurrentIndex(1)
    panel.direction.activated.emit(1)
    panel.last.setValue(4)
    panel.limits.sliders["min_overlap"].box.setValue(0.7)
    panel.limits.sliders["max_area_change"].slider.setValue(
        panel.limits.sliders["max_area_change"].slider.maximum()
    )
    panel.limits.jumps.click()
    panel.limits.motion.click()
    assert desk.params == PropagationParams(
        direction="forward", last=4, min_overlap=0.7, max_area_change=math.inf, stop_at_jumps=False,
        motion=True, max_regrowth=math.inf, min_contrast=0.0,
    )  # fmt: skip
    panel.first.setValue(6)  # pushes the other end along
    assert (desk.params.first, desk.params.last) == (6, 6)
    panel.whole.click()
    panel.limits.reset.click()
    assert desk.params == PropagationParams(direction="forward")


def test_the_strip_moves_the_viewer(stacked: Desk) -> None:
    panel = panel_of(stacked)
    panel.strip.resize(200, panel.strip.height())
    place = panel.strip.column(6).center().toPoint()
    QTest.mouseClick(panel.strip, Qt.MouseButton.LeftButton, pos=QPoint(place.x(), 30))
    assert stacked.viewer.dims.point[0] == 6
    assert panel.strip.view.shown == 6


def test_a_run_can_be_cancelled_and_shows_how_far_it_is(stacked: Desk) -> None:
    panel = panel_of(stacked)
    stacked.engine.step_delay = 0.05
    stacked.click(0, 20, 30)
    assert stacked.widget.wait(20)
    stacked.widget.propagate()
    stacked.wait_for(lambda: len(panel.strip.view.results) >= 3)
    assert panel.cancel.isEnabled()
    assert not panel.propagate.isEnabled()
    assert panel.progress.maximum() == COUNT
    panel.cancel.click()
    assert stacked.widget.wait(20)
    found = sum(area > 0 for area in areas(stacked))
    assert 3 <= found < COUNT
    assert panel.propagate.isEnabled()
    assert not panel.cancel.isEnabled()


def test_closed_in_the_middle_of_a_run(stacked: Desk) -> None:
    stacked.engine.step_delay = 0.05
    stacked.click(0, 20, 30)
    assert stacked.widget.wait(20)
    stacked.widget.propagate()
    stacked.wait_for(lambda: bool(stacked.widget.propagation.results))
    found = stacked.widget.propagation.results
    stacked.widget.shutdown()
    stacked.settle(0.2)
    assert stacked.messages == []
    assert stacked.layer("SAM objects").data.any(axis=(1, 2)).tolist() == [n in found for n in range(COUNT)]


def test_a_window_that_closes_in_the_middle_of_a_run_keeps_what_was_found(desk: Desk) -> None:
    """It takes the widget along: nothing of Qt is left to be told."""
    mine = type(desk)(ViewerModel())
    widget, runner, recovery = mine.widget, mine.widget._runner, mine.widget._recovery
    widget.image_layer = mine.viewer.add_image(np.zeros((COUNT, 64, 64), np.uint8), name="stack")
    mine.engine.step_delay = 0.05
    mine.click(0, 20, 30)
    assert widget.wait(20)
    widget.propagate()
    mine.wait_for(lambda: len(widget.propagation.results) > 2)
    found = widget.propagation.results
    widget.deleteLater()
    mine.settle()
    assert runner.join(20)
    planes = [n in found for n in range(COUNT)]
    assert mine.layer("SAM objects").data.any(axis=(1, 2)).tolist() == planes
    left = read_session(recovery.autosave.folder.path / recovery.autosave.last_folder)
    assert left.layers[0].read().any(axis=(1, 2)).tolist() == planes


def test_scripts_choose_the_object_and_how(stacked: Desk) -> None:
    stacked.click(2, 20, 30)
    widget = stacked.widget
    assert widget.wait(20)
    widget.propagate("prompts", direction="forward", last=5)
    assert widget.wait(20)
    assert [z for z, area in enumerate(areas(stacked)) if area] == [2, 3, 4, 5]
    assert widget.propagation.label == 1
    widget.propagate(1, direction="both", first=None, last=None)
    assert widget.wait(20)
    assert areas(stacked) == [29] * COUNT


def test_the_panel_fits_into_the_narrowest_dock(stacked: Desk) -> None:
    panel = panel_of(stacked)
    panel.ends.open()
    assert panel.minimumSizeHint().width() <= 300


# ------------------------------------------------------------------ the real thing
@pytest.mark.slow
def test_a_nucleus_is_followed_by_the_bundled_model(make_napari_viewer: Callable[..., Any]) -> None:
    spacing = (1.0, 0.25, 0.25)
    image, truth = make_nuclei((12, 128, 144), spacing=spacing, count=9, seed=5)
    viewer = make_napari_viewer()
    viewer.add_image(image, name="nuclei", scale=spacing)
    widget = SamWidget(viewer)
    viewer.window.add_dock_widget(widget, name="SAM")
    assert widget.wait(PATIENCE)
    planes = (truth > 0).reshape(len(truth), -1).sum(axis=1)
    middle = int(planes.argmax())
    whole = [key for key in read_objects(truth[middle]) if not (truth[[0, -1]] == key).any()]
    key = max(whole, key=lambda k: int((truth[middle] == k).sum()))
    viewer.dims.set_point(0, middle * spacing[0])
    nucleus = read_objects(truth[middle])[key]
    viewer.layers["SAM points"].add((middle, *nucleus.centroid))
    assert widget.wait(PATIENCE)
    widget.propagate()
    assert widget.wait(PATIENCE)
    found, true = np.asarray(widget.target_layer.data) == 1, truth == key
    assert (found & true).sum() / (found | true).sum() > 0.6
    records = widget._session.book.get(id(widget.target_layer), 1)
    assert len(records) == found.any(axis=(1, 2)).sum()
    assert all(len(record.digest) == 64 for record in records)
    widget.undo()
    assert not np.asarray(widget.target_layer.data).any()
    widget.shutdown()
