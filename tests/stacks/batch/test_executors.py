"""Worker processes and clusters: the same labels, also when workers die."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from napari_sam.errors import BatchError
from napari_sam.stacks import batch as batches
from napari_sam.stacks import worker_count
from napari_sam.stacks.executors.in_process import InProcess
from napari_sam.stacks.executors.processes import Processes
from napari_sam.stacks.manifest import MANIFEST_NAME, read_manifest
from napari_sam.stacks.work_units import BatchJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.stacks.executors.executor import Event

pytestmark = pytest.mark.slow


@pytest.fixture
def executors(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those that batches make, in their order."""
    made: list[Any] = []
    make = batches.make_executor

    def keep(*args: Any) -> Any:
        made.append(make(*args))
        return made[-1]

    monkeypatch.setattr(batches, "make_executor", keep)
    return made


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def _run_and_kill(batch: Any, executors: list[Any], kill: Callable[[Any], None], **options: Any) -> Any:
    """Run a batch and let ``kill`` have the executor when the first image is done."""
    steps = batches.run_batch(batch.job, [batch.images], batch.out, **options)
    killed = False
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            assert killed
            return stop.value
        if not killed and step.done >= 1:
            kill(executors[-1])
            killed = True


def _same_labels(batch: Any) -> Any:
    """What a batch in this process gives, to compare with."""
    before, batch.out = batch.out, batch.out.with_name("undisturbed")
    report = batch.run()
    files = batch.files()
    batch.out = before
    assert report.done == len(files)
    return files


def test_processes_give_the_same_labels_when_one_is_killed(batch: Any, executors: list[Any]) -> None:
    for i in range(9):
        batch.add(f"more{i}.tif", 10 + i)
    report = _run_and_kill(batch, executors, lambda made: _kill(made.pids[0]), workers=2)
    assert (report.done, report.failed, report.stopped) == (12, 0, "")
    assert batch.files() == _same_labels(batch)
    entries = read_manifest(batch.out / MANIFEST_NAME).units
    assert len(entries) == 12
    assert (batch.out / MANIFEST_NAME).read_text().count('"kind": "unit"') == 12


