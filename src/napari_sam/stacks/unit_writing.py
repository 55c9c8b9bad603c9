"""The last step of a unit of work: its outputs are written.

They are made in a folder of their own and moved to their places when all of them are complete.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from napari_sam.stacks.output_folder import OutputFolder, explain_folder, find_cause
from napari_sam.stacks.outputs import write_outputs
from napari_sam.stacks.work_units import BatchJob, UnitResult

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.stacks.file_digests import FileState
    from napari_sam.stacks.unit_steps import LoadedJob, SegmentedUnit

__all__ = ["forget_unit", "write_unit"]


def write_unit(found: SegmentedUnit, loaded: LoadedJob, folder: OutputFolder) -> UnitResult:
    """Write all outputs of a unit, then move them to their places.

    Raises
    ------
    OutputFolderError
        When nothing can be written any more.
    SamError, OSError
        When this unit's outputs cannot be written.
    """
    from napari_sam.inference.embedding_key import digest_pixels

    begun = time.perf_counter()
    read, job = found.read, loaded.job
    outputs: list[tuple[str, FileState]] = []
    try:
        if job.formats:
            scratch = folder.make_scratch()
            try:
                paths = _write_formats(found, job, scratch / read.unit.stem)
                outputs += [(path.name, folder.move_in(path)) for path in paths]
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except Exception as error:
        reason = find_cause(error)
        if reason is not None:
            raise explain_folder(reason, folder.path) from error
        raise
    seconds = {"read": read.seconds, "segment": found.seconds, "write": time.perf_counter() - begun}
    return UnitResult(
        read.state,
        digest_pixels(found.labels),
        tuple(found.labels.shape),
        found.axes,
        found.objects,
        tuple(found.notes),
        seconds,
        job.formats,
        tuple(outputs),
        loaded.engine,
    )


def forget_unit(found: SegmentedUnit) -> None:
    """Delete what a unit keeps on the disk besides its outputs."""
    if found.scratch is not None:
        shutil.rmtree(found.scratch, ignore_errors=True)


def _write_formats(found: SegmentedUnit, job: BatchJob, stem: Path) -> list[Path]:
    stack = found.read.stack
    return write_outputs(
        job.formats,
        stem,
        found.labels,
        axes=found.axes,
        scale=stack.scale,
        unit=stack.unit,
        records=found.records,
        image=stack,
        volumes=job.link == "z",
    )
