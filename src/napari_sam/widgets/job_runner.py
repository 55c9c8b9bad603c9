"""Runs jobs in threads of their own and brings their answers to the Qt thread.

One thread for all that computes, because a model is not helped by two, and because the queue can then put a
click between two steps of a long job; another for what waits for a network; and one for what is only done
while nobody waits, so that a click need not wait for the end of a tile, see ``Job.lane``. The last one's
thread ends when it has nothing left to do: while two threads of a process have a pool each, GNU's OpenMP lets
them sleep at every barrier, and a click takes twice as long. napari's generator workers lose a RuntimeError;
the queue converts every exception to a message.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import psygnal
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication

from napari_sam.session.jobs import COMPUTE, IDLE, Job, JobEvent, JobQueue

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QtJobRunner"]

EXIT_SECONDS = 60
IDLE_SECONDS = 0.02


class _Relay(QObject):
    """Carries events across threads: a queued signal runs its slot in the thread that made the relay."""

    stepped = Signal(object)

    def __init__(self, receive: Callable[[JobEvent], None]) -> None:
        super().__init__()
        self._receive: Callable[[JobEvent], None] | None = receive
        # to a method of a QObject, which every binding runs in that object's thread
        self.stepped.connect(self._on_stepped)

    def start_soon(self, thread: threading.Thread) -> None:
        """Start a thread when the Qt loop has nothing else to do."""
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(thread.start)
        timer.timeout.connect(timer.deleteLater)  # idle threads begin again and again
        timer.start(0)

    def silence(self) -> None:
        """Deliver nothing any more, events that are under way included."""
        self._receive = None

    def _on_stepped(self, event: JobEvent) -> None:
        if self._receive is not None:
            self._receive(event)


class QtJobRunner:
    """A ``JobRunner`` for a Qt application; to be made, used and closed on the Qt thread.

    The thread of a lane starts soon after its first job was submitted, from the Qt loop, and ends on
    ``close``, after the step that it is in; that of ``IDLE`` also when its jobs are over, until the next one.
    """

    busy_changed = psygnal.Signal(bool)  # whether somebody waits for something

    def __init__(self) -> None:
        self._queues: dict[str, JobQueue] = {}
        self._threads: dict[str, threading.Thread] = {}  # begun, or about to
        self._threads_lock = threading.Lock()
        self._relay: _Relay | None = _Relay(self._on_relay_stepped)
        self._relay_lock = threading.Lock()
        self._open = 0
        self._arrived: deque[JobEvent] = deque()
        self._delivering = False
        # a daemon, so that a forgotten runner cannot keep Python from exiting; still it ends in order
        atexit.register(self._exit)

    @property
    def is_busy(self) -> bool:
        """True while a job is queued, runs, or has an undelivered answer; ``BACKGROUND`` does not count."""
        return self._open > 0

    @property
    def is_alive(self) -> bool:
        """True while a thread runs."""
        return any(thread.is_alive() for thread in self._list_threads())

    def submit(self, job: Job) -> None:
        """Queue a job; ignored after ``close``."""
        if self._relay is None:
            return
        self._count(int(job.is_awaited))
        queue = self._queues.setdefault(job.lane, JobQueue())
        queue.submit(job)
        with self._threads_lock:
            if job.lane in self._threads:
                return
            name = "napari-sam" if job.lane == COMPUTE else f"napari-sam {job.lane}"
            thread = threading.Thread(target=self._work, args=(queue, job.lane), name=name, daemon=True)
            self._threads[job.lane] = thread
        # Not at once: what the first job imports would share the interpreter with what is being opened.
        self._relay.start_soon(thread)

    def cancel(self, slot: str) -> None:
        """Cancel the jobs of a slot at their next yield."""
        for queue in self._queues.values():
            queue.cancel(slot)

    def wait(self, timeout: float | None = None) -> bool:
        """Pump the Qt loop until nothing is queued or running.

        Parameters
        ----------
        timeout : float or None
            Seconds; None waits for ever.

        Returns
        -------
        bool
            False when time ran out.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            QApplication.processEvents()
            if not self.is_busy:
                return True
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(0.002)

    def close(self) -> None:
        """Cancel everything, deliver nothing any more, and let the threads end; does not block."""
        with self._relay_lock:
            relay, self._relay = self._relay, None
        if relay is not None:
            relay.silence()
            relay.deleteLater()
        for queue in self._queues.values():
            queue.close()
        self._arrived.clear()
        self._open = 0
        atexit.unregister(self._exit)
        running = [thread for thread in self._list_threads() if thread.is_alive()]  # others will never start
        if running:
            atexit.register(_join, running)

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the threads to end after ``close``; True when they have."""
        for thread in self._list_threads():
            if thread.is_alive():  # else it has ended, or was never started
                thread.join(timeout)
        return not self.is_alive

    def _list_threads(self) -> list[threading.Thread]:
        with self._threads_lock:
            return list(self._threads.values())

    def _work(self, queue: JobQueue, lane: str) -> None:
        while queue.wait():
            if lane == IDLE and self._open > 0:  # nothing new is begun while somebody waits for something
                time.sleep(IDLE_SECONDS)
                continue
            event = queue.step()
            if event is None:
                continue
            with self._relay_lock:
                if self._relay is not None:
                    self._relay.stepped.emit(event)
            if lane == IDLE and self._may_end(queue, lane):
                return

    def _may_end(self, queue: JobQueue, lane: str) -> bool:
        """Give up a lane's thread when nothing is left for it; the next job gets another."""
        with self._threads_lock:
            if queue.is_empty:
                del self._threads[lane]
                return True
            return False

    def _on_relay_stepped(self, event: JobEvent) -> None:
        """Deliver events one after the other, even when a callback pumps the Qt loop (progress bars do)."""
        self._arrived.append(event)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._arrived and self._relay is not None:
                event = self._arrived.popleft()
                try:
                    event.deliver()
                finally:
                    # after the callback: a job that it submits keeps the runner busy without a gap
                    self._count(-int(event.is_final and event.job.is_awaited))
        finally:
            self._delivering = False

    def _count(self, by: int) -> None:
        before, self._open = self.is_busy, self._open + by
        if self.is_busy != before and self._relay is not None:
            self.busy_changed.emit(self.is_busy)

    def _exit(self) -> None:
        self.close()


def _join(threads: list[threading.Thread]) -> None:
    """Let the step that runs come to its end: to end Python under it would abort the process."""
    for thread in threads:
        thread.join(EXIT_SECONDS)