def test_an_image_that_kills_its_worker_fails_alone(
    batch: Any, executors: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = []
    take = Processes._take

    def kill_with_b(self: Processes, worker: Any, event: Event | None, found: list[Event]) -> None:
        if event is not None and event.kind == "step" and event.source.endswith("b.tif"):
            if worker.process.poll() is None:
                deaths.append(sorted(worker.units))
                _kill(worker.process.pid)
            return
        if event is not None and event.source.endswith("b.tif"):
            return  # it was too quick to be killed; as if it had been
        take(self, worker, event, found)

    monkeypatch.setattr(Processes, "_take", kill_with_b)
    report = batch.run(workers=1)
    assert (report.done, report.failed, report.left) == (2, 1, 0)
    assert "died 3 times" in batch.messages()["b.tif"]
    assert [len(units) for units in deaths[1:]] == [1, 1]  # after the first death it is tried alone


def test_workers_end_with_whoever_started_them(batch: Any) -> None:
    made = Processes(batch.job, "0" * 64, batches.OutputFolder(batch.out, "run"), 1)
    worker = made._workers[0].process
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(60) == 0
    made.close()


def test_workers_that_never_get_ready_stop_the_batch(batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no Python starts with this
    report = batch.run(workers=1)
    assert "end before they are ready" in report.stopped
    assert report.left == 3


def test_memory_is_bounded_by_the_units_in_work(batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(6):
        batch.add(f"more{i}.tif", 10 + i)
    most = []
    submit = InProcess.submit

    def count(self: InProcess, unit: Any) -> None:
        submit(self, unit)
        most.append(self._in_work)

    monkeypatch.setattr(InProcess, "submit", count)
    assert batch.run().done == 9
    assert max(most) == 3


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as made:
        yield made


def _kill_a_worker(cluster: Any) -> None:
    _kill(cluster.workers[0].pid)


def test_a_cluster_gives_the_same_labels_when_a_worker_is_killed(
    batch: Any, executors: list[Any], cluster: Any
) -> None:
    for i in range(9):
        batch.add(f"more{i}.tif", 10 + i)
    (batch.images / "bad.tif").write_bytes(b"")
    address = cluster.scheduler_address
    report = _run_and_kill(batch, executors, lambda _: _kill_a_worker(cluster), scheduler=address)
    assert (report.done, report.failed, report.stopped) == (12, 1, "")
    (batch.images / "bad.tif").unlink()
    assert batch.files() == _same_labels(batch)
    assert len(read_manifest(batch.out / MANIFEST_NAME).units) == 13
    # the cluster is not ours: it goes on, and takes the next batch
    batch.add("new.tif", 99)
    assert batch.run(scheduler=address, workers=None).done == 1


DEADLY = """
import os
from napari_sam.stacks import unit_steps
from napari_sam.stacks.executors import whole_unit

def read_unit(unit, job):
    return os._exit(9) if unit.source.endswith("b.tif") else unit_steps.read_unit(unit, job)

whole_unit.read_unit = read_unit
"""


def test_an_image_that_kills_the_workers_of_a_cluster_fails_alone(batch: Any) -> None:
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            preload=[DEADLY],
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as made,
    ):
        # one at a time: dask suspects everything that a worker had when it died
        reports = [
            batch.run([batch.images / name], scheduler=made.scheduler_address, workers=None)
            for name in ("a.tif", "b.tif", "c.tif")
        ]
    assert [(r.done, r.failed, r.stopped) for r in reports] == [(1, 0, ""), (0, 1, ""), (1, 0, "")]
    entry = read_manifest(batch.out / MANIFEST_NAME).units[str(batch.images / "b.tif")]
    assert "2 worker processes died" in entry.error


def test_a_cluster_of_its_own_ends_with_the_batch(batch: Any, executors: list[Any]) -> None:
    pytest.importorskip("distributed")
    report = batch.run(scheduler="local:1", workers=None)
    assert (report.done, report.stopped) == (3, "")
    assert batch.files() == _same_labels(batch)
    assert executors[0]._cluster.status.name == "closed"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        pytest.param("local:none", "Expected local:N", id="no-number"),
        pytest.param(
            "tcp://127.0.0.1:9", "Expected a dask scheduler at tcp://127.0.0.1:9", id="nobody-there"
        ),
    ],
)
def test_a_scheduler_that_is_not_there(
    address: str, said: str, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sam.stacks.executors import cluster

    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(BatchError, match=said):
        batch.run(scheduler=address, workers=None)
    assert batch.run().done == 3


def test_a_cluster_without_dask_says_what_to_install(batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BatchError, match=r"napari-sam-workbench\[cluster\]"):
        batch.run(scheduler="local:2", workers=None)


@pytest.mark.parametrize(
    ("cores", "gigabytes", "gpu", "job", "workers"),
    [
        pytest.param(8, 64, False, BatchJob(), 8, id="a-core-each"),
        pytest.param(8, 64, False, BatchJob(threads=4), 2, id="with-threads"),
        pytest.param(64, 64, False, BatchJob(), 20, id="no-more-than-images"),
        pytest.param(8, 5, False, BatchJob(), 3, id="as-memory-allows"),
        pytest.param(8, 0.5, False, BatchJob(), 1, id="at-least-one"),
        pytest.param(8, 64, True, BatchJob(), 1, id="one-for-a-gpu"),
        pytest.param(8, 64, True, BatchJob(device="cpu"), 8, id="gpu-not-wanted"),
        pytest.param(8, 64, False, BatchJob(device="cuda"), 1, id="gpu-by-name"),
    ],
)
def test_workers_suit_the_machine(
    cores: int, gigabytes: float, gpu: bool, job: BatchJob, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setattr(worker_count, "_free_memory", lambda: int(gigabytes * (1 << 30)))
    monkeypatch.setattr(worker_count, "_has_gpu", lambda: gpu)
    assert worker_count.choose_workers(job, 20) == workers


def test_threads_are_part_of_the_engine(batch: Any) -> None:
    batch.job = replace(batch.job, threads=2)
    batch.run([batch.images / "a.tif"])
    [entry] = read_manifest(batch.out / MANIFEST_NAME).units.values()
    assert entry.result is not None
    assert entry.result.engine["threads"] == 2
