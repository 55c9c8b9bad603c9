"""Units worked on by processes, each with the model loaded once."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from napari_sam.stacks.executors.executor import MOST_DEATHS, Event
from napari_sam.stacks.executors.pipeline import IN_WORK

if TYPE_CHECKING:
    from napari_sam.stacks.output_folder import OutputFolder
    from napari_sam.stacks.work_units import BatchJob, Unit

__all__ = ["Processes"]


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    units: dict[str, Unit] = field(default_factory=dict)
    is_ready: bool = False
    is_isolated: bool = False  # it has a unit that may have killed another one
    has_ended: bool = False


class Processes:
    """An ``Executor`` of worker processes on this machine.

    A worker that dies is replaced and its units are tried again, each alone in a worker; one that is there
    at the third death has failed. A worker is given three units at a time, so that reading and writing
    overlap with computing while memory stays bounded.

    Parameters
    ----------
    job : BatchJob
    digest : str
        Of the model.
    folder : OutputFolder
    workers : int
    """

    def __init__(self, job: BatchJob, digest: str, folder: OutputFolder, workers: int) -> None:
        self._first = {"job": job.to_json(), "digest": digest, "folder": str(folder.path), "run": folder.run}
        self._threads = job.threads
        self._events: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
        self._deaths: dict[str, int] = {}
        self._again: list[Unit] = []
        self._early_deaths = 0
        self._workers: list[_Worker] = []
        try:
            for _ in range(workers):
                self._start()
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """Of the workers, for tests."""
        return [worker.process.pid for worker in self._workers]

    @property
    def room(self) -> int:
        """How many units more it takes now; none while one of them is being tried again."""
        if self._again:
            return 0
        return sum(
            max(IN_WORK - len(w.units), 0) for w in self._workers if not (w.has_ended or w.is_isolated)
        )

    def submit(self, unit: Unit) -> None:
        """Take a unit; the worker with the fewest gets it."""
        usable = [w for w in self._workers if not (w.has_ended or w.is_isolated)]
        # a worker that is still starting is used last, so that a short batch need not wait for it
        self._send(min(usable, key=lambda w: (len(w.units), not w.is_ready)), unit)

    def wait(self, seconds: float) -> list[Event]:
        """What happened, after waiting for it at most that long."""
        found: list[Event] = []
        try:
            self._take(*self._events.get(timeout=seconds), found)
            while True:
                self._take(*self._events.get_nowait(), found)
        except queue.Empty:
            pass
        self._try_again()
        return found

    def close(self) -> None:
        """Kill the workers; what they had begun is left unfinished."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            for stream in (worker.process.stdin, worker.process.stdout):
                if stream is not None:
                    _close(stream)

    def _start(self) -> _Worker:
        # -P: a module of the user's in the current folder must not be taken for one of ours
        command = [sys.executable, "-P", "-m", "napari_sam.stacks.executors.worker"]
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self._threads)
        )
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if _has_stderr() else subprocess.DEVNULL,
            env=os.environ | threads,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        worker = _Worker(process)
        self._workers.append(worker)
        threading.Thread(
            target=self._listen, args=(worker,), name="napari-sam batch listen", daemon=True
        ).start()
        self._write(worker, self._first)
        return worker

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        try:
            for line in worker.process.stdout:
                self._events.put((worker, Event.from_json(json.loads(line))))
        except (OSError, ValueError):  # it was killed in the middle of a line, or closed
            pass
        self._events.put((worker, None))

    def _send(self, worker: _Worker, unit: Unit) -> None:
        worker.units[unit.source] = unit
        self._write(worker, {"source": unit.source, "stem": unit.stem})

    @staticmethod
    def _write(worker: _Worker, values: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(values).encode() + b"\n")
            worker.process.stdin.flush()
        except OSError:  # it has died, which its listener tells
            pass

    def _take(self, worker: _Worker, event: Event | None, found: list[Event]) -> None:
        if event is None:
            self._bury(worker, found)
            return
        if event.kind == "ready":
            worker.is_ready = True
        if event.kind in ("done", "failed", "stopped"):
            unit = worker.units.pop(event.source, None)
            if unit is None:
                return  # was told before
            worker.is_isolated = worker.is_isolated and bool(worker.units)
        found.append(event)

    def _bury(self, worker: _Worker, found: list[Event]) -> None:
        """Replace a worker that has died, and see to its units."""
        worker.has_ended = True
        self._workers.remove(worker)
        code = worker.process.wait()
        for stream in (worker.process.stdin, worker.process.stdout):
            if stream is not None:
                _close(stream)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not worker.is_ready:
            self._early_deaths += 1
            if self._early_deaths >= MOST_DEATHS:
                found.append(
                    Event(
                        "broken",
                        message=f"Worker processes end before they are ready ({how}); see above why.",
                    )
                )
                return
        for unit in worker.units.values():
            deaths = self._deaths[unit.source] = self._deaths.get(unit.source, 0) + worker.is_ready
            if deaths >= MOST_DEATHS:
                reason = (
                    f"the worker process died {deaths} times while it had this image ({how}); is there "
                    "memory enough?"
                )
                found.append(Event("failed", unit.source, reason))
            else:
                self._again.append(unit)
        self._start()

    def _try_again(self) -> None:
        """Give units that were in a worker that died to workers that have nothing else."""
        for worker in self._workers:
            if not self._again:
                return
            if not worker.units and not worker.has_ended:
                worker.is_isolated = True
                self._send(worker, self._again.pop(0))


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # unsent bytes to a process that is gone
        stream.close()


def _has_stderr() -> bool:
    """Programs with windows may have none."""
    try:
        return sys.stderr is not None and sys.stderr.fileno() >= 0
    except (OSError, ValueError, AttributeError):
        return False
