"""``napari-sam batch``: many images with the same settings, resumable, on all cores or a cluster."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import complain, make_bar, say
from napari_sam.cli.input_files import warn_of_unreadable
from napari_sam.cli.options import (
    add_execution_options,
    add_format_option,
    add_image_options,
    add_link_option,
    add_method_option,
    add_model_option,
    add_threshold_options,
    read_thresholds,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterator

    from tqdm import tqdm

    from napari_sam.stacks.batch import BatchReport
    from napari_sam.stacks.batch_control import BatchControl
    from napari_sam.stacks.batch_plan import BatchPlan
    from napari_sam.stacks.work_units import BatchJob, UnitStep
    from napari_sam.types import Progress

__all__ = ["add_command", "fetch_weights", "run_batch_command", "show_steps"]

_EPILOG = """\
examples:
  napari-sam batch scans/ --out labels
  napari-sam batch "day*/**/*.tif" --out labels --formats tiff,rois,csv
  napari-sam batch plate.zarr --out labels --channels 0 --dry-run
  napari-sam batch volumes/ --out labels --link z --formats ome-zarr
  napari-sam batch scans/ --out /data/labels --scheduler tcp://node1:8786
  napari-sam replay labels/manifest.jsonl

The same command goes on where it was stopped, whatever stopped it. Images that manifest.jsonl lists as done
are skipped, unless image or results were changed; other settings need another folder, or --overwrite. Ctrl+C
finishes the images in work, a second one drops them.

exit codes: 0 all images are done; 2 some failed, or it could not begin; 3 it could not go on (disk full,
workers lost); 130 interrupted.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "batch",
        help="segment many images, resumable, on all cores or a cluster",
        description="Segment every object of many images with the same settings.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="images, folders, patterns, OME-Zarr images, plates or wells",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for outputs and manifest"
    )
    add_format_option(parser)
    add_model_option(parser)
    add_method_option(parser)
    add_image_options(parser)
    add_link_option(parser)
    add_threshold_options(parser)
    group = parser.add_argument_group("what to do")
    group.add_argument("--dry-run", action="store_true", help="list the work, and do nothing")
    group.add_argument("--retry-failed", action="store_true", help="try images again that failed before")
    group.add_argument(
        "--overwrite", action="store_true", help="replace results of other settings and files of no batch"
    )
    add_execution_options(parser)
    parser.set_defaults(run=run_batch_command)
    return parser


def run_batch_command(options: argparse.Namespace) -> int:
    """Run or list a batch."""
    from napari_sam.stacks.batch import run_batch
    from napari_sam.stacks.batch_control import BatchControl
    from napari_sam.stacks.batch_plan import make_plan

    job = _read_job(options)
    how = {"retry_failed": options.retry_failed, "overwrite": options.overwrite}
    fetch_weights(options.model)
    if options.dry_run:
        _list_work(make_plan(job, options.inputs, options.out, **how))
        warn_of_unreadable(options.inputs)
        return 0
    control = BatchControl()
    steps = run_batch(
        job,
        options.inputs,
        options.out,
        workers=options.workers,
        scheduler=options.scheduler,
        control=control,
        **how,
    )
    with _finishing_on_interrupt(control):
        try:
            report = show_steps(steps, options.verbose)
        except KeyboardInterrupt:
            complain("interrupted; the images in work were dropped. The same command goes on from there.")
            return 130
    code = _conclude(report, control, options.out)
    warn_of_unreadable(options.inputs)
    return code


def fetch_weights(name: str) -> None:
    """Download a model that has a name, where it has to be, with a progress bar."""
    from napari_sam.cli.models import fetch_with_bar
    from napari_sam.inference.registry import find_card

    card = find_card(name)
    if card is not None and not card.bundled:
        fetch_with_bar(card)


