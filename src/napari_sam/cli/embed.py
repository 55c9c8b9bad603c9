"""``napari-sam embed``: encode images ahead, so that clicks in the viewer find everything on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import GIGABYTE, complain, run_job, say, show_bytes
from napari_sam.cli.dock_settings import choose_cache_dir, load_dock_settings
from napari_sam.cli.file_run import FileRun
from napari_sam.cli.input_files import list_inputs
from napari_sam.cli.models import load_with_bar
from napari_sam.cli.options import add_cache_options, add_image_options, add_model_option, read_positive
from napari_sam.errors import CacheError
from napari_sam.stacks.image_io import open_image

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from tqdm import tqdm

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.types import Progress

__all__ = ["add_command", "run_embed"]

_EPILOG = """\
examples:
  napari-sam embed slide.tif
  napari-sam embed scans/ --model nuclei --object-size 40
  napari-sam embed "day1/*.tif" --cache-dir /data/cache --cache-size 50

Every plane is covered by tiles, and those that are not in the cache yet are encoded. Ctrl+C keeps what is
done; the same command goes on from there. Images are looked up by their content, so files may be moved and
renamed; model, object size and channels must be those of the viewer. Folder, size and percentiles of contrast
are those that were last chosen in the dock. Not found are planes for which the dock has a fixed range of
intensities, or percentiles over the whole stack. `napari-sam cache` shows and clears the cache.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "embed",
        help="encode images ahead of the first click",
        description="Encode images into the cache, so that no click has to wait for it.",
        epilog=_EPILOG,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    add_model_option(parser)
    add_image_options(parser)
    add_cache_options(parser)
    parser.add_argument(
        "--cache-size",
        type=read_positive,
        metavar="GB",
        help="delete the least recently used tiles beyond this size (default: the dock's)",
    )
    parser.set_defaults(run=run_embed)
    return parser


def run_embed(options: argparse.Namespace) -> int:
    """Encode all files; 2 when one of them could not be, 130 when interrupted, else 0."""
    inputs = list_inputs(options.images)

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.encode_settings import EncodeSettings

    dock = load_dock_settings()
    if not dock.cache.on_disk:
        complain("warning: the dock keeps nothing on the disk (section Cache), so it will not find this")
    predictor = CachedPredictor(
        load_with_bar(options.model, options.device),
        cache_dir=choose_cache_dir(options.cache_dir, dock.cache),
        memory_bytes=0,  # nobody asks for a tile twice here
        settings=EncodeSettings(options.object_size, options.channels, dock.percentiles),
        disk_bytes=int(options.cache_size * GIGABYTE) if options.cache_size else dock.cache.disk_bytes,
    )
    counts = _Counts()
    try:
        # After a CacheError the next file would have nowhere to go either.
        with FileRun(len(inputs), verbose=options.verbose, fatal=(CacheError,)) as run:
            for source in inputs:
                before = counts.done, counts.encoded
                with run.file(source):
                    _embed_planes(open_image(source), predictor, run.bar, source.name, counts)
                    say(f"{source}  {_describe(counts.done - before[0], counts.encoded - before[1])}")
    except KeyboardInterrupt:
        predictor.cache.flush()
        complain(f"interrupted; {_tiles(counts.done)} in the cache. The same command goes on from there.")
        return 130
    code = run.conclude()
    if len(inputs) > 1:
        say(_describe(counts.done, counts.encoded))
    _summarize(predictor, counts)
    return code


class _Counts:
    """Tiles of this run: those that are in the cache now, and those of them that were not before."""

    done = 0
    encoded = 0


def _embed_planes(
    stack: ImageStack, predictor: CachedPredictor, bar: tqdm, name: str, counts: _Counts
) -> None:
    for index, plane in stack.planes():
        where = f" [{','.join(map(str, index))}]" if index else ""
        counts.encoded += run_job(_count(predictor.embed(plane), counts), bar, name + where)
        predictor.cache.flush()
        if predictor.cache.disk_error is not None:
            raise CacheError(predictor.cache.disk_error)


def _count(job: Generator[Progress, None, int], counts: _Counts) -> Generator[Progress, None, int]:
    """The same job; ``counts.done`` follows it."""
    before = counts.done
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            encoded: int = stop.value
            return encoded
        counts.done = before + step.done
        yield step


def _summarize(predictor: CachedPredictor, counts: _Counts) -> None:
    from napari_sam.inference.zarr_store import ZarrStore

    store = predictor.cache.store
    if not isinstance(store, ZarrStore):
        return
    kept, used = len(store), store.nbytes
    say(f"the cache holds {_tiles(kept)}, {show_bytes(used)}, in {store.folder}")
    if kept < counts.done:
        complain(
            f"warning: only {_tiles(kept)} of {counts.done} fitted into the cache, the others were deleted "
            "again; allow more with --cache-size, or make room on the disk"
        )


def _describe(done: int, encoded: int) -> str:
    return f"{_tiles(done)}: {encoded} encoded, {done - encoded} cached before"


def _tiles(count: int) -> str:
    return f"{count} tile" + "s" * (count != 1)
