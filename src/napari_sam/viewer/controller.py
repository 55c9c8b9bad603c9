"""Joins a napari viewer and a session: layer events go in, previews and labels come out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points, Shapes
from napari.utils.events import EventEmitter
from napari.utils.notifications import show_warning
from psygnal import Signal

from napari_sam.errors import ImageError, SamError
from napari_sam.viewer import prompt_layers as pl
from napari_sam.viewer.label_writer import LabelWriter, write_plane
from napari_sam.viewer.planes import layer_transform, locate_plane, spatial_shape
from napari_sam.viewer.preview_layer import PREVIEW_NAME, make_preview, paint_preview

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_sam.session.history import PromptState
    from napari_sam.session.requests import ObjectRef, Plane, Preview
    from napari_sam.session.session import Session

__all__ = ["Controller"]

OBJECTS_NAME = "SAM objects"
LABELS_NAME = "SAM labels"
OWN = "napari_sam"  # in the metadata of layers made here, by which the next widget knows them
FINISHED = ("added", "removed", "changed")  # their -ing forms fire before anything has happened


class Controller:
    """What connects the two; ``enable`` and ``disable`` hold every connection.

    It writes into layers of its own and into the target the user chose, into no others.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer.
    session : Session
        The session; its sink becomes this controller.
    """

    image_changed = Signal(object)  # Image | None
    target_changed = Signal(object)  # Labels | None
    prompts_changed = Signal()  # other prompt layers, or another label for the next point
    layers_changed = Signal()  # layers were added, removed, renamed or moved

    def __init__(self, viewer: Any, session: Session) -> None:
        self.viewer = viewer
        self.session = session
        session.sink = self
        self.overwrite = False
        self._image: Any = None
        self._target: Any = None
        self._points: Any = None
        self._shapes: Any = None
        self._preview: Any = None
        self._shown: Preview | None = None
        self._own: set[int] = set()  # identities of layers made here
        self._source: object = object()
        self._writer = LabelWriter()
        self._silent = 0
        self._notes: tuple[str, ...] = ()
        self._connections: list[tuple[Any, Callable[..., None]]] = []
        self._image_connections: list[tuple[Any, Callable[..., None]]] = []
        self._prompt_connections: list[tuple[Any, Callable[..., None]]] = []

    # ------------------------------------------------------------- life
    def enable(self) -> None:
        """Listen, and take the selected or first image."""
        layers, dims, session = self.viewer.layers, self.viewer.dims, self.session
        for signal, handler in (
            (layers.events.inserted, self._on_layers_inserted),
            (layers.events.removed, self._on_layers_removed),
            (layers.events.reordered, self._on_layers_renamed),
            (dims.events.current_step, self._on_dims_moved),
            (dims.events.order, self._on_dims_moved),
            (dims.events.ndisplay, self._on_dims_moved),
            (dims.events.ndim, self._on_dims_moved),
            (session.preview_changed, self._on_preview_changed),
            (session.prompts_restored, self._on_prompts_restored),
            (session.labels_made, self._on_labels_made),
            (session.warned, show_warning),
        ):
            _connect(self._connections, signal, handler)
        for layer in layers:
            _connect(self._connections, layer.events.name, self._on_layers_renamed)
        active = layers.selection.active
        self.image_layer = active if isinstance(active, Image) else next(self.images(), None)

    def disable(self) -> None:
        """Let go of everything; all layers stay."""
        for connections in (self._connections, self._image_connections, self._prompt_connections):
            _disconnect(connections)
        self._writer.close()
        self._own.clear()
        self._shown = None
        self._image = self._target = self._points = self._shapes = self._preview = None

    def hide_preview(self) -> None:
        """Empty the preview, for a widget that closes while its viewer stays."""
        self._show(None)

    # ------------------------------------------------------------- layers
    def images(self) -> Iterator[Image]:
        """Image layers that can be segmented."""
        return (layer for layer in self.viewer.layers if isinstance(layer, Image) and layer.ndim >= 2)

    def targets(self) -> Iterator[Labels]:
        """Labels layers that the user may choose."""
        return (
            layer for layer in self.viewer.layers if isinstance(layer, Labels) and layer is not self._preview
        )

    def owns(self, layer: Any) -> bool:
        """True for layers that were made here."""
        return id(layer) in self._own

    @property
    def image_layer(self) -> Any:
        """The image that is segmented, or None."""
        return self._image

    @image_layer.setter
    def image_layer(self, layer: Any) -> None:
        if layer is self._image:
            return
        _disconnect(self._image_connections)
        kept = self._image is not None and layer is not None and _same_frame(self._image, layer)
        self._image = layer
        self._source = object()
        self.session.forget()
        if layer is not None:
            for signal in ("data", "scale", "translate", "rotate", "shear", "affine"):
                emitter = getattr(layer.events, signal)
                handler = self._on_image_data if signal == "data" else self._on_image_transform
                _connect(self._image_connections, emitter, handler)
            if not kept:
                self._remove_own()
            with self._silently():
                self._make_own()
        self.image_changed.emit(layer)
        self._show_plane(loud=layer is not None)

    @property
    def target_layer(self) -> Any:
        """Where accepted objects go; None for a new layer."""
        return self._target

    @target_layer.setter
    def target_layer(self, layer: Any) -> None:
        if layer is not self._target:
            self._target = layer
            self.target_changed.emit(layer)

    @property
    def points_layer(self) -> Any:
        """The Points layer whose points are prompts."""
        return self._points

    @points_layer.setter
    def points_layer(self, layer: Any) -> None:
        self._set_prompt_layers(layer, self._shapes)

    @property
    def shapes_layer(self) -> Any:
        """The Shapes layer whose rectangles are prompts."""
        return self._shapes

    @shapes_layer.setter
    def shapes_layer(self, layer: Any) -> None:
        self._set_prompt_layers(self._points, layer)

    @property
    def next_label(self) -> str:
        """What the next point will be, "foreground" or "background"."""
        return pl.FOREGROUND if self._points is None else pl.next_label(self._points)

    @next_label.setter
    def next_label(self, label: str) -> None:
        if self._points is not None:
            pl.set_next_label(self._points, label)

    def toggle_label(self) -> None:
        """Flip the selected points in select mode, else what the next point will be."""
        if self._points is None:
            return
        if str(self._points.mode) == "select" and pl.toggle_selected(self._points):
            return
        self.next_label = pl.BACKGROUND if self.next_label == pl.FOREGROUND else pl.FOREGROUND

    def draw(self, what: str) -> None:
        """Make "points" or "box" the tool in hand, with its layer made anew where it was deleted."""
        if self._image is None:
            show_warning("Open or choose an image layer first.")
            return
        self._make_own()
        layer = self._points if what == "points" else self._shapes
        layer.visible = True
        self.viewer.layers.selection.active = layer
        layer.mode = "add" if what == "points" else "add_rectangle"

    def own_points(self) -> None:
        """Use the layer "SAM points" again."""
        self._points = None
        self._make_own()

    def own_shapes(self) -> None:
        """Use the layer "SAM shapes" again."""
        self._shapes = None
        self._make_own()

    # ------------------------------------------------------------- sink
    def write_object(self, preview: Preview, replaces: ObjectRef | None) -> ObjectRef:
        """Write an accepted object into the target, or into a new layer when there is none.

        Parameters
        ----------
        preview : Preview
            The object.
        replaces : ObjectRef or None
            What it was accepted as before.

        Raises
        ------
        SamError
            When it cannot be written; nothing has changed then.
        """
        image = self._image
        if image is None or preview.plane.source is not self._source:
            raise ImageError("Expected the image that the object was found in, got none: it was removed.")
        shape = spatial_shape(image)
        if self._target is None or self._target not in list(self.viewer.layers):
            self.target_layer = self._add_labels(_zeros(shape), OBJECTS_NAME)
        return self._writer.write(
            self._target,
            preview.plane,
            preview.mask,
            shape=shape,
            overwrite=self.overwrite,
            replaces=replaces,
        )

    # ------------------------------------------------------------- making layers
    def _make_own(self) -> None:
        """Add those of our layers that are missing, and put the points tool into the user's hand."""
        image, layers = self._image, self.viewer.layers
        if image is None:
            return
        made = []
        with self._silently():
            preview = self._preview or self._adopt(PREVIEW_NAME, Labels)
            shapes = self._shapes or self._adopt(pl.SHAPES_NAME, Shapes)
            points = self._points or self._adopt(pl.POINTS_NAME, Points)
            if preview is None:
                made.append(preview := make_preview(image))
            if shapes is None:
                made.append(shapes := pl.make_shapes(image))
            if points is None:
                made.append(points := pl.make_points(image))
            self._preview = preview
            for layer in made:
                self._own.add(id(layer))
                layer.metadata[OWN] = True
                self.viewer.add_layer(layer)
            if made:
                points.mode = "add" if id(points) in self._own else points.mode
                layers.selection.active = points
        self._set_prompt_layers(points, shapes)

    def _adopt(self, name: str, kind: type) -> Any:
        """A layer that an earlier widget left here, where it fits the image; else None."""
        for layer in [layer for layer in self.viewer.layers if layer.name == name and OWN in layer.metadata]:
            fits = isinstance(layer, kind) and _same_transform(layer, self._image)
            if fits and (kind is not Labels or layer.data.shape == spatial_shape(self._image)):
                self._own.add(id(layer))
                return layer
            self.viewer.layers.remove(layer)
        return None

    def _remove_own(self) -> None:
        """Take our layers of another image away; the user's stay."""
        with self._silently():
            for layer in [layer for layer in self.viewer.layers if id(layer) in self._own]:
                self.viewer.layers.remove(layer)
        self._own.clear()
        self._shown = None
        self._preview = None
        _disconnect(self._prompt_connections)
        present = list(self.viewer.layers)
        self._points = self._points if self._points in present else None
        self._shapes = self._shapes if self._shapes in present else None

    def _set_prompt_layers(self, points: Any, shapes: Any) -> None:
        _disconnect(self._prompt_connections)
        self._points, self._shapes = points, shapes
        for layer in (points, shapes):
            if layer is not None:
                _connect(self._prompt_connections, layer.events.data, self._on_prompt_data)
                _connect(self._prompt_connections, layer.events.features, self._on_prompt_features)
        if points is not None:
            _connect(self._prompt_connections, points.events.feature_defaults, self._on_points_defaults)
            _connect(self._prompt_connections, points.events.current_properties, self._on_points_defaults)
        self.prompts_changed.emit()
        self._read_prompts()

    def _add_labels(self, data: NDArray[np.int32], name: str) -> Labels:
        """Add a Labels layer under our own layers, leaving the user's tool in his hand."""
        layers = self.viewer.layers
        active = layers.selection.active
        layer = Labels(data, name=name, **layer_transform(self._image))
        self.viewer.add_layer(layer)
        below = [index for index, other in enumerate(layers) if id(other) in self._own]
        if below:
            layers.move(layers.index(layer), below[0])
        layers.selection.active = active
        return layer

    # ------------------------------------------------------------- showing
    def _show_plane(self, loud: bool = False) -> None:
        """Tell the session which plane is seen now."""
        if self._image is None:
            self.session.show_plane(None)
            return
        try:
            plane = self._plane()
        except SamError as error:
            self.session.show_plane(None)
            self.session.status_changed.emit(str(error))
            if loud or self.viewer.dims.ndisplay == 3:
                self.session.warned.emit(str(error))
            return
        if plane != self.session.plane:
            self.session.show_plane(plane, self._prompts(plane))

    def _plane(self) -> Plane:
        return locate_plane(self._image, self.viewer.dims, self._source)

    def _prompts(self, plane: Plane) -> Any:
        prompts, notes = pl.read_prompts(
            self._points, self._shapes, self._image, plane, self.viewer.dims.point
        )
        for note in notes:
            if note not in self._notes:  # said once, not at every change after it
                self.session.warned.emit(note)
        self._notes = notes
        return prompts

    def _read_prompts(self) -> None:
        """Prompts changed: tell the session."""
        if self._silent or self._image is None:
            return
        plane = self.session.plane
        if plane is None:
            self._show_plane(loud=True)
            return
        self.session.set_prompts(self._prompts(plane))

    def _show(self, preview: Preview | None) -> None:
        old, self._shown = self._shown, preview
        if self._preview is not None:
            paint_preview(self._preview, old, preview)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Layer events that we cause ourselves say nothing new."""
        self._silent += 1
        try:
            yield
        finally:
            self._silent -= 1

    # ------------------------------------------------------------- handlers
    def _on_preview_changed(self, preview: Preview | None) -> None:
        if preview is not None and self._preview is None:
            self._make_own()
        self._show(preview)

    def _on_prompts_restored(self, state: PromptState) -> None:
        if self._image is None:
            return
        if state.plane != self._current_plane():
            self._go_to(state.plane)
        with self._silently():
            pl.write_prompts(
                self._points, self._shapes, self._image, state.plane, self.viewer.dims.point, state.prompts
            )

    def _current_plane(self) -> Plane | None:
        try:
            return self._plane()
        except SamError:
            return None

    def _go_to(self, plane: Plane) -> None:
        """Move the sliders to a plane, for prompts of another slice that come back."""
        dims = self.viewer.dims
        offset = dims.ndim - self._image.ndim
        inside = np.asarray(self._image.world_to_data(np.asarray(dims.point, float)))
        for axis, value in enumerate(plane.index):
            inside[axis] = inside[axis] if value is None else value
        world = self._image.data_to_world(inside)
        with self._silently():
            for axis, value in enumerate(plane.index):
                if value is not None:
                    dims.set_point(axis + offset, world[axis])

    def _on_labels_made(self, plane: Plane, labels: NDArray[np.int32]) -> None:
        if self._image is None or plane.source is not self._source:
            return
        shape = spatial_shape(self._image)
        self._add_labels(labels if len(shape) == 2 else write_plane(shape, plane, labels), LABELS_NAME)

    def _on_prompt_data(self, event: Any) -> None:
        action = getattr(event, "action", "changed")
        if str(getattr(action, "value", action)) in FINISHED:
            self._read_prompts()

    def _on_prompt_features(self, event: Any) -> None:
        self._read_prompts()

    def _on_points_defaults(self, event: Any) -> None:
        self.prompts_changed.emit()

    def _on_dims_moved(self, event: Any) -> None:
        if not self._silent:
            self._show_plane()

    def _on_image_data(self, event: Any) -> None:
        """The image's pixels were replaced: what was found in them is stale."""
        self._source = object()
        if self._preview is not None and self._preview.data.shape != spatial_shape(self._image):
            self._remove_own()
            self._make_own()
        self.session.forget()
        self._show_plane()

    def _on_image_transform(self, event: Any) -> None:
        with self._silently():
            for layer in self.viewer.layers:
                if id(layer) in self._own:
                    for name, value in layer_transform(self._image).items():
                        if name not in ("units", "axis_labels"):
                            setattr(layer, name, value)
        self._show_plane()

    def _on_layers_inserted(self, event: Any) -> None:
        _connect(self._connections, event.value.events.name, self._on_layers_renamed)
        if self._image is None and isinstance(event.value, Image) and event.value.ndim >= 2:
            self.image_layer = event.value
        self.layers_changed.emit()

    def _on_layers_removed(self, event: Any) -> None:
        layer = event.value
        _disconnect(self._connections, layer.events.name)
        self._own.discard(id(layer))
        if layer is self._preview:
            self._preview = self._shown = None
        if layer is self._target:
            self.target_layer = None
        if layer is self._points or layer is self._shapes:
            points = None if layer is self._points else self._points
            self._set_prompt_layers(points, None if layer is self._shapes else self._shapes)
        if layer is self._image:
            self.session.cancel()
            # the user chooses the next one: while a viewer closes, no layer may be added
            self.image_layer = None
        self.layers_changed.emit()

    def _on_layers_renamed(self, event: Any) -> None:
        self.layers_changed.emit()


