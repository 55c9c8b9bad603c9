"""Opens image files of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import tiff_files
from napari_sam.stacks.image_io.image_stack import ImageStack
from napari_sam.stacks.image_io.listing import TIFF_SUFFIXES
from napari_sam.stacks.image_io.zarr_images import open_zarr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_image", "read_image", "read_labels"]


def open_image(path: Path) -> ImageStack:
    """Open an image file; large TIFF files and zarr folders are not read before they are sliced.

    Parameters
    ----------
    path : Path
        What ``read_image`` takes, or a folder that zarr wrote: an array, or an OME-Zarr image.

    Returns
    -------
    ImageStack

    Raises
    ------
    ImageError
        When it cannot be opened.
    FileNotFoundError
        When there is nothing.
    """
    if path.is_dir():
        return open_zarr(path)
    if (
        path.is_file()
        and path.suffix.lower() in TIFF_SUFFIXES
        and path.stat().st_size > tiff_files.LARGE // 8
    ):
        stack = tiff_files.open_tiff(path)
        if stack is not None:
            return stack
    return read_image(path)


def read_image(path: Path) -> ImageStack:
    """Read an image file; TIFF with all its planes and channels.

    Parameters
    ----------
    path : Path
        A TIFF, or anything that Pillow reads.

    Returns
    -------
    ImageStack
        Alpha channels are dropped.

    Raises
    ------
    ImageError
        When the file cannot be decoded or holds no plane.
    FileNotFoundError
        When there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "no such image file", str(path))
    try:
        stack = tiff_files.read_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else _read_picture(path)
    except ImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"Cannot read {path}: {reason[:300]}") from error
    if stack.data.dtype.kind not in "uifb" or stack.data.size == 0:
        raise ImageError(f"Expected real pixels in {path}, got {stack.data.dtype} of {stack.data.shape}.")
    return stack


def _read_picture(path: Path) -> ImageStack:
    from imageio.v3 import imread  # scikit-image brings it along

    # Naming the plugin: on a damaged file imageio would try all it has, the deprecated ones too, and leave
    # the file open.
    data = np.asarray(imread(path, plugin="pillow"))
    if data.ndim == 4:  # an animated GIF
        return ImageStack(data[..., :3], "TYXC")
    if data.ndim == 3:
        data = data[..., :3] if data.shape[-1] == 4 else data
        return ImageStack(data[..., 0], "YX") if data.shape[-1] == 2 else ImageStack(data, "YXC")
    return ImageStack(data, "YX")


def read_labels(path: Path) -> NDArray[np.integer[Any]]:
    """Read a (Y, X) label image.

    Raises
    ------
    ImageError
        When it is not one plane of integers.
    """
    stack = read_image(path)
    if stack.axes != "YX" or stack.data.dtype.kind not in "uib":
        raise ImageError(
            f"Expected one plane of integer labels in {path}, got {stack.axes} {stack.data.dtype}."
        )
    labels: NDArray[np.integer[Any]] = stack.data
    return labels