def show_steps(steps: Generator[Progress, None, BatchReport], verbose: bool) -> BatchReport:
    """Run a batch to its end with a bar, a line for every image that is done, and complaints."""
    bar: tqdm | None = None
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                report: BatchReport = stop.value
                return report
            if bar is None:
                if hasattr(step.partial, "units"):
                    _say_plan(step.partial)
                bar = make_bar(step.total, "image")
            if step.done > bar.n:
                bar.update(step.done - bar.n)
            if step.partial is None and step.done == 0 and step.description:
                bar.set_postfix_str(step.description)
            elif hasattr(step.partial, "status"):
                _show(step.partial, bar, verbose)
    finally:
        steps.close()
        if bar is not None:
            bar.close()


def _say_plan(plan: BatchPlan) -> None:
    before = len(plan.units) - len(plan.to_do) - len(plan.failed_before)
    if before:
        complain(f"{_images(before)} done before, {len(plan.to_do)} to do")
    for planned in plan.failed_before:
        complain(f"{planned.unit.source}: {planned.why}; --retry-failed tries it again")


def _show(step: UnitStep, bar: tqdm, verbose: bool) -> None:
    if step.status == "running":
        if step.message:  # else it has only been handed to a worker
            if bar.n == 0:
                bar.unpause()  # the time that the model took to load says nothing of the images
            bar.set_postfix_str(f"{step.unit.name} {step.message}"[:60])
    elif step.status == "failed":
        complain(f"error: {step.unit.source}: {step.message}")
    elif step.result is not None:
        result = step.result
        planes = 1
        for length in result.shape[:-2]:
            planes *= length
        where = f" in {planes} planes" if planes > 1 else ""
        seconds = f"  {sum(result.seconds.values()):.2f} s" if verbose else ""
        say(f"{step.unit.name}  {result.objects} objects{where}{seconds}")
        for note in result.notes:
            complain(f"{step.unit.source}: {note}")


def _conclude(report: BatchReport, control: BatchControl, folder: Path) -> int:
    failed = report.failed + report.failed_before
    total = report.done + report.before + failed + report.left
    text = f"{report.done + report.before} of {_images(total)} done"
    if failed:
        text += f", {failed} failed"
    if report.left:
        text += f", {report.left} left"
    say(f"{text}; {report.objects} objects in {report.seconds:.0f} s; see {folder / 'manifest.jsonl'}")
    if report.stopped:
        complain(f"error: {report.stopped}")
        return 3
    if report.left and control.is_finishing:
        complain("interrupted; the same command goes on from there.")
        return 130
    return 2 if failed else 0


def _list_work(plan: BatchPlan) -> None:
    for planned in plan.units:
        sign = "do  " if planned.to_do else "skip"
        say(f"{sign}  {planned.unit.source} -> {planned.unit.stem}  ({planned.why})")
    say(f"{len(plan.to_do)} of {_images(len(plan.units))} to do")


def _images(count: int) -> str:
    return f"{count} image" + "s" * (count != 1)


def _read_job(options: argparse.Namespace) -> BatchJob:
    from napari_sam.inference.registry import find_card
    from napari_sam.stacks.work_units import BatchJob

    model = options.model
    if find_card(model) is None and Path(model).expanduser().is_file():
        model = str(Path(model).expanduser().absolute())  # other processes have other folders
    return BatchJob(
        model=model,
        device=options.device,
        method=options.method,
        options=read_thresholds(options),
        channels=options.channels,
        object_size=options.object_size,
        link=options.link,
        formats=options.formats,
        threads=options.threads or 1,
    )


@contextmanager
def _finishing_on_interrupt(control: BatchControl) -> Iterator[None]:
    """The first Ctrl+C lets the images in work be finished, the second one ends the program."""

    def finish(*_: object) -> None:
        if control.is_finishing:
            raise KeyboardInterrupt
        control.finish()
        complain("finishing the images in work; Ctrl+C again drops them")

    try:
        before = signal.signal(signal.SIGINT, finish)
    except ValueError:  # not in the main thread: somebody else decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
