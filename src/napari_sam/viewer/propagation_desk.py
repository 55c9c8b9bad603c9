"""Propagation at the desk: which object, which planes, what to look at, and where it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.inference.propagation_values import PropagationParams
from napari_sam.session.propagating import NEW, PropagationRequest
from napari_sam.session.propagation_tracks import Stack, make_stack
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.planes import go_to_plane
from napari_sam.viewer.propagation_prompts import collect_prompts, make_clearing
from napari_sam.viewer.propagation_view import PropagationView

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from napari_sam.session.prompt_state import PromptState
    from napari_sam.session.requests import ObjectRef
    from napari_sam.session.session import Session
    from napari_sam.viewer.controller import Controller

__all__ = ["PropagationDesk", "What"]

What = Literal["auto", "prompts", "selected", "plane"]


class PropagationDesk:
    """What a panel, keys and scripts ask of propagation.

    Parameters
    ----------
    session : Session
        What computes and writes.
    controller : Controller
        Whose image, prompts and layers are used.

    Attributes
    ----------
    params : PropagationParams
        How objects are followed; set by the panel.
    """

    changed = Signal()  # ``view`` has
    progressed = Signal(object)  # Progress, or None when it is over

    def __init__(self, session: Session, controller: Controller) -> None:
        self.params = PropagationParams()
        self._session = session
        self._controller = controller
        self._axis: int | None = None
        self._label: int | None = None
        self._stack: Stack | None = None
        self._explain_before, session.prompting.explain = session.prompting.explain, self._explain
        self._connections = Connections()
        self._target_connections = Connections()
        for signal, handler in (
            (session.propagating.changed, self._on_view_changed),
            (session.propagating.progressed, self.progressed.emit),
            (session.propagating.written, self._on_propagating_written),
            (session.preview_changed, self._on_view_changed),
            (controller.image_changed, self._on_image_changed),
            (controller.target_changed, self._on_target_changed),
        ):
            self._connections.add(signal, handler)

    def close(self) -> None:
        """Listen no more; what is being followed ends with what was found."""
        self._connections.clear()
        self._target_connections.clear()
        self._session.prompting.explain = self._explain_before
        self.changed.disconnect()
        self.progressed.disconnect()
        self._session.propagating.end()

    @property
    def actions(self) -> dict[str, Callable[[], object]]:
        """What the keys do, by their names in ``SHORTCUTS``."""
        return {
            "propagate": self.propagate,
            "stop_here": self.toggle_stop,
            "flag_next": lambda: self.go_to_flag(1),
            "flag_previous": lambda: self.go_to_flag(-1),
        }

    # ------------------------------------------------------------- what is
    @property
    def axis(self) -> int | None:
        """The image's axis along which objects are followed; None for the last that is not shown."""
        return self._axis

    @axis.setter
    def axis(self, axis: int | None) -> None:
        if axis != self._axis:
            self._axis, self._stack = axis, None
            self.changed.emit()

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes to choose from."""
        plane = self._session.plane
        return () if plane is None else tuple(a for a, value in enumerate(plane.index) if value is not None)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """What they are called."""
        names = getattr(self._controller.image_layer, "axis_labels", ())
        return tuple(str(names[axis]) if axis < len(names) else f"axis {axis}" for axis in self.axes)

    @property
    def stack(self) -> Stack | None:
        """The planes; None where the image has one alone."""
        plane = self._session.plane
        if plane is None:
            return None
        stack = self._stack
        if stack is None or stack.number(plane.index) is None or stack.planes[0].source != plane.source:
            try:
                stack = make_stack(plane, self._axis if self._axis in self.axes else None)
            except SamError:
                stack = None
            self._stack = stack
        return stack

    @property
    def view(self) -> PropagationView:
        """What there is to see."""
        stack, plane = self.stack, self._session.plane
        if stack is None or plane is None:
            return PropagationView()
        propagating = self._session.propagating
        shown, running = stack.number(plane.index), propagating.is_running
        last = propagating.last
        if last is None or last[2].key != stack.key:
            layer = self._controller.target.chosen
            stops = frozenset() if layer is None else propagating.stops(layer, NEW, stack)
            return PropagationView(len(stack), shown, stops=stops, running=running)
        layer, labels, _ = last
        label = self._label if self._label is not None and self._known(layer, self._label, stack) else None
        if label is None:
            label = labels[0] if labels else None
        if label is None:
            return PropagationView(len(stack), shown, running=running)
        return PropagationView(
            len(stack),
            shown,
            label,
            labels,
            propagating.results(layer, label, stack),
            propagating.stops(layer, label, stack),
            running,
        )

    def _known(self, layer: Hashable, label: int, stack: Stack) -> bool:
        return bool(self._session.propagating.results(layer, label, stack))

    # ------------------------------------------------------------- asking
    def propagate(self, what: What | int = "auto") -> None:
        """Follow objects through the stack; the layer changes when it is over.

        Parameters
        ----------
        what : "auto", "prompts", "selected", "plane" or int
            The object that the prompts on all planes mean, the selected label of the target layer, all
            objects of the plane that is shown, or a label. "auto" takes prompts where there are any, else
            the selected label.
        """
        try:
            if what == "auto" and self._only_corrects():
                self.correct()
            else:
                self._propagate(what)
        except SamError as error:
            self._refuse(str(error))

    def correct(self) -> None:
        """Follow the object that is looked at again from what was corrected: painted, clicked, stopped."""
        view, stack, last = self.view, self.stack, self._session.propagating.last
        if not view.label or stack is None or last is None:
            self._refuse("Nothing to correct yet: propagate an object first.")
            return
        try:
            self._start((view.label,), last[0], stack, with_prompts=True)
        except SamError as error:
            self._refuse(str(error))

    def cancel(self) -> None:
        """Stop at the next plane; what is found is written."""
        self._session.propagating.cancel()
        self._session.prompting.decoding.drop_sequels()  # it has not begun while a mask is waited for

    def toggle_stop(self) -> None:
        """The object that is looked at, or else the next one, does not enter the plane that is shown."""
        stack, view = self.stack, self.view
        if stack is None or view.shown is None:
            self._refuse("Nothing to stop: open a stack, and go to the plane where it ends.")
            return
        last = self._session.propagating.last
        try:
            layer = last[0] if view.label and last is not None else self._layer(stack)
        except SamError as error:
            self._refuse(str(error))
            return
        label = view.label or NEW
        self._session.propagating.set_stops(layer, label, stack, view.stops ^ {view.shown})

    def look_at(self, label: int) -> None:
        """Show how another object was found."""
        self._label = label
        self.changed.emit()

    def go_to(self, number: int) -> None:
        """Show a plane of the stack."""
        stack, image = self.stack, self._controller.image_layer
        if stack is not None and image is not None and 0 <= number < len(stack):
            go_to_plane(image, self._controller.viewer.dims, stack.planes[number])

    def go_to_flag(self, step: int) -> None:
        """Show the next (1) or previous (-1) flagged plane, round at the ends."""
        view = self.view
        if not view.flags or view.shown is None:
            self._session.status_changed.emit("No plane is flagged.")
            return
        beyond = [f for f in view.flags if (f - view.shown) * step > 0]
        ends = (view.flags[0], view.flags[-1])
        self.go_to(min(beyond, key=lambda f: abs(f - (view.shown or 0))) if beyond else ends[step < 0])

    def _only_corrects(self) -> bool:
        """True when all that was clicked says what does not belong to the object that is looked at."""
        stack = self.stack
        found = {} if stack is None or not self.view.label else collect_prompts(self._controller, stack)
        return bool(found) and not any(prompts.has_foreground for prompts, _ in found.values())

    def _explain(self, state: PromptState) -> str:
        """What background points alone are for, on a plane with an object that was propagated."""
        view, stack = self.view, self.stack
        number = None if stack is None else stack.number(state.plane.index)
        result = None if number is None else view.results.get(number)
        if not view.label or result is None or result.mask is None or state.prompts.has_foreground:
            return ""
        return f"Background for object {view.label}: Correct (Shift-G) follows it again from this plane."

    def _propagate(self, what: What | int) -> None:
        stack = self.stack
        if stack is None or self._session.plane is None:
            raise SamError(
                "Nothing to propagate through: open a stack (z or t) and show one of its planes in 2-D."
            )
        if isinstance(what, int):
            self._start((int(what),), self._layer(stack), stack)
            return
        refined = self._session.prompting.state
        has_prompts = bool(collect_prompts(self._controller, stack))
        if what == "auto":
            what = "prompts" if has_prompts else "selected"
        if what == "prompts" and refined is not None and refined.accepted is not None:
            # a known object in hand: what was corrected is written first, which may have to wait for its mask
            self._session.prompting.accept(lambda ref: self._follow(ref, stack))
        elif what == "prompts":
            if not has_prompts:
                raise SamError("Nothing to propagate: click on an object first, or choose a label.")
            self._start((NEW,), self._layer(stack), stack, with_prompts=True)
        else:
            self._start(self._labels(what, stack), self._layer(stack), stack)

    def _follow(self, ref: ObjectRef, stack: Stack) -> None:
        """Follow an object that was just written."""
        try:
            self._start((ref.label,), ref.layer, stack)
        except SamError as error:
            self._refuse(str(error))

    def _labels(self, what: str, stack: Stack) -> tuple[int, ...]:
        layer, plane = self._controller.target_layer, self._session.plane
        if layer is None or plane is None:
            raise SamError("Accept an object first: there is no layer with objects in 'Write to'.")
        if what == "selected":
            return (int(layer.selected_label),)
        if what != "plane":
            raise SamError(f"Expected 'auto', 'prompts', 'selected', 'plane' or a label, got {what!r}.")
        found = sorted(self._session.edits.surface(self._layer(stack)).areas_in(plane.index))
        return tuple(found)

    def _layer(self, stack: Stack) -> Hashable:
        return self._controller.target.target(self._session.plane or stack.planes[0])

    def _start(
        self, labels: tuple[int, ...], layer: Hashable, stack: Stack, with_prompts: bool = False
    ) -> None:
        failure = self._session.models.failure
        if failure is not None:
            raise SamError(f"Nothing was propagated: {failure}")
        found = collect_prompts(self._controller, stack) if with_prompts else {}
        if not all(label >= 0 for label in labels):
            raise SamError(f"Expected labels of 1 or more, got {list(labels)}.")
        self._label = None
        self._session.propagating.start(
            PropagationRequest(
                stack,
                layer,
                self._session.model,
                labels,
                {number: prompts for number, (prompts, _) in found.items()},
                self.params,
                self._controller.overwrite,
                make_clearing(self._controller, stack, found),
            )
        )

    def _refuse(self, message: str) -> None:
        self._session.status_changed.emit(message)
        self._session.warned.emit(message)

    def set_params(self, **changes: Any) -> None:
        """Change how objects are followed.

        Raises
        ------
        SamError
            When a value is impossible.
        """
        self.params = replace(self.params, **changes)
        self.changed.emit()

    # ------------------------------------------------------------- handlers
    def _on_view_changed(self, *_: object) -> None:
        self.changed.emit()

    def _on_propagating_written(self, layer: Hashable, labels: tuple[int, ...]) -> None:
        """One object is selected in its layer, so that the brush corrects it and no other."""
        if len(labels) == 1 and self._controller.target.chosen == layer:
            self._controller.target_layer.selected_label = labels[0]

    def _on_image_changed(self, _: object) -> None:
        self._stack = self._axis = self._label = None
        self.changed.emit()

    def _on_target_changed(self, layer: Any) -> None:
        self._target_connections.clear()
        if layer is not None:
            self._target_connections.add(layer.events.selected_label, self._on_label_selected)

    def _on_label_selected(self, event: Any) -> None:
        """Who picks another object that was propagated sees how it was found."""
        stack, last = self.stack, self._session.propagating.last
        label = int(event.source.selected_label)
        if stack is not None and last is not None and self._known(last[0], label, stack):
            self.look_at(label)
