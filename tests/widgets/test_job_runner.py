from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtWidgets import QApplication

from napari_sam.session.jobs import BACKGROUND, COMPUTE, IDLE, LONG, NETWORK, Job
from napari_sam.types import Progress
from napari_sam.widgets.job_runner import QtJobRunner

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.fixture
def runner(qapp: Any) -> Iterator[QtJobRunner]:
    runner = QtJobRunner()
    yield runner
    runner.close()
    assert runner.join(10)


def job(steps: Any, **options: Any) -> Job:
    return Job("job", steps, **options)


def test_jobs_run_in_another_thread_and_answer_in_this_one(runner: QtJobRunner) -> None:
    threads: dict[str, int] = {}

    def steps() -> Generator[Progress, None, str]:
        threads["worker"] = threading.get_ident()
        yield Progress(0, 1)
        return "result"

    def on_done(value: str) -> None:
        threads[value] = threading.get_ident()

    runner.submit(job(steps, on_done=on_done))
    assert runner.is_busy
    assert runner.wait(10)
    assert not runner.is_busy
    assert threads["result"] == threading.get_ident() != threads["worker"]


def test_wait_returns_false_when_time_runs_out(runner: QtJobRunner) -> None:
    release = threading.Event()

    def steps() -> Generator[Progress, None, None]:
        yield Progress(0, 1)
        release.wait(10)

    runner.submit(job(steps))
    assert runner.wait(0.05) is False
    release.set()
    assert runner.wait(10) is True


def test_a_runtime_error_arrives_as_a_message(runner: QtJobRunner) -> None:
    messages: list[str] = []

    def steps() -> Generator[Progress, None, None]:
        raise RuntimeError("boom")
        yield Progress(0, 1)

    runner.submit(job(steps, on_failed=lambda message: messages.append(message)))
    assert runner.wait(10)
    assert messages == ["job: RuntimeError: boom"]


def test_answers_come_in_order_even_when_a_callback_pumps_the_loop(runner: QtJobRunner) -> None:
    log: list[str] = []

    def steps() -> Generator[Progress, None, None]:
        for i in range(5):
            yield Progress(i, 5)

    def on_progress(progress: Progress) -> None:
        log.append(f"begin {progress.done}")
        for _ in range(5):  # as napari's progress bars do
            time.sleep(0.005)
            QApplication.processEvents()
        log.append(f"end {progress.done}")

    runner.submit(job(steps, on_progress=on_progress, on_done=lambda _: log.append("done")))
    assert runner.wait(10)
    assert log == [f"{word} {i}" for i in range(5) for word in ("begin", "end")] + ["done"]


def test_a_job_submitted_by_a_callback_keeps_the_runner_busy(runner: QtJobRunner) -> None:
    log: list[str] = []

    def steps() -> Generator[Progress, None, None]:
        yield Progress(0, 1)

    second = job(steps, on_done=lambda _: log.append("second"))
    runner.submit(job(steps, on_done=lambda _: runner.submit(second)))
    assert runner.wait(10)
    assert log == ["second"]


def test_close_does_not_block_and_ends_the_thread(runner: QtJobRunner) -> None:
    delivered: list[Any] = []

    def steps() -> Generator[Progress, None, None]:
        for i in range(1000):
            time.sleep(0.05)
            yield Progress(i, 1000)

    runner.submit(job(steps, priority=LONG, on_progress=lambda p: delivered.append(p)))
    begin = time.monotonic()
    runner.close()
    assert time.monotonic() - begin < 1
    assert runner.join(10)
    count = len(delivered)
    QApplication.processEvents()
    assert len(delivered) == count
    runner.submit(job(steps))
    assert not runner.is_busy


