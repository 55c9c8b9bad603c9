"""What *SAM batch* has its worker do: run a batch, look at an earlier one, read a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.stacks.batch import BatchReport
    from napari_sam.stacks.batch_results import EarlierBatch
    from napari_sam.stacks.work_units import Unit

__all__ = ["describe_report", "fold_sources", "iter_earlier", "iter_result", "iter_run"]


def iter_run(*arguments: Any, **options: Any) -> Generator[Progress, None, BatchReport]:
    """Run a batch, see ``stacks.batch.run_batch``."""
    from napari_sam.stacks.batch import run_batch  # in the worker: it takes a while the first time

    return (yield from run_batch(*arguments, **options))


def iter_earlier(folder: Path) -> Generator[Progress, None, tuple[Path, EarlierBatch | None]]:
    """Read what a folder for results holds already: the folder, and its batch or None."""
    from napari_sam.stacks.batch_results import read_earlier

    yield Progress(0, 1, "reading the manifest")
    return folder, read_earlier(folder)


def iter_result(unit: Unit, folder: Path) -> Generator[Progress, None, tuple[Any, Any]]:
    """Read an image and its objects, see ``stacks.batch_results.read_result``."""
    from napari_sam.stacks.batch_results import read_result

    yield Progress(0, 1, f"reading {unit.name}")
    return read_result(unit, folder)


def fold_sources(sources: tuple[str, ...]) -> list[str]:
    """The folder that all images are in, or the images."""
    folders = {str(Path(source).parent) for source in sources}
    inside = any(part.lower().endswith(".zarr") for folder in folders for part in Path(folder).parts)
    return sorted(folders) if len(folders) < len(sources) and not inside else list(sources)


def describe_report(report: BatchReport) -> str:
    """What a batch that is over has done, for the status line."""
    done = report.done + report.before
    failed = report.failed + report.failed_before
    text = f"{done} of {done + failed + report.left} done"
    text += f", {failed} failed (see 'Try again' under More settings)" if failed else ""
    if report.stopped:
        return f"{text}. {report.stopped}"
    if report.left:
        return f"{text}, {report.left} left. Start goes on."
    return f"{text}. {report.objects} new objects in {report.seconds:.0f} s; double-click an image for them."
