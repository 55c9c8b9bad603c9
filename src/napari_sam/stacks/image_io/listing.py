"""Which images there are: in folders, behind patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["IMAGE_SUFFIXES", "LABELS_ENDING", "TIFF_SUFFIXES", "is_image_file", "is_zarr", "list_by_stem"]

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".lsm"})
LABELS_ENDING = "_labels"  # of the stems of label images that we write
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


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
        stem = path.stem.removesuffix(LABELS_ENDING) if labels else path.stem
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
    return labels or not path.stem.endswith(LABELS_ENDING)
