"""What the commands write: results to stdout, messages and progress bars to stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.types import Progress

__all__ = ["GIGABYTE", "complain", "describe", "make_bar", "run_job", "say", "show_bytes"]

GIGABYTE: Final = 10**9

Result = TypeVar("Result")


def say(text: str) -> None:
    """Write one line of results to stdout, above a running bar."""
    with tqdm.external_write_mode(file=sys.stdout):
        sys.stdout.write(text + "\n")


def complain(text: str) -> None:
    """Write one line of trouble to stderr, above a running bar."""
    with tqdm.external_write_mode(file=sys.stderr):
        sys.stderr.write(f"napari-sam: {text}\n")


def describe(error: BaseException) -> str:
    """An error as one line: an ``OSError`` says which file, a `SamError` speaks for itself."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return " ".join(str(error).split()) or type(error).__name__


def show_bytes(count: int) -> str:
    """A size to read: "1.5 GB"."""
    for unit, size in (("GB", GIGABYTE), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def make_bar(total: int, unit: str) -> tqdm:
    """A progress bar on stderr that shows itself only on a terminal.

    Parameters
    ----------
    total : int
        Number of units; 0 when unknown.
    unit : str
        What is counted.
    """
    return tqdm(total=total or None, unit=unit, disable=None, dynamic_ncols=True, file=sys.stderr)


def run_job(job: Generator[Progress, None, Result], bar: tqdm, name: str) -> Result:
    """Run a job to its end and show in the bar what it is doing.

    Parameters
    ----------
    job : generator of Progress
        Returns the result.
    bar : tqdm
        Its postfix shows the job's steps; the caller counts whole jobs.
    name : str
        Shown in front.

    Returns
    -------
    object
        What the job returned.
    """
    bar.set_description(name)
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        of = f" {step.done}/{step.total}" if step.total else ""
        bar.set_postfix_str(f"{step.description}{of}")
