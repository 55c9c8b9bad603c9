"""Opens image files of every kind, by what is in them where their names are wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import tiff_files
from napari_sam.stacks.image_io.image_stack import ImageStack
from napari_sam.stacks.image_io.listing import IMAGE_SUFFIXES, TIFF_SUFFIXES, name_image
from napari_sam.stacks.image_io.zarr_images import open_zarr

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["open_image", "read_image", "read_labels"]

_BEGINNINGS: Final = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NPY",
    b"\x89PNG": "picture",
    b"\xff\xd8\xff": "picture",
    b"GIF8": "picture",
    b"BM": "picture",
    b"RIFF": "picture",
}
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x89HDF": "an HDF5 file; save it as TIFF or OME-Zarr",
    b"%PDF": "a PDF",
    b"<!DO": "a web page; the download went wrong",
    b"<htm": "a web page; the download went wrong",
    b"vers": "a pointer of git-lfs; fetch the file itself",
}


def open_image(path: str | os.PathLike[str]) -> ImageStack:
    """Open an image; large TIFF files, ``.npy`` files and zarr folders are not read before they are sliced.

    Parameters
    ----------
    path : path
        What ``read_image`` takes, or a folder that zarr wrote: an array, an OME-Zarr image, or an image
        inside a plate or another image (``plate.zarr/A/1/0``, ``image.zarr/labels/nuclei``).

    Returns
    -------
    ImageStack
        With axes, and with the scale where the file says it.

    Raises
    ------
    ImageError
        When it cannot be opened.
    FileNotFoundError
        When there is nothing.
    """
    path = Path(path)
    if path.is_dir():
        return replace(open_zarr(path), name=name_image(path))
    if path.is_file() and path.stat().st_size > tiff_files.LARGE // 8 and _recognize(path) == "TIFF":
        stack = tiff_files.open_tiff(path)
        if stack is not None:
            return stack
    return read_image(path)


def read_image(path: Path) -> ImageStack:
    """Read an image file; TIFF with all its planes and channels.

    Parameters
    ----------
    path : Path
        A TIFF, a ``.npy``, or anything that Pillow reads.

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
    kind = _recognize(path)
    try:
        if kind == "TIFF":
            stack = tiff_files.read_tiff(path)
        else:
            stack = _read_npy(path) if kind == "NPY" else _read_picture(path)
    except ImageError:
        raise
    except Exception as error:  # every codec has exceptions of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"Cannot read {path}: {reason[:300]}") from error
    if stack.data.dtype.kind not in "uifb" or stack.data.size == 0:
        raise ImageError(f"Expected real pixels in {path}, got {stack.data.dtype} of {stack.data.shape}.")
    return stack


def _recognize(path: Path) -> str:
    """TIFF, NPY or picture: by the first bytes, or where they say nothing by the suffix."""
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise ImageError(
            f"Expected an image in {path}, got an empty file (0 bytes): it was not written or "
            "copied to the end."
        )
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    for beginning, what in _OTHERS.items():
        if head.startswith(beginning):
            raise ImageError(f"Expected an image in {path}, got {what}.")
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ImageError(
            f"Expected an image in {path}, got a file that is neither TIFF, NPY nor a picture; save it as "
            "TIFF or OME-Zarr."
        )
    if suffix in TIFF_SUFFIXES or suffix == ".npy":
        kind = "NumPy" if suffix == ".npy" else "TIFF"
        raise ImageError(
            f"Expected a {kind} file in {path}, got one that begins with {head!r}: it is damaged, or "
            "something else of that name."
        )
    return "picture"


def _read_npy(path: Path) -> ImageStack:
    data: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if data.ndim < 2 or data.ndim > 5:
        raise ImageError(f"Expected 2 to 5 axes in {path}, got {data.ndim}.")
    colour = data.ndim == 3 and data.shape[-1] in (3, 4) and data.shape[0] > 4
    if colour:
        return ImageStack(data[..., :3], "YXC", name=path.name)
    axes = "TCZYX"[-data.ndim :]
    if "C" in axes:
        data, axes = np.moveaxis(data, axes.index("C"), -1), axes.replace("C", "") + "C"
    return ImageStack(data, axes, name=path.name)


def _read_picture(path: Path) -> ImageStack:
    from imageio.v3 import imread  # scikit-image brings it along

    # Naming the plugin: on a damaged file imageio would try all it has, the deprecated ones too, and leave
    # the file open.
    data = np.asarray(imread(path, plugin="pillow"))
    if data.ndim == 4:  # an animated GIF
        return ImageStack(data[..., :3], "TYXC", name=path.name)
    if data.ndim == 3:
        data = data[..., :3] if data.shape[-1] == 4 else data
        if data.shape[-1] == 2:
            return ImageStack(data[..., 0], "YX", name=path.name)
        return ImageStack(data, "YXC", name=path.name)
    return ImageStack(data, "YX", name=path.name)


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
