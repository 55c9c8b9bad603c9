"""Shows the objects of a stack: a Labels layer of their own, and for a series a Tracks layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Tracks
from psygnal import Signal

from napari_sam.errors import ImageError
from napari_sam.inference.embedding_key import digest_pixels
from napari_sam.viewer.auto_places import add_quietly
from napari_sam.viewer.label_writer import make_labels, plane_selection
from napari_sam.viewer.large_labels import is_large
from napari_sam.viewer.planes import layer_transform, spatial_shape
from napari_sam.viewer.silent_changes import redraw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.stack_segmenting import LinkedStack, Records, StackRequest, StackSegmenting

__all__ = ["StackFill", "StackSink"]


class StackSink:
    """The session's ``StackSink``.

    Parameters
    ----------
    host : Controller
        Whose image and layers are used.
    segmenting : StackSegmenting
        Whose result is shown; its sink becomes this.
    """

    drawn = Signal(object, object)  # Labels, leading indices of its planes that changed or None for all

    def __init__(self, host: Any, segmenting: StackSegmenting) -> None:
        self._host = host
        self._segmenting = segmenting
        self._request: StackRequest | None = None
        self._layer: Any = None
        self._data: Any = None
        self._edited = False
        self._shown: list[int] = []  # numbers of the planes in the layer
        self._largest = 0
        segmenting.sink = self
        host.viewer.layers.events.removed.connect(self._on_layers_removed)

    def close(self) -> None:
        """End what runs with the planes that are shown, and let go of everything; all layers stay."""
        self._segmenting.end()
        self._let_go()
        self._host.viewer.layers.events.removed.disconnect(self._on_layers_removed)
        self._segmenting.sink = None

    def begin(self, request: StackRequest) -> None:
        """Remember where the result goes; its layer is made when the first plane comes.

        Raises
        ------
        ImageError
            When the image is gone, or its planes are too large for labels in memory.
        """
        image = self._host.image_layer
        if image is None:
            raise ImageError("Expected the image that is to be segmented, got none: it was removed.")
        if is_large(spatial_shape(image)):
            raise ImageError(
                f"Expected planes whose labels fit into memory, got {request.stack.planes[0].shape}; use "
                "`napari-sam segment --link`, which writes to disk."
            )
        self._let_go()
        self._request = request
        self._shown, self._largest = [], 0

    def show_plane(self, number: int, labels: NDArray[np.int32]) -> None:
        """Show a plane that was finished, under provisional ids.

        Where somebody worked on the layer, on any plane, it is theirs, and all goes to a new one.

        Raises
        ------
        ImageError
            When the layer or its image was removed.
        """
        if self._request is None:
            raise ImageError("The labels of the stack were deleted; nothing more is segmented.")
        if self._layer is None:
            self._make_layer()
        elif self._is_changed():
            self._move_on()
        self._shown.append(number)
        self._largest = max(self._largest, int(labels.max(initial=0)))
        self._data[self._selection(number)] = labels
        redraw(self._layer)
        *leading, rows, cols = self._request.stack.planes[number].index
        self.drawn.emit(self._layer, {tuple(leading)} if rows is cols is None else None)

    def finish(self, result: LinkedStack, records: Records) -> StackFill | None:
        """Show the final labels of all planes; on a layer of their own where somebody worked on the first."""
        request = self._request
        if request is None or self._layer is None or result.count == 0:
            if self._layer is not None and not self._is_changed():
                self._remove(self._layer)
            self._let_go()
            return None
        if self._is_changed():
            self._move_on()
        for number in range(len(request.stack)):
            self._data[self._selection(number)] = result.labels[number]
        layers = [self._layer]
        redraw(self._layer)
        self.drawn.emit(self._layer, None)
        tracks = self._make_tracks(result) if request.axis == "t" else None
        if tracks is not None:
            add_quietly(self._host.viewer, tracks)
            layers.append(tracks)
        return self._hand_over(layers, records, result.count)

    def stop(self, records: Records) -> tuple[StackFill | None, int]:
        """Leave what is shown."""
        planes = len(self._shown)
        if self._layer is None:
            self._let_go()
            return None, 0
        return self._hand_over([self._layer], records, self._largest), planes

    # ------------------------------------------------------------- inside
    def _make_layer(self) -> None:
        request = self._request
        assert request is not None
        shape = spatial_shape(self._host.image_layer) if self._host.image_layer is not None else ()
        plane = request.stack.planes[0]
        layer = self._host.add_labels(plane, make_labels(shape), f"{plane.name} objects") if shape else None
        if layer is None:
            self._let_go()
            raise ImageError(f"Expected the image {plane.name!r}, got none: it was removed.")
        self._layer, self._data, self._edited = layer, layer.data, False
        layer.events.paint.connect(self._on_layer_paint)

    def _move_on(self) -> None:
        """Go on in a new layer, with the planes that are shown already."""
        before, request = self._data, self._request
        self._let_go()
        self._request = request
        self._make_layer()
        for number in self._shown:
            selection = self._selection(number)
            self._data[selection] = before[selection]

    def _make_tracks(self, result: LinkedStack) -> Tracks | None:
        """The tracks on the image's axes; none where time is not the first of them, as napari wants it."""
        request = self._request
        assert request is not None
        axis, index = request.stack.axis, request.stack.planes[0].index
        if axis != 0 or len(result.columns["id"]) == 0:
            return None
        plane_axes = [n for n, value in enumerate(index) if value is None]
        places = dict(zip(plane_axes, (result.columns["y"], result.columns["x"]), strict=True))
        places[axis] = result.columns["plane"]
        count = len(result.columns["id"])
        data = np.stack(
            [
                np.asarray(result.columns["id"], np.float64),
                *(np.asarray(places.get(n, np.full(count, v or 0)), np.float64) for n, v in enumerate(index)),
            ],
            axis=1,
        )
        graph = {daughter: list(mothers) for daughter, mothers in result.parents.items()}
        features = {"id": result.columns["id"], "area": result.columns["area"]}
        name = f"{request.stack.planes[0].name} tracks"
        transform = layer_transform(self._host.image_layer)
        return Tracks(data, graph=graph, features=features, name=name, **transform)

    def _hand_over(self, layers: list[Any], records: Records, count: int) -> StackFill:
        fill = StackFill(self._host, layers, records, count, self._edited)
        self._let_go()
        return fill

    def _selection(self, number: int) -> tuple[int | slice, ...]:
        assert self._request is not None
        return plane_selection(self._request.stack.planes[number])

    def _is_changed(self) -> bool:
        return self._edited or self._layer.data is not self._data

    def _remove(self, layer: Any) -> None:
        self._let_go()
        if layer in self._host.viewer.layers:
            self._host.viewer.layers.remove(layer)

    def _let_go(self) -> None:
        if self._layer is not None:
            self._layer.events.paint.disconnect(self._on_layer_paint)
        self._layer = self._data = self._request = None

    def _on_layer_paint(self, event: Any) -> None:
        self._edited = True

    def _on_layers_removed(self, event: Any) -> None:
        if self._layer is not None and event.value is self._layer:
            self._let_go()
            self._segmenting.forget()


