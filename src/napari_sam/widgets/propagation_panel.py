"""Propagation: what, where to, when it ends, and how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_sam.widgets.layer_combo import form_label, make_form, narrow
from napari_sam.widgets.limits_panel import LimitsPanel
from napari_sam.widgets.quality_strip import QualityStrip, describe_plane
from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.inference.propagation_values import PropagationParams
    from napari_sam.types import Progress
    from napari_sam.viewer.propagation_desk import PropagationDesk, What
    from napari_sam.viewer.propagation_view import PropagationView

__all__ = ["PropagationPanel", "PropagationSection"]

WHAT: tuple[tuple[What, str, str], ...] = (
    (
        "auto",
        "what is clicked",
        "The object that your prompts mean, on whichever planes; else the selected label.",
    ),
    ("selected", "selected label", "The label that is selected in the layer of 'Write to'."),
    ("plane", "all of this plane", "Every object of the layer of 'Write to' that is on this plane."),
)
DIRECTIONS = (
    ("both", "both ways"),
    ("forward", "forward only"),
    ("backward", "backward only"),
)


class PropagationPanel(QWidget):
    """The face of a ``PropagationDesk``.

    Parameters
    ----------
    desk : PropagationDesk
        What does it.
    """

    def __init__(self, desk: PropagationDesk) -> None:
        super().__init__()
        self.desk = desk
        self.what = narrow(QComboBox())
        self.what.addItems([text for _, text, _ in WHAT])
        self.what.setToolTip("\n".join(f"{text}: {tip}" for _, text, tip in WHAT))
        self.direction = narrow(QComboBox())
        self.direction.addItems([text for _, text in DIRECTIONS])
        self.direction.setToolTip("From the planes where the object is known, which way to go.")
        self.axis = narrow(QComboBox())
        self.axis.setToolTip("Along which of the image's axes.")
        self.first, self.last = _spin("First plane to change."), _spin("Last plane to change.")
        self.whole = QPushButton("All")
        self.whole.setToolTip("Change all planes of the stack.")
        self.propagate = QPushButton("Propagate")
        self.propagate.setToolTip("Follow the object through the stack, as one step of Undo (Shift-G).")
        font = self.propagate.font()
        font.setBold(True)
        self.propagate.setFont(font)
        self.correct = QPushButton("Correct")
        self.correct.setToolTip(
            "Follow the object again from what you corrected: planes that you painted in are kept, clicks on "
            "any plane (also background ones) and stops count. Only planes that they affect are done anew."
        )
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop at the next plane; what is found is written.")
        self.stop = QPushButton("Stop here")
        self.stop.setCheckable(True)
        self.stop.setToolTip(
            "The object does not enter the plane that is shown, nor goes beyond it (Shift-E)."
        )
        self.progress = QProgressBar()
        self.progress.setToolTip("How far the propagation is.")
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.strip = QualityStrip()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setMinimumHeight(3 * self.text.fontMetrics().lineSpacing())
        self.text.setToolTip("The object that the strip shows, and the plane that the viewer shows.")
        self.object = narrow(QComboBox())
        self.object.setToolTip("Which object of the last run the strip shows.")
        self.previous = QPushButton("◀ Flag")
        self.previous.setToolTip("To the flagged plane before this one (Shift-K).")
        self.next = QPushButton("Flag ▶")
        self.next.setToolTip("To the next flagged plane (Shift-J).")
        self.limits = LimitsPanel(desk)
        self._axes: Sequence[int] = ()
        self._labels: tuple[int, ...] = ()
        self._count = 0
        self._lay_out()
        self._connect()
        self.show_progress(None)
        self.show_desk()

    # ------------------------------------------------------------- wiring
    def _lay_out(self) -> None:
        form = make_form()
        form.addRow(form_label("What"), self.what)
        form.addRow(form_label("Direction"), self.direction)
        self._axis_label = form_label("Along")
        form.addRow(self._axis_label, self.axis)
        planes = QHBoxLayout()
        planes.setSpacing(4)
        planes.addWidget(self.first, 1)
        planes.addWidget(QLabel("to"))
        planes.addWidget(self.last, 1)
        planes.addWidget(self.whole)
        form.addRow(form_label("Planes"), planes)
        buttons = QGridLayout()
        buttons.setSpacing(6)
        buttons.addWidget(self.propagate, 0, 0)
        buttons.addWidget(self.correct, 0, 1)
        buttons.addWidget(self.stop, 1, 0)
        buttons.addWidget(self.cancel, 1, 1)
        flags = QHBoxLayout()
        flags.addWidget(self.previous)
        flags.addWidget(self.object, 1)
        flags.addWidget(self.next)
        self.ends = Section(
            "When it ends", self.limits, "Where an object is taken to end, and what is flagged."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self.strip)
        layout.addWidget(self.text)
        layout.addLayout(flags)
        layout.addWidget(self.ends)

    def _connect(self) -> None:
        desk = self.desk
        desk.changed.connect(self.show_desk)
        desk.progressed.connect(self.show_progress)
        self.propagate.clicked.connect(lambda: desk.propagate(WHAT[self.what.currentIndex()][0]))
        self.correct.clicked.connect(lambda: desk.correct())
        self.cancel.clicked.connect(lambda: desk.cancel())
        self.stop.clicked.connect(lambda: desk.toggle_stop())
        self.previous.clicked.connect(lambda: desk.go_to_flag(-1))
        self.next.clicked.connect(lambda: desk.go_to_flag(1))
        self.strip.plane_chosen.connect(desk.go_to)
        self.strip.flag_asked.connect(desk.go_to_flag)
        self.object.activated.connect(lambda index: desk.look_at(self._labels[index]))
        self.axis.activated.connect(self._on_axis_activated)
        self.direction.activated.connect(lambda i: desk.set_params(direction=DIRECTIONS[i][0]))
        self.first.valueChanged.connect(self._on_range_changed)
        self.last.valueChanged.connect(self._on_range_changed)
        self.whole.clicked.connect(lambda: desk.set_params(first=None, last=None))

    # ------------------------------------------------------------- showing
    def show_progress(self, progress: Progress | None) -> None:
        """Show how far the job is; None when none runs."""
        self.progress.setVisible(progress is not None)
        self.cancel.setEnabled(progress is not None)
        if progress is not None:
            self.progress.setRange(0, progress.total)
            self.progress.setValue(min(progress.done, progress.total))

    def show_desk(self) -> None:
        """Show what the desk has now; emits nothing."""
        view = self.desk.view
        self._show_params(self.desk.params, view.count)
        self._show_axes(self.desk.axes)
        self._show_labels(view)
        self.strip.show_view(view)
        self.stop.setChecked(view.shown in view.stops)
        self.text.setText(_describe(view))
        ready = view.count > 1 and not view.running
        for part in (self.propagate, self.what, self.direction, self.axis, self.first, self.last, self.whole):
            part.setEnabled(ready)
        self.correct.setEnabled(ready and bool(view.label))
        self.stop.setEnabled(ready)
        for part in (self.previous, self.next):
            part.setEnabled(bool(view.flags))

    def _show_params(self, params: PropagationParams, count: int) -> None:
        self.direction.setCurrentIndex([name for name, _ in DIRECTIONS].index(params.direction))
        self.limits.show_params(params)
        self._count = count
        for spin, value in (
            (self.first, 0 if params.first is None else params.first),
            (self.last, count - 1 if params.last is None else params.last),
        ):
            spin.blockSignals(True)
            spin.setRange(0, max(count - 1, 0))
            spin.setValue(value)
            spin.blockSignals(False)

    def _show_axes(self, axes: Sequence[int]) -> None:
        if axes != self._axes:
            self._axes = axes
            self.axis.clear()
            self.axis.addItems(list(self.desk.axis_names))
        if axes:
            chosen = self.desk.axis
            self.axis.setCurrentIndex(axes.index(chosen) if chosen in axes else len(axes) - 1)
        for part in (self.axis, self._axis_label):
            part.setVisible(len(axes) > 1)

    def _show_labels(self, view: PropagationView) -> None:
        if view.labels != self._labels:
            self._labels = view.labels
            self.object.clear()
            self.object.addItems([f"object {label}" if label else "new object" for label in view.labels])
        if view.label in view.labels:
            self.object.setCurrentIndex(view.labels.index(view.label))
        self.object.setVisible(len(view.labels) > 1)

    # ------------------------------------------------------------- handlers
    def _on_axis_activated(self, index: int) -> None:
        self.desk.axis = self._axes[index]

    def _on_range_changed(self, _: int) -> None:
        first, last = self.first.value(), self.last.value()
        if first > last:  # the other one is pushed along
            first = last = first if self.sender() is self.first else last
        self.desk.set_params(
            first=None if first == 0 else first, last=None if last == self._count - 1 else last
        )


class PropagationSection(Section):
    """The panel under its title.

    Parameters
    ----------
    desk : PropagationDesk
        What does it.
    """

    def __init__(self, desk: PropagationDesk) -> None:
        self.panel = PropagationPanel(desk)
        super().__init__("Stack", self.panel, "Follow objects through the planes of a stack, along z or t.")


def _spin(tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setToolTip(tip)
    spin.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)  # arrow keys and the wheel do
    spin.setStyleSheet("QSpinBox { min-width: 30px; }")  # napari's own is 90
    spin.setKeyboardTracking(False)
    return spin


def _describe(view: PropagationView) -> str:
    if not view.count:
        return "Open a stack (z or t) to follow objects through it."
    if view.label is None:
        return f"{view.count} planes. Click on an object, also on several planes, then Propagate."
    there = [number for number, result in view.results.items() if result.mask is not None]
    name = f"Object {view.label}" if view.label else "New object"
    if not there:
        return f"{name}: looking …" if view.running else f"{name}: not found."
    flags = f", {len(view.flags)} flagged" if view.flags else ""
    here = f"\n{describe_plane(view.shown, view)}." if view.shown is not None else ""
    return f"{name}: planes {min(there)} to {max(there)}{flags}.{here}"
