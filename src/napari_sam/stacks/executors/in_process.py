"""Units worked on in this process, by threads of its own."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

from napari_sam.stacks.executors.pipeline import IN_WORK, Pipeline

if TYPE_CHECKING:
    from napari_sam.stacks.executors.executor import Event
    from napari_sam.stacks.output_folder import OutputFolder
    from napari_sam.stacks.work_units import BatchJob, Unit

__all__ = ["InProcess"]


class InProcess:
    """An ``Executor`` without workers: for one core, and where processes cannot be started.

    Parameters
    ----------
    job : BatchJob
    digest : str
        Of the model.
    folder : OutputFolder
    """

    def __init__(self, job: BatchJob, digest: str, folder: OutputFolder) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._in_work = 0
        self._pipeline = Pipeline(job, digest, folder, self._events.put)

    @property
    def room(self) -> int:
        """How many units more it takes now."""
        return IN_WORK - self._in_work

    def submit(self, unit: Unit) -> None:
        """Take a unit."""
        self._in_work += 1
        self._pipeline.submit(unit)

    def wait(self, seconds: float) -> list[Event]:
        """What happened, after waiting for it at most that long."""
        found = []
        try:
            found.append(self._events.get(timeout=seconds))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            pass
        self._in_work -= sum(event.kind in ("done", "failed", "stopped") for event in found)
        return found

    def close(self) -> None:
        """Give up what is in work and end."""
        self._pipeline.give_up()
