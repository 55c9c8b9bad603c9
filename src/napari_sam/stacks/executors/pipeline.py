"""The steps of units overlapped: one is read and another one written while a third is segmented."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, Final

from napari_sam.errors import SamError
from napari_sam.stacks.executors.executor import Event
from napari_sam.stacks.output_folder import OutputFolder, OutputFolderError
from napari_sam.stacks.unit_steps import LoadedJob, ReadUnit, SegmentedUnit, load_job, read_unit, segment_unit
from napari_sam.stacks.unit_writing import forget_unit, write_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.stacks.work_units import BatchJob, Unit

__all__ = ["IN_WORK", "Pipeline", "describe_error"]

IN_WORK: Final = 3
"""Units that are in work at the same time: their images and labels are in memory."""

logger = logging.getLogger(__name__)


def describe_error(error: BaseException) -> str:
    """An error in one line, for a manifest and a table."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({text})' if text else ''}; use fewer workers or a smaller model"
    if isinstance(error, SamError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Pipeline:
    """Three threads, each for a step, with room for one unit between them.

    Parameters
    ----------
    job : BatchJob
    digest : str
        Of the model.
    folder : OutputFolder
    report : callable
        Gets every ``Event``, from any of the threads.
    """

    def __init__(
        self, job: BatchJob, digest: str, folder: OutputFolder, report: Callable[[Event], None]
    ) -> None:
        self._job, self._digest, self._folder, self._report = job, digest, folder, report
        self._given_up = threading.Event()
        self._units: queue.Queue[Unit | None] = queue.Queue()
        self._read: queue.Queue[ReadUnit | None] = queue.Queue(1)
        self._segmented: queue.Queue[tuple[SegmentedUnit, LoadedJob] | None] = queue.Queue(1)
        self._threads = [
            threading.Thread(target=work, name=f"napari-sam batch {name}", daemon=True)
            for name, work in (
                ("read", self._work_read),
                ("segment", self._work_segment),
                ("write", self._work_write),
            )
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, unit: Unit) -> None:
        """Take a unit; it is reported when it is done or failed."""
        self._units.put(unit)

    def finish(self) -> None:
        """Do what was submitted, then end."""
        self._units.put(None)
        self._join()

    def give_up(self) -> None:
        """Drop what is in work, and end."""
        self._given_up.set()
        self._units.put(None)
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work_read(self) -> None:
        while (unit := self._units.get()) is not None:
            if not self._given_up.is_set():
                read = self._attempt(unit, read_unit, unit, self._job)
                if read is not None:
                    self._read.put(read)
        self._read.put(None)

    def _work_segment(self) -> None:
        loaded: LoadedJob | None = None
        try:
            loaded = load_job(self._job, self._digest)
            self._report(Event("ready", values=loaded.engine))
        except Exception as error:
            logger.debug("the model does not load", exc_info=True)
            self._report(Event("broken", message=describe_error(error)))
            self._given_up.set()
        while (read := self._read.get()) is not None:
            if loaded is None or self._given_up.is_set():
                continue
            found = self._attempt(read.unit, self._segment, read, loaded)
            if found is not None:
                self._segmented.put((found, loaded))
        self._segmented.put(None)

    def _segment(self, read: ReadUnit, loaded: LoadedJob) -> SegmentedUnit | None:
        steps = segment_unit(read, loaded, self._folder)
        try:
            while not self._given_up.is_set():
                step = next(steps)
                values = {"done": step.done, "total": step.total}
                self._report(Event("step", read.unit.source, step.description, values))
        except StopIteration as stop:
            found: SegmentedUnit = stop.value
            return found
        finally:
            steps.close()
        return None

    def _work_write(self) -> None:
        while (item := self._segmented.get()) is not None:
            found, loaded = item
            if not self._given_up.is_set():
                result = self._attempt(found.read.unit, write_unit, found, loaded, self._folder)
                if result is not None:
                    self._report(Event("done", found.read.unit.source, values=result.to_json()))
            forget_unit(found)

    def _attempt(self, unit: Unit, step: Callable[..., Any], *arguments: Any) -> Any:
        """The step's result; None when it failed, which is reported: no image may end the batch."""
        try:
            return step(*arguments)
        except OutputFolderError as error:
            self._given_up.set()
            self._report(Event("stopped", unit.source, str(error)))
        except Exception as error:
            logger.debug("%s failed", unit.source, exc_info=True)
            self._report(Event("failed", unit.source, describe_error(error)))
        return None
