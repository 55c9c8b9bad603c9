"""Prompting one object: the tools, where it goes, and what to do with it."""

from __future__ import annotations

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.viewer.bindings import KEYS
from napari_sam.widgets.layer_combo import LayerCombo, form_label, make_form

__all__ = ["PromptPanel"]


class PromptPanel(QWidget):
    """The controls for one object at a time."""

    label_chosen = Signal(str)  # "foreground" | "background"

    def __init__(self) -> None:
        super().__init__()
        self.points = LayerCombo("own: SAM points")
        self.points.setToolTip(
            "Points that are prompts. A feature 'label' tells foreground from background; without it all "
            "points are foreground."
        )
        self.shapes = LayerCombo("own: SAM shapes")
        self.shapes.setToolTip(
            "Shapes whose rectangles are box prompts. In a Shapes layer of your own "
            f"{KEYS['toggle_label']} stays napari's path tool."
        )
        self.click_tool = _button("Click", "Put points on the object (layer 'SAM points').")
        self.box_tool = _button("Box", "Drag a rectangle around the object (layer 'SAM shapes').")
        self.foreground = _toggle(
            "+ Object", f"The next click is on the object ({KEYS['toggle_label']} toggles)."
        )
        self.background = _toggle(
            "- Not object",
            f"The next click is on what does not belong to it ({KEYS['toggle_label']} toggles).",
        )
        self.foreground.setChecked(True)
        self._labels = QButtonGroup(self)
        self._labels.addButton(self.foreground)
        self._labels.addButton(self.background)

        self.target = LayerCombo("new layer")
        self.target.setToolTip("The Labels layer that accepted objects go to; 'new layer' makes one.")
        self.overwrite = QCheckBox("Overwrite existing objects")
        self.overwrite.setToolTip(
            "Off: an accepted object takes free pixels only. On: it also takes others' pixels."
        )
        self.accept = _button("Accept", f"Write the object under the next free id ({KEYS['accept']}).")
        self.undo = _button("Undo", f"Back to the prompts before ({KEYS['undo']}); objects stay, see Ctrl+Z.")
        self.redo = _button("Redo", f"Repeat what was undone ({KEYS['redo']}).")
        self.clear = _button("Clear", f"Take away the prompts on this plane ({KEYS['clear']}).")
        self._lay_out()
        self._labels.buttonClicked.connect(self._on_labels_clicked)

    def _lay_out(self) -> None:
        tools = QGridLayout()
        for column, button in enumerate((self.click_tool, self.box_tool)):
            tools.addWidget(button, 0, column)
        for column, toggle in enumerate((self.foreground, self.background)):
            tools.addWidget(toggle, 1, column)
        steps = QHBoxLayout()
        for button in (self.undo, self.redo, self.clear):
            steps.addWidget(button)
        accept_font = self.accept.font()
        accept_font.setBold(True)
        self.accept.setFont(accept_font)
        form = make_form()
        form.addRow(form_label("Write to"), self.target)
        form.addRow(self.overwrite)
        form.addRow(form_label("Points"), self.points)
        form.addRow(form_label("Boxes"), self.shapes)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(tools)
        layout.addWidget(self.accept)
        layout.addLayout(steps)
        layout.addSpacing(6)
        layout.addLayout(form)

    def show_label(self, label: str) -> None:
        """Mark what the next point will be; emits nothing."""
        (self.background if label == "background" else self.foreground).setChecked(True)

    def show_state(self, *, can_accept: bool, can_undo: bool, can_redo: bool, can_clear: bool) -> None:
        """Enable the buttons that would do something."""
        self.accept.setEnabled(can_accept)
        self.undo.setEnabled(can_undo)
        self.redo.setEnabled(can_redo)
        self.clear.setEnabled(can_clear)

    def _on_labels_clicked(self) -> None:
        self.label_chosen.emit("background" if self.background.isChecked() else "foreground")


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _toggle(text: str, tip: str) -> QPushButton:
    button = _button(text, tip)
    button.setCheckable(True)
    return button
