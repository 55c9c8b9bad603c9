"""A batch done once more from its manifest, to see whether the labels come out the same, bit for bit."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from napari_sam.errors import BatchError, CheckpointError, ManifestError
from napari_sam.stacks.batch import PAUSE, make_executor, show_seconds
from napari_sam.stacks.batch_plan import digest_model
from napari_sam.stacks.manifest import JobEntry, Manifest, UnitEntry, read_manifest
from napari_sam.stacks.output_folder import OutputFolder
from napari_sam.stacks.work_units import BatchJob, Unit, UnitResult
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.stacks.executors.executor import Event, Executor

__all__ = ["ReplayReport", "ReplayStep", "replay_batch"]


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """What came out of one unit.

    Attributes
    ----------
    unit : Unit
    status : str
        "same", "different", or "failed" where it could not be repeated.
    message : str
        What is different, or why it failed.
    """

    unit: Unit
    status: Literal["same", "different", "failed"]
    message: str = ""


@dataclass(slots=True)
class ReplayReport:
    """How a replay ended.

    Attributes
    ----------
    same, different, failed : int
        Units.
    engines : list of str
        Where what computes is not what it was; other labels are then to be expected.
    stopped : str
        Why it could not go on.
    """

    same: int = 0
    different: int = 0
    failed: int = 0
    engines: list[str] = field(default_factory=list)
    stopped: str = ""


def replay_batch(
    manifest: Path,
    *,
    device: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Generator[Progress, None, ReplayReport]:
    """Segment the images of a batch again and compare with its manifest; a job. Nothing is written.

    Parameters
    ----------
    manifest : Path
        The file.
    device : str, optional
        Another one than that of the batch.
    threads : int, optional
        Another number than that of the batch.
    workers, scheduler
        As for ``run_batch``.

    Yields
    ------
    Progress
        In units; ``partial`` is a ``ReplayStep``.

    Returns
    -------
    ReplayReport

    Raises
    ------
    ManifestError
        When there is no manifest, or nothing done in it.
    CheckpointError
        When the model is not the one of the batch.
    """
    found = _read(manifest)
    entries = [entry for entry in found.units.values() if entry.result is not None]
    report = ReplayReport()
    groups = _group(entries, found, device, threads)
    for number, (job, digest, members) in enumerate(groups):
        if digest_model(job.model) != digest:
            raise CheckpointError(
                f"The model {job.model} is not the one of the batch any more (digest {digest[:12]} then); "
                "restore the file of that time."
            )
        done = sum(len(members) for _, _, members in groups[:number])
        with _Workplace(manifest.parent if scheduler is not None else None) as place:
            executor = make_executor(job, digest, place, len(members), workers, scheduler)
            try:
                yield from _compare(executor, members, report, done, len(entries))
            finally:
                executor.close()
        if report.stopped:
            break
    return report


def _compare(
    executor: Executor, members: list[UnitEntry], report: ReplayReport, before: int, total: int
) -> Generator[Progress, None, None]:
    waiting = deque(members)
    in_work: dict[str, UnitEntry] = {}
    done, begun = before, time.monotonic()
    yield Progress(done, total, "loading the model")
    while waiting or in_work:
        while waiting and executor.room > 0:
            entry = waiting.popleft()
            in_work[entry.unit.source] = entry
            executor.submit(entry.unit)
        events = executor.wait(PAUSE)
        for event in events:
            if event.kind in ("broken", "stopped"):
                report.stopped = event.message
                return
            if event.kind not in ("done", "failed") or event.source not in in_work:
                continue
            entry = in_work.pop(event.source)
            step = _judge(entry, event, report)
            done += 1
            left = (time.monotonic() - begun) / (done - before) * (total - done)
            yield Progress(done, total, f"{show_seconds(left)} left", step)
        if not events:
            yield Progress(done, total)


def _judge(entry: UnitEntry, event: Event, report: ReplayReport) -> ReplayStep:
    assert entry.result is not None
    if event.kind == "failed":
        report.failed += 1
        return ReplayStep(entry.unit, "failed", event.message)
    then, now = entry.result, UnitResult.from_json(event.values)
    for name in sorted(then.engine.keys() | now.engine.keys()):
        if then.engine.get(name) != now.engine.get(name):
            text = f"{name}: {then.engine.get(name)} then, {now.engine.get(name)} now"
            if text not in report.engines:
                report.engines.append(text)
    if then.input.digest != now.input.digest:
        report.failed += 1
        return ReplayStep(entry.unit, "failed", "the image was changed since")
    if then.labels == now.labels:
        report.same += 1
        return ReplayStep(entry.unit, "same")
    report.different += 1
    shapes = "" if then.shape == now.shape else f", {then.shape} then and {now.shape} now"
    return ReplayStep(
        entry.unit, "different", f"other labels: {then.objects} objects then, {now.objects} now{shapes}"
    )


def _read(path: Path) -> Manifest:
    if not path.is_file():
        raise ManifestError(f"Expected the manifest of a batch, got {path}, which is no file.")
    found = read_manifest(path)
    if not any(entry.result is not None for entry in found.units.values()):
        raise ManifestError(f"Expected images that are done in the manifest {path}, got none.")
    return found


def _group(
    entries: list[UnitEntry], found: Manifest, device: str | None, threads: int | None
) -> list[tuple[BatchJob, str, list[UnitEntry]]]:
    """Units that one model on one device with one number of threads computed belong together."""
    groups: dict[tuple[Any, ...], list[UnitEntry]] = {}
    for entry in entries:
        assert entry.result is not None
        engine = entry.result.engine
        key = (
            entry.job,
            device or str(engine["device"]).partition(":")[0],
            threads or int(engine["threads"]),
        )
        groups.setdefault(key, []).append(entry)
    return [_unfold(found.jobs.get(key[0]), key, members) for key, members in groups.items()]


def _unfold(
    entry: JobEntry | None, key: tuple[Any, ...], members: list[UnitEntry]
) -> tuple[BatchJob, str, list[UnitEntry]]:
    if entry is None:
        raise ManifestError(
            f"The manifest has units of the job {key[0]}, which it does not describe; restore the file."
        )
    job = replace(entry.job, device=key[1], threads=key[2], formats=())
    return job, entry.model_digest, members


class _Workplace:
    """A folder for labels that are too large for memory; gone at the end."""

    def __init__(self, shared: Path | None) -> None:
        self._shared = shared  # a folder that all machines see

    def __enter__(self) -> OutputFolder:
        try:
            self._folder = tempfile.TemporaryDirectory(prefix=".napari-sam-replay-", dir=self._shared)
        except OSError as error:
            raise BatchError(f"Cannot write to {self._shared}: {error.strerror}.") from error
        place = OutputFolder(Path(self._folder.name), uuid4().hex[:16])
        place.open()
        return place

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
