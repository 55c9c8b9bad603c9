"""Image files of the command line: which there are, and their planes with their axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "IMAGE_SUFFIXES",
    "LABELS_ENDING",
    "TIFF_SUFFIXES",
    "ImageStack",
    "arrange_axes",
    "is_image_file",
    "is_zarr",
    "list_by_stem",
    "pick_channels",
    "read_image",
    "read_labels",
]

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".lsm"})
LABELS_ENDING = "_labels"  # of the stems of label images that we write
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


@dataclass(frozen=True, slots=True, eq=False)
class ImageStack:
    """The pixels of one file.

    Attributes
    ----------
    data : (..., Y, X) or (..., Y, X, C) array
        Any real dtype, or a view that reads what is sliced; leading axes (T, Z ...) count planes.
    axes : str
        One letter per axis of ``data``, as in TIFF files: Y, X, then C for channels or RGB samples.
    """

    data: Any
    axes: str

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """Shape of the leading axes; () for a single plane."""
        return tuple(self.data.shape[: self.axes.index("Y")])

    def planes(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Each plane, (Y, X) or (Y, X, C), with its index along the leading axes."""
        for index in np.ndindex(self.plane_shape):
            yield index, self.data[index]


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
        stack = _read_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else _read_picture(path)
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


def _read_tiff(path: Path) -> ImageStack:
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError(f"Expected at least one image in {path}, got none.")
        series = file.series[0]
        data, axes = np.asarray(series.asarray()), str(series.axes)
        extra = tuple(getattr(series.keyframe, "extrasamples", ()))
    if "Y" not in axes or "X" not in axes:
        raise ImageError(f"Expected the axes Y and X in {path}, got {axes}.")
    return ImageStack(*arrange_axes(data, axes, extra))


def arrange_axes(data: Any, axes: str, extra: tuple[Any, ...]) -> tuple[Any, str]:
    """Put the axes of an array in the order that ``ImageStack`` has them in, and drop alpha.

    Parameters
    ----------
    data : array
        Or a view with ``transpose``.
    axes : str
        One letter per axis, as in TIFF files.
    extra : tuple
        What a TIFF file says about samples beyond colour: 1 and 2 are alpha.

    Returns
    -------
    data : array
    axes : str
    """
    if axes[-1:] == "S" and extra and int(extra[-1]) in (1, 2):  # associated or unassociated alpha
        data = data[..., :-1]
    elif (
        axes[-2:] == "YX"
        and len(axes) == 3
        and axes[0] in "QI"
        and data.shape[-1] in (3, 4)
        and data.shape[0] > 4
    ):
        # Written without saying what the axes are: an image of 3 or 4 columns is rarer than a colour one.
        axes, data = "YXS", data[..., :3]
    channels = [i for i, axis in enumerate(axes) if axis in "CS"]
    order = [i for i, axis in enumerate(axes) if axis not in "YXCS"]
    order += [axes.index("Y"), axes.index("X"), *channels]
    data = data.transpose(order)
    if len(channels) == 2:  # several colour images side by side: every sample is a channel
        data = np.asarray(data).reshape(*data.shape[:-2], -1)
    leading = "".join(axes[i] for i in order[: len(order) - 2 - len(channels)])
    return data, leading + "YX" + ("C" if channels else "")


def pick_channels(stack: ImageStack, channels: Sequence[int] | None) -> ImageStack:
    """Keep some channels of an image, in the order given.

    Parameters
    ----------
    stack : ImageStack
        With a channel axis, unless ``channels`` is None.
    channels : sequence of int or None
        Numbers from 0; None keeps all.

    Raises
    ------
    ImageError
        When there is no such channel.
    """
    if channels is None:
        return stack
    count = stack.data.shape[-1] if stack.axes[-1] == "C" else 1
    wrong = [c for c in channels if not 0 <= c < count]
    if wrong:
        raise ImageError(f"Expected channels from 0 to {count - 1}, got {wrong[0]}.")
    if stack.axes[-1] != "C":
        return stack
    if len(channels) == 1:
        return ImageStack(stack.data[..., channels[0]], stack.axes[:-1])
    return ImageStack(stack.data[..., list(channels)], stack.axes)


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