def _zeros(shape: tuple[int, ...]) -> NDArray[np.int32]:
    try:
        return np.zeros(shape, np.int32)
    except MemoryError:
        raise ImageError(
            f"Expected memory for labels of shape {shape}, got none; choose a Labels layer on disk (zarr)."
        ) from None


def _same_frame(one: Any, other: Any) -> bool:
    """True when two images have the same pixels' places, such as two channels."""
    if spatial_shape(one) != spatial_shape(other):
        return False
    return _same_transform(one, other)


def _same_transform(one: Any, other: Any) -> bool:
    if one.ndim != other.ndim:
        return False
    corners = np.vstack([np.zeros(one.ndim), np.eye(one.ndim)])
    return all(np.allclose(one.data_to_world(c), other.data_to_world(c)) for c in corners)


def _connect(
    connections: list[tuple[Any, Callable[..., None]]], signal: Any, handler: Callable[..., None]
) -> None:
    if isinstance(signal, EventEmitter):
        # napari calls the newest callback first; ours come after the viewer has done its own work
        signal.connect(handler, position="last")
    else:
        signal.connect(handler)
    connections.append((signal, handler))


def _disconnect(connections: list[tuple[Any, Callable[..., None]]], only: Any = None) -> None:
    for signal, handler in [pair for pair in connections if only is None or pair[0] is only]:
        signal.disconnect(handler)
        connections.remove((signal, handler))
