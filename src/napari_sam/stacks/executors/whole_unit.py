"""A unit from beginning to end in one call: what a worker of a cluster runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from napari_sam.stacks.executors.executor import Event
from napari_sam.stacks.executors.pipeline import describe_error
from napari_sam.stacks.output_folder import OutputFolder, OutputFolderError
from napari_sam.stacks.unit_steps import LoadedJob, load_job, read_unit, segment_unit
from napari_sam.stacks.unit_writing import forget_unit, write_unit
from napari_sam.stacks.work_units import BatchJob, Unit
from napari_sam.types import finish

__all__ = ["run_unit"]

_loading = threading.Lock()
_loaded: dict[
    str, LoadedJob
] = {}  # by the job; the one thing that a worker process remembers, for it costs seconds


def run_unit(
    job: dict[str, Any], digest: str, folder: str, run: str, source: str, stem: str
) -> dict[str, Any]:
    """Do a unit; the event that says how it ended, as JSON.

    Parameters
    ----------
    job : dict
        A ``BatchJob`` as JSON.
    digest : str
        Of the model.
    folder : str
        Where the outputs go, as this machine sees it.
    run : str
        Of the ``OutputFolder``.
    source, stem : str
        Of the ``Unit``.
    """
    unit, place = Unit(source, stem), OutputFolder(Path(folder), run)
    try:
        loaded = _load(BatchJob.from_json(job), digest)
    except Exception as error:  # noqa: BLE001 - whatever it is, the batch is told
        return Event("broken", source, describe_error(error)).to_json()
    try:
        if not place.workplace.is_dir():
            raise OutputFolderError(
                f"The output folder {place.path} is not there on a worker; every machine must see it by "
                "that name."
            )
        found = finish(segment_unit(read_unit(unit, loaded.job), loaded, place))
        try:
            result = write_unit(found, loaded, place)
        finally:
            forget_unit(found)
        return Event("done", source, values=result.to_json()).to_json()
    except OutputFolderError as error:
        return Event("stopped", source, str(error)).to_json()
    except Exception as error:  # noqa: BLE001 - no image may end the batch
        return Event("failed", source, describe_error(error)).to_json()


def _load(job: BatchJob, digest: str) -> LoadedJob:
    import torch

    key = repr((digest, job.to_json()))
    with _loading:
        if key not in _loaded:
            _loaded.clear()
            _loaded[key] = load_job(job, digest)
    torch.set_num_threads(job.threads)  # it counts for each thread, and a cluster's worker may have several
    return _loaded[key]
