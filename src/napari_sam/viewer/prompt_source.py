"""The two layers whose points and rectangles are the prompts: listened to, read, written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.viewer import prompt_layers as pl
from napari_sam.viewer.connections import Connections

if TYPE_CHECKING:
    from napari_sam.session.requests import Plane
    from napari_sam.types import Prompts

__all__ = ["PromptSource"]

FINISHED = ("added", "removed", "changed")  # their -ing forms fire before anything has happened


class PromptSource:
    """A Points and a Shapes layer, ours or the user's; either may be missing.

    Attributes
    ----------
    points, shapes : napari.layers.Points, napari.layers.Shapes or None
        The layers; ``use`` changes them.
    """

    prompts_changed = Signal()  # a point or shape was added, removed, moved or labelled anew
    layers_changed = Signal()  # other layers, or another label for the next point
    warned = Signal(str)  # what was left out, said once

    def __init__(self) -> None:
        self.points: Any = None
        self.shapes: Any = None
        self._connections = Connections()
        self._notes: tuple[str, ...] = ()

    def use(self, points: Any, shapes: Any) -> None:
        """Take prompts from these layers from now on."""
        self._connections.clear()
        self.points, self.shapes = points, shapes
        for layer in (points, shapes):
            if layer is not None:
                self._connections.add(layer.events.data, self._on_data)
                self._connections.add(layer.events.features, self._on_features)
        if points is not None:
            self._connections.add(points.events.feature_defaults, self._on_points_defaults)
            self._connections.add(points.events.current_properties, self._on_points_defaults)
        self.layers_changed.emit()
        self.prompts_changed.emit()

    def release(self) -> None:
        """Listen to no layer any more."""
        self._connections.clear()
        self.points = self.shapes = None

    @property
    def next_label(self) -> str:
        """What the next point will be, "foreground" or "background"."""
        return pl.FOREGROUND if self.points is None else pl.next_label(self.points)

    @next_label.setter
    def next_label(self, label: str) -> None:
        if self.points is not None:
            pl.set_next_label(self.points, label)

    def toggle_label(self) -> None:
        """Flip the selected points in select mode, else what the next point will be."""
        if self.points is None:
            return
        if str(self.points.mode) == "select" and pl.toggle_selected(self.points):
            return
        self.next_label = pl.BACKGROUND if self.next_label == pl.FOREGROUND else pl.FOREGROUND

    def read(self, image: Any, plane: Plane, world: Any) -> Prompts:
        """The prompts that lie on a plane; what cannot be one is told by ``warned``.

        Parameters
        ----------
        image : napari.layers.Image
            The image that the plane belongs to.
        plane : Plane
            The plane that is shown.
        world : (D,) array-like
            The viewer's current point.
        """
        prompts, notes = pl.read_prompts(self.points, self.shapes, image, plane, world)
        before, self._notes = self._notes, notes
        for note in notes:
            if note not in before:  # said once, not at every change after it
                self.warned.emit(note)
        return prompts

    def write(self, image: Any, plane: Plane, world: Any, prompts: Prompts) -> None:
        """Make the layers say exactly ``prompts`` on a plane; what lies on other planes stays."""
        pl.write_prompts(self.points, self.shapes, image, plane, world, prompts)

    def _on_data(self, event: Any) -> None:
        action = getattr(event, "action", "changed")
        if str(getattr(action, "value", action)) in FINISHED:
            self.prompts_changed.emit()

    def _on_features(self, event: Any) -> None:
        self.prompts_changed.emit()

    def _on_points_defaults(self, event: Any) -> None:
        self.layers_changed.emit()
