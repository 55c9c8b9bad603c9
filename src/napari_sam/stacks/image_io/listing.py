"""Which images there are: in folders, behind patterns, on plates."""

from __future__ import annotations

import os
import re
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "IMAGE_SUFFIXES",
    "LABELS_ENDING",
    "TIFF_SUFFIXES",
    "describe_unreadable",
    "is_image_file",
    "is_zarr",
    "list_by_stem",
    "list_images",
    "name_image",
    "strip_common",
]

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".lsm", ".stk", ".svs", ".ndpi", ".scn", ".qptiff"})
LABELS_ENDING = "_labels"  # of the stems of label images that we write
UNREADABLE_SUFFIXES = frozenset(
    {".czi", ".h5", ".hdf5", ".ims", ".lif", ".lof", ".mrxs", ".nd2", ".oib", ".oif", ".vsi", ".zvi"}
)
"""Formats of microscopes, each of which needs a reader of its own."""
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".npy"}


def list_images(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, labels: bool = False
) -> list[Path]:
    """Turn what a user names into images.

    Parameters
    ----------
    inputs : path, or iterable of paths
        Files; folders, for the images directly in them; patterns that no shell has expanded (``**`` goes
        down into folders); OME-Zarr images, and plates, wells or collections of them.
    labels : bool
        Whether label images are wanted: then of a folder those that are called ``NAME_labels``, or all where
        none is. Otherwise these are passed over.

    Returns
    -------
    list of Path
        Each image once, in the order given; those of a plate as ``plate.zarr/A/1/0``. What does not exist
        is kept: opening it says so.
    """
    found: dict[Path, Path] = {}
    for item in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        for path in _expand(Path(item), labels):
            for member in _open_up(path):
                found.setdefault(member.resolve(), member)
    return list(found.values())


def describe_unreadable(inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> str:
    """What folders that a user names hold of formats that cannot be read, in words; "" for nothing."""
    items = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    folders = {path.resolve() for path in map(Path, items) if path.is_dir() and not _holds_zarr(path)}
    members = (path for folder in folders for path in folder.iterdir() if not path.name.startswith("."))
    suffixes = [path.suffix.lower() for path in members]
    unreadable = [suffix for suffix in suffixes if suffix in UNREADABLE_SUFFIXES]
    if not unreadable:
        return ""
    count, kinds = len(unreadable), ", ".join(sorted(set(unreadable)))
    what = "1 file here is of a kind" if count == 1 else f"{count} files here are of kinds"
    return (
        f"{what} that cannot be read ({kinds}); convert to OME-TIFF or OME-Zarr, for example with "
        "bioformats2raw"
    )


def _expand(path: Path, labels: bool) -> list[Path]:
    """The members of a folder, or the matches of a pattern, in order."""
    if path.is_dir() and not _holds_zarr(path):
        visible = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
        members = [p for p in visible if is_image_file(p, labels=True) or is_zarr(p)]
        named = [p for p in members if name_image(p).endswith(LABELS_ENDING)]
        return (named or members) if labels else [p for p in members if p not in named]
    if not path.exists() and any(sign in str(path) for sign in "*?["):
        matches = [Path(text) for text in sorted(glob(str(path), recursive=True))]
        usable = [p for p in matches if p.is_file() or _holds_zarr(p)]
        return [p for p in usable if p.name[0] != "."] or [path]
    return [path]


def _open_up(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    from napari_sam.stacks.image_io.zarr_images import list_members

    return list_members(path) or [path]


def _holds_zarr(path: Path) -> bool:
    """Whether a folder is a zarr group or array, by its name or what is in it."""
    if is_zarr(path):
        return True
    return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def name_image(path: Path) -> str:
    """What results of an image are called: its file's stem, inside a zarr the way to it.

    Examples
    --------
    >>> name_image(Path("day1/cells.ome.tif")), name_image(Path("plate.zarr/A/1/0"))
    ('cells', 'plate_A_1_0')
    """
    parts = path.parts
    inside = next((i for i, part in enumerate(parts[:-1]) if part.lower().endswith(".zarr")), len(parts) - 1)
    stem = Path(parts[inside]).stem
    stem = stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem
    return "_".join([stem, *parts[inside + 1 :]])


def strip_common(paths: Sequence[Path]) -> list[Path]:
    """Absolute paths without the folders that all of them have in common.

    On several drives of Windows, which have nothing in common, with the drive's name as a folder in front.

    Examples
    --------
    >>> [path.as_posix() for path in strip_common([Path("/d/a/x.tif"), Path("/d/x.tif")])]
    ['a/x.tif', 'x.tif']
    """
    try:
        root = os.path.commonpath([path.parent for path in paths])
    except ValueError:
        drives = [re.sub(r"\W+", "_", path.drive).strip("_") for path in paths]
        return [path.__class__(drive, *path.parts[1:]) for drive, path in zip(drives, paths, strict=True)]
    return [path.relative_to(root) for path in paths]


def list_by_stem(folder: Path, *, labels: bool = False) -> dict[str, Path]:
    """The image files of a folder by file stem.

    Parameters
    ----------
    folder : Path
        Its subfolders are not searched.
    labels : bool
        Whether they are label images: then ``NAME_labels.tif``, as ``segment`` writes them, belongs to
        ``NAME``. Otherwise such files are passed over.

    Raises
    ------
    ImageError
        When it is not a folder, or two images share a stem.
    """
    if not folder.is_dir():
        raise ImageError(f"Expected a folder of images, got {folder}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_image_file(path, labels=labels):
            continue
        stem = name_image(path)
        stem = stem.removesuffix(LABELS_ENDING) if labels else stem
        if stem in found:
            raise ImageError(f"Expected one image per name, got {found[stem].name} and {path.name}.")
        found[stem] = path
    return found


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder of a zarr image, by its suffix."""
    return path.suffix.lower() == ".zarr" and path.is_dir()


def is_image_file(path: Path, *, labels: bool = False) -> bool:
    """Whether a path is a visible image file, by its suffix; label images of ours only if asked for."""
    if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
        return False
    return labels or not name_image(path).endswith(LABELS_ENDING)