def test_python_waits_at_its_end_for_what_runs_and_for_nothing_else(
    runner: QtJobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was submitted just before the close has no thread yet, and will never have one."""
    last: list[tuple[Any, ...]] = []
    monkeypatch.setattr("atexit.register", lambda *call: last.append(call))
    begun, release = threading.Event(), threading.Event()

    def steps() -> Generator[Progress, None, None]:
        yield Progress(0, 1)
        begun.set()
        release.wait(10)

    runner.submit(job(steps))
    while not begun.is_set():
        QApplication.processEvents()
    runner.submit(job(steps, lane=NETWORK))
    runner.close()
    release.set()
    (call,) = last
    call[0](*call[1:])
    assert not runner.is_alive


def test_what_waits_for_a_network_holds_nothing_up(runner: QtJobRunner) -> None:
    """A step that blocks in one lane, while jobs of the other one run and are answered."""
    release, answers = threading.Event(), []

    def waiting() -> Generator[Progress, None, str]:
        yield Progress(0, 1)
        release.wait(20)
        return threading.current_thread().name

    def quick() -> Generator[Progress, None, str]:
        yield Progress(0, 1)
        return threading.current_thread().name

    runner.submit(job(waiting, lane=NETWORK, slot="download", on_done=answers.append))
    runner.submit(job(quick, lane=COMPUTE, on_done=answers.append))
    end = time.monotonic() + 20
    while not answers and time.monotonic() < end:
        QApplication.processEvents()
    assert answers == ["napari-sam"]
    assert runner.is_busy
    release.set()
    assert runner.wait(20)
    assert answers == ["napari-sam", "napari-sam network"]


def test_a_click_waits_for_no_step_of_an_idle_job_and_none_begins_meanwhile(runner: QtJobRunner) -> None:
    order: list[str] = []
    tile, click = threading.Event(), threading.Event()

    def tiles() -> Generator[Progress, None, None]:
        order.append("tile 1 begins")
        assert tile.wait(20)
        order.append("tile 1 ends")
        yield Progress(1, 2)
        order.append("tile 2")
        yield Progress(2, 2)

    def answer() -> Generator[Progress, None, None]:
        order.append("click begins")
        tile.set()  # the tile ends while the click is answered
        assert click.wait(20)
        order.append("click ends")
        yield Progress(1, 1)

    ended: list[Any] = []
    runner.submit(job(tiles, priority=BACKGROUND, lane=IDLE, on_done=ended.append))
    end = time.monotonic() + 20
    while not order and time.monotonic() < end:
        QApplication.processEvents()
    runner.submit(job(answer))
    while "tile 1 ends" not in order and time.monotonic() < end:
        QApplication.processEvents()
    time.sleep(0.1)  # time enough for a second tile to begin, if it were allowed to
    click.set()
    assert runner.wait(20)
    while not ended and time.monotonic() < end:
        QApplication.processEvents()
    assert order == ["tile 1 begins", "click begins", "tile 1 ends", "click ends", "tile 2"]


def test_the_thread_of_idle_jobs_ends_with_them_and_another_comes_with_the_next(runner: QtJobRunner) -> None:
    """Its OpenMP pool goes with it, which would slow the clicks of the other thread down."""
    done: list[int] = []

    def count(number: int) -> Any:
        def steps() -> Generator[Progress, None, int]:
            yield Progress(0, 1)
            return number

        return steps

    def wait_for(condition: Any) -> None:
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            QApplication.processEvents()
        assert condition()

    def is_idle() -> bool:
        return all(thread.name != "napari-sam idle" for thread in threading.enumerate())

    for round_ in range(3):
        runner.submit(job(count(round_), priority=BACKGROUND, lane=IDLE, on_done=done.append))
        wait_for(lambda n=round_: done == list(range(n + 1)))
        wait_for(is_idle)
    for number in range(3, 60):  # some come while the thread is about to end
        runner.submit(job(count(number), priority=BACKGROUND, lane=IDLE, on_done=done.append))
        if number % 3 == 0:
            wait_for(lambda n=number: n in done)
    wait_for(lambda: done == list(range(60)))
    wait_for(is_idle)


def test_a_job_of_any_lane_is_cancelled(runner: QtJobRunner) -> None:
    cancelled, begun = [], threading.Event()

    def endless() -> Generator[Progress, None, None]:
        while True:
            begun.set()
            yield Progress(0, 0)

    runner.submit(job(endless, lane=NETWORK, slot="download", on_cancelled=cancelled.append))
    end = time.monotonic() + 20
    while not begun.is_set() and time.monotonic() < end:
        QApplication.processEvents()
    runner.cancel("download")
    assert runner.wait(20)
    assert cancelled == [None]
