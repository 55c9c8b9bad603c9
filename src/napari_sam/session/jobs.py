"""Jobs as generators, and the queue that interleaves them by priority.

A job yields ``Progress`` and returns its result. Between two yields the queue looks for something
more urgent, so that a click never waits for a whole automatic segmentation. Cancelling takes effect
at the next yield.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from napari_sam.errors import SamError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_sam.types import Progress

__all__ = [
    "BACKGROUND",
    "CLICK",
    "COMPUTE",
    "IDLE",
    "LONG",
    "NETWORK",
    "WARM_UP",
    "Job",
    "JobEvent",
    "JobQueue",
    "JobRunner",
    "SynchronousRunner",
    "failure_message",
]

logger = logging.getLogger(__name__)

CLICK, LONG, WARM_UP, BACKGROUND = 0, 1, 2, 3  # priorities: the smaller goes first
COMPUTE, NETWORK, IDLE = (
    "compute",
    "network",
    "idle",
)  # lanes; the last one moves only while nothing is awaited


def _ignore(_: Any) -> None:
    return None


@dataclass(eq=False, slots=True)
class Job:
    """Something to compute, and whom to tell; the callbacks run on the main thread.

    Attributes
    ----------
    name : str
        For status lines and progress bars.
    steps : callable
        Makes the generator; runs in the worker.
    slot : str or None
        A new job cancels those of the same slot: the latest wins.
    priority : int
        ``CLICK``, ``LONG``, ``WARM_UP`` or ``BACKGROUND``; nobody waits for the last.
    lane : str
        Jobs of one lane take turns; those of another one, such as what waits for a network, are not held up
        by them. In ``IDLE`` no step begins while anything is awaited.
    on_progress, on_done, on_failed, on_cancelled : callable
        Get a Progress, the result, one clear message, and None.
    """

    name: str
    steps: Callable[[], Generator[Progress, None, Any]]
    slot: str | None = None
    priority: int = CLICK
    lane: str = COMPUTE
    on_progress: Callable[[Progress], None] = _ignore
    on_done: Callable[[Any], None] = _ignore
    on_failed: Callable[[str], None] = _ignore
    on_cancelled: Callable[[None], None] = _ignore
    cancelled: bool = False
    generator: Generator[Progress, None, Any] | None = field(default=None, repr=False)

    @property
    def is_awaited(self) -> bool:
        """True when a runner is busy until it is over."""
        return self.priority < BACKGROUND


@dataclass(frozen=True, slots=True, eq=False)
class JobEvent:
    """What became of one step of a job."""

    job: Job
    kind: Literal["progress", "done", "failed", "cancelled"]
    value: Any = None

    @property
    def is_final(self) -> bool:
        """True when the job is over."""
        return self.kind != "progress"

    def deliver(self) -> None:
        """Call the job's callback."""
        getattr(self.job, f"on_{self.kind}")(self.value)


class JobRunner(Protocol):
    """Runs jobs somewhere; ``is_busy`` until every callback was called."""

    @property
    def is_busy(self) -> bool:
        """True while a job is queued, runs, or has an undelivered answer; ``BACKGROUND`` does not count."""

    def submit(self, job: Job) -> None:
        """Queue a job."""

    def cancel(self, slot: str) -> None:
        """Cancel the jobs of a slot."""

    def close(self) -> None:
        """Cancel everything and deliver nothing any more."""


class JobQueue:
    """The jobs that wait or have begun; safe to fill from one thread and to step in another."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to do."""
        with self._changed:
            return not self._jobs

    def submit(self, job: Job) -> None:
        """Add a job and cancel those of the same slot."""
        with self._changed:
            if job.slot is not None:
                self._cancel(job.slot)
            self._jobs.append(job)
            self._changed.notify()

    def cancel(self, slot: str) -> None:
        """Cancel the jobs of a slot at their next yield."""
        with self._changed:
            self._cancel(slot)
            self._changed.notify()

    def close(self) -> None:
        """Cancel all jobs; ``wait`` returns False once they have ended."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.cancelled = True
            self._changed.notify()

    def wait(self) -> bool:
        """Block until there is something to do; False when closed and empty."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            return bool(self._jobs)

    def step(self) -> JobEvent | None:
        """Advance the most urgent job to its next yield; None when there is none."""
        with self._changed:
            if not self._jobs:
                return None
            # the cancelled first, they cost nothing and somebody waits for them; min() keeps the order
            job = min(self._jobs, key=lambda job: -1 if job.cancelled else job.priority)
        event = _advance(job)
        with self._changed:
            if job.cancelled and event.kind == "done":
                event = JobEvent(job, "cancelled")  # too late: a stale answer is dropped
            if event.is_final:
                self._jobs.remove(job)
        return event

    def _cancel(self, slot: str) -> None:
        for job in self._jobs:
            if job.slot == slot:
                job.cancelled = True


def _advance(job: Job) -> JobEvent:
    try:
        if job.cancelled:
            if job.generator is not None:
                job.generator.close()
            return JobEvent(job, "cancelled")
        if job.generator is None:
            job.generator = job.steps()
        return JobEvent(job, "progress", next(job.generator))
    except StopIteration as stop:
        return JobEvent(job, "done", stop.value)
    except Exception as error:
        logger.debug("job %r failed", job.name, exc_info=True)
        return JobEvent(job, "failed", failure_message(job.name, error))


def failure_message(name: str, error: Exception) -> str:
    """What the user reads when something that is called ``name`` ended in an error."""
    if isinstance(error, SamError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{name}: not enough memory; use a smaller image or model."
    hint = "; choose the device 'cpu' or a smaller model" if "out of memory" in str(error) else ""
    return f"{name}: {type(error).__name__}: {error}{hint}"


class SynchronousRunner:
    """Runs jobs in the calling thread, for tests and scripts.

    Parameters
    ----------
    automatic : bool
        Run a job when it is submitted; else only in ``run``.
    """

    def __init__(self, automatic: bool = True) -> None:
        self._queue = JobQueue()
        self._automatic = automatic
        self._open = 0
        self._running = False
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """True while a job is queued that somebody waits for."""
        return self._open > 0

    def submit(self, job: Job) -> None:
        """Queue a job."""
        if self._closed:
            return
        self._open += job.is_awaited
        self._queue.submit(job)
        if self._automatic and not self._running:
            self.run()

    def cancel(self, slot: str) -> None:
        """Cancel the jobs of a slot."""
        self._queue.cancel(slot)

    def run(self, steps: int | None = None) -> None:
        """Advance jobs until there are none, or by a number of steps."""
        self._running = True
        try:
            while steps is None or steps > 0:
                event = self._queue.step()
                if event is None:
                    break
                steps = steps if steps is None else steps - 1
                self._open -= event.is_final and event.job.is_awaited
                if not self._closed:
                    event.deliver()
        finally:
            self._running = False

    def close(self) -> None:
        """Cancel everything."""
        self._closed = True
        self._queue.close()
        while self._queue.step() is not None:
            pass
        self._open = 0
