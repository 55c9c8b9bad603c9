"""Units worked on by a dask.distributed cluster (the extra ``cluster``)."""

from __future__ import annotations

import logging
import queue
import time
from typing import TYPE_CHECKING, Any, Final

from napari_sam.errors import BatchError
from napari_sam.stacks.executors.executor import Event
from napari_sam.stacks.executors.whole_unit import run_unit

if TYPE_CHECKING:
    from napari_sam.stacks.output_folder import OutputFolder
    from napari_sam.stacks.work_units import BatchJob, Unit

__all__ = ["Cluster"]

CONNECT_SECONDS: Final = 30

_IGNORE_INTERRUPT: Final = """
import signal, threading
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
"""
"""Run in every worker of our own: Ctrl+C in a terminal reaches them too, and they would end at once."""
COUNT_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Cluster:
    """An ``Executor`` of the workers of a cluster, which may come and go.

    Units of a worker that dies go to another one; dask gives a unit up when as many workers have died over
    it as ``distributed.scheduler.allowed-failures`` says. Two units for every thread there is are in
    flight.

    Parameters
    ----------
    job : BatchJob
    digest : str
        Of the model.
    folder : OutputFolder
        Every worker must see it by its path.
    address : str
        Of the scheduler, e.g. ``"tcp://node:8786"``; or ``"local:4"`` for a cluster of that many processes
        on this machine, which ends with the batch.

    Raises
    ------
    BatchError
        When there is no such cluster, or dask.distributed is not installed.
    """

    def __init__(self, job: BatchJob, digest: str, folder: OutputFolder, address: str) -> None:
        try:
            import distributed
        except ImportError as error:
            raise BatchError(
                "A cluster needs dask.distributed, which is not installed; "
                "pip install 'napari-sam-workbench[cluster]'."
            ) from error
        # it sets its own level to INFO, and says a page at every start and end
        is_local = address.startswith("local:")
        logging.getLogger("distributed").setLevel(logging.ERROR if is_local else logging.WARNING)
        self._job, self._digest, self._folder = job.to_json(), digest, folder
        self._events: queue.Queue[tuple[Unit, Any]] = queue.Queue()
        self._futures: dict[str, Any] = {}
        self._cluster: Any = None
        if is_local:
            count = _read_count(address)
            self._cluster = distributed.LocalCluster(
                n_workers=count,
                preload=[_IGNORE_INTERRUPT],
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            )
            address = self._cluster.scheduler_address
        try:
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            if self._cluster is not None:
                self._cluster.close()
            raise BatchError(
                f"Expected a dask scheduler at {address}, got no answer ({error}); start one with "
                "`dask scheduler`, or use --scheduler local:2."
            ) from error
        self._killed = distributed.scheduler.KilledWorker
        self._told_ready = False
        self._threads = 1
        self._counted = 0.0
        self._count_threads()

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(self._client.scheduler.address)

    @property
    def room(self) -> int:
        """How many units more it takes now; as many as while there is one worker when there is none."""
        return 2 * max(self._threads, 1) - len(self._futures)

    def submit(self, unit: Unit) -> None:
        """Take a unit."""
        future = self._client.submit(
            run_unit,
            self._job,
            self._digest,
            str(self._folder.path),
            self._folder.run,
            unit.source,
            unit.stem,
            key=f"napari-sam-{unit.stem}-{id(self)}-{len(unit.source)}",
            pure=False,
        )
        self._futures[unit.source] = future
        future.add_done_callback(lambda done, unit=unit: self._events.put((unit, done)))

    def wait(self, seconds: float) -> list[Event]:
        """What happened, after waiting for it at most that long."""
        found: list[Event] = []
        try:
            self._take(*self._events.get(timeout=seconds), found)
            while True:
                self._take(*self._events.get_nowait(), found)
        except queue.Empty:
            pass
        if found or time.monotonic() > self._counted + COUNT_SECONDS:
            self._count_threads()
        if self._client.status not in ("running", "connecting"):
            found.append(Event("broken", message="The connection to the scheduler is lost."))
        return found

    def close(self) -> None:
        """Give up what is in work and let go of the cluster, which goes on unless it is ours."""
        try:
            self._client.cancel(list(self._futures.values()), force=True)
        except (OSError, TimeoutError) as error:  # the scheduler has gone before
            logger.debug("cannot cancel: %s", error)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _count_threads(self) -> None:
        before, self._counted = self._threads, time.monotonic()
        try:
            self._threads = sum(self._client.nthreads().values())
        except (OSError, TimeoutError) as error:  # ``wait`` notices when the connection is lost for good
            logger.debug("no answer from the scheduler: %s", error)
        if before and not self._threads:
            logger.warning("The cluster has no workers; the batch waits for some.")

    def _take(self, unit: Unit, future: Any, found: list[Event]) -> None:
        if self._futures.pop(unit.source, None) is None:
            return
        if future.status == "finished":
            event = Event.from_json(future.result())
            if not self._told_ready and event.kind == "done":
                self._told_ready = True
                found.append(Event("ready", values=event.values["engine"]))
            found.append(event)
            return
        if future.status == "cancelled":  # the scheduler has lost it, or has ended
            found.append(Event("broken", unit.source, "The scheduler has given up units of this batch."))
            return
        error = future.exception()
        if isinstance(error, ModuleNotFoundError):
            found.append(
                Event(
                    "broken", unit.source, f"A worker lacks {error.name}; install the same on all machines."
                )
            )
            return
        if isinstance(error, self._killed):
            message = (
                f"{error.allowed_failures + 1} worker processes died while they had this image; is "
                "there memory enough?"
            )
        else:
            message = f"{type(error).__name__} on a worker: {' '.join(str(error).split())[:300]}"
        found.append(Event("failed", unit.source, message))


def _read_count(address: str) -> int:
    try:
        count = int(address.removeprefix("local:"))
    except ValueError:
        count = 0
    if count < 1:
        raise BatchError(f"Expected local:N with the number of processes, e.g. local:2, got {address!r}.")
    return count
