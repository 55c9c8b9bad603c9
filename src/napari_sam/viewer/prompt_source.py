"""The two layers whose points and shapes are the prompts: listened to, read, written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.viewer import prompt_labels as labels
from napari_sam.viewer import prompt_layers as pl
from napari_sam.viewer.connections import Connections

if TYPE_CHECKING:
    from napari_sam.session.drawing import Drawing, Shape
    from napari_sam.session.requests import Plane

__all__ = ["PromptSource"]

FINISHED = ("added", "removed", "changed")  # their -ing forms fire before anything has happened


class PromptSource:
    """A Points and a Shapes layer, ours or the user's; either may be missing.

    An object that is refined is part of what is read on its plane, although no layer shows it.

    Attributes
    ----------
    points, shapes : napari.layers.Points, napari.layers.Shapes or None
        The layers; ``use`` changes them.
    """

    prompts_changed = Signal()  # a point or shape was added, removed, moved or labelled anew
    added = Signal(object)  # the layer that a point or shape was just added to, before ``prompts_changed``
    layers_changed = Signal()  # other layers, or another label for what comes next
    warned = Signal(str)  # what was left out, said once

    def __init__(self) -> None:
        self.points: Any = None
        self.shapes: Any = None
        self._connections = Connections()
        self._notes: tuple[str, ...] = ()
        self._seeds: dict[Plane, Shape] = {}
        self._following = False

    def use(self, points: Any, shapes: Any) -> None:
        """Take prompts from these layers from now on."""
        self._connections.clear()
        self.points, self.shapes = points, shapes
        for layer in (points, shapes):
            if layer is not None:
                self._connections.add(layer.events.data, self._on_data)
                self._connections.add(layer.events.features, self._on_features)
                self._connections.add(layer.events.feature_defaults, self._on_defaults)
                self._connections.add(layer.events.current_properties, self._on_defaults)
        self.layers_changed.emit()
        self.prompts_changed.emit()

    def release(self) -> None:
        """Listen to no layer any more."""
        self._connections.clear()
        self._seeds.clear()
        self.points = self.shapes = None

    def forget(self) -> None:
        """Another image: nothing is refined any more."""
        self._seeds.clear()

    @property
    def next_label(self) -> str:
        """What the next point or scribble will be, "foreground" or "background"."""
        return labels.FOREGROUND if self.points is None else labels.next_label(self.points)

    @next_label.setter
    def next_label(self, label: str) -> None:
        if self.shapes is not None and labels.next_label(self.shapes) != label:
            labels.set_next_label(self.shapes, label)
        if self.points is not None:
            labels.set_next_label(self.points, label)

    def toggle_label(self, active: Any = None) -> None:
        """Flip what is selected in select mode, else what comes next.

        Parameters
        ----------
        active : napari.layers.Layer or None
            The layer in the user's hand; None for the points.
        """
        if self.points is None:
            return
        layer = self.shapes if active is not None and active is self.shapes else self.points
        if str(layer.mode) == "select" and labels.toggle_selected(layer):
            return
        self.next_label = labels.BACKGROUND if self.next_label == labels.FOREGROUND else labels.FOREGROUND

    def read(self, image: Any, plane: Plane, world: Any) -> Drawing:
        """What lies on a plane; what cannot be a prompt is told by ``warned``.

        Parameters
        ----------
        image : napari.layers.Image
            The image that the plane belongs to.
        plane : Plane
            The plane that is shown.
        world : (D,) array-like
            The viewer's current point.
        """
        drawing, notes = pl.read_drawing(self.points, self.shapes, image, plane, world)
        before, self._notes = self._notes, notes
        for note in notes:
            if note not in before:  # said once, not at every change after it
                self.warned.emit(note)
        seed = self._seeds.get(plane)
        return drawing if seed is None else replace(drawing, shapes=(seed, *drawing.shapes))

    def write(self, image: Any, plane: Plane, world: Any, drawing: Drawing) -> None:
        """Make the layers show exactly a drawing on a plane; what lies on other planes stays."""
        self._seeds.pop(plane, None)
        for shape in drawing.shapes:
            if shape.kind == "label":
                self._seeds[plane] = shape
        pl.write_drawing(self.points, self.shapes, image, plane, world, drawing)

    def _on_data(self, event: Any) -> None:
        action = getattr(event, "action", "changed")
        name = str(getattr(action, "value", action))
        if name == "added":
            self.added.emit(event.source)
        if name in FINISHED:
            self.prompts_changed.emit()

    def _on_features(self, event: Any) -> None:
        self.prompts_changed.emit()

    def _on_defaults(self, event: Any) -> None:
        """One choice for both layers, whichever it was made in."""
        if not self._following and event.source is not None:
            other = self.points if event.source is self.shapes else self.shapes
            self._following = True
            try:
                label = labels.next_label(event.source)
                if other is not None and labels.next_label(other) != label:
                    labels.set_next_label(other, label)
            finally:
                self._following = False
        self.layers_changed.emit()
