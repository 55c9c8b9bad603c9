from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from napari_sam.errors import ImageError
from napari_sam.session.jobs import CLICK, LONG, WARM_UP, Job, JobQueue, SynchronousRunner
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator


class Recorder:
    def __init__(self) -> None:
        self.log: list[str] = []

    def job(self, name: str, steps: int = 2, error: BaseException | None = None, **options: Any) -> Job:
        def run() -> Generator[Progress, None, str]:
            try:
                for i in range(steps):
                    self.log.append(f"{name}{i}")
                    yield Progress(i, steps)
                if error is not None:
                    raise error
                return name
            finally:
                self.log.append(f"{name} ends")

        return Job(
            name,
            run,
            on_done=lambda value: self.log.append(f"{value} done"),
            on_failed=lambda message: self.log.append(f"failed: {message}"),
            on_cancelled=lambda _: self.log.append(f"{name} cancelled"),
            **options,
        )


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_a_click_goes_between_two_steps_of_a_long_job(recorder: Recorder) -> None:
    runner = SynchronousRunner(automatic=False)
    runner.submit(recorder.job("long", 3, priority=LONG))
    runner.run(steps=1)
    runner.submit(recorder.job("click", 1, priority=CLICK))
    runner.run()
    assert recorder.log == [
        "long0", "click0", "click ends", "click done", "long1", "long2", "long ends", "long done",
    ]  # fmt: skip


def test_jobs_of_equal_priority_keep_their_order(recorder: Recorder) -> None:
    runner = SynchronousRunner(automatic=False)
    for name in "ab":
        runner.submit(recorder.job(name, 1))
    runner.submit(recorder.job("w", 1, priority=WARM_UP))
    runner.run()
    assert [entry for entry in recorder.log if "done" in entry] == ["a done", "b done", "w done"]


def test_the_latest_of_a_slot_wins(recorder: Recorder) -> None:
    runner = SynchronousRunner(automatic=False)
    runner.submit(recorder.job("old", 2, slot="decode"))
    runner.run(steps=1)
    runner.submit(recorder.job("middle", 1, slot="decode"))
    runner.submit(recorder.job("new", 1, slot="decode"))
    runner.run()
    assert "old done" not in recorder.log
    assert recorder.log.count("middle0") == 0
    assert recorder.log[-1] == "new done"
    assert not runner.is_busy


def test_cancel_is_honoured_at_the_next_yield_and_closes_the_generator(recorder: Recorder) -> None:
    runner = SynchronousRunner(automatic=False)
    runner.submit(recorder.job("long", 5, slot="segment"))
    runner.run(steps=2)
    runner.cancel("segment")
    runner.run()
    assert recorder.log == ["long0", "long1", "long ends", "long cancelled"]


def test_a_result_that_comes_after_cancelling_is_dropped(recorder: Recorder) -> None:
    queue = JobQueue()

    def run() -> Generator[Progress, None, str]:
        queue.cancel("s")  # as another thread would, while the job is in its last step
        return "late"
        yield Progress(0, 0)

    queue.submit(Job("late", run, slot="s"))
    assert queue.step().kind == "cancelled"
    assert queue.step() is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(
            ImageError("Expected 2-D, got 1-D."), "failed: Expected 2-D, got 1-D.", id="SamError as it is"
        ),
        pytest.param(RuntimeError("boom"), "failed: j: RuntimeError: boom", id="RuntimeError converted"),
        pytest.param(
            RuntimeError("CUDA out of memory"),
            "failed: j: RuntimeError: CUDA out of memory; choose the device 'cpu' or a smaller model",
            id="out of memory has a hint",
        ),
        pytest.param(
            MemoryError(), "failed: j: not enough memory; use a smaller image or model.", id="MemoryError"
        ),
    ],
)
def test_every_exception_becomes_one_message(recorder: Recorder, error: Exception, message: str) -> None:
    runner = SynchronousRunner()
    runner.submit(recorder.job("j", 1, error=error))
    assert recorder.log[-1] == message
    assert not runner.is_busy


def test_close_ends_generators_and_delivers_nothing(recorder: Recorder) -> None:
    runner = SynchronousRunner(automatic=False)
    runner.submit(recorder.job("long", 5))
    runner.run(steps=1)
    runner.close()
    assert recorder.log == ["long0", "long ends"]
    runner.submit(recorder.job("late"))
    runner.run()
    assert "late0" not in recorder.log
    assert not runner.is_busy


def test_wait_blocks_until_there_is_a_job_and_returns_false_when_closed(recorder: Recorder) -> None:
    queue = JobQueue()
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(queue.wait()))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    queue.submit(recorder.job("a", 0))
    thread.join(5)
    assert answers == [True]
    assert queue.step().kind == "done"
    queue.close()
    assert queue.wait() is False
