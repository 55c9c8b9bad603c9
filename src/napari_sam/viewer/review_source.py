"""Which layer is reviewed, and what is known of its objects: measured in the worker, kept up to date.

The layer is the target of accepted objects unless the user chose another one, also of another tool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.session.jobs import BACKGROUND, Job
from napari_sam.session.object_places import iter_places
from napari_sam.session.review import worst_scores
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.planes import full_resolution, spatial_shape
from napari_sam.viewer.review_marks import read_column, read_marks, write_marks
from napari_sam.viewer.silent_changes import SilentChanges

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.object_places import ObjectPlaces
    from napari_sam.session.review import ReviewQueue
    from napari_sam.viewer.controller import Controller

__all__ = ["ReviewSource"]

SLOT = "review"
IOU = ("predicted_iou", "iou", "score")
STABILITY = ("stability", "stability_score")


@dataclass(frozen=True, slots=True)
class _Look:
    """What tells an object that came back from another one of the same id."""

    area: int
    box: tuple[int, ...]


class ReviewSource:
    """Feeds a queue from a Labels layer.

    Parameters
    ----------
    controller : Controller
        Knows the viewer, the target layer and the session.
    runner : JobRunner
        Measures.
    queue : ReviewQueue
        Is fed.
    """

    changed = Signal(object)  # another layer is reviewed: Labels | None
    listed = Signal()  # there are other layers to choose from, or they have other names
    went_stale = Signal()  # something changed; many times while one paints, so wait until it rests

    def __init__(self, controller: Controller, runner: JobRunner, queue: ReviewQueue) -> None:
        self._controller = controller
        self._runner = runner
        self._queue = queue
        self._chosen: Any = None
        self._layer: Any = None
        self._active = False
        self._writing = False
        self._looks: dict[int, _Look] = {}
        self._gone: dict[int, _Look] = {}  # marked objects that went away, and may come back by undo
        self._silent = SilentChanges(controller.viewer)
        self._silent.noticed.connect(self._on_layer_changed)
        self._connections = Connections()
        self._layer_connections = Connections()

    # ---------------------------------------------------------------- life
    def enable(self) -> None:
        """Begin to follow the layers, and measure."""
        if self._active:
            return
        self._active = True
        controller = self._controller
        self._connections.add(controller.layers_changed, self._on_layers_changed)
        self._connections.add(controller.target_changed, self._on_layers_changed)
        self._connections.add(controller.session.book.changed, self._on_book_changed)
        self._connections.add(controller.viewer.dims.events.order, self._on_layer_changed)
        self._follow()

    def disable(self) -> None:
        """Follow nothing."""
        self._active = False
        self._connections.clear()
        self._release()

    close = disable

    # ---------------------------------------------------------------- layers
    def layers(self) -> Iterator[Any]:
        """Labels layers that can be reviewed."""
        return iter(self._controller.targets())

    @property
    def layer(self) -> Any:
        """The layer that is reviewed, or None."""
        return self._layer

    def choose(self, layer: Any) -> None:
        """Review this layer; None for the one that objects are accepted into."""
        self._chosen = layer
        self._follow()

    def _follow(self) -> None:
        """Take the layer that is to be reviewed now."""
        if not self._active:
            return
        layers = list(self.layers())
        if self._chosen not in layers:
            self._chosen = None
        target = self._controller.target_layer
        layer = self._chosen or target or (layers[-1] if layers else None)
        if layer is self._layer:
            return
        self._release()
        self._layer = layer
        if layer is not None:
            self._silent.watch(layer)
            for name in ("labels_update", "data", "paint", "features"):
                emitter = getattr(layer.events, name, None)
                if emitter is not None:
                    handler = self._on_features if name == "features" else self._on_layer_changed
                    self._layer_connections.add(emitter, handler)
        self._queue.forget()
        self.changed.emit(layer)
        self.measure()

    def _release(self) -> None:
        self._layer_connections.clear()
        self._silent.close()
        self._runner.cancel(SLOT)
        self._layer = None
        self._looks, self._gone = {}, {}

    # ---------------------------------------------------------------- measuring
    def measure(self) -> None:
        """Look at all objects anew, where nobody waits for it."""
        layer = self._layer
        if layer is None:
            self._queue.show(None)
            return
        data, axes = full_resolution(layer), self._axes()
        self._runner.submit(
            Job(
                "Review",
                lambda: iter_places(data, axes),
                slot=SLOT,
                priority=BACKGROUND,
                on_done=lambda places: self._on_measured(layer, places),
                on_failed=self._controller.session.warned.emit,
            )
        )

    def _axes(self) -> tuple[int, int]:
        """The layer's axes that are seen as a plane; the last two where the view does not say."""
        layer, dims = self._layer, self._controller.viewer.dims
        shown = sorted(axis - (dims.ndim - layer.ndim) for axis in tuple(dims.displayed)[-2:])
        last = len(spatial_shape(layer)) - 1
        return (shown[0], shown[1]) if shown[0] >= 0 else (last - 1, last)

    def _on_measured(self, layer: Any, places: ObjectPlaces) -> None:
        if layer is not self._layer:
            return
        marks = self._settle_marks(places)
        iou, stability = self._scores()
        self._queue.show(places, iou, stability, marks)

    def _scores(self) -> tuple[dict[int, float], dict[int, float]]:
        """Scores of labels: what the records say, else the features table."""
        iou, stability = read_column(self._layer, IOU), read_column(self._layer, STABILITY)
        session = self._controller.session
        judged = [r for r in session.book.records(session.layer_token(self._layer)) if r.model]
        return (
            iou | worst_scores((record.label, record.predicted_iou) for record in judged),
            stability | worst_scores((record.label, record.stability) for record in judged),
        )

    # ---------------------------------------------------------------- marks
    def mark(self, labels: Collection[int], done: bool = True) -> None:
        """Mark objects as done, in the queue and in the layer's table."""
        self._queue.mark(labels, done)
        if self._layer is not None and labels:
            self._write(labels, done)

    def _write(self, labels: Collection[int], done: bool) -> None:
        self._writing = True
        try:
            write_marks(self._layer, labels, done)
        finally:
            self._writing = False

    def _settle_marks(self, places: ObjectPlaces) -> frozenset[int]:
        """The marks, less those of objects that are gone: they come back with the object, not with its id."""
        marks = read_marks(self._layer)
        looks = {
            label: _Look(area, tuple(box))
            for label, area, box in zip(
                places.labels.tolist(), places.totals.tolist(), places.boxes.tolist(), strict=True
            )
        }
        back = {label for label, look in self._gone.items() if looks.get(label) == look}
        for label in self._gone.keys() & looks.keys():
            del self._gone[label]
        lost = (marks & self._looks.keys()) - looks.keys()
        self._gone.update({label: self._looks[label] for label in lost})
        self._looks = looks
        if lost:
            self._write(lost, done=False)
        if back:
            self._write(back, done=True)
        return (marks - lost) | back

    # ---------------------------------------------------------------- handlers
    def _on_layers_changed(self, *_: Any) -> None:
        self._follow()
        self.listed.emit()

    def _on_layer_changed(self, event: Any = None) -> None:
        self.went_stale.emit()

    def _on_features(self, event: Any) -> None:
        if not self._writing:
            self.went_stale.emit()

    def _on_book_changed(self, token: Any, labels: Any) -> None:
        if self._layer is not None and token == self._controller.session.layer_token(self._layer):
            self.went_stale.emit()
