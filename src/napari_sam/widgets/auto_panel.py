"""Segmenting everything at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QProgressBar, QPushButton, QWidget

from napari_sam.widgets.layer_combo import form_label, make_form, narrow

if TYPE_CHECKING:
    from napari_sam.types import Progress

__all__ = ["METHODS", "AutoPanel"]

METHODS = (
    ("auto", "The instance decoder where the model has one, else the grid."),
    ("instances", "The model's instance decoder: one pass over the image, fast."),
    ("grid", "A grid of points, each prompting the model: slow, works with every model."),
)


class AutoPanel(QWidget):
    """Method, start, progress and cancel."""

    def __init__(self) -> None:
        super().__init__()
        self.method = narrow(QComboBox())
        self.method.addItems([name for name, _ in METHODS])
        self.method.setToolTip("\n".join(f"{name}: {text}" for name, text in METHODS))
        self.segment = QPushButton("Segment everything")
        self.segment.setToolTip(
            "Find every object of the plane that is shown; fills a new layer 'SAM labels'."
        )
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop what is being computed; nothing of yours is changed.")
        self.progress = QProgressBar()
        self.progress.setToolTip("How far the segmentation is.")
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        form = make_form()
        form.addRow(form_label("Method"), self.method)
        for control in (self.segment, self.progress, self.cancel):
            form.addRow(control)
        self.setLayout(form)
        self.show_progress(None)

    def show_progress(self, progress: Progress | None) -> None:
        """Show how far the job is; None when none runs."""
        self.progress.setVisible(progress is not None)
        self.segment.setEnabled(progress is None)
        if progress is not None:
            self.progress.setRange(0, progress.total)
            self.progress.setValue(min(progress.done, progress.total))
