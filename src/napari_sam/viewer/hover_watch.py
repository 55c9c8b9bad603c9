"""Follows the mouse over the canvas and shows what a click there would give."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_sam.types import Prompts
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.prompt_labels import FOREGROUND

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Preview
    from napari_sam.session.session import Session
    from napari_sam.session.settings import Settings
    from napari_sam.viewer.prompt_source import PromptSource
    from napari_sam.viewer.tools import Tools

__all__ = ["HoverWatch"]


class Host(Protocol):
    """What hovering needs of the controller."""

    viewer: Any
    prompts: PromptSource
    tools: Tools

    @property
    def image_layer(self) -> Any:
        """The image that is segmented, or None."""

    def show_hover(self, preview: Preview | None) -> None:
        """Show what a click would give; None for the answer to the prompts again."""


class HoverWatch:
    """Asks for what is under the cursor while the click tool is in hand and no button is held.

    Parameters
    ----------
    host : Host
        Whose viewer is watched.
    session : Session
        What is asked; its settings turn this on and off.
    """

    def __init__(self, host: Host, session: Session) -> None:
        self._host = host
        self._session = session
        self._connections = Connections()
        self._pixel: tuple[int, int] | None = None

    def enable(self) -> None:
        """Listen."""
        viewer, session = self._host.viewer, self._session
        viewer.mouse_move_callbacks.append(self._on_mouse_moved)
        viewer.mouse_drag_callbacks.append(self._on_mouse_pressed)
        self._connections.add(viewer.events.mouse_over_canvas, self._on_canvas_entered)
        self._connections.add(session.hovering.changed, self._on_hovering_changed)
        self._connections.add(session.settings_changed, self._on_settings_changed)
        self._connections.add(self._host.tools.changed, self._on_tool_changed)

    def disable(self) -> None:
        """Listen no more."""
        self._connections.clear()
        viewer = self._host.viewer
        for callbacks, handler in (
            (viewer.mouse_move_callbacks, self._on_mouse_moved),
            (viewer.mouse_drag_callbacks, self._on_mouse_pressed),
        ):
            if handler in callbacks:
                callbacks.remove(handler)

    def _stop(self) -> None:
        self._pixel = None
        self._session.hovering.stop()

    def _on_mouse_moved(self, viewer: Any, event: Any) -> None:
        if not self._session.settings.hover:
            return
        if event.is_dragging or self._host.tools.tool != "click":
            self._stop()
            return
        place = self._locate(event.position)
        if place is None:
            self._stop()
            return
        pixel = round(float(place[0])), round(float(place[1]))
        if pixel == self._pixel:
            return
        self._pixel = pixel
        self._look(place)

    def _locate(self, position: Any) -> NDArray[np.float64] | None:
        """(row, col) on the plane that is shown, None where the cursor is beside it."""
        plane, image = self._session.plane, self._host.image_layer
        if plane is None or image is None:
            return None
        inside = np.asarray(image.world_to_data(np.asarray(position, float)), float)
        place = inside[list(plane.axes)]
        low, high = -0.5, np.asarray(plane.shape) - 0.5
        if not np.isfinite(place).all() or (place < low).any() or (place >= high).any():
            return None
        return place

    def _look(self, place: NDArray[np.float64]) -> None:
        """Ask what the prompts would give with one more click."""
        state = self._session.prompting.state
        if state is None:
            return
        label = int(self._host.prompts.next_label == FOREGROUND)
        if self._session.settings.mode == "rapid" or state.prompts.is_empty:
            if label:
                self._session.hovering.look(state.plane, Prompts(points=[place]))
            else:
                self._session.hovering.stop()
        elif state.mask is not None:  # else its own answer is on its way
            prompts = replace(
                state.prompts,
                points=np.vstack([state.prompts.points, place]),
                labels=np.append(state.prompts.labels, label),
            )
            if state.mask.logits is not None:
                prompts = replace(prompts, mask=state.mask)
            self._session.hovering.look(state.plane, prompts)

    # ------------------------------------------------------------- handlers
    def _on_mouse_pressed(self, viewer: Any, event: Any) -> None:
        if self._session.settings.hover:
            self._stop()

    def _on_canvas_entered(self, event: Any) -> None:
        if not self._host.viewer.mouse_over_canvas:
            self._stop()

    def _on_hovering_changed(self, preview: Preview | None) -> None:
        self._host.show_hover(preview)

    def _on_settings_changed(self, settings: Settings) -> None:
        if not settings.hover:
            self._stop()

    def _on_tool_changed(self, _tool: str) -> None:
        self._stop()
