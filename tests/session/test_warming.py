"""Encoding in the background: what first, what never, and what happens when reading fails."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.requests import ModelChoice, Plane
from napari_sam.session.session import Session
from napari_sam.session.settings import CacheChoice, Settings
from napari_sam.session.warming import ViewCache, order_tiles
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from conftest import World

TILE = 64
CLICK = Prompts(points=np.array([(10.0, 10.0)], np.float32))


class Wide:
    """A session on a plane of 4 x 4 tiles; nothing runs until ``run``."""

    def __init__(self, engine: Any, settings: Settings | None = None, automatic: bool = False) -> None:
        self.engine = engine
        self.runner = SynchronousRunner(automatic)
        self.session = Session(engine, self.runner, ModelChoice("nuclei"), settings)
        self.states: list[ViewCache | None] = []
        self.status: list[str] = []
        self.messages: list[str] = []
        self.session.warming.changed.connect(lambda state: self.states.append(state))
        self.session.status_changed.connect(lambda text: self.status.append(text))
        self.session.warned.connect(lambda text: self.messages.append(text))
        self.image = np.arange(256 * 256, dtype=np.float64).reshape(256, 256)
        self.session.show_plane(self.plane())

    def plane(self, z: int | None = None) -> Plane:
        index = (None, None) if z is None else (z, None, None)
        image = self.image + (z or 0)
        planes = lambda: [self.plane(i) for i in range(3)]  # noqa: E731
        return Plane(len(index), index, (256, 256), lambda: image, stack=None if z is None else planes)

    @property
    def encoded(self) -> list[tuple[int, int]]:
        """Row and column of each tile that was encoded, in tiles."""
        return [(crop[0] // TILE, crop[1] // TILE) for crop in self.engine.encoded]


@pytest.fixture
def wide(world: World) -> Wide:
    return Wide(type(world.engine)())


@pytest.mark.parametrize(
    ("view", "seen", "first", "near"),
    [
        pytest.param((10, 10, 20, 20), 1, (0, 0), 3, id="corner"),
        pytest.param((70, 70, 80, 80), 1, (1, 1), 8, id="middle"),
        pytest.param((60, 70, 80, 80), 2, (1, 1), 7, id="two tiles, the middle one first"),
        pytest.param((0, 0, 256, 256), 16, (1, 1), 0, id="all"),
        pytest.param((300, 300, 400, 400), 0, None, 1, id="beyond the plane"),
    ],
)
def test_what_is_in_view_comes_first(view: Any, seen: int, first: Any, near: int) -> None:
    crops = [(r, c, r + TILE, c + TILE) for r in range(0, 256, TILE) for c in range(0, 256, TILE)]
    visible, neighbours = order_tiles([(crop, crop) for crop in crops], view)
    assert (len(visible), len(neighbours)) == (seen, near)
    if first is not None:
        assert (visible[0][0] // TILE, visible[0][1] // TILE) == first
    assert not set(visible) & set(neighbours)


def test_the_view_is_encoded_before_its_neighbours(wide: Wide) -> None:
    wide.session.look_at((70.0, 130.0, 80.0, 140.0))
    wide.runner.run()
    assert wide.encoded[0] == (1, 2)
    assert sorted(wide.encoded) == [(r, c) for r in range(3) for c in range(1, 4)]
    assert wide.states[-1] == ViewCache(memory=1)
    assert not wide.session.is_busy


def test_nobody_waits_for_the_background(wide: Wide) -> None:
    wide.session.look_at((0.0, 0.0, 256.0, 256.0))
    while wide.session.is_busy:
        wide.runner.run(steps=1)  # the model is loaded
    assert wide.encoded == []
    wide.runner.run(steps=40)
    assert len(wide.encoded) > 2


def test_a_click_goes_between_two_tiles(wide: Wide) -> None:
    wide.session.look_at((0.0, 0.0, 256.0, 256.0))
    wide.runner.run(steps=30)
    before = len(wide.encoded)
    assert 0 < before < 16
    wide.session.set_prompts(CLICK)
    wide.runner.run(steps=3)
    assert wide.session.preview is not None
    assert len(wide.encoded) == before
    wide.runner.run()
    assert len(wide.encoded) == 16


def test_another_view_is_encoded_instead(wide: Wide) -> None:
    wide.session.look_at((0.0, 0.0, 256.0, 256.0))
    wide.runner.run(steps=24)
    done = len(wide.encoded)
    wide.session.look_at((200.0, 200.0, 210.0, 210.0))
    wide.runner.run()
    assert wide.encoded[done] == (3, 3)
    assert len(wide.encoded) <= done + 4  # itself and three neighbours


@pytest.mark.parametrize("change", ["plane", "model", "settings", "image"])
def test_another_plane_model_or_setting_starts_anew(wide: Wide, change: str) -> None:
    wide.session.look_at((70.0, 70.0, 80.0, 80.0))
    wide.runner.run()
    wide.engine.encoded.clear()
    if change == "plane":
        wide.session.show_plane(wide.plane(1))
    elif change == "model":
        wide.engine.cache.clear()  # the fake's keys do not hold the model
        wide.session.set_model(ModelChoice("vit_t"))
    elif change == "settings":
        wide.session.set_settings(replace(wide.session.settings, object_size=20.0))
    else:
        wide.session.forget()
        wide.image = wide.image + 1
        wide.session.show_plane(wide.plane())
        wide.session.look_at((70.0, 70.0, 80.0, 80.0))
    wide.runner.run()
    assert wide.encoded[0] == (1, 1)


def test_the_same_view_again_starts_nothing(wide: Wide) -> None:
    wide.session.look_at((70.0, 70.0, 80.0, 80.0))
    wide.runner.run()
    wide.engine.encoded.clear()
    wide.session.look_at((70.0, 70.0, 80.0, 80.0))
    wide.runner.run()
    assert wide.encoded == []


def test_it_stops_before_it_pushes_out_its_own_work(world: World) -> None:
    settings = Settings(cache=CacheChoice(memory_bytes=3500))  # an embedding of the fake has 1000 bytes
    wide = Wide(type(world.engine)(), settings)
    wide.session.look_at((0.0, 0.0, 256.0, 256.0))
    wide.runner.run()
    assert len(wide.encoded) == 3


def test_switched_off_it_only_looks(world: World) -> None:
    wide = Wide(type(world.engine)(), Settings(warm=False))
    wide.session.look_at((0.0, 0.0, 100.0, 60.0))
    wide.runner.run()
    assert wide.encoded == []
    assert wide.states[-1] == ViewCache(missing=2)
    wide.session.set_settings(Settings(warm=True))
    wide.runner.run()
    assert wide.states[-1] == ViewCache(memory=2)


def test_a_failing_read_is_told_once_and_tried_again_at_the_next_click(wide: Wide) -> None:
    wide.engine.read_error = OSError("the disk was pulled out")
    wide.session.look_at((70.0, 70.0, 80.0, 80.0))
    wide.runner.run()
    wide.session.look_at((75.0, 70.0, 85.0, 80.0))  # looking around does not tell it again
    wide.runner.run()
    told = [text for text in wide.status if "pulled out" in text]
    assert told == ["Encoding what is in view: OSError: the disk was pulled out The next click tries again."]
    assert wide.messages == []
    wide.engine.read_error = None
    wide.session.set_prompts(CLICK)
    wide.runner.run()
    assert (1, 1) in wide.encoded


def test_without_an_image_there_is_nothing_to_show(wide: Wide) -> None:
    wide.runner.run()
    assert wide.states[-1] == ViewCache(memory=4)  # the four tiles that meet in the plane's middle
    wide.session.show_plane(None)
    assert wide.states[-1] is None


def test_a_model_that_cannot_be_loaded_is_told_once(world: World) -> None:
    engine = type(world.engine)()
    engine.load_error = ValueError("no such weights")
    wide = Wide(engine)
    wide.runner.run()
    wide.session.look_at((0.0, 0.0, 9.0, 9.0))
    wide.runner.run()
    assert len(wide.messages) == 1
    assert engine.tried == ["nuclei"]


@pytest.mark.parametrize(
    ("state", "text", "summary"),
    [
        pytest.param(ViewCache(), "nothing in view", "", id="nothing"),
        pytest.param(ViewCache(memory=1), "in memory", "cached", id="one in memory"),
        pytest.param(ViewCache(disk=4), "on disk", "cached", id="all on disk"),
        pytest.param(ViewCache(missing=4), "not yet", "not cached yet", id="none"),
        pytest.param(ViewCache(3, 1, 0), "all, 1 on disk", "cached", id="both"),
        pytest.param(ViewCache(2, 0, 3), "2 of 5 tiles, in memory", "2 of 5 tiles cached", id="some"),
        pytest.param(ViewCache(2, 1, 3), "3 of 6 tiles, 1 on disk", "3 of 6 tiles cached", id="some of both"),
    ],
)
def test_the_state_in_words(state: ViewCache, text: str, summary: str) -> None:
    assert (state.text, state.summary) == (text, summary)


# ------------------------------------------------------------------ on request
def test_encoding_the_plane_and_the_stack(world: World) -> None:
    wide = Wide(type(world.engine)(), Settings(warm=False))
    steps: list[Any] = []
    wide.session.precomputing.progressed.connect(lambda progress: steps.append(progress))
    wide.session.show_plane(wide.plane(1))
    wide.runner.run()
    wide.session.encode_all()
    wide.runner.run()
    assert len(wide.encoded) == 16
    assert wide.status[-1] == "Encoded: 16 tiles are new."
    wide.session.encode_all(whole_stack=True)
    wide.runner.run()
    assert len(wide.encoded) == 48  # the plane that is encoded is skipped
    assert wide.status[-1] == "3 planes are encoded, 32 tiles are new."
    assert steps[-1] is None
    shares = [step.done / step.total for step in steps if step is not None and step.total]
    assert max(shares) < 1
    assert wide.states[-1] == ViewCache(memory=4)


def test_cancelling_keeps_what_is_encoded(world: World) -> None:
    wide = Wide(type(world.engine)(), Settings(warm=False))
    wide.runner.run()
    wide.session.encode_all()
    wide.runner.run(steps=8)
    done = len(wide.encoded)
    assert 0 < done < 16
    wide.session.encode_all()
    assert wide.messages == ["Encoding is running already: cancel it first."]
    wide.session.cancel()
    wide.runner.run()
    assert len(wide.encoded) == done
    assert "stays cached" in wide.status[-1]
    wide.session.encode_all()
    wide.runner.run()
    assert len(wide.encoded) == 16


def test_other_settings_answer_the_prompts_anew(world: World) -> None:
    world.session.set_prompts(CLICK)
    asked = len(world.engine.asked)
    world.session.set_settings(replace(world.session.settings, warm=False))
    assert len(world.engine.asked) == asked
    world.session.set_settings(replace(world.session.settings, object_size=20.0))
    assert len(world.engine.asked) == asked + 1
    assert world.engine.seen[-1].object_size == 20.0
    assert world.session.preview is not None


def test_another_cache_loads_the_model_anew(world: World) -> None:
    loads = len(world.engine.loads)
    world.session.set_settings(replace(world.session.settings, cache=CacheChoice(on_disk=False)))
    assert len(world.engine.loads) == loads + 1


def test_the_range_over_the_stack_is_measured_once(world: World) -> None:
    wide = Wide(type(world.engine)(), Settings(scope="stack"), automatic=True)
    wide.session.show_plane(wide.plane(0))
    wide.session.set_prompts(CLICK)
    wide.session.show_plane(wide.plane(1))
    wide.session.set_prompts(CLICK)
    highest = 256 * 256 - 1
    assert wide.engine.measured[-1] == [highest, highest + 1, highest + 2]
    assert len([m for m in wide.engine.measured if len(m) == 3]) == 1
    assert wide.engine.seen[-1].limits == ((0.0, highest + 3.0),)


def test_the_input_and_the_cache_are_shown(world: World) -> None:
    precomputing, found = world.session.precomputing, []
    precomputing.input_rendered.connect(lambda plane, crop, pixels: found.append((crop, pixels.shape)))
    precomputing.cache_measured.connect(lambda folder, size: found.append((folder, size)))
    precomputing.render_input(world.session.plane, (0, 0, 20, 30), world.session.model)
    precomputing.measure_cache(CacheChoice(folder="there"))
    precomputing.measure_cache(CacheChoice(folder="there"), clear=True)
    assert found == [((0, 0, 20, 30), (20, 30, 3)), ("there", 3_000_000), ("there", 0)]


def test_a_click_goes_before_the_rest_of_encoding_ahead(lazy_world: World) -> None:
    world = lazy_world
    precomputing = world.session.precomputing
    precomputing.start([world.plane()] * 9, ModelChoice("nuclei"))
    world.runner.run(2)
    world.session.set_prompts(Prompts([(10, 10)]))
    world.runner.run(3)
    assert world.session.preview is not None
    assert precomputing.is_running
