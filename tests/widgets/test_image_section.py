"""The sections Image and Cache of the dock, on a bare viewer model and in a real window."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.session.settings import CacheChoice, Settings, SettingsFile
from napari_sam.types import Progress

if TYPE_CHECKING:
    from conftest import Desk


def section(desk: Desk) -> Any:
    return desk.widget._image_section


def panel(desk: Desk) -> Any:
    return section(desk).panel


def edit(spin: Any, value: float) -> None:
    spin.setValue(value)
    spin.editingFinished.emit()


def choose(combo: Any, data: str) -> None:
    combo.setCurrentIndex(combo.findData(data))
    combo.activated.emit(combo.currentIndex())


def settings(desk: Desk) -> Settings:
    return desk.widget._session.settings


# ------------------------------------------------------------------ settings
def test_the_object_size_reaches_the_model_and_tomorrow(desk: Desk) -> None:
    desk.click(10, 10)
    desk.widget.wait(20)
    asked = len(desk.engine.asked)
    edit(panel(desk).object_size, 25)
    assert desk.widget.wait(20)
    assert desk.engine.seen[-1].object_size == 25
    assert len(desk.engine.asked) == asked + 1
    assert SettingsFile().load()[0].object_size == 25
    edit(panel(desk).object_size, 0)
    assert desk.widget.wait(20)
    assert desk.engine.seen[-1].object_size is None
    assert panel(desk).object_size.text() == "auto"


def test_world_units_are_offered_where_there_are_any(desk: Desk) -> None:
    assert panel(desk).unit.count() == 1
    desk.widget.image_layer = desk.viewer.add_image(
        np.zeros((64, 64)), name="scaled", scale=(0.5, 0.5), units=("um", "um")
    )
    assert [panel(desk).unit.itemText(i) for i in range(panel(desk).unit.count())] == ["px", "µm"]
    edit(panel(desk).object_size, 10)
    choose(panel(desk).unit, "world")
    desk.click(10, 10)
    assert desk.widget.wait(20)
    assert desk.engine.seen[-1].object_size == 20


def test_channels_are_offered_of_colour_images(desk: Desk) -> None:
    channels = panel(desk).channels
    assert panel(desk)._channel_row.isHidden()
    desk.widget.image_layer = desk.viewer.add_image(np.zeros((64, 64, 3), np.uint8), name="rgb")
    assert not panel(desk)._channel_row.isHidden()
    channels[0].click()
    assert settings(desk).channels == (1, 2)
    desk.click(10, 10)
    assert desk.widget.wait(20)
    assert desk.engine.seen[-1].channels == (1, 2)
    for box in channels[1:]:
        box.click()
    assert settings(desk).channels is None  # none at all is all
    assert all(box.isChecked() for box in channels)


def test_contrast_by_percentiles_or_a_fixed_range(desk: Desk) -> None:
    desk.click(10, 10)
    edit(panel(desk).low, 2)
    assert settings(desk).percentiles == (2, 99.8)
    choose(panel(desk).contrast, "limits")
    assert settings(desk).limits == ((0, 255),)  # begins with the contrast limits of the layer
    edit(panel(desk).high, 1000)
    assert desk.widget.wait(20)
    assert desk.engine.seen[-1].limits == ((0, 1000),)
    choose(panel(desk).contrast, "plane")
    assert (settings(desk).limits, settings(desk).percentiles) == (None, (2, 99.8))
    assert (panel(desk).low.text(), panel(desk).high.text()) == ("2.00 %", "99.80 %")


def test_impossible_numbers_are_told_and_taken_back(desk: Desk) -> None:
    edit(panel(desk).low, 99.9)
    assert settings(desk).percentiles == (1, 99.8)
    assert "Expected percentiles" in desk.widget.status
    assert panel(desk).low.value() == 1


def test_the_stack_is_offered_for_stacks(desk: Desk) -> None:
    contrast = panel(desk).contrast
    assert contrast.findData("stack") < 0
    assert panel(desk).encode_stack.isHidden()
    stack = np.arange(3 * 64 * 64, dtype=np.uint16).reshape(3, 64, 64)
    desk.widget.image_layer = desk.viewer.add_image(stack, name="stack")
    choose(contrast, "stack")
    desk.viewer.dims.set_point(0, 1)
    desk.layer("SAM points").add((1, 10, 10))
    assert desk.widget.wait(20)
    assert desk.engine.seen[-1].limits == ((0, 3 * 64 * 64),)
    panel(desk).encode_stack.click()
    assert desk.widget.wait(20)
    assert "3 planes are encoded" in desk.widget.status


def test_a_script_and_the_user_choose_models_but_only_the_users_is_kept(desk: Desk) -> None:
    desk.widget.model_name = "vit_t"
    assert desk.widget.wait(20)
    assert SettingsFile().load()[0].model == "nuclei"
    from napari_sam.session.requests import ModelChoice

    desk.widget._model_panel.model_chosen.emit(ModelChoice("vit_t", "cpu"))
    assert desk.widget.wait(20)
    assert SettingsFile().load()[0] == replace(Settings(), model="vit_t", device="cpu")


# ------------------------------------------------------------------ what is encoded
def test_the_indicator_follows_the_cache(desk: Desk) -> None:
    desk.wait_for(lambda: panel(desk).cached.text() == "in memory")
    assert section(desk).image_box.button.text() == "Image · cached"
    panel(desk).warm.click()
    desk.image.data = np.ones((64, 64), np.uint8)
    desk.wait_for(lambda: panel(desk).cached.text() == "not yet")
    desk.click(10, 10)  # the fake's predict does not fill its cache, encoding does
    panel(desk).encode_plane.click()
    assert desk.widget.wait(20)
    desk.wait_for(lambda: panel(desk).cached.text() == "in memory")
    desk.widget.image_layer = None
    assert panel(desk).cached.text() == "nothing in view"
    assert not panel(desk).isEnabled()


def test_a_scale_that_is_set_later_is_shown(desk: Desk) -> None:
    unit = panel(desk).unit
    assert unit.count() == 1
    desk.image.scale = (0.5, 0.5)
    assert [unit.itemText(i) for i in range(unit.count())][1:] == ["world"]
    desk.image.units = ("um", "um")
    assert [unit.itemText(i) for i in range(unit.count())][1:] == ["µm"]


def test_encoding_can_be_cancelled_and_keeps_what_it_did(desk: Desk) -> None:
    desk.wait_for(lambda: panel(desk).cached.text() == "in memory")
    panel(desk).warm.click()
    desk.engine.step_delay = 0.02
    desk.widget.image_layer = desk.viewer.add_image(np.random.default_rng(0).random((640, 640)), name="wide")
    assert desk.widget.wait(20)
    desk.engine.encoded.clear()
    panel(desk).encode_plane.click()
    desk.wait_for(lambda: len(desk.engine.encoded) > 2)
    assert not panel(desk).encode_plane.isEnabled()
    assert panel(desk).progress.maximum() == 100
    panel(desk).cancel.click()
    assert desk.widget.wait(20)
    done = len(desk.engine.encoded)
    assert done < 100
    assert "stays cached" in desk.widget.status
    assert panel(desk).encode_plane.isEnabled()
    desk.engine.step_delay = 0
    panel(desk).encode_plane.click()
    assert desk.widget.wait(30)
    assert len(desk.engine.encoded) == 100


def test_a_click_does_not_wait_for_the_background(desk: Desk) -> None:
    desk.engine.encode_gate = threading.Event()
    wide = desk.viewer.add_image(np.random.default_rng(0).random((640, 640)), name="wide")
    desk.widget.image_layer = wide
    desk.engine.encode_gate.set()
    desk.click(320, 320)
    assert desk.widget.wait(20)
    assert desk.covered == 29
    assert len(desk.engine.encoded) < 101


# ------------------------------------------------------------------ measuring, looking
def test_measure_takes_the_preview_or_a_line(desk: Desk) -> None:
    desk.click(10, 10)
    desk.widget.wait(20)
    panel(desk).measure.click()
    assert desk.widget.wait(20)
    assert settings(desk).object_size == pytest.approx(2 * np.sqrt(29 / np.pi), abs=0.01)
    desk.widget.clear()
    panel(desk).measure.click()
    ruler = desk.layer("SAM measure")
    assert desk.viewer.layers.selection.active is ruler
    assert "Draw a line" in desk.widget.status
    ruler.add(np.array([(20, 20), (20, 35)]), shape_type="line")
    desk.wait_for(lambda: "SAM measure" not in desk.viewer.layers)
    assert settings(desk).object_size == 15
    assert desk.viewer.layers.selection.active is desk.layer("SAM points")


def test_measure_makes_a_line_layer_anew_after_it_was_deleted(desk: Desk) -> None:
    panel(desk).measure.click()
    desk.viewer.layers.remove("SAM measure")
    panel(desk).measure.click()
    ruler = desk.layer("SAM measure")
    ruler.add(np.array([(20, 20), (20, 35)]), shape_type="line")
    desk.wait_for(lambda: "SAM measure" not in desk.viewer.layers)
    assert settings(desk).object_size == 15
    assert desk.viewer.layers.selection.active is desk.layer("SAM points")
    assert desk.messages == []


def test_what_the_model_sees_becomes_a_layer(desk: Desk) -> None:
    stack = desk.viewer.add_image(
        np.random.default_rng(0).integers(0, 9, (3, 64, 64)), name="stack", scale=(2, 0.5, 0.5),
        translate=(1, 2, 3), rotate=(0, 0, 20),
    )  # fmt: skip
    desk.widget.image_layer = stack
    desk.viewer.dims.set_point(0, 5)
    assert desk.widget.wait(20)
    for _ in range(2):  # the second time it is renewed
        panel(desk).show_input.click()
        assert desk.widget.wait(20)
    layers = [layer for layer in desk.viewer.layers if layer.name == "SAM model input"]
    assert len(layers) == 1
    layer = layers[0]
    assert layer.rgb
    plane = desk.widget._session.plane
    crop = section(desk).aids.visible_crop()
    assert layer.data.shape == (1, crop[2] - crop[0], crop[3] - crop[1], 3)
    place = (plane.index[0], crop[0], crop[1])
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), stack.data_to_world(place))
    assert desk.widget.image_layer is stack
    assert "SAM model input" not in [
        desk.widget._model_panel.image.itemText(i) for i in range(desk.widget._model_panel.image.count())
    ]
    desk.widget.image_layer = desk.image
    assert "SAM model input" not in desk.viewer.layers


def test_an_image_that_was_written_is_segmented_anew(window: Desk) -> None:
    def count_searches() -> int:
        window.widget.segment_everything()
        assert window.widget.wait(20)
        return len(window.engine.searched)

    assert count_searches() == 1
    window.viewer.reset_view()
    window.image.contrast_limits = (0, 9)
    window.settle()
    assert count_searches() == 1
    window.image.data[10:30, 10:30] = 200
    window.image.refresh()
    assert count_searches() == 2


# ------------------------------------------------------------------ cache
def test_the_cache_is_shown_set_and_cleared(desk: Desk) -> None:
    cache = section(desk).cache
    section(desk).cache_box.open()
    assert desk.widget.wait(20)
    assert cache.folder.toolTip() == "platform"
    loads = len(desk.engine.loads)
    cache.on_disk.click()
    assert desk.widget.wait(20)
    assert settings(desk).cache == CacheChoice(on_disk=False)
    end = time.monotonic() + 20  # what is in view is encoded with it, which nobody waits for
    while len(desk.engine.loads) == loads and time.monotonic() < end:
        desk.settle()
    assert len(desk.engine.loads) == loads + 1
    cache.on_disk.click()
    edit(cache.disk, 2)
    edit(cache.memory, 0.5)
    assert settings(desk).cache == CacheChoice(True, None, 1 << 29, 2 << 30)
    assert SettingsFile().load()[0].cache == settings(desk).cache
    cache.clear_asked.emit()
    assert desk.widget.wait(20)
    assert desk.engine.cleared == [settings(desk).cache]
    assert cache.used.text() == "empty"


def test_progress_without_a_total_does_not_fail(desk: Desk) -> None:
    panel(desk).show_progress(Progress(0, 0, "Encoding"))
    assert not panel(desk).progress.isHidden()
    panel(desk).show_progress(None)
    assert panel(desk).progress.isHidden()


def test_the_opened_sections_fit_320_pixels(desk: Desk) -> None:
    desk.widget.image_layer = desk.viewer.add_image(
        np.zeros((3, 64, 64, 3), np.uint8), scale=(2, 0.5, 0.5), units=("um", "um", "um")
    )
    section(desk).image_box.open()
    section(desk).cache_box.open()
    panel(desk).show_progress(Progress(1, 2, "Encoding"))
    desk.settle()
    assert section(desk).minimumSizeHint().width() <= 300


def test_settings_that_cannot_be_read_are_told_once(open_window: Any, tmp_path: Any) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "settings.json").write_text("{")
    window = open_window()
    assert window.widget._session.settings == Settings()


def test_the_view_of_a_real_window_is_encoded_first(window: Desk) -> None:
    if not hasattr(window.viewer, "canvas"):
        pytest.skip("napari before 0.9 tells what is in view when it is drawn only")
    wide = window.viewer.add_image(np.random.default_rng(0).random((1024, 1024)), name="wide")
    window.engine.step_delay = 0.001
    window.widget.image_layer = wide
    scene = getattr(window.viewer, "scene", window.viewer)
    scene.camera.center = (0, 800, 200)
    scene.camera.zoom = 40
    window.settle(0.5)
    window.wait_for(lambda: section(window).image_box.button.text() == "Image · cached")
    crop = section(window).aids.visible_crop()
    assert crop[0] <= 800 < crop[2]
    assert crop[1] <= 200 < crop[3]
    assert crop[2] - crop[0] < 64
