"""``napari-sam``: parses the command line, runs a command, and turns its errors into one line each.

Exit codes: 0 all right, 2 an error (message on stderr), 130 interrupted by Ctrl+C. Nothing here or at the
top of the commands' files imports torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import traceback
from typing import TYPE_CHECKING

from napari_sam import __version__
from napari_sam.cli import (
    batch,
    cache,
    embed,
    evaluate,
    export,
    models,
    prompts,
    propagate,
    replay,
    segment,
    train,
)
from napari_sam.cli.console import complain, describe
from napari_sam.errors import SamError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "make_parser"]

_COMMANDS = (segment, batch, replay, prompts, propagate, export, embed, cache, models, evaluate, train)

_EPILOG = """\
examples:
  napari-sam segment nuclei.tif --out labels
  napari-sam embed scans/
  napari-sam models
  napari-sam evaluate --images images --labels labels
  napari-sam segment --help
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; each command adds its own part."""
    parser = argparse.ArgumentParser(
        prog="napari-sam",
        description="Segment Anything for microscopists, without a viewer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"napari-sam {__version__}")
    parser.set_defaults(verbose=False, run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        sub = command.add_command(commands)
        sub.formatter_class = argparse.RawDescriptionHelpFormatter
        sub.add_argument(
            "-v", "--verbose", action="store_true", help="log more, and show where an error arose"
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments after the program's name; default those of the process.

    Returns
    -------
    int
        The exit code.
    """
    _escape_output()
    parser = make_parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has written its message
        return stop.code if isinstance(stop.code, int) else 2
    if options.run is None:
        parser.print_help(sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except (SamError, OSError) as error:
        if options.verbose:
            traceback.print_exc()
        complain(f"error: {describe(error)}")
        return 2


def _escape_output() -> None:
    """Write with backslashes what stdout cannot hold, as stderr does; on Windows a file is seldom UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
