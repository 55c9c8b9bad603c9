"""The edit tools in the viewer: which object of which layer is meant, and the clicks that choose it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from psygnal import Signal

from napari_sam.errors import ImageError, SamError
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.plane_pixels import read_box
from napari_sam.viewer.planes import go_to_index, locate_plane, same_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterator

    import numpy as np
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_sam.session.edits import LabelEdit
    from napari_sam.session.patches import Box, Index
    from napari_sam.session.session import Session
    from napari_sam.viewer.object_target import ObjectTarget

__all__ = ["TOOLS", "LabelEditor"]

Tool = Literal["", "pick", "delete", "merge", "split"]
TOOLS: tuple[Tool, ...] = ("pick", "delete", "merge", "split")
"""What a click on an object does."""
HINTS = {
    "pick": "Click on the object that is to be edited.",
    "delete": "Click on objects to delete them.",
    "merge": "Click on one object after the other: they are merged into the first.",
    "split": "Click on an object twice, once in each half.",
}
NO_LAYER = "Expected a Labels layer to edit, got none: accept an object first, or open labels."
STILL = 4.0
"""Screen pixels within which a press and a release are a click."""


class Host(Protocol):
    """What the editor needs of the controller."""

    viewer: Any
    session: Session
    target: ObjectTarget
    target_layer: Any

    @property
    def image_layer(self) -> Any:
        """The image that is segmented, or None."""

    def targets(self) -> Iterator[Labels]:
        """Labels layers that the user may choose."""


class LabelEditor:
    """Applies the session's edit tools to the object that the user means.

    That is the selected label of the Labels layer in hand, else of the target layer; or the object that is
    clicked on, or under the cursor.

    Parameters
    ----------
    host : Controller
        Whose layers are edited.

    Attributes
    ----------
    everywhere : bool
        Delete and merge in all planes of the layer, not only in the one that is shown.
    follow_edges : bool
        Split along edges of the image instead of where the object is narrowest.
    """

    changed = Signal()  # the tool, the layer or the object at hand

    def __init__(self, host: Host) -> None:
        self.everywhere = False
        self.follow_edges = False
        self._host = host
        self._tool: Tool = ""
        self._before: Any = None  # the layer that was active before a tool was taken up
        self._first: tuple[Any, int, Index, Any] | None = None  # layer, label, plane, place of a first click
        self._layer: Any = None
        self._connections = Connections()
        self._layer_connections = Connections()

    # ------------------------------------------------------------- life
    def enable(self) -> None:
        """Listen."""
        viewer = self._host.viewer
        events = viewer.layers.events
        for signal in (viewer.layers.selection.events.active, events.inserted, events.removed):
            self._connections.add(signal, self._on_layers_changed)
        self._connections.add(self._host.session.edits.travelled, self._on_edits_travelled)
        viewer.mouse_drag_callbacks.append(self._on_mouse_pressed)
        self._on_layers_changed()

    def close(self) -> None:
        """Let go of viewer and layers."""
        self._connections.clear()
        self._layer_connections.clear()
        self._layer = self._before = self._first = None
        callbacks = self._host.viewer.mouse_drag_callbacks
        if self._on_mouse_pressed in callbacks:
            callbacks.remove(self._on_mouse_pressed)

    # ------------------------------------------------------------- what is meant
    @property
    def layer(self) -> Any:
        """The layer whose objects are edited: the active one, the target, or the topmost; or None."""
        targets = list(self._host.targets())
        for layer in (self._host.viewer.layers.selection.active, self._host.target_layer):
            if layer in targets:
                return layer
        return next((layer for layer in reversed(targets) if layer.visible), None)

    @property
    def label(self) -> int:
        """Id of the object at hand; 0 where there is none."""
        layer = self.layer
        return 0 if layer is None else int(layer.selected_label)

    @property
    def tool(self) -> Tool:
        """What a click does; empty for nothing."""
        return self._tool

    def take(self, tool: Tool) -> None:
        """Put a tool into the user's hand; the same again, or an empty one, puts it down.

        While a tool is in hand the Labels layer is the active one, so that a click adds no point elsewhere.
        """
        layers = self._host.viewer.layers
        if tool == self._tool or tool == "":
            before, self._before = self._before, None
            self._tool, self._first = "", None
            if before is not None and before in layers:
                layers.selection.active = before
            self.changed.emit()
            return
        layer = self.layer
        if layer is None:
            self._host.session.warned.emit(NO_LAYER)
            return
        before = self._before if self._tool else layers.selection.active
        if layers.selection.active is not layer:
            layers.selection.active = layer
        layer.mode = "pan_zoom"
        # after the above, which puts down what is in hand
        self._tool, self._first, self._before = tool, None, before
        self._host.session.status_changed.emit(HINTS[tool])
        self.changed.emit()

    # ------------------------------------------------------------- tools
    def delete(self) -> None:
        """Delete the object at hand."""
        delete = self._host.session.editing.delete
        self._edit(partial(delete, labels=[self.label], everywhere=self.everywhere))

    def fill_holes(self) -> None:
        """Fill the holes of the object at hand."""
        self._edit(partial(self._host.session.editing.fill_holes, label=self.label))

    def smooth(self, sigma: float = 2.0) -> None:
        """Smooth the boundary of the object at hand."""
        self._edit(partial(self._host.session.editing.smooth, label=self.label, sigma=sigma))

    def keep_largest(self) -> None:
        """Keep the largest part of the object at hand."""
        self._edit(partial(self._host.session.editing.keep_largest, label=self.label))

    def remove_small(self, area: int) -> None:
        """Remove all objects of the plane that is shown with fewer pixels."""
        self._edit(partial(self._host.session.editing.remove_small, area=area))

    def merge(self, labels: list[int]) -> None:
        """Merge objects into the first."""
        self._edit(partial(self._host.session.editing.merge, labels=labels, everywhere=self.everywhere))

    def split(self, label: int, points: tuple[tuple[float, float], tuple[float, float]]) -> None:
        """Split an object; points are (row, col) in pixels of the plane."""
        read = self._image_reader() if self.follow_edges else None
        self._edit(partial(self._host.session.editing.split, label=label, points=points, read=read))

    def delete_here(self) -> None:
        """Delete the object under the cursor; the one at hand while the mouse is elsewhere."""
        if self._choose_here():
            self.delete()

    def fill_holes_here(self) -> None:
        """Fill the holes of the object under the cursor; of the one at hand while the mouse is elsewhere."""
        if self._choose_here():
            self.fill_holes()

    def _choose_here(self) -> bool:
        """Take the object under the cursor in hand; False where the mouse is over background."""
        viewer = self._host.viewer
        if not viewer.mouse_over_canvas or self._at(viewer.cursor.position, self._choose_clicked):
            return True
        self._host.session.status_changed.emit("No object of the layer under the cursor.")
        return False

    # ------------------------------------------------------------- clicks
    def click(self, position: Any) -> bool:
        """Use the tool in hand at a position of the world; False where there is no object."""
        action = {
            "pick": self._pick_clicked,
            "delete": self._delete_clicked,
            "merge": self._merge_clicked,
            "split": self._split_clicked,
        }.get(self._tool)
        if action is None:
            return False
        if not self._at(position, action):
            self._host.session.status_changed.emit(f"No object here. {HINTS[self._tool]}")
            return False
        return True

    def _at(self, position: Any, action: Callable[[Any, int, tuple[float, float]], None]) -> bool:
        """Do something with the object at a position; False where there is none."""
        layer = self.layer
        if layer is None:
            return False
        try:
            index = self._index(layer)
        except SamError:
            return False
        value = layer.get_value(position, world=True)
        value = value[-1] if isinstance(value, tuple) else value  # of a pyramid: the level, and the value
        if value is None or int(value) == 0:
            return False
        place = layer.world_to_data(position)
        row, col = (float(place[axis]) for axis, number in enumerate(index) if number is None)
        self._believe(layer, index, int(value), (row, col))
        action(layer, int(value), (row, col))
        return True

    def _choose_clicked(self, layer: Any, label: int, place: tuple[float, float]) -> None:
        layer.selected_label = label

    def _pick_clicked(self, layer: Any, label: int, place: tuple[float, float]) -> None:
        layer.selected_label = label
        self.take("")

    def _delete_clicked(self, layer: Any, label: int, place: tuple[float, float]) -> None:
        layer.selected_label = label
        self.delete()

    def _merge_clicked(self, layer: Any, label: int, place: tuple[float, float]) -> None:
        first = self._first
        if first is None or first[0] is not layer or first[1] == label:
            self._first = (layer, label, self._index(layer), place)
            layer.selected_label = label
            self._host.session.status_changed.emit(f"Click on what belongs to object {label}.")
        else:
            self.merge([first[1], label])

    def _split_clicked(self, layer: Any, label: int, place: tuple[float, float]) -> None:
        first, index = self._first, self._index(layer)
        if first is None or first[0] is not layer or first[1:3] != (label, index):
            self._first = (layer, label, index, place)
            layer.selected_label = label
            self._host.session.status_changed.emit(f"Click into the other half of object {label}.")
        else:
            self._first = None
            self.split(label, (first[3], place))

    # ------------------------------------------------------------- the rest
    def _edit(self, change: Callable[[Hashable, Index], LabelEdit]) -> None:
        """Apply a tool to the plane that is shown; what cannot be done is told."""
        session, layer = self._host.session, self.layer
        try:
            if layer is None:
                raise ImageError(NO_LAYER)
            change(session.layer_token(layer), self._index(layer))
        except SamError as error:
            session.warned.emit(str(error))
        session.state_changed.emit()
        self.changed.emit()

    def _index(self, layer: Any) -> Index:
        return locate_plane(layer, self._host.viewer.dims, None).index

    def _believe(self, layer: Any, index: Index, label: int, place: tuple[float, float]) -> None:
        """The object is seen: where a script has drawn it, nobody was told of it."""
        session = self._host.session
        try:
            surface = session.edits.surface(session.layer_token(layer))
        except SamError:
            return  # the edit itself tells
        box = surface.find(label, index)
        if box is None or not (box[0] - 1 <= place[0] <= box[2] and box[1] - 1 <= place[1] <= box[3]):
            surface.look_again(index)

    def _image_reader(self) -> Callable[[Box], NDArray[np.generic]] | None:
        """Reads boxes of the image under the layer, where it has the same pixels."""
        image, layer, plane = self._host.image_layer, self.layer, self._host.session.plane
        if image is None or plane is None or not same_frame(image, layer):
            return None
        return partial(read_box, plane)

    def _on_edits_travelled(self, edit: LabelEdit) -> None:
        """Undo and redo of what lies on one plane show that plane."""
        indices = {patch.index for patch in edit.patches}
        layer = self._host.target.surfaces.layer(edit.layer)
        if len(indices) != 1 or layer is None:
            return
        go_to_index(layer, self._host.viewer.dims, *indices)

    def _on_layers_changed(self, event: Any = None) -> None:
        """Another layer is in hand: its selected label is the object at hand."""
        layer = self.layer
        active = self._host.viewer.layers.selection.active
        if self._tool and active is not layer:
            self._tool, self._first, self._before = "", None, None  # the user has taken up something else
        if layer is not self._layer:
            self._layer_connections.clear()
            self._layer = layer
            if layer is not None:
                self._layer_connections.add(layer.events.selected_label, self._on_label_chosen)
                self._layer_connections.add(layer.events.mode, self._on_mode_changed)
        self.changed.emit()

    def _on_label_chosen(self, event: Any) -> None:
        self.changed.emit()

    def _on_mode_changed(self, event: Any) -> None:
        """The brush, or another of napari's tools, takes the place of ours."""
        if self._tool and str(self._layer.mode) != "pan_zoom":
            self._tool, self._first, self._before = "", None, None
            self.changed.emit()

    def _on_mouse_pressed(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """A click uses the tool; a drag moves the view as ever."""
        if not self._tool or event.button != 1:
            return
        start, place = event.pos, event.position
        yield
        while event.type == "mouse_move":
            yield
        if max(abs(float(a) - float(b)) for a, b in zip(start, event.pos, strict=True)) <= STILL:
            self.click(place)
