"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

__all__ = [
    "FORMATS",
    "METHODS",
    "add_cache_options",
    "add_device_option",
    "add_execution_options",
    "add_format_option",
    "add_image_options",
    "add_link_option",
    "add_method_option",
    "add_model_option",
    "add_seed_option",
    "add_threshold_options",
    "read_channels",
    "read_formats",
    "read_positive",
    "read_thresholds",
]

METHODS: Final = ("auto", "instances", "grid")
FORMATS: Final = ("tiff", "ome-zarr", "rois", "geojson", "coco", "csv")
"""Both are spelt out here, because the help must not wait for the engine."""


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the model and where it runs."""
    parser.add_argument(
        "--model",
        default="nuclei",
        help="a name that `napari-sam models` lists, or a checkpoint file (default: nuclei, the bundled one)",
    )
    add_device_option(parser)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the model runs."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def add_method_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how objects are found without prompts."""
    parser.add_argument(
        "--method",
        default="auto",
        choices=METHODS,
        help="how to find objects: by the model's instance decoder, or by a grid of points; auto takes "
        "instances where the model has them (default: auto)",
    )


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the model sees of an image."""
    parser.add_argument(
        "--object-size",
        type=read_positive,
        metavar="PX",
        help="typical diameter of the objects in pixels (default: found automatically)",
    )
    parser.add_argument(
        "--channels",
        type=read_channels,
        metavar="N,N",
        help="channels to use, from 0, at most three (default: the first three)",
    )


def add_seed_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option that seeds random numbers."""
    parser.add_argument("--seed", type=_read_count, default=0, metavar="N", help=f"{what} (default: 0)")


def add_link_option(parser: Any) -> None:
    """Add, to a parser or a group, the option that says how objects go on from plane to plane."""
    parser.add_argument(
        "--link",
        choices=("z", "t"),
        help="give objects one id in all planes: z for the sections of a volume, t for the frames of a "
        "series, whose divisions are found (default: every plane alone)",
    )


def add_threshold_options(parser: argparse.ArgumentParser) -> Any:
    """Add the options that say which objects are kept; their group, for more of the kind."""
    group = parser.add_argument_group("which objects")
    group.add_argument(
        "--min-area",
        type=float,
        metavar="PIXELS",
        help="drop smaller objects (default: the model's; for nuclei 12)",
    )
    group.add_argument(
        "--max-area", type=float, metavar="PIXELS", help="drop larger objects (default: no limit)"
    )
    group.add_argument(
        "--predicted-iou",
        type=float,
        metavar="P",
        help="drop objects whose outline the model rates lower, 0 to 1 (default: the model's; for nuclei 0)",
    )
    group.add_argument(
        "--foreground",
        type=float,
        metavar="P",
        help="drop objects that are less probably foreground, 0 to 1 (default: the model's; for nuclei 0.85)",
    )
    group.add_argument("--no-border", action="store_true", help="drop objects that touch the image's border")
    return group


def read_thresholds(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``FilterParams`` that the user has set."""
    names = ("min_area", "max_area", "predicted_iou", "foreground")
    chosen = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    return chosen | ({"keep_border": False} if options.no_border else {})


def add_format_option(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add the option that says what labels are written as; without it TIFF, unless it is required."""
    parser.add_argument(
        "--formats",
        "--format",
        required=required,
        type=read_formats,
        default=None if required else ("tiff",),
        metavar="F,F",
        help=f"{', '.join(FORMATS)}; several with commas, or all" + ("" if required else " (default: tiff)"),
    )


def add_execution_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the work of a batch is done."""
    group = parser.add_argument_group("where")
    group.add_argument(
        "--workers",
        type=_read_count,
        metavar="N",
        help="processes, each with the model (default: one per core; one with a GPU); 0: none but this one",
    )
    group.add_argument("--threads", type=_read_count, metavar="N", help="of each worker (default: 1)")
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a dask scheduler like tcp://node:8786, or local:N, instead of --workers",
    )


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the cache is."""
    parser.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="folder of the cache (default: the one chosen in the dock, else NAPARI_SAM_CACHE_DIR, else the "
        "platform's)",
    )


def read_positive(text: str) -> float:
    """Read a finite number above 0.

    Raises
    ------
    argparse.ArgumentTypeError
        When it is something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def read_channels(text: str) -> tuple[int, ...]:
    """Read "2,0" as (2, 0).

    Raises
    ------
    argparse.ArgumentTypeError
        When it is not one to three different numbers from 0.
    """
    try:
        channels = tuple(int(part) for part in text.split(","))
    except ValueError:
        channels = ()
    if not 1 <= len(channels) <= 3 or min(channels) < 0 or len(set(channels)) != len(channels):
        raise argparse.ArgumentTypeError(f"expected one to three different numbers like 0,1, got {text!r}")
    return channels


def read_formats(text: str) -> tuple[str, ...]:
    """Read names of formats, separated by commas; "all" is all of them.

    Raises
    ------
    argparse.ArgumentTypeError
        When there is no such format.
    """
    if text.strip() == "all":
        return FORMATS
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    wrong = [name for name in names if name not in FORMATS]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(FORMATS)}, got {text!r}")
    return names


def _read_count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return int(text)
