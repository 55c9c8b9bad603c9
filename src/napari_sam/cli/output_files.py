"""What a run writes: which file belongs to which input, and label images with their axes and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam.errors import ImageError
from napari_sam.inference.whole_files import replace_file
from napari_sam.stacks.image_io import LABELS_ENDING, ImageStack, name_image, strip_common

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["name_apart", "name_outputs", "write_labels"]


def write_labels(path: Path, labels: NDArray[Any], image: ImageStack, *, overwrite: bool = False) -> None:
    """Write labels as a compressed OME-TIFF with the axes and scale of their image, whole or not at all.

    Parameters
    ----------
    path : Path
        The new file.
    labels : (..., Y, X) integer array
        0 = background. Their type stays.
    image : ImageStack
        What the labels are of.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        When it exists and may not.
    """
    from napari_sam.stacks.outputs import make_content
    from napari_sam.stacks.outputs.tiff import write_ome_tiff

    axes = image.axes.removesuffix("C")
    scale = {axis: step for axis, step in image.scale.items() if axis in axes}
    content = make_content(ImageStack(labels, axes, scale, image.unit, name_image(path)))
    replace_file(path, lambda temporary: write_ome_tiff(temporary, content), overwrite=overwrite)


def name_outputs(inputs: Sequence[Path], folder: Path) -> list[Path]:
    """A file ``NAME_labels.tif`` for each input, all different.

    Parameters
    ----------
    inputs : sequence of Path
        Different images; inside a plate they are called like ``plate_A_1_0``.
    folder : Path
        Where the outputs go.

    Raises
    ------
    ImageError
        When two outputs would have one name all the same, see ``name_apart``.
    """
    names = name_apart(inputs, [name_image(path.resolve()) for path in inputs])
    return [folder / f"{name}{LABELS_ENDING}.tif" for name in names]


def name_apart(inputs: Sequence[Path], names: Sequence[str]) -> list[str]:
    """What the outputs of each input are called, all different.

    Parameters
    ----------
    inputs : sequence of Path
        Different files, zarr images, or images inside one.
    names : sequence of str
        What they would be called alone.

    Returns
    -------
    list of str
        Inputs of equal name get their parts of path that differ in front: ``a/x.png`` and ``b/x.png`` give
        ``a_x`` and ``b_x``; ``x.png`` beside ``x.tif`` keep their suffixes.

    Raises
    ------
    ImageError
        When even that leaves two outputs of one name.
    """
    apart = list(names)
    for clash in _clashes(names):
        paths = strip_common([inputs[i].resolve() for i in clash])
        longer = [
            "_".join([*_find_file(path).parts[:-1], names[i]]) for i, path in zip(clash, paths, strict=True)
        ]
        if _clashes(longer):
            longer = ["_".join(path.parts).replace(".", "_") for path in paths]
        for i, name in zip(clash, longer, strict=True):
            apart[i] = name
    for clash in _clashes(apart):
        files = " and ".join(str(inputs[i]) for i in clash)
        raise ImageError(f"{files} would both be written to {apart[clash[0]]}; run them apart.")
    return apart


def _find_file(path: Path) -> Path:
    """The file of an image: of one inside a zarr, the zarr."""
    zarrs = [parent for parent in path.parents if parent.suffix.lower() == ".zarr"]
    return zarrs[-1] if zarrs else path


def _clashes(names: Sequence[str]) -> list[list[int]]:
    """Indices of equal names, also those that differ only in case (one file on many disks)."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name.casefold(), []).append(i)
    return [group for group in groups.values() if len(group) > 1]
