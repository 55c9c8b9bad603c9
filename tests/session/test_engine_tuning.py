"""Finding the fastest engine, with a fake engine that has nothing to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_sam.errors import SamError
from napari_sam.session.requests import ModelChoice
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from conftest import World


def test_the_fastest_is_told(world: World) -> None:
    steps = []
    world.session.work.tuning.progressed.connect(steps.append)
    world.session.work.tune()
    assert [step and step.description for step in steps] == [
        "Trying engines",
        "Loading model nuclei",
        *["Trying abacus"] * 5,
        None,
    ]
    assert world.status[-1] == "Fastest for nuclei here: encoder abacus."
    assert world.messages == []


def test_clicks_go_on(lazy_world: World) -> None:
    world, session = lazy_world, lazy_world.session
    session.work.tune()
    session.work.tune()
    assert sum(job.slot == "tune" for job in world.runner._queue._jobs) == 1, "twice is once"
    session.set_prompts(Prompts(points=[(20, 20)]))
    world.runner.run()
    assert session.preview is not None
    assert [entry for entry in world.engine.log if entry.startswith("try")][-1] == "try 4"


def test_it_is_cancelled_with_everything_else(lazy_world: World) -> None:
    world, session = lazy_world, lazy_world.session
    session.work.tune()
    assert session.work.tuning.is_running
    session.cancel()
    world.runner.run()
    assert not session.work.tuning.is_running
    assert world.status[-1] == "Trying engines was cancelled; nothing changed."
    assert "try 0" not in world.engine.log


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("broken", "a known architecture, got 'broken'.", id="a bad file"),
        pytest.param("nuclei", "Cannot note the fastest engine.", id="no room"),
    ],
)
def test_what_goes_wrong_is_told(name: str, message: str, world: World) -> None:
    world.session.set_model(ModelChoice(name))
    world.engine.segment_error = SamError("Cannot note the fastest engine.")
    world.session.work.tune()
    assert message in world.messages[-1]
    assert not world.session.work.tuning.is_running
