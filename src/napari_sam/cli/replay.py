"""``napari-sam replay``: a batch once more, to see whether its labels come out the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import complain, make_bar, say
from napari_sam.cli.options import add_execution_options

if TYPE_CHECKING:
    import argparse

    from napari_sam.stacks.replay import ReplayReport

__all__ = ["add_command", "run_replay"]

_EPILOG = """\
examples:
  napari-sam replay labels/manifest.jsonl
  napari-sam replay labels/manifest.jsonl --device cpu --workers 1

Reads the images, settings and model of the manifest, and compares the labels bit for bit. Nothing is written.
On another device, machine or version of PyTorch single pixels may differ; what is not the same is named.

exit codes: 0 all labels are the same; 2 some are not, or could not be made; 3 it could not go on;
130 interrupted.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "replay",
        help="repeat a batch and compare its labels",
        description="Repeat a batch from its manifest and compare the labels bit for bit.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "manifest", type=Path, metavar="MANIFEST", help="manifest.jsonl, or the folder that holds it"
    )
    parser.add_argument("--device", help="cpu, cuda or mps (default: that of the batch)")
    add_execution_options(parser)
    parser.set_defaults(run=run_replay)
    return parser


def run_replay(options: argparse.Namespace) -> int:
    """Repeat a batch; 2 when anything is not as it was."""
    from napari_sam.stacks.manifest import MANIFEST_NAME
    from napari_sam.stacks.replay import replay_batch

    path = options.manifest / MANIFEST_NAME if options.manifest.is_dir() else options.manifest
    steps = replay_batch(
        path,
        device=options.device,
        workers=options.workers,
        scheduler=options.scheduler,
        threads=options.threads,
    )
    bar = None
    try:
        while True:
            step = next(steps)
            bar = bar or make_bar(step.total, "image")
            if step.done > bar.n:
                bar.update(step.done - bar.n)
            if step.partial is not None and step.partial.status != "same":
                complain(f"{step.partial.status}: {step.partial.unit.source}: {step.partial.message}")
    except StopIteration as stop:
        return _conclude(stop.value)
    finally:
        steps.close()
        if bar is not None:
            bar.close()


def _conclude(report: ReplayReport) -> int:
    for line in report.engines:
        complain(f"note: {line}")
    parts = [(report.same, "the same"), (report.different, "different"), (report.failed, "not repeated")]
    say(", ".join(f"{count} {what}" for count, what in parts if count) or "nothing repeated")
    if report.stopped:
        complain(f"error: {report.stopped}")
        return 3
    return 2 if report.different or report.failed else 0
