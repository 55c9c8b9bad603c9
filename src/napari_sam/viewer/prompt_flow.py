"""From the prompt layers to the session and back: what the user draws is asked, what is undone is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from napari_sam.session.drawing import Drawing
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.planes import turn_to_plane

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from napari_sam.session.prompt_state import PromptState
    from napari_sam.session.requests import Plane
    from napari_sam.session.session import Session
    from napari_sam.session.settings import Settings
    from napari_sam.types import Prompts
    from napari_sam.viewer.prompt_source import PromptSource

__all__ = ["PromptFlow"]


class Host(Protocol):
    """What the flow needs of the controller."""

    viewer: Any
    call_soon: Callable[[Callable[[], None]], None]

    @property
    def image_layer(self) -> Any:
        """The image that is segmented, or None."""

    @property
    def is_silent(self) -> bool:
        """True while the controller itself changes layers."""

    def silently(self) -> AbstractContextManager[None]:
        """While it lasts, layer events say nothing new."""

    def find_plane(self) -> Plane | None:
        """The plane that the viewer shows, None where it shows none."""

    def show_plane(self, loud: bool = False) -> None:
        """Tell the session which plane is seen now."""


class PromptFlow:
    """Reads the prompt layers when they change, and writes them when the session went back.

    In rapid mode everything that is added is an object of its own, and leaves the layers at once.

    Parameters
    ----------
    host : Host
        Whose layers and planes are used.
    session : Session
        What is told.
    source : PromptSource
        The prompt layers.
    """

    def __init__(self, host: Host, session: Session, source: PromptSource) -> None:
        self._host = host
        self._session = session
        self._source = source
        self._rough_use = session.settings.rough_use
        self._fresh = False
        self._boxes = 0
        self._taken = Drawing()  # objects in rapid mode that are still in the layers
        self._taken_on: Plane | None = None
        self._connections = Connections()

    def enable(self) -> None:
        """Listen."""
        for signal, handler in (
            (self._source.prompts_changed, self._on_prompts_changed),
            (self._source.added, self._on_prompts_added),
            (self._source.warned, self._on_prompts_warned),
            (self._session.prompts_restored, self._on_prompts_restored),
            (self._session.settings_changed, self._on_settings_changed),
        ):
            self._connections.add(signal, handler)

    def disable(self) -> None:
        """Listen no more."""
        self._connections.clear()
        self._taken, self._taken_on = Drawing(), None

    def read(self, plane: Plane) -> tuple[Prompts, Drawing]:
        """What lies on a plane, and the prompts that it means."""
        drawing = self._source.read(self._host.image_layer, plane, self._host.viewer.dims.point)
        if plane == self._taken_on:
            drawing = drawing.without(self._taken)
        return self._meaning(plane, drawing), drawing

    def _meaning(self, plane: Plane, drawing: Drawing) -> Prompts:
        return drawing.to_prompts(plane.shape, self._session.settings.rough_use)

    # ------------------------------------------------------------- handlers
    def _on_prompts_added(self, _layer: Any) -> None:
        self._fresh = True

    def _on_prompts_changed(self) -> None:
        fresh, self._fresh = self._fresh, False
        if self._host.is_silent or self._host.image_layer is None:
            return
        plane = self._session.plane
        if plane is None:
            self._host.show_plane(loud=True)
            return
        prompts, drawing = self.read(plane)
        if fresh and self._session.settings.mode == "rapid":
            added = drawing.without(self._in_hand())
            if not added.is_empty:
                self._take(plane, added)
                return
        self._warn_of_boxes(drawing)
        self._session.set_prompts(prompts, drawing)

    def _warn_of_boxes(self, drawing: Drawing) -> None:
        before, self._boxes = self._boxes, sum(s.kind == "rectangle" and s.is_object for s in drawing.shapes)
        if self._boxes > max(before, 1):
            self._session.warned.emit(
                f"{self._boxes} boxes are on this plane: only the newest is used; in rapid mode each is an "
                "object."
            )

    def _in_hand(self) -> Drawing:
        state = self._session.prompting.state
        if state is None:
            return Drawing()
        return state.drawing if state.drawing is not None else Drawing.of_prompts(state.prompts)

    def _take(self, plane: Plane, added: Drawing) -> None:
        """Make objects of what was added, each of its own, and take it out of the layers."""
        for one in added.split():
            if one.says_where:
                self._session.rapid.ask(plane, self._meaning(plane, one), one)
            else:
                self._session.warned.emit(
                    "In rapid mode each click is an object: choose '+', or refine the object to correct it."
                )
        self._taken = added if self._taken_on != plane else self._taken.joined(added)
        self._taken_on = plane
        # not at once: napari is still about to finish what was drawn
        self._host.call_soon(self._take_out)

    def _take_out(self) -> None:
        plane, taken = self._taken_on, self._taken
        self._taken, self._taken_on = Drawing(), None
        image = self._host.image_layer
        if plane is None or image is None:
            return
        world = self._host.viewer.dims.point
        with self._host.silently():
            left = self._source.read(image, plane, world).without(taken)
            self._source.write(image, plane, world, left)

    def _on_prompts_warned(self, note: str) -> None:
        self._session.warned.emit(note)

    def _on_prompts_restored(self, state: PromptState) -> None:
        image, viewer = self._host.image_layer, self._host.viewer
        if image is None:
            return
        drawing = state.drawing if state.drawing is not None else Drawing.of_prompts(state.prompts)
        with self._host.silently():
            if state.plane != self._host.find_plane():
                turn_to_plane(image, viewer.dims, state.plane)
            self._source.write(image, state.plane, viewer.dims.point, drawing)
        self._host.show_plane()  # its pixels may measure something else by now

    def _on_settings_changed(self, settings: Settings) -> None:
        """Polygons mean something else to the model now."""
        if settings.rough_use != self._rough_use:
            self._rough_use = settings.rough_use
            self._on_prompts_changed()
