"""The first two steps of a unit of work, read and segment; ``unit_writing`` has the last.

Each may run in a thread of its own.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam import __version__
from napari_sam.errors import CheckpointError, ImageError
from napari_sam.stacks.file_digests import FileState, read_state
from napari_sam.stacks.image_io import ImageStack, open_image, pick_channels
from napari_sam.stacks.output_folder import OutputFolder, explain_folder
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.candidates import Candidates
    from napari_sam.stacks.work_units import BatchJob, Unit

__all__ = [
    "LoadedJob",
    "ReadUnit",
    "SegmentedUnit",
    "load_job",
    "read_unit",
    "segment_unit",
]

LARGE: Final = 1 << 29
"""Bytes; more labels than that are kept on the disk while they are made."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedJob:
    """A job with its model.

    Attributes
    ----------
    job : BatchJob
    predictor : CachedPredictor
    engine : dict
        What computes: device, software and versions.
    """

    job: BatchJob
    predictor: CachedPredictor
    engine: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ReadUnit:
    """An image that was opened, small ones also read."""

    unit: Unit
    stack: ImageStack
    state: FileState
    seconds: float


@dataclass(slots=True, eq=False)
class SegmentedUnit:
    """The labels of a unit, and what else is written of them.

    Attributes
    ----------
    read : ReadUnit
    labels : (..., Y, X) int32 array
        In memory, or on the disk where they are large.
    axes : str
    objects : int
    notes : list of str
    records : dict of int to dict
        What is known of each object besides, by id; of planes that count for themselves nothing.
    scratch : Path or None
        A folder to be deleted at the end.
    """

    read: ReadUnit
    labels: NDArray[np.int32]
    axes: str
    objects: int = 0
    notes: list[str] = field(default_factory=list)
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    scratch: Path | None = None


