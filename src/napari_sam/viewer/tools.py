"""The tool in the user's hand: one of napari's modes, or refining, which napari does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from napari.utils.notifications import show_warning
from psygnal import Signal

from napari_sam.viewer.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.viewer.prompt_source import PromptSource
    from napari_sam.viewer.refining import Refiner

__all__ = ["TOOLS", "Tools"]

TOOLS = ("click", "box", "scribble", "polygon", "refine")
MODES = {"box": "add_rectangle", "scribble": "add_path", "polygon": "add_polygon_lasso"}
MEANING = {  # napari's modes of a Shapes layer as tools
    "add_rectangle": "box",
    "add_ellipse": "polygon",
    "add_polygon": "polygon",
    "add_polygon_lasso": "polygon",
    "add_line": "scribble",
    "add_polyline": "scribble",
    "add_path": "scribble",
}
STILL = 4.0
"""Screen pixels within which a press and a release are a click."""


class Host(Protocol):
    """What the tools need of the controller."""

    viewer: Any
    prompts: PromptSource
    refiner: Refiner

    def make_own(self) -> bool:
        """Add those of our layers that are missing; False where there is no image to lie on."""


class Tools:
    """Chooses tools, and follows when the user changes layer or mode in napari itself.

    Parameters
    ----------
    host : Host
        Whose layers are used.
    """

    changed = Signal(str)  # the tool, empty for none of ours

    def __init__(self, host: Host) -> None:
        self._host = host
        self._refining = False
        self._choosing = False
        self._tool = ""
        self._connections = Connections()
        self._layer_connections = Connections()

    def enable(self) -> None:
        """Listen."""
        viewer = self._host.viewer
        self._connections.add(viewer.layers.selection.events.active, self._on_viewer_changed)
        self._connections.add(self._host.prompts.layers_changed, self._on_layers_changed)
        viewer.mouse_drag_callbacks.append(self._on_mouse_pressed)
        self._on_layers_changed()

    def disable(self) -> None:
        """Listen no more."""
        self._connections.clear()
        self._layer_connections.clear()
        callbacks = self._host.viewer.mouse_drag_callbacks
        if self._on_mouse_pressed in callbacks:
            callbacks.remove(self._on_mouse_pressed)

    @property
    def tool(self) -> str:
        """Which of ``TOOLS`` is in hand; empty for none of them."""
        if self._refining:
            return "refine"
        active, prompts = self._host.viewer.layers.selection.active, self._host.prompts
        if active is None:
            return ""
        if active is prompts.points:
            return "click" if str(active.mode) == "add" else ""
        return MEANING.get(str(active.mode), "") if active is prompts.shapes else ""

    def choose(self, tool: str) -> None:
        """Put a tool into the user's hand, with its layer made anew where it was deleted.

        Raises
        ------
        ValueError
            When there is no such tool.
        """
        if tool not in TOOLS:
            raise ValueError(f"Expected one of {TOOLS}, got {tool!r}.")
        if not self._host.make_own():
            show_warning("Open or choose an image layer first.")
            return
        prompts = self._host.prompts
        layer = prompts.points if tool in ("click", "refine") else prompts.shapes
        self._choosing = True
        try:
            if not layer.visible:
                layer.visible = True
            self._refining = tool == "refine"
            self._host.viewer.layers.selection.active = layer
            layer.mode = "pan_zoom" if tool == "refine" else "add" if tool == "click" else MODES[tool]
        finally:
            self._choosing = False
        self._tell()

    def _tell(self) -> None:
        if self.tool != self._tool:
            self._tool = self.tool
            self.changed.emit(self._tool)

    def _on_layers_changed(self) -> None:
        """Other prompt layers: it is their modes that count."""
        self._layer_connections.clear()
        for layer in (self._host.prompts.points, self._host.prompts.shapes):
            if layer is not None:
                self._layer_connections.add(layer.events.mode, self._on_viewer_changed)
        self._tell()

    def _on_viewer_changed(self, event: Any) -> None:
        if not self._choosing:
            self._refining = False
            self._tell()

    def _on_mouse_pressed(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """With the refine tool, a click on an object takes it into hand; a drag moves the view as ever."""
        if not self._refining or event.button != 1:
            return
        start, place = event.pos, event.position
        yield
        while event.type == "mouse_move":
            yield
        still = max(abs(float(a) - float(b)) for a, b in zip(start, event.pos, strict=True)) <= STILL
        if still and self._refining and self._host.refiner.refine_at(place):
            self.choose("click")
