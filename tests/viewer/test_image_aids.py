"""What helps to set up an image, without a window: here, images that are written while they are open."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.viewer.image_aids import ImageAids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Bench


@pytest.fixture
def aids(bench: Bench) -> Iterator[ImageAids]:
    aids = ImageAids(bench.controller)
    aids.enable()
    yield aids
    aids.disable()


def write(image: Any, value: int) -> None:
    """As a microscope does, which then says that the layer is to be drawn anew."""
    image.data[:] = value
    image.refresh()


def test_what_was_found_in_an_image_is_looked_for_again_after_it_was_written(
    bench: Bench, aids: ImageAids
) -> None:
    bench.engine.objects = []
    image = bench.open(np.zeros((3, 64, 64), np.uint8), name="live")
    bench.session.segment_everything()
    bench.engine.objects = None
    write(image, 200)
    bench.session.segment_everything()
    assert bench.session.auto.state.count == 2
    assert len(bench.engine.searched) == 2


def test_what_a_run_finds_while_the_image_is_written_is_not_kept(bench: Bench, aids: ImageAids) -> None:
    image = bench.open(np.zeros((64, 64), np.uint8), name="live")
    bench.runner._automatic = False
    bench.session.segment_everything()
    bench.runner.run(4)
    write(image, 200)
    bench.runner.run()
    bench.session.segment_everything()
    bench.runner.run()
    assert len(bench.engine.searched) == 2


def _show_another_plane(bench: Bench, image: Any) -> None:
    bench.viewer.dims.set_point(0, 2)
    bench.viewer.dims.set_point(0, 0)


def _look_at_it_in_3d(bench: Bench, image: Any) -> None:
    bench.viewer.dims.ndisplay = 3
    bench.viewer.dims.ndisplay = 2


def _roll(bench: Bench, image: Any) -> None:
    bench.viewer.dims.roll()
    bench.viewer.dims.order = (0, 1, 2)


def _add_layers(bench: Bench, image: Any) -> None:
    bench.viewer.add_labels(np.zeros((2, 3, 64, 64), int))
    bench.viewer.layers.pop()


def _choose_other_colours(bench: Bench, image: Any) -> None:
    image.contrast_limits, image.colormap, image.gamma = (0, 9), "red", 0.5


def _hide_it_for_a_while(bench: Bench, image: Any) -> None:
    image.visible = False
    image.visible = True


@pytest.mark.parametrize(
    "look",
    [
        _show_another_plane,
        _look_at_it_in_3d,
        _roll,
        _add_layers,
        _choose_other_colours,
        _hide_it_for_a_while,
    ],
)
def test_what_was_found_is_kept_while_an_image_is_only_looked_at(
    bench: Bench, aids: ImageAids, look: Callable[[Bench, Any], None]
) -> None:
    image = bench.open(np.zeros((3, 64, 64), np.uint8), name="live")
    bench.viewer.dims.set_point(0, 0)
    bench.session.segment_everything()
    look(bench, image)
    bench.session.segment_everything()
    assert len(bench.engine.searched) == 1


def test_the_range_of_a_stack_is_measured_again_after_it_was_written(bench: Bench, aids: ImageAids) -> None:
    image = bench.open(np.zeros((4, 64, 64), np.uint16), name="live")
    bench.viewer.dims.set_point(0, 0)
    bench.session.set_settings(replace(bench.session.settings, scope="stack"))
    bench.points.add([[0, 20, 20]])
    assert bench.engine.seen[-1].limits == ((0.0, 1.0),)
    write(image, 500)
    bench.points.add([[0, 40, 40]])
    assert bench.engine.seen[-1].limits == ((0.0, 501.0),)


def test_only_the_image_that_is_segmented_is_watched(bench: Bench, aids: ImageAids) -> None:
    first = bench.open(np.zeros((64, 64), np.uint8), name="first")
    bench.controller.image_layer = bench.viewer.add_image(np.zeros((64, 64), np.uint8), name="second")
    bench.session.segment_everything()
    write(first, 200)
    bench.session.segment_everything()
    assert len(bench.engine.searched) == 1
    aids.disable()
    write(bench.controller.image_layer, 200)
    bench.session.segment_everything()
    assert len(bench.engine.searched) == 1
