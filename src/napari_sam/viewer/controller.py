"""Joins a napari viewer and a session: layer events go in, previews and labels come out."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.viewer.auto_sink import AutoSink
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.hover_watch import HoverWatch
from napari_sam.viewer.layer_lists import LayerLists, is_users_image
from napari_sam.viewer.object_target import ObjectTarget
from napari_sam.viewer.planes import locate_plane, same_frame, spatial_shape
from napari_sam.viewer.prompt_flow import PromptFlow
from napari_sam.viewer.prompt_source import PromptSource
from napari_sam.viewer.refining import Refiner
from napari_sam.viewer.region_source import VISIBLE, read_region, read_view
from napari_sam.viewer.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_sam.session.auto_requests import RegionChoice
    from napari_sam.session.requests import Plane, Preview
    from napari_sam.session.session import Session

__all__ = ["Controller"]


class Controller(LayerLists):
    """What connects the two; ``enable`` makes its connections, ``disable`` ends them.

    It writes into layers of its own and into the target the user chose, into no others.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer.
    session : Session
        The session; its sink becomes this controller's target.

    Attributes
    ----------
    prompts : PromptSource
        The prompt layers in use.
    target : ObjectTarget
        Where accepted objects go.
    objects : AutoSink
        Shows automatic objects.
    flow : PromptFlow
        From the prompt layers to the session and back.
    tools : Tools
        What is in the user's hand.
    refiner : Refiner
        Takes existing labels into hand.
    hover : HoverWatch
        Shows what a click would give.
    call_soon : callable
        Runs a function when the window's loop comes round; at once where there is no window.
    """

    image_changed = Signal(object)  # Image | None
    target_changed = Signal(object)  # Labels | None
    layers_changed = Signal()  # layers were added, removed, renamed or moved

    def __init__(self, viewer: Any, session: Session) -> None:
        super().__init__(viewer)
        self.session = session
        self.target = session.sink = ObjectTarget(self)
        self.target.changed.connect(self.target_changed.emit)
        self.image_changed.connect(self.target.follow)
        self.writer = self.target.writer
        self._image: Any = None
        self.prompts = PromptSource()
        self.call_soon: Callable[[Callable[[], None]], None] = _call
        self.flow = PromptFlow(self, session, self.prompts)
        self.tools = Tools(self)
        self.refiner = Refiner(self, session)
        self.hover = HoverWatch(self, session)
        self._source: object = object()
        self.objects = AutoSink(self, session.auto)
        self._silent = 0
        self._connections = Connections()
        self._image_connections = Connections()

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
            (dims.events.ndisplay, self._on_view_turned),
            (dims.events.ndim, self._on_dims_moved),
            (session.preview_changed, self._on_preview_changed),
            (session.warned, show_warning),
        ):
            self._connections.add(signal, handler)
        for part in (self.flow, self.tools, self.hover):
            part.enable()
        for layer in layers:
            self._connections.add(layer.events.name, self._on_layers_renamed)
        active = layers.selection.active
        self.image_layer = active if is_users_image(active) else next(self.images(), None)

    def disable(self) -> None:
        """Let go of everything; all layers stay."""
        self._connections.clear()
        self._image_connections.clear()
        for part in (self.flow, self.tools, self.hover):
            part.disable()
        self.prompts.release()
        self.objects.close()
        self.target.close()
        self._own.forget()
        self._image = None

    def hide_preview(self) -> None:
        """Empty the preview, for a widget that closes while its viewer stays."""
        self._own.show(None)

    # ------------------------------------------------------------- layers
    @property
    def image_layer(self) -> Any:
        """The image that is segmented, or None."""
        return self._image

    @image_layer.setter
    def image_layer(self, layer: Any) -> None:
        if layer is self._image:
            return
        self._image_connections.clear()
        kept = self._image is not None and layer is not None and same_frame(self._image, layer)
        self._image = layer
        self._source = object()
        self.prompts.forget()
        self.session.forget()
        if layer is not None:
            self._image_connections.add(layer.events.data, self._on_image_data)
            for signal in ("scale", "translate", "rotate", "shear", "affine", "units"):
                self._image_connections.add(getattr(layer.events, signal), self._on_image_transform)
            with self.silently():
                if not kept:
                    self._remove_own()
                self.make_own()
        self.image_changed.emit(layer)
        self.show_plane(loud=layer is not None)

    @property
    def target_layer(self) -> Any:
        """Where accepted objects go; None for a new layer."""
        return self.target.layer

    @target_layer.setter
    def target_layer(self, layer: Any) -> None:
        self.target.layer = layer

    @property
    def overwrite(self) -> bool:
        """Whether accepted objects take the pixels of others."""
        return self.session.prompting.accepting.rule.keep == "overwrite"

    @overwrite.setter
    def overwrite(self, value: bool) -> None:
        accepting = self.session.prompting.accepting
        accepting.rule = replace(accepting.rule, keep="overwrite" if value else "pixels")

    def use_points(self, layer: Any) -> None:
        """Take points of this layer as prompts; None for "SAM points"."""
        self._complete(layer, self.prompts.shapes)

    def use_shapes(self, layer: Any) -> None:
        """Take rectangles of this layer as prompts; None for "SAM shapes"."""
        self._complete(self.prompts.points, layer)

    def draw(self, what: str) -> None:
        """Put a tool into the user's hand; "points" and "box" among them."""
        self.tools.choose("click" if what == "points" else what)

    def make_own(self) -> bool:
        """Add those of our layers that are missing; False where there is no image to lie on."""
        if self._image is None:
            return False
        self._complete(self.prompts.points, self.prompts.shapes)
        return True

    def toggle_label(self) -> None:
        """Flip what is selected, else what the next click or scribble will be."""
        self.prompts.toggle_label(self.viewer.layers.selection.active)

    # ------------------------------------------------------------- automatic objects
    def read_region(self, where: Any, cut: bool = False) -> RegionChoice | None:
        """Where in the plane that is shown objects are to be looked for.

        Parameters
        ----------
        where : None, "visible", napari.layers.Shapes or napari.layers.Labels
            None for the whole plane.
        cut : bool
            Cut objects at the region's edge.

        Raises
        ------
        SamError
            When the region has nothing on this plane.
        """
        plane = self.session.plane
        if where is None or plane is None or self._image is None:
            return None
        if isinstance(where, str) and where == VISIBLE:
            return read_view(self._image, plane)
        return read_region(where, self._image, plane, self.viewer.dims.point, cut)

    def shows(self, plane: Plane) -> bool:
        """True while a plane is one of the image that is segmented."""
        return self._image is not None and plane.source is self._source

    def add_labels(self, plane: Plane, data: NDArray[np.integer] | list[Any], name: str) -> Labels | None:
        """Add a Labels layer on the image of a plane; None when that is not the image any more."""
        if not self.shows(plane):
            return None
        return self._own.add_labels(self._image, data, name)

    # ------------------------------------------------------------- our layers
    def _complete(self, points: Any, shapes: Any) -> None:
        if self._image is not None:
            with self.silently():
                points, shapes = self._own.complete(self._image, points, shapes)
        self.prompts.use(points, shapes)

    def _remove_own(self) -> None:
        """Take our layers of another image away; the user's stay."""
        with self.silently():
            self._own.remove()

    # ------------------------------------------------------------- showing
    def show_plane(self, loud: bool = False) -> None:
        """Tell the session which plane is seen now."""
        if self._image is None:
            self.session.show_plane(None)
            return
        try:
            plane = self._plane()
        except SamError as error:
            self.session.show_plane(None)
            self.session.status_changed.emit(str(error))
            if loud:
                self.session.warned.emit(str(error))
            return
        known = self.session.plane
        if known is None or plane != known or plane.measure != known.measure:
            self.session.show_plane(plane, *self.flow.read(plane))

    def _plane(self) -> Plane:
        return locate_plane(self._image, self.viewer.dims, self._source)

    def find_plane(self) -> Plane | None:
        """The plane that the viewer shows, None where it shows none."""
        try:
            return None if self._image is None else self._plane()
        except SamError:
            return None

    @property
    def is_silent(self) -> bool:
        """True while layers are changed here."""
        return self._silent > 0

    @contextmanager
    def silently(self) -> Iterator[None]:
        """Layer events that we cause ourselves say nothing new."""
        self._silent += 1
        try:
            yield
        finally:
            self._silent -= 1

    # ------------------------------------------------------------- handlers
    def show_hover(self, preview: Preview | None) -> None:
        """Show what a click would give; None for the answer to the prompts again."""
        self._own.show(preview or self.session.preview, hover=preview is not None)

    def _on_preview_changed(self, preview: Preview | None) -> None:
        self.session.hovering.stop()  # what it shows is about other prompts
        if preview is not None and self._own.preview is None:
            self.make_own()
        self._own.show(preview)

    def _on_dims_moved(self, event: Any) -> None:
        if not self._silent:
            self.show_plane()

    def _on_view_turned(self, event: Any) -> None:
        """To 2-D or 3-D, which is told once, and not again at every step of a slider."""
        if not self._silent:
            self.show_plane(loud=self.viewer.dims.ndisplay == 3)

    def _on_image_data(self, event: Any) -> None:
        """The image's pixels were replaced: what was found in them is stale."""
        self._source = object()
        preview = self._own.preview
        if preview is not None and preview.data.shape != spatial_shape(self._image):
            self._remove_own()
            self.make_own()
        self.session.forget()
        self.show_plane()

    def _on_image_transform(self, event: Any) -> None:
        with self.silently():
            self._own.follow(self._image)
        self.show_plane()

    def _on_layers_inserted(self, event: Any) -> None:
        self._connections.add(event.value.events.name, self._on_layers_renamed)
        if self._image is None and is_users_image(event.value):
            self.image_layer = event.value
        self.layers_changed.emit()

    def _on_layers_removed(self, event: Any) -> None:
        layer = event.value
        self._connections.remove(layer.events.name)
        self._own.discard(layer)
        self.objects.discard(layer)
        self.target.discard(layer)
        points, shapes = self.prompts.points, self.prompts.shapes
        if layer is points or layer is shapes:
            self.prompts.use(None if layer is points else points, None if layer is shapes else shapes)
        if layer is self._image:
            self.session.cancel()
            # the user chooses the next one: while a viewer closes, no layer may be added
            self.image_layer = None
        self.layers_changed.emit()

    def _on_layers_renamed(self, event: Any) -> None:
        self.layers_changed.emit()


def _call(action: Callable[[], None]) -> None:
    action()
