from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_sam.types import Progress
from napari_sam.widgets.job_clock import JobClock

if TYPE_CHECKING:
    from conftest import Desk


def clock_of(*times: float) -> JobClock:
    moments = iter(times)
    return JobClock(lambda: next(moments))


@pytest.mark.parametrize(
    ("took", "expected"),
    [(0.05, ""), (0.25, "0.2 s"), (59.9, "59.9 s"), (61, "1 min 1 s"), (3720, "1 h 2 min")],
)
def test_how_long_it_took(took: float, expected: str) -> None:
    clock = clock_of(100, 100 + took)
    clock.begin()
    assert clock.end() == expected


def test_what_never_began_took_nothing() -> None:
    assert clock_of().end() == ""


@pytest.mark.parametrize(
    ("progress", "elapsed", "expected"),
    [
        (None, 9, ""),
        (Progress(0, 10), 9, ""),
        (Progress(3, 0), 9, ""),
        (Progress(10, 10), 9, ""),
        (Progress(1, 4), 1.9, ""),
        (Progress(1, 4), 5, "about 15 s left"),
        (Progress(5, 100), 60, "about 19 min 0 s left"),
    ],
    ids=["none", "nothing done", "unknown", "over", "early", "seconds", "minutes"],
)
def test_how_long_it_will_take(progress: Progress | None, elapsed: float, expected: str) -> None:
    clock = clock_of(100, 100 + elapsed)
    clock.begin()
    assert clock.estimate(progress) == expected


def test_the_status_line_tells_how_long_a_job_took(desk: Desk) -> None:
    desk.engine.steps, desk.engine.step_delay = 4, 0.1
    desk.widget.segment_everything()
    assert desk.widget.wait(20)
    shown = desk.widget._status.text()
    assert shown.startswith("2 objects segmented.")
    assert shown.endswith(" s")
    assert desk.widget.status == "2 objects segmented."
    desk.widget.clear()
    desk.widget.undo()
    assert not desk.widget._status.text().endswith(" s")
