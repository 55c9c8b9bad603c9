"""``napari-sam cache``: where the embeddings on disk are, how much they take, and their deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import say, show_bytes
from napari_sam.cli.dock_settings import choose_cache_dir, load_dock_settings
from napari_sam.cli.options import add_cache_options
from napari_sam.errors import CacheError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_command", "run_cache"]

_EPILOG = """\
examples:
  napari-sam cache
  napari-sam cache --clear

Nothing is lost by clearing but time: what is missing is encoded again.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cache",
        help="show or clear the cache of encoded images",
        description="Show where encoded images are kept and how much they take, or delete them.",
        epilog=_EPILOG,
    )
    add_cache_options(parser)
    parser.add_argument("--clear", action="store_true", help="delete all encoded images")
    parser.set_defaults(run=run_cache)
    return parser


def run_cache(options: argparse.Namespace) -> int:
    """Print size and place, after clearing if asked to.

    Raises
    ------
    CacheError
        When not everything could be deleted.
    """
    from napari_sam.inference.zarr_store import ZarrStore

    store = ZarrStore(choose_cache_dir(options.cache_dir, load_dock_settings().cache))
    count, size = len(store), store.nbytes
    if not options.clear:
        say(f"{count} tiles, {show_bytes(size)} in {store.folder}")
        return 0
    store.clear()
    left = len(store)
    say(f"{count - left} tiles, {show_bytes(size - store.nbytes)} deleted from {store.folder}")
    if left:
        raise CacheError(f"{left} tiles in {store.folder} could not be deleted; close what uses them.")
    return 0