class StackFill:
    """The layers of a result, as a step that can be taken back.

    Parameters
    ----------
    host : Controller
        Whose viewer they are in.
    layers : list of layers
        The labels first.
    records : Records
        What is known of the objects.
    count : int
        Number of objects.
    edited : bool
        Whether somebody has worked on the labels already.
    """

    def __init__(self, host: Any, layers: list[Any], records: Records, count: int, edited: bool) -> None:
        labels = layers[0]
        self._host = host
        self._layers = [ref(layer) for layer in layers]  # those that the user deletes are not kept for undo
        self._data: Any = ref(labels.data)
        self._taken: list[Any] = []  # out of the viewer, by undo
        self._name = str(labels.name)
        self._token = host.session.layer_token(labels)
        self._records = records
        self._count = count
        self._drawn = None if edited else digest_pixels(labels.data)
        self._edited = edited
        self._write(records)
        labels.events.paint.connect(self._on_layer_paint)

    @property
    def nbytes(self) -> int:
        """Bytes of what redo needs: the layers, while undo has taken them out of the viewer."""
        return sum(int(layer.data.nbytes) for layer in self._taken)

    def undo(self) -> str:
        """Take the layers out of the viewer; ImageError when they are gone or somebody has worked on them."""
        layers, labels = self._host.viewer.layers, self._layers[0]()
        if labels is None or labels not in layers:
            raise ImageError(f"{self._name!r} is gone already.")
        if not self._is_as_drawn(labels):
            raise ImageError(f"{labels.name!r} was edited since, so it stays; delete it by hand.")
        self._write(dict.fromkeys(self._records, ()))
        mine = [layer() for layer in self._layers]
        self._taken = [layer for layer in layers if layer in mine]
        for layer in self._taken:
            layers.remove(layer)
        return f"{self._count} objects taken back; redo brings them."

    def redo(self) -> str:
        """Put them back; ImageError where they were not taken away."""
        if not self._taken:
            raise ImageError(f"{self._name!r} was not taken back, so there is nothing to redo.")
        for layer in self._taken:
            if layer not in self._host.viewer.layers:
                add_quietly(self._host.viewer, layer)
        self._taken = []
        self._write(self._records)
        return f"{self._count} objects are back."

    def _is_as_drawn(self, labels: Any) -> bool:
        """True when the layer holds our objects and nothing else, whatever happened to it in between."""
        if labels.data is not self._data():
            return False
        return not self._edited or self._drawn == digest_pixels(labels.data)

    def _write(self, records: Any) -> None:
        if records:
            self._host.session.book.change_many(self._token, records)

    def _on_layer_paint(self, event: Any) -> None:
        self._edited = True
