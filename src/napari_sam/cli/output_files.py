"""What a run writes: which file belongs to which input, and label images with their axes and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import LABELS_ENDING, ImageStack, name_image, strip_common
from napari_sam.stacks.outputs.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["name_outputs", "write_labels"]


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
    names = [name_image(path) for path in resolved]
    for clash in _clashes(names):
        paths = strip_common([resolved[i] for i in clash])
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
