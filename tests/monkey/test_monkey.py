"""A short run of the monkey; ``benchmarks/monkey.py`` lets it loose for thousands of actions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from actions import ACTIONS
from napari.components import ViewerModel

from monkey import END, EPISODE, Failure, Monkey, plan, shrink


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_SAM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path / "cache"))


def let_loose(make_viewer, tmp_path, seed, count, real=False):
    monkey = Monkey(make_viewer, tmp_path, real)
    try:
        monkey.run(plan(seed, count))
    except Failure as failure:
        pytest.fail(
            f"seed {seed}, after {len(monkey.done)} steps: {failure}\n"
            f"{json.dumps(monkey.done)}\nrepeat: benchmarks/monkey.py --replay with these steps in a file"
        )


@pytest.mark.slow
def test_nothing_goes_wrong_in_a_window(make_napari_viewer, tmp_path):
    let_loose(make_napari_viewer, tmp_path, seed=1, count=150)


@pytest.mark.slow
def test_nothing_goes_wrong_with_the_bundled_model(qtbot, tmp_path):
    let_loose(ViewerModel, tmp_path, seed=2, count=150, real=True)


def test_a_plan_is_the_same_for_the_same_seed():
    assert plan(5, 300) == plan(5, 300)
    assert plan(5, 300) != plan(6, 300)


def test_episodes_have_only_actions_that_undo_takes_back():
    inside = False
    seen = 0
    for name, _ in plan(0, 5000):
        if name in (EPISODE, END):
            assert inside == (name == END)
            inside = name == EPISODE
        elif inside:
            seen += 1
            assert ACTIONS[name].pure
    assert seen > 300


def test_every_action_is_done_now_and_then():
    assert {name for name, _ in plan(0, 20_000)} >= set(ACTIONS)


def test_steps_are_left_out_for_as_long_as_it_fails():
    steps = [(name, 0) for name in "abcdefgh"]
    fails = lambda fewer: {("c", 0), ("g", 0)} <= set(fewer)  # noqa: E731
    assert shrink(fails, steps) == [("c", 0), ("g", 0)]


def test_a_monkey_that_breaks_something_is_noticed(qtbot, tmp_path, monkeypatch):
    def vandalise(world, rng):
        for layer in world.labels:
            layer.data[..., :3, :3] = 99

    quiet = ACTIONS["zoom"]
    monkeypatch.setitem(ACTIONS, "zoom", type(quiet)("zoom", vandalise, "none"))
    steps = [("add_layer", seed) for seed in range(12)] + [("zoom", seed) for seed in range(5)]
    with pytest.raises(Failure, match="no business with"):
        Monkey(ViewerModel, tmp_path).run(steps)


def test_an_error_that_nobody_catches_is_noticed(qtbot, tmp_path, monkeypatch):
    def fail(world, rng):
        raise ZeroDivisionError("on purpose")

    quiet = ACTIONS["zoom"]
    monkeypatch.setitem(ACTIONS, "zoom", type(quiet)("zoom", fail, "none"))
    with pytest.raises(Failure, match="on purpose"):
        Monkey(ViewerModel, tmp_path).run([("zoom", np.random.default_rng(0).integers(9))])
