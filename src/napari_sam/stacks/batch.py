"""Batches: many images with the same settings, resumable after any end, on as many processes as there are.

Every image is a unit of work. Its outputs are made aside and moved to their places, then the manifest says
so; on the next run whatever the manifest does not vouch for is done again.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from filelock import FileLock, Timeout

from napari_sam.errors import BatchError
from napari_sam.stacks.batch_control import BatchControl
from napari_sam.stacks.batch_plan import BatchPlan, PlannedUnit, keep_formats, make_plan
from napari_sam.stacks.manifest import MANIFEST_NAME, JobEntry, ManifestWriter, UnitEntry, now
from napari_sam.stacks.output_folder import OutputFolder, explain_folder
from napari_sam.stacks.work_units import BatchJob, Unit, UnitResult, UnitStep
from napari_sam.stacks.worker_count import choose_workers
from napari_sam.types import Progress

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable

    from napari_sam.stacks.executors.executor import Event, Executor

__all__ = ["BatchReport", "make_executor", "run_batch"]

LOCK_NAME: Final = ".napari-sam.lock"
PAUSE: Final = 0.2
"""Seconds after which a batch yields although nothing happened."""


@dataclass(slots=True)
class BatchReport:
    """How a batch ended.

    Attributes
    ----------
    done, failed : int
        Units of this run.
    before : int
        Units that were done in earlier runs.
    failed_before : int
        Units that failed in earlier runs and were left as they are.
    left : int
        Units that are still to be done: the batch ended early.
    stopped : str
        Why it could not go on; "" when it came to its end, or was asked to end.
    errors : list of (Unit, str)
        Of the units that failed in this run.
    objects : int
        In the units of this run.
    seconds : float
        Of this run.
    """

    done: int = 0
    failed: int = 0
    before: int = 0
    failed_before: int = 0
    left: int = 0
    stopped: str = ""
    errors: list[tuple[Unit, str]] = field(default_factory=list)
    objects: int = 0
    seconds: float = 0.0


def run_batch(
    job: BatchJob,
    inputs: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    control: BatchControl | None = None,
) -> Generator[Progress, None, BatchReport]:
    """Segment images into a folder, and note in its manifest what is done; a job.

    It can be closed at every yield: units in work are then rolled back, as if they had not been begun.

    Parameters
    ----------
    job : BatchJob
        How.
    inputs : iterable of paths
        Files, folders, patterns, OME-Zarr images, plates and wells.
    folder : path
        For the outputs and the manifest; made where it is not there.
    workers : int, optional
        Number of processes, each with the model; 0 works in this process. By default what suits the machine.
    scheduler : str, optional
        Address of a dask scheduler, or ``"local:N"``, instead of processes.
    retry_failed : bool
        Whether images that failed in an earlier run are tried again.
    overwrite : bool
        Whether results of other settings, and files of no batch, may be replaced.
    control : BatchControl, optional
        To end the batch early without rolling anything back.

    Yields
    ------
    Progress
        In units; ``partial`` is a ``UnitStep`` when there is news of one, or the ``BatchPlan`` at the
        beginning.

    Returns
    -------
    BatchReport

    Raises
    ------
    BatchError
        When it cannot begin: no images, a folder that cannot be written, is in use, or holds other results.
    CheckpointError
        When there is no such model, or not on this computer.
    ManifestError
        When the folder's manifest cannot be read.
    """
    begun = time.monotonic()
    place = OutputFolder(Path(folder).absolute(), uuid4().hex[:16])
    lock = _lock(place.path)
    try:
        plan = make_plan(job, inputs, place.path, retry_failed=retry_failed, overwrite=overwrite)
        report = BatchReport(
            before=len(plan.units) - len(plan.to_do) - len(plan.failed_before),
            failed_before=len(plan.failed_before),
            left=len(plan.to_do),
        )
        yield Progress(0, len(plan.to_do), f"{len(plan.to_do)} images", plan)
        if plan.to_do:
            yield from _Run(plan, place, report, control or BatchControl()).steps(workers, scheduler)
        report.seconds = time.monotonic() - begun
        return report
    finally:
        lock.release()


def make_executor(
    plan_job: BatchJob,
    digest: str,
    place: OutputFolder,
    units: int,
    workers: int | None,
    scheduler: str | None,
) -> Executor:
    """What works on the units of a run."""
    if scheduler is not None:
        from napari_sam.stacks.executors.cluster import Cluster

        return Cluster(plan_job, digest, place, scheduler)
    count = choose_workers(plan_job, units) if workers is None else workers
    if count == 0:
        from napari_sam.stacks.executors.in_process import InProcess

        return InProcess(plan_job, digest, place)
    from napari_sam.stacks.executors.processes import Processes

    return Processes(plan_job, digest, place, min(count, units))


class _Run:
    """One run over what is to be done."""

    def __init__(
        self, plan: BatchPlan, place: OutputFolder, report: BatchReport, control: BatchControl
    ) -> None:
        self._plan, self._place, self._report, self._control = plan, place, report, control
        self._waiting: deque[PlannedUnit] = deque(plan.to_do)
        self._in_work: dict[str, PlannedUnit] = {}
        self._begun = time.monotonic()
        self._is_ready = False
        self._part: dict[str, float] = {}  # of units in work: how much of them is done

    def steps(self, workers: int | None, scheduler: str | None) -> Generator[Progress, None, None]:
        """Do the units."""
        plan, place = self._plan, self._place
        manifest = executor = None
        try:
            try:
                place.open()
                manifest = ManifestWriter(place.path / MANIFEST_NAME, plan.manifest)
                if not plan.manifest.was_used_last(plan.job_id, plan.job):
                    manifest.append_job(JobEntry(plan.job_id, plan.job, plan.model_digest))
                manifest.append_plan(p.unit for p in plan.to_do if p.unit.source not in plan.manifest.stems)
            except OSError as error:
                raise explain_folder(error, place.path) from error
            executor = make_executor(plan.job, plan.model_digest, place, len(plan.to_do), workers, scheduler)
            yield from self._work(executor, manifest)
        finally:
            if executor is not None:
                executor.close()
            if manifest is not None:
                manifest.close()
            place.close()

    def _work(self, executor: Executor, manifest: ManifestWriter) -> Generator[Progress, None, None]:
        yield self._progress("loading the model")
        while self._in_work or (self._waiting and not self._control.is_finishing):
            while self._waiting and not self._control.is_finishing and executor.room > 0:
                planned = self._waiting.popleft()
                self._in_work[planned.unit.source] = planned
                executor.submit(planned.unit)
                yield self._progress(planned.unit.name, UnitStep(planned.unit, "running"))
            events = executor.wait(PAUSE)
            for event in events:
                try:
                    news = self._take(event, manifest)
                except OSError as error:
                    self._report.stopped = str(explain_folder(error, self._place.path))
                    news = None
                if self._report.stopped:
                    yield self._progress(self._report.stopped)
                    return
                if news is not None:
                    yield self._progress(event.message, news)
            if not events:
                yield self._progress("")

    def _take(self, event: Event, manifest: ManifestWriter) -> UnitStep | None:
        """Write down what happened; nothing for what need not be shown."""
        if event.kind in ("broken", "stopped"):
            self._report.stopped = event.message
            return None
        if (
            event.kind == "ready" and not self._is_ready
        ):  # until then it says nothing of how long an image takes
            self._is_ready, self._begun = True, time.monotonic()
        planned = self._in_work.get(event.source)
        if planned is None:
            return None
        unit, report = planned.unit, self._report
        if event.kind == "step":
            values = event.values
            self._part[unit.source] = values["done"] / values["total"] if values["total"] else 0.0
            return UnitStep(unit, "running", event.message)
        attempt = 1 if planned.entry is None else planned.entry.attempt + 1
        if event.kind == "done":
            result = UnitResult.from_json(event.values)
            before = planned.entry
            if before is not None and before.result is not None and before.job == self._plan.job_id:
                result = keep_formats(result, before.result, unit, self._place.path)
            entry = UnitEntry(unit, self._plan.job_id, "done", "", attempt, now(), result)
            step = UnitStep(unit, "done", "; ".join(result.notes), result)
        else:
            entry = UnitEntry(unit, self._plan.job_id, "failed", event.message, attempt, now())
            step = UnitStep(unit, "failed", event.message)
        manifest.append_unit(entry)
        del self._in_work[unit.source]
        self._part.pop(unit.source, None)
        report.left -= 1
        if step.result is not None:
            report.done += 1
            report.objects += step.result.objects
        else:
            report.failed += 1
            report.errors.append((unit, event.message))
        return step

    def _progress(self, text: str, step: UnitStep | None = None) -> Progress:
        total = len(self._plan.to_do)
        done = self._report.done + self._report.failed
        return Progress(done, total, self._remaining(done, total) or text, step)

    def _remaining(self, done: int, total: int) -> str:
        """How long it will take, once that can be told."""
        whole = done + sum(self._part.values())
        passed = time.monotonic() - self._begun
        if not 0 < whole < total or passed < 1:
            return ""
        return f"{show_seconds(passed * (total - whole) / whole)} left"


def show_seconds(seconds: float) -> str:
    """A duration to read.

    Examples
    --------
    >>> show_seconds(42), show_seconds(780), show_seconds(9000)
    ('42 s', '13 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _lock(folder: Path) -> FileLock:
    """Make the folder, and make sure that no other batch writes to it."""
    lock = FileLock(folder / LOCK_NAME, thread_local=False)  # a job may be closed by another thread
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BatchError(
            f"Another batch is writing to {folder}; wait until it has ended, or choose another folder."
        ) from error
    except (OSError, NotImplementedError) as error:
        raise explain_folder(error, folder) from error
    return lock