def load_job(job: BatchJob, digest: str) -> LoadedJob:
    """Load the model of a job, once in every process.

    Parameters
    ----------
    job : BatchJob
    digest : str
        SHA-256 that the checkpoint must have.

    Raises
    ------
    CheckpointError
        When it cannot be loaded, or is not the same here as where the batch was begun.
    SamError
        When the device does not exist, or the model has not what the method needs.
    """
    import torch

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.checkpoints import load_model
    from napari_sam.inference.encode_settings import EncodeSettings
    from napari_sam.inference.segment_image import filter_defaults

    torch.set_num_threads(job.threads)
    model = load_model(job.model, device=job.device)
    if model.sha256 != digest:
        raise CheckpointError(
            f"Expected the model {job.model} with the digest {digest[:12]}, got {model.sha256[:12]} on "
            f"{platform.node()}; use the same file everywhere."
        )
    settings = EncodeSettings(object_size=job.object_size)
    predictor = CachedPredictor(model, memory_bytes=0, settings=settings)  # no image is seen twice
    filter_defaults(
        predictor, job.method, **job.options
    )  # what is wrong about them is said before the first image
    engine = {
        "device": str(model.device),
        "encoder": predictor.predictor.engine.name,
        "threads": job.threads,
        "machine": f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "napari_sam": __version__,
    }
    engine |= {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")}
    return LoadedJob(job, predictor, engine)


def read_unit(unit: Unit, job: BatchJob) -> ReadUnit:
    """Open an image and look at what its file holds.

    Raises
    ------
    ImageError, OSError
        When it cannot be read.
    """
    begun = time.perf_counter()
    path = Path(unit.source)
    state = read_state(path, is_image=True)
    stack = pick_channels(open_image(path), job.channels)
    return ReadUnit(unit, stack, state, time.perf_counter() - begun)


def segment_unit(
    read: ReadUnit, loaded: LoadedJob, folder: OutputFolder
) -> Generator[Progress, None, SegmentedUnit]:
    """Segment all planes of an image; a job.

    Parameters
    ----------
    read : ReadUnit
    loaded : LoadedJob
    folder : OutputFolder
        Where labels that are large are kept meanwhile.

    Raises
    ------
    OutputFolderError
        When there is no room for them.
    SamError, OSError
        When the image cannot be segmented or read.
    """
    begun = time.perf_counter()
    stack = read.stack
    axes = stack.axes.removesuffix("C")
    shape = tuple(stack.data.shape[: len(axes)])
    scratch = None
    try:
        if int(np.prod(shape, dtype=np.int64)) * 4 > LARGE:
            scratch = folder.make_scratch()
        labels = _make_labels(shape, scratch)
    except OSError as error:
        raise explain_folder(error, folder.path) from error
    try:
        found = SegmentedUnit(read, labels, axes, scratch=scratch)
        steps = _segment_linked(found, loaded) if loaded.job.link else _segment_planes(found, loaded)
        yield from steps
    except BaseException:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    found.seconds = time.perf_counter() - begun
    return found


def _segment_planes(found: SegmentedUnit, loaded: LoadedJob) -> Generator[Progress, None, None]:
    """Number the objects of every plane from 1."""
    from napari_sam.inference.candidates import draw_with_indices, explain_nothing, filter_candidates
    from napari_sam.inference.segment_image import filter_defaults, iter_candidates

    job, predictor = loaded.job, loaded.predictor
    filters = filter_defaults(predictor, job.method, **job.options)
    count = int(np.prod(found.read.stack.plane_shape, dtype=np.int64))
    for number, (index, plane) in enumerate(found.read.stack.planes()):
        where = f"plane {number + 1}/{count}, " if count > 1 else ""
        steps = iter_candidates(plane, predictor, job.method, **job.options)
        candidates = yield from _pass_on(steps, number, count, where)
        kept = filter_candidates(candidates, filters)
        labels, shown = draw_with_indices(candidates, kept)
        found.labels[index] = labels
        found.objects += int(np.count_nonzero(np.bincount(labels.ravel())[1:]))
        if len(kept) == 0 and len(candidates):
            place = f"[{','.join(map(str, index))}] " if index else ""
            found.notes.append(place + explain_nothing(candidates, filters))
        if not index:
            found.records = _read_scores(candidates.take(shown))


def _read_scores(candidates: Candidates) -> dict[int, dict[str, Any]]:
    """What the model says of the objects that are drawn as 1, 2 ..."""
    scores = {
        "predicted_iou": candidates.predicted_iou,
        "stability": candidates.stability,
        "foreground": candidates.foreground,
    }
    known = {name: values for name, values in scores.items() if np.isfinite(values).all()}
    return {i + 1: {n: round(float(v[i]), 4) for n, v in known.items()} for i in range(len(candidates))}


def _segment_linked(found: SegmentedUnit, loaded: LoadedJob) -> Generator[Progress, None, None]:
    """Number objects so that they keep their ids along an axis; each plane alone where there is only one."""
    from napari_sam.stacks.segment_stack import iter_segment_stack

    job, stack = loaded.job, found.read.stack
    assert job.link is not None
    if not stack.leading:
        yield from _segment_planes(found, loaded)
        return
    axes = _find_axis(stack, job.link)
    found.axes = axes.removesuffix("C")
    linked = yield from iter_segment_stack(
        stack.data, loaded.predictor, job.link, job.method, out=found.labels, axes=axes, **job.options
    )
    found.objects = linked.count
    found.records = {child: {"parents": [int(p) for p in of]} for child, of in linked.parents.items()}


def _find_axis(stack: ImageStack, link: str) -> str:
    """The axes with the one to link along among them; one axis that has no name is taken for it."""
    letter = link.upper()
    if letter in stack.leading:
        return stack.axes
    if len(stack.leading) == 1 and stack.leading not in "TZ":
        return letter + stack.axes[1:]
    raise ImageError(f"Expected an axis {letter} to link objects along, got the axes {stack.axes}.")


def _pass_on(
    steps: Generator[Progress, None, Any], number: int, count: int, where: str
) -> Generator[Progress, None, Any]:
    """A plane's steps as thousandths of the whole image."""
    try:
        while True:
            step = next(steps)
            done = (number + (step.done / step.total if step.total else 0)) / count
            yield Progress(round(1000 * done), 1000, where + step.description)
    except StopIteration as stop:
        return stop.value
    finally:
        steps.close()


def _make_labels(shape: tuple[int, ...], scratch: Path | None) -> NDArray[np.int32]:
    if scratch is None:
        return np.zeros(shape, np.int32)
    path = scratch / "labels.raw"
    with path.open("wb") as file:
        size = int(np.prod(shape, dtype=np.int64)) * 4
        if hasattr(
            os, "posix_fallocate"
        ):  # a disk that is full says so now, instead of ending the process later
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    return np.memmap(path, np.int32, "r+", shape=shape)
