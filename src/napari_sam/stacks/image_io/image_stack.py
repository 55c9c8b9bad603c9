"""The pixels of one file, with what their axes are and how large a pixel is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.image_io.lazy_array import LazyArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ImageStack", "arrange_axes", "fit_axes", "pick_channels"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageStack:
    """The pixels of one file.

    Attributes
    ----------
    data : (..., Y, X) or (..., Y, X, C) array
        Any real dtype, or a view that reads what is sliced; leading axes (T, Z ...) count planes.
    axes : str
        One letter per axis of ``data``, as in TIFF files: Y, X, then C for channels or RGB samples.
    scale : dict of str to float
        World units per step along an axis, by its letter; of axes that are not in it nothing is known.
    unit : str
        Of the scale along Z, Y and X, as NGFF spells it ("micrometer"); "pixel" where nothing is known.
    name : str
        For people: the file's name, and the image's inside it.
    """

    data: Any
    axes: str
    scale: dict[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    name: str = ""

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """Shape of the leading axes; () for a single plane."""
        return tuple(self.data.shape[: self.axes.index("Y")])

    @property
    def leading(self) -> str:
        """The letters of the leading axes; "" for a single plane."""
        return self.axes[: self.axes.index("Y")]

    def plane(self, index: tuple[int, ...]) -> Any:
        """The plane at an index along the leading axes, (Y, X) or (Y, X, C)."""
        return self.data[tuple(index)]

    def planes(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Each plane, (Y, X) or (Y, X, C), with its index along the leading axes."""
        for index in np.ndindex(self.plane_shape):
            yield index, self.data[index]


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
    if channels and data.shape[-1] == 1:
        return data[..., 0], leading + "YX"
    return data, leading + "YX" + ("C" if channels else "")


def fit_axes(data: Any, shape: tuple[int, ...]) -> Any:
    """Give labels the axes of length 1 that their image has, as TIFF files do not keep them; nothing is read.

    Parameters
    ----------
    data : (..., Y, X) array or LazyArray
    shape : tuple of int
        Of the image without channels.

    Returns
    -------
    array or LazyArray
        Of this shape; what has other planes comes back as it is.
    """
    planes, wanted = data.shape[:-2], shape[:-2]
    if [n for n in planes if n != 1] != [n for n in wanted if n != 1] or data.shape[-2:] != shape[-2:]:
        return data
    data = data[tuple(0 if n == 1 else slice(None) for n in planes)]
    places = [i for i, n in enumerate(wanted) if n == 1]
    return data.expand(places) if isinstance(data, LazyArray) else np.expand_dims(data, places)


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
        return replace(stack, data=stack.data[..., channels[0]], axes=stack.axes[:-1])
    return replace(stack, data=stack.data[..., list(channels)])
