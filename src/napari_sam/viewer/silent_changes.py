"""Changes of layers that nobody tells: by napari's own undo, and by scripts that refresh the layer.

All that is heard of them is that the layer is drawn anew, as it also is when another plane is shown, or the
same one in other colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from napari.layers import Labels
from psygnal import Signal

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["SilentChanges", "is_redrawn", "redraw"]

_redrawn: WeakSet[Any] = WeakSet()  # layers that ``redraw`` is at


def redraw(layer: Labels) -> None:
    """Draw a layer anew that we wrote into; whoever calls this tells in which planes."""
    _redrawn.add(layer)
    try:
        layer.refresh(extent=False)
    finally:
        _redrawn.discard(layer)


def is_redrawn(layer: Labels) -> bool:
    """True while ``redraw`` is at a layer; which planes changed is told elsewhere then."""
    return layer in _redrawn


class SilentChanges:
    """Notices when a layer is drawn anew though nothing else of it is shown, and it looks as before.

    Labels are also noticed when they are shown again. Images are not: one hides them to see the labels, and
    all that was found in them would be looked for again. What was written meanwhile is noticed when they are
    refreshed the next time.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Which shows the layers.
    """

    noticed = Signal(object)  # Labels or Image: any of its pixels may be others now

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._views: WeakKeyDictionary[Any, tuple[Any, ...]] = WeakKeyDictionary()

    def watch(self, layer: Labels | Image) -> None:
        """Notice changes of a layer from now on."""
        if layer not in self._views:
            self._views[layer] = self._view(layer)
            layer.events.set_data.connect(self._on_layer_set_data)
            layer.events.visible.connect(self._on_layer_visible)

    def release(self, layer: Labels | Image) -> None:
        """Leave a layer alone."""
        if self._views.pop(layer, None) is not None:
            layer.events.set_data.disconnect(self._on_layer_set_data)
            layer.events.visible.disconnect(self._on_layer_visible)

    def close(self) -> None:
        """Leave every layer alone."""
        for layer in list(self._views):
            self.release(layer)

    def _view(self, layer: Labels | Image) -> tuple[Any, ...]:
        """What of a layer is shown, and how."""
        dims = self._viewer.dims
        first = dims.ndim - layer.ndim  # the viewer's axes before it are others than the layer's
        order = tuple(axis - first for axis in dims.order if axis >= first)
        return dims.point[-layer.ndim :], order, dims.ndisplay, layer.visible, _looks(layer)

    def _on_layer_set_data(self, event: Any) -> None:
        layer = event.source
        before, self._views[layer] = self._views[layer], self._view(layer)
        if self._views[layer] == before:
            self.noticed.emit(layer)

    def _on_layer_visible(self, event: Any) -> None:
        """Shown again: a layer that is hidden is not drawn, whatever happens to it."""
        layer = event.source
        self._views[layer] = self._view(layer)
        if layer.visible and isinstance(layer, Labels):
            self.noticed.emit(layer)


def _looks(layer: Labels | Image) -> tuple[Any, ...]:
    """What else a layer is drawn anew for."""
    if isinstance(layer, Labels):
        alone = layer.selected_label if layer.show_selected_label else None
        return id(layer.colormap), alone, layer.contour
    return (layer.data_level, layer.corner_pixels.tobytes()) if layer.multiscale else ()
