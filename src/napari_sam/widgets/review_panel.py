"""The face of the review: which object, how suspicious and why, what to do with it, and the lasso."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.viewer.bindings import KEYS
from napari_sam.widgets.layer_combo import LayerCombo, form_label, make_form

if TYPE_CHECKING:
    from napari_sam.session.review import ReviewItem

__all__ = ["ReviewPanel"]


class ReviewPanel(QWidget):
    """Buttons and texts; who shows it connects them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerCombo("as 'Write to'")
        self.layer.setToolTip(
            "The Labels layer whose objects are reviewed, also one that another tool has made.\n"
            "as 'Write to': the layer that accepted objects go to."
        )
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setMinimumHeight(3 * self.text.fontMetrics().lineSpacing())
        self.text.setToolTip("The object that is looked at, and why it may be wrong.")
        self.progress = QProgressBar()
        self.progress.setToolTip("How many objects are done.")
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.previous = _button("◀ Previous", "Back to the object before in the list", "review_previous")
        self.next = _button("Next ▶", "To the most suspicious object that is not done", "review_next")
        self.accept = _button("Done ✓", "The object is right: mark it, and go on", "review_accept")
        self.refine = _button(
            "Refine", "Correct the object by clicks, boxes or strokes; its id stays", "review_refine"
        )
        self.delete = _button("Delete", "Delete the object, and go on; Undo brings it back", "review_delete")
        self.follow = QCheckBox("Camera follows")
        self.follow.setChecked(True)
        self.follow.setToolTip("Move and zoom the view to the object that is looked at.")
        self.alone = QCheckBox("Hide others")
        self.alone.setToolTip("Show the object that is looked at, and no other.")
        self.lasso = _button("Lasso", "Draw around objects to delete, merge or mark many at once")
        self.lasso_delete = _button("Delete all", "Delete all objects inside the lasso, as one step of Undo")
        self.lasso_merge = _button("Merge all", "Make all objects inside the lasso one, as one step of Undo")
        self.lasso_done = _button("All done ✓", "Mark all objects inside the lasso as done")
        self._lay_out()
        self.show_item(None, 0, 0)
        self.show_lasso(None)

    def _lay_out(self) -> None:
        form = make_form()
        form.addRow(form_label("Layer"), self.layer)
        steps = QGridLayout()
        steps.addWidget(self.previous, 0, 0)
        steps.addWidget(self.next, 0, 1)
        steps.addWidget(self.accept, 1, 0, 1, 2)
        steps.addWidget(self.refine, 2, 0)
        steps.addWidget(self.delete, 2, 1)
        font = self.accept.font()
        font.setBold(True)
        self.accept.setFont(font)
        shown = QHBoxLayout()
        shown.addWidget(self.follow)
        shown.addWidget(self.alone)
        shown.addStretch(1)
        many = QGridLayout()
        for column, button in enumerate((self.lasso, self.lasso_delete)):
            many.addWidget(button, 0, column)
        for column, button in enumerate((self.lasso_merge, self.lasso_done)):
            many.addWidget(button, 1, column)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(form)
        layout.addWidget(self.text)
        layout.addWidget(self.progress)
        layout.addLayout(steps)
        layout.addLayout(shown)
        layout.addLayout(many)

    def show_item(self, item: ReviewItem | None, done: int, total: int) -> None:
        """Show the object that is looked at, and how far the review is.

        Parameters
        ----------
        item : ReviewItem or None
            The object.
        done, total : int
            Objects that are done, and all.
        """
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)
        for button in (self.accept, self.refine, self.delete):
            button.setEnabled(item is not None)
        self.next.setEnabled(done < total)
        self.previous.setEnabled(item is not None)
        if item is None:
            empty = "No objects to review in this layer yet."
            ready = f"{total - done} to do, {done} done. Next shows the most suspicious one."
            finished = f"All {total} objects are done."
            self.text.setText(empty if not total else finished if done == total else ready)
            return
        why = ", ".join(item.reasons) or "looks like the others"
        mark = ", done" if item.done else ""
        self.text.setText(
            f"Object {item.label}{mark}: {why}.\n{item.area} px, suspicion {item.suspicion:.0%}."
        )

    def show_lasso(self, count: int | None) -> None:
        """Show how many objects the lasso holds; None when none is drawn."""
        for button, least in ((self.lasso_delete, 1), (self.lasso_merge, 2), (self.lasso_done, 1)):
            button.setEnabled(count is not None and count >= least)
        self.lasso.setText("Lasso" if count is None else f"Lasso: {count}")


def _button(text: str, tip: str, key: str | None = None) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(f"{tip}." if key is None else f"{tip} ({KEYS[key]}).")
    return button
