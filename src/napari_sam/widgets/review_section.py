"""The collapsible section "Review": joins queue, layer, camera, lasso and panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_sam.errors import SamError
from napari_sam.session.review import ReviewQueue
from napari_sam.session.review_edits import delete_objects, merge_objects
from napari_sam.viewer.lasso import Lasso
from napari_sam.viewer.planes import locate_plane
from napari_sam.viewer.review_camera import ReviewFrame, look_at
from napari_sam.viewer.review_source import ReviewSource
from napari_sam.widgets.review_panel import ReviewPanel
from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.requests import Plane
    from napari_sam.session.review import ReviewItem
    from napari_sam.viewer.controller import Controller

__all__ = ["ReviewSection"]

RESTS_MS = 300
"""A layer that nobody has changed for so long is measured anew."""


class ReviewSection:
    """Going through the objects of a layer; nothing is computed before the section is opened.

    Parameters
    ----------
    controller : Controller
        Knows viewer, session and layers.
    runner : JobRunner
        Measures in the background.

    Attributes
    ----------
    queue : ReviewQueue
        What is reviewed.
    section : Section
        To be laid out.
    """

    def __init__(self, controller: Controller, runner: JobRunner) -> None:
        self._controller = controller
        self.queue = ReviewQueue()
        self.source = ReviewSource(controller, runner, self.queue)
        self.lasso = Lasso(controller.viewer)
        self.frame = ReviewFrame(controller.viewer)
        self.panel = ReviewPanel()
        self.section = Section(
            "Review", self.panel, "Go through the objects of a layer, the most suspicious first."
        )
        self._rest = QTimer(self.section)
        self._rest.setSingleShot(True)
        self._rest.setInterval(RESTS_MS)
        self._inside: tuple[int, ...] = ()
        self._alone: Any = None  # the layer that shows one object only, by our doing
        self._connect()

    @property
    def actions(self) -> Mapping[str, Callable[[], object]]:
        """What the keys do."""
        return {
            "review_next": self.next,
            "review_previous": self.previous,
            "review_accept": self.accept,
            "review_refine": self.refine,
            "review_delete": self.delete,
        }

    def _connect(self) -> None:
        panel, queue, source = self.panel, self.queue, self.source
        self.section.toggled.connect(self._on_section_toggled)
        self._rest.timeout.connect(source.measure)
        source.went_stale.connect(self._on_source_stale)
        source.changed.connect(self._on_source_changed)
        source.listed.connect(self._on_source_listed)
        queue.changed.connect(self._on_queue_changed)
        queue.moved.connect(self._on_queue_moved)
        self.lasso.drawn.connect(self._on_lasso_drawn)
        panel.layer.chosen.connect(source.choose)
        panel.alone.toggled.connect(self._on_alone_toggled)
        for button, action in (
            (panel.next, self.next),
            (panel.previous, self.previous),
            (panel.accept, self.accept),
            (panel.refine, self.refine),
            (panel.delete, self.delete),
            (panel.lasso, self.draw_lasso),
            (panel.lasso_delete, self.delete_inside),
            (panel.lasso_merge, self.merge_inside),
            (panel.lasso_done, self.accept_inside),
        ):
            button.clicked.connect(lambda _checked=False, action=action: action())

    # ------------------------------------------------------------- life
    def hide(self) -> None:
        """Take frame and lasso out of the viewer, for a widget that closes while its viewer stays."""
        self._rest.stop()
        self._show_alone(False)
        self.frame.hide()
        self.lasso.end()

    def close(self) -> None:
        """Let go of viewer and layers; touches no widget."""
        source, queue = self.source, self.queue
        heard = (source.went_stale, source.changed, source.listed, queue.changed, queue.moved)
        for signal in (*heard, self.lasso.drawn):
            signal.disconnect()
        source.close()
        self.lasso.close()
        self.frame.forget()
        self._alone = None

    # ------------------------------------------------------------- one object
    def next(self) -> None:
        """Look at the next object that is not done."""
        if self._begin() and not self.queue.next():
            self._say("All objects are done.")

    def previous(self) -> None:
        """Look at the object before."""
        if self._begin() and not self.queue.previous():
            self._say("This is the first object of the list.")

    def accept(self) -> None:
        """Mark the object as done, and look at the next one."""
        item = self._current()
        if item is not None:
            self.source.mark([item.label])
            if not self.queue.next():
                self._say(f"Object {item.label} is done, and so are all others.")

    def delete(self) -> None:
        """Delete the object, and look at the next one."""
        item = self._current()
        if item is not None and self._edit(delete_objects, [item.label]):
            self._say(f"Object {item.label} deleted; Undo brings it back.")

    def refine(self) -> None:
        """Correct the object by prompts, under its id."""
        item = self._current()
        if item is None:
            return
        look_at(self._controller.viewer, self.source.layer, item, move=False)
        try:
            self._controller.refiner.refine(self.source.layer, item.label)
        except SamError as error:
            self._controller.session.warned.emit(str(error))

    def _begin(self) -> bool:
        """Open the section where a key was pressed before; False while nothing is known of the objects."""
        if not self.section.is_open:
            self.section.open()
        if self.source.layer is None:
            self._say("Nothing to review: there is no Labels layer yet.")
        return bool(self.queue.labels)

    def _current(self) -> ReviewItem | None:
        item = self.queue.current if self.section.is_open else None
        if item is None:
            self._say("No object is looked at: press Next in the section Review first.")
        return item

    def _edit(self, change: Callable[..., Any], labels: Sequence[int]) -> bool:
        """Change objects as one step that can be undone; False when that was refused."""
        layer, plane = self.source.layer, self._plane()
        item = self.queue.item(labels[0])
        if layer is None or (plane is None and item is None):
            return False
        like = plane.index if plane is not None else item.plane  # type: ignore[union-attr]
        session = self._controller.session
        try:
            change(session.edits, session.layer_token(layer), labels, like)
        except SamError as error:
            session.warned.emit(str(error))
            return False
        session.state_changed.emit()
        self._rest.stop()
        self.source.measure()
        return True

    def _plane(self) -> Plane | None:
        """The plane of the reviewed layer that is shown."""
        layer = self.source.layer
        try:
            return None if layer is None else locate_plane(layer, self._controller.viewer.dims, id(layer))
        except SamError:
            return None

    def _say(self, text: str) -> None:
        self._controller.session.status_changed.emit(text)

    # ------------------------------------------------------------- many objects
    def draw_lasso(self) -> None:
        """Have the user draw around objects; what was drawn before is taken away."""
        self._begin()
        if self.source.layer is not None:
            self.lasso.draw(self.source.layer)
            self._say("Draw around objects: press and drag; they are counted when the outline is closed.")

    @property
    def inside(self) -> tuple[int, ...]:
        """Objects inside the lasso."""
        return self._inside

    def delete_inside(self) -> None:
        """Delete all objects inside the lasso, as one step."""
        count = len(self._inside)
        if count and self._edit(delete_objects, self._inside):
            self._finish_lasso(f"{count} objects deleted; Undo brings them back.")

    def merge_inside(self) -> None:
        """Make all objects inside the lasso one, as one step."""
        count = len(self._inside)
        if count > 1 and self._edit(merge_objects, self._inside):
            self._finish_lasso(f"{count} objects merged into {min(self._inside)}; Undo takes that back.")

    def accept_inside(self) -> None:
        """Mark all objects inside the lasso as done."""
        count = len(self._inside)
        if count:
            self.source.mark(self._inside)
            self._finish_lasso(f"{count} objects marked as done.")

    def _finish_lasso(self, text: str) -> None:
        self.lasso.end()
        self._say(text)

    def _on_lasso_drawn(self) -> None:
        layer, plane = self.source.layer, self._plane()
        drawn = self.lasso.layer is not None and len(self.lasso.layer.data) > 0
        self._inside = () if layer is None or plane is None else self.lasso.labels_inside(layer, plane)
        self.panel.show_lasso(len(self._inside) if drawn else None)
        if drawn:
            self._say(f"{len(self._inside)} objects inside the lasso.")

    # ------------------------------------------------------------- showing
    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self.source.enable()
            self._on_source_changed(self.source.layer)
            self._on_queue_moved(self.queue.current)
        else:
            self.hide()
            self.source.disable()

    def _on_source_stale(self) -> None:
        self._rest.start()

    def _on_source_changed(self, layer: Any) -> None:
        self._show_alone(False)
        self.lasso.end()
        self.frame.hide()
        self._on_source_listed()

    def _on_source_listed(self) -> None:
        layer, target = self.source.layer, self._controller.target_layer
        layers = list(self.source.layers())
        self.panel.layer.show_layers(layers, layer if layer is not target else None)

    def _on_queue_changed(self) -> None:
        queue = self.queue
        done, total = len(queue.done), len(queue.labels)
        self.panel.show_item(queue.current, done, total)
        self.section.set_title(f"Review · {total - done} to do, {done} done" if total else "Review")

    def _on_queue_moved(self, item: ReviewItem | None) -> None:
        layer = self.source.layer
        self.panel.show_item(item, len(self.queue.done), len(self.queue.labels))
        if item is None or layer is None:
            self.frame.hide()
            self._show_alone(False)
            return
        look_at(self._controller.viewer, layer, item, move=self.panel.follow.isChecked())
        self.frame.show(layer, item)
        self._show_alone(self.panel.alone.isChecked())

    def _on_alone_toggled(self, checked: bool) -> None:
        self._show_alone(checked and self.queue.current is not None)

    def _show_alone(self, alone: bool) -> None:
        """Show the selected object of the layer only, or let all be seen again."""
        if self._alone is not None:
            self._alone.show_selected_label = False
            self._alone = None
        if alone and self.source.layer is not None:
            self._alone = self.source.layer
            self._alone.show_selected_label = True
