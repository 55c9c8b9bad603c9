"""Images with their label images: which belong together, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.cli.console import complain
from napari_sam.errors import ImageError
from napari_sam.stacks.csv_tables import name_cells, open_table
from napari_sam.stacks.image_io import list_by_stem, pick_channels, read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.training.dataset import LabelledImage

__all__ = ["pair_files", "read_index", "read_labelled_images", "read_pair", "warn_of_masks"]


def pair_files(images: Path, labels: Path) -> tuple[dict[str, tuple[Path, Path]], int]:
    """Image and labels of each name that has both, and how many files have no partner.

    Parameters
    ----------
    images, labels : Path
        Folders; ``NAME_labels.tif`` belongs to ``NAME`` as ``NAME.tif`` does.

    Raises
    ------
    ImageError
        When one of them is no folder, or two of its files have one name.
    """
    one, other = list_by_stem(images), list_by_stem(labels, labels=True)
    pairs = {name: (one[name], other[name]) for name in sorted(one.keys() & other.keys())}
    return pairs, len(one.keys() ^ other.keys())


def read_index(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Names of the columns, in lower case, and the row of each ``id``.

    Parameters
    ----------
    path : Path
        A table in UTF-8; commas, semicolons or tabs separate.

    Raises
    ------
    ImageError
        When it is no such table, or has no column ``id``.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageError(
            f"Expected a table in UTF-8 in {path}, got other bytes ({error.reason}); save it as CSV UTF-8."
        ) from error
    columns, lines = open_table(text)
    if "id" not in columns:
        raise ImageError(f"Expected a column id in {path}, got {', '.join(columns) or 'none'}.")
    rows = [name_cells(columns, cells) for cells in lines if any(cells)]
    return columns, {row["id"]: row for row in rows}


def read_pair(
    image: Path, labels: Path, channels: tuple[int, ...] | None = None
) -> tuple[NDArray[Any], NDArray[np.integer[Any]]]:
    """One (H, W) or (H, W, C) image and its (H, W) labels.

    Raises
    ------
    ImageError
        When one cannot be read, the image is a stack, or the shapes differ.
    """
    stack = pick_channels(read_image(image), channels)
    if stack.plane_shape:
        raise ImageError(f"Expected one plane in {image}, got a stack of axes {stack.axes}.")
    found = read_labels(labels)
    if found.shape != stack.data.shape[:2]:
        raise ImageError(f"Expected labels of shape {stack.data.shape[:2]} in {labels}, got {found.shape}.")
    return np.asarray(stack.data), found


def read_labelled_images(folder: Path, split: str = "train") -> list[LabelledImage]:
    """What a model is trained on: ``folder/images`` with ``folder/labels``, read as they are in use.

    Parameters
    ----------
    folder : Path
        May hold ``index.csv`` with columns ``id`` and optionally ``split`` and ``kind``; then only
        rows of the wanted split are read, and no image that is not in it.
    split : str

    Raises
    ------
    SamError
        When nothing can be paired, no image has an object, or one cannot be read.
    """
    from napari_sam.inference.label_image import is_mask
    from napari_sam.training.dataset import prepare_image

    pairs, alone = pair_files(folder / "images", folder / "labels")
    path, rows = folder / "index.csv", None
    if path.exists():
        _, rows = read_index(path)
        wanted = {name for name, row in rows.items() if row.get("split", split) == split}
        pairs = {name: pair for name, pair in pairs.items() if name in wanted}
    if alone:
        complain(f"warning: {alone} files have no partner of the same name and are left out")
    found, masks = [], []
    for name, pair in pairs.items():
        image, labels = read_pair(*pair)
        masks += [name] if is_mask(labels) else []
        found.append(prepare_image(name, rows[name].get("kind", "") if rows else "", image, labels))
    if not found:
        raise ImageError(
            f"Expected pairs of {folder / 'images'}/NAME.png and {folder / 'labels'}/NAME.png (or .tif) "
            f"of split {split!r}, found none."
        )
    if not any(image.labels.any() for image in found):
        raise ImageError(f"Expected objects in {folder / 'labels'}, got background only.")
    warn_of_masks(masks)
    return found


def warn_of_masks(names: Sequence[str]) -> None:
    """Say which label images are masks, if any."""
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        complain(
            f"warning: the labels of {names[0]}{more} have one id in several pieces, which count as one "
            "object; number the objects of a mask first (skimage.measure.label, say)"
        )
