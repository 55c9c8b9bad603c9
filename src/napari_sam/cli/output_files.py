"""What a run writes: which file belongs to which input, and files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import LABELS_ENDING, is_image_file, is_zarr
from napari_sam.stacks.outputs.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["expand_inputs", "name_outputs", "write_labels"]


def write_labels(path: Path, labels: NDArray[np.int32], axes: str, *, overwrite: bool = False) -> None:
    """Write labels as a compressed TIFF, whole or not at all.

    Parameters
    ----------
    path : Path
        The new file.
    labels : (..., Y, X) int32 array
        0 = background.
    axes : str
        One letter per axis.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        When it exists and may not.
    """
    import tifffile

    def write(temporary: Path) -> None:
        tifffile.imwrite(
            temporary, labels, compression="zlib", photometric="minisblack", metadata={"axes": axes}
        )

    replace_file(path, write, overwrite=overwrite)


def expand_inputs(inputs: Iterable[str]) -> list[Path]:
    """Turn what the user typed into files: folders into the images in them, patterns into matches.

    Parameters
    ----------
    inputs : iterable of str
        Files, folders, or patterns that no shell has expanded.

    Returns
    -------
    list of Path
        Each file once, in the order given. A file that does not exist is kept: reading it says so.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir() and not is_zarr(path):
            members = [p for p in sorted(path.iterdir()) if is_image_file(p) or is_zarr(p)]
        elif not path.exists() and any(sign in path.name for sign in "*?["):
            members = [p for p in sorted(path.parent.glob(path.name)) if p.name[0] != "."] or [path]
        else:
            members = [path]
        for member in members:
            found.setdefault(member.resolve(), member)
    return list(found.values())


def name_outputs(inputs: Sequence[Path], folder: Path) -> list[Path]:
    """A file ``STEM_labels.tif`` for each input, all different.

    Parameters
    ----------
    inputs : sequence of Path
        Different files.
    folder : Path
        Where the outputs go.

    Returns
    -------
    list of Path
        Inputs of equal stem get their parts of path that differ in front: ``a/x.png`` and ``b/x.png`` give
        ``a_x_labels.tif`` and ``b_x_labels.tif``; ``x.png`` beside ``x.tif`` keep their suffixes.

    Raises
    ------
    ImageError
        When even that leaves two outputs of one name.
    """
    resolved = [path.resolve() for path in inputs]
    names = [path.stem for path in resolved]
    for clash in _clashes(names):
        root = os.path.commonpath([resolved[i].parent for i in clash])
        paths = [resolved[i].relative_to(root) for i in clash]
        longer = ["_".join(path.with_suffix("").parts) for path in paths]
        if _clashes(longer):
            longer = ["_".join(path.parts).replace(".", "_") for path in paths]
        for i, name in zip(clash, longer, strict=True):
            names[i] = name
    for clash in _clashes(names):
        files = " and ".join(str(inputs[i]) for i in clash)
        raise ImageError(
            f"{files} would both be written to {names[clash[0]]}{LABELS_ENDING}.tif; run them apart."
        )
    return [folder / f"{name}{LABELS_ENDING}.tif" for name in names]


def _clashes(names: Sequence[str]) -> list[list[int]]:
    """Indices of equal names, also those that differ only in case (one file on many disks)."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name.casefold(), []).append(i)
    return [group for group in groups.values() if len(group) > 1]
