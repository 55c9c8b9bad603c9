"""Segmenting everything at once: how, where, where to, and what of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_sam.viewer.region_source import VISIBLE
from napari_sam.widgets.layer_combo import LayerCombo, form_label, make_form, narrow
from napari_sam.widgets.section import Section
from napari_sam.widgets.threshold_panel import ThresholdPanel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_sam.session.auto_requests import AutoState
    from napari_sam.types import Progress

__all__ = ["METHODS", "SCOPES", "AutoPanel"]

SCOPES = (
    ("plane", "this plane", "The plane that is shown; thresholds change the result live."),
    (
        "z",
        "whole stack (z)",
        "Every plane, as sections of one volume: an object keeps its id in all of them.",
    ),
    ("t", "whole series (t)", "Every frame, as a time series: objects are tracked, divisions found."),
)

METHODS = (
    ("auto", "The instance decoder where the model has one, else the grid."),
    ("instances", "The model's instance decoder: one pass over the image, fast."),
    ("grid", "A grid of points, each prompting the model: slow, works with every model."),
)


class AutoPanel(QWidget):
    """Method, region, result, start, progress and cancel; below them the thresholds."""

    def __init__(self) -> None:
        super().__init__()
        self.method = narrow(QComboBox())
        self.method.addItems([name for name, _ in METHODS])
        self.method.setToolTip("\n".join(f"{name}: {text}" for name, text in METHODS))
        self.scope = narrow(QComboBox())
        for _, name, text in SCOPES:
            self.scope.addItem(name)
            self.scope.setItemData(self.scope.count() - 1, text, Qt.ItemDataRole.ToolTipRole)
        self.scope.setToolTip("\n".join(f"{name}: {text}" for _, name, text in SCOPES))
        self.region = LayerCombo("whole plane", (("visible region", VISIBLE),))
        self.region.setToolTip(
            "Where to look: the whole plane, what of it is in view, or inside a Shapes or Labels layer. "
            "Objects count whose centre is inside."
        )
        self.cut = QCheckBox("Cut objects at the region's edge")
        self.cut.setToolTip(
            "On: the layer is a mask of the foreground, nothing is drawn outside it. Off: objects whose "
            "centre is inside are kept whole."
        )
        self.result = narrow(QComboBox())
        self.result.addItems(["new layer", "gaps of 'Write to'"])
        self.result.setToolTip(
            "new layer: a Labels layer named after the image.\ngaps of 'Write to': the layer that is chosen "
            "there; its objects stay as they are, fragments between them are left out."
        )
        self.segment = QPushButton("Segment everything")
        self.segment.setToolTip(
            "Find every object of the plane that is shown; they appear as they are found."
        )
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop what is being computed; what is finished is kept.")
        self.progress = QProgressBar()
        self.progress.setToolTip("How far the segmentation is.")
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.thresholds = ThresholdPanel()
        self.section = Section(
            "Thresholds", self.thresholds, "Which of the candidates that were found are objects."
        )
        self._had_result = False
        form = make_form()
        self._scope_label = form_label("Scope")
        form.addRow(self._scope_label, self.scope)
        form.addRow(form_label("Method"), self.method)
        form.addRow(form_label("Within"), self.region)
        form.addRow(self.cut)
        form.addRow(form_label("Result"), self.result)
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        buttons.addWidget(self.segment, 2)
        buttons.addWidget(self.cancel, 1)
        form.addRow(buttons)
        form.addRow(self.progress)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(form)
        layout.addWidget(self.section)
        self.scope.currentIndexChanged.connect(self._on_scope_changed)
        self.show_progress(None)
        self.show_regions((), None)
        self.show_stack(False)

    @property
    def axis(self) -> str | None:
        """Along what the whole stack is segmented, "z" or "t"; None for this plane alone."""
        return None if self.scope.currentIndex() <= 0 else SCOPES[self.scope.currentIndex()][0]

    def show_stack(self, is_stack: bool) -> None:
        """Offer the whole stack where the image has more than one plane."""
        if not is_stack:
            self.scope.setCurrentIndex(0)
        self.scope.setVisible(is_stack)
        self._scope_label.setVisible(is_stack)

    def _on_scope_changed(self, index: int) -> None:
        """The result of a stack is a layer of its own, whose ids no slider may change."""
        self.result.setEnabled(index <= 0)
        self.segment.setText("Segment everything" if index <= 0 else "Segment all planes")

    def show_progress(self, progress: Progress | None) -> None:
        """Show how far the job is; None when none runs."""
        self.progress.setVisible(progress is not None)
        self.segment.setEnabled(progress is None)
        if progress is not None:
            self.progress.setRange(0, progress.total)
            self.progress.setValue(min(progress.done, progress.total))

    def show_state(self, state: AutoState) -> None:
        """Show the last result and its thresholds, which unfold when the first is there; emits nothing."""
        self.thresholds.show_state(state)
        if state.active and not self._had_result:
            self._had_result = True
            self.section.open()

    def show_regions(self, layers: Iterable[Any], current: Any) -> None:
        """List the layers that can be a region, and mark the one in use; emits nothing."""
        self.region.show_layers(layers, current)
        self.cut.setVisible(current is not None and current != VISIBLE)
