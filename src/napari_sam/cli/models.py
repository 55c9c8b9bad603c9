"""``napari-sam models``: which models there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import say

if TYPE_CHECKING:
    import argparse

__all__ = ["add_command", "run_models"]

_EPILOG = """\
examples:
  napari-sam models
  napari-sam segment nuclei.tif --out labels --model nuclei

A path to a checkpoint file works wherever a model's name does.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "models", help="list the models", description="List the models by name.", epilog=_EPILOG
    )
    parser.set_defaults(run=run_models)
    return parser


def run_models(options: argparse.Namespace) -> int:
    """Print a table of the registry."""
    from napari_sam.inference.checkpoints import list_models

    rows = [("name", "where", "licence", "title", "description" if options.verbose else "")]
    for card in list_models():
        where = "bundled" if card.bundled else "download"
        rows.append((card.name, where, card.license, card.title, card.description if options.verbose else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
