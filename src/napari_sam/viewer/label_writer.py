"""Writing accepted objects into Labels layers, each as one native undo item."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.inference.source_memory import is_dask
from napari_sam.viewer.label_ids import LabelIds, select_plane_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_sam.session.edits import Write
    from napari_sam.session.requests import Plane

__all__ = ["LabelWriter", "make_labels", "plane_selection", "sliced"]

LARGE_PLANE = 2048**2
"""Pixels of a plane beyond which the layer's type decides how long the viewer stands still."""


class LabelWriter:
    """Writes objects through ``data_setitem``.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Which shows the layers.

    Attributes
    ----------
    ids : LabelIds
        Which are free in each layer.
    """

    def __init__(self, viewer: Any) -> None:
        self.ids = LabelIds(viewer)
        self._writing = False

    def close(self) -> None:
        """Let go of every layer."""
        self.ids.close()

    @property
    def is_writing(self) -> bool:
        """True while ``write_pixels`` does; what layers announce then is no news."""
        return self._writing

    def write_pixels(self, layer: Any, writes: Sequence[Write]) -> None:
        """Write pixels of any planes, as one native undo item.

        Parameters
        ----------
        layer : napari.layers.Labels
            The target.
        writes : sequence of Write
            No pixel in two of them.

        Raises
        ------
        ImageError
            When the array behind the layer cannot be written after all.
        """
        places = [_pixels(write) for write in writes]
        indices = tuple(np.concatenate(axis) for axis in zip(*places, strict=True))
        values = np.concatenate([write.values[write.mask] for write in writes])
        if not len(values):
            return
        first = int(values[0])
        alike = bool((values == first).all())
        self._writing = True
        try:
            with self.ids.ours(), sliced(layer), layer.block_history():
                layer.data_setitem(indices, first if alike else values.astype(layer.data.dtype))
        except (OSError, ValueError) as error:
            raise ImageError(
                f"Expected to write into {layer.name!r}, got {type(error).__name__}: {error}; choose another "
                "layer in 'Write to', or 'new layer'."
            ) from error
        finally:
            self._writing = False
        self.ids.note(layer, int(values.max()))

    def take_back(self, layer: Any, first: int, last: int) -> None:
        """Undo the last item of the layer's own undo, which is an edit that took these ids."""
        with self.ids.ours():
            layer.undo()
        self.ids.release(layer, first, last)

    def check(self, layer: Any, shape: tuple[int, ...]) -> None:
        """Raise ImageError when objects of an image of this shape cannot be written into a layer."""
        self._of_shape(layer, shape)

    def _of_shape(self, layer: Any, shape: tuple[int, ...]) -> Any:
        data = self.writable(layer)
        if tuple(data.shape) != shape:
            raise ImageError(
                f"Expected a Labels layer of the image's shape {shape}, got {layer.name!r} of shape "
                f"{tuple(data.shape)}; choose another layer in 'Write to', or 'new layer'."
            )
        return data

    @staticmethod
    def writable(layer: Any) -> Any:
        """A layer's array.

        Raises
        ------
        ImageError
            When it cannot be written.
        """
        if layer.multiscale:
            raise ImageError(
                f"Expected a single-scale Labels layer, got the multiscale {layer.name!r}; "
                "choose another layer in 'Write to', or 'new layer'."
            )
        data = layer.data
        array = getattr(data, "data", data) if hasattr(data, "dims") else data  # xarray holds its array
        if not hasattr(array, "__setitem__") or is_dask(array):
            raise ImageError(
                f"Expected a Labels layer that can be written, got {layer.name!r} with a "
                f"{type(array).__name__}; choose another layer in 'Write to', or 'new layer'."
            )
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise ImageError(
                f"Expected a Labels layer that can be written, got the read-only {layer.name!r}; "
                "choose another layer in 'Write to', or 'new layer'."
            )
        return data


@contextmanager
def sliced(layer: Any) -> Iterator[None]:
    """Have a layer show the plane that is shown, which ``data_setitem`` relies on.

    napari slices no layer that is hidden, and then fails after it has written.
    """
    hidden = not layer.visible
    if hidden:
        layer.visible = True
    try:
        yield
    finally:
        if hidden:
            layer.visible = False


def make_labels(shape: tuple[int, ...], many: bool = True) -> NDArray[Any]:
    """Empty labels.

    Parameters
    ----------
    shape : tuple of int
        The image's spatial shape.
    many : bool
        Whether there may be more than 65,535 objects. Without, large planes are uint16, which napari shows
        at once, where it takes seconds over int32.

    Raises
    ------
    ImageError
        When there is no memory for them.
    """
    small = not many and math.prod(shape[-2:]) > LARGE_PLANE
    try:
        return np.zeros(shape, np.uint16 if small else np.int32)
    except MemoryError:
        raise ImageError(
            f"Expected memory for labels of shape {shape}, got none; choose a Labels layer on disk (zarr)."
        ) from None


def plane_selection(plane: Plane) -> tuple[int | slice, ...]:
    """Index of a plane in an array of the image's spatial shape."""
    return select_plane_of(plane.index)


def _pixels(write: Write) -> list[NDArray[np.intp]]:
    """The pixels of a write as one index array per axis of the layer."""
    rows, cols = np.nonzero(write.mask)
    inside = iter((rows + write.origin[0], cols + write.origin[1]))
    return [next(inside) if value is None else np.full(len(rows), value, np.intp) for value in write.index]
