"""Prompting: the modes, the tools, where objects go, and what to do with the one at hand."""

from __future__ import annotations

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.viewer.bindings import KEYS
from napari_sam.widgets.layer_combo import LayerCombo, form_label, make_form, narrow

__all__ = ["PromptPanel"]

ROUGH_USES = (("mask and box", "both"), ("rough mask", "mask"), ("box", "box"))


class PromptPanel(QWidget):
    """The controls for prompts; it shows state and emits what the user chose."""

    label_chosen = Signal(str)  # "foreground" | "background"
    tool_chosen = Signal(str)  # one of viewer.tools.TOOLS
    mode_chosen = Signal(str)  # "one" | "rapid"
    rough_use_chosen = Signal(str)  # "mask" | "box" | "both"

    def __init__(self) -> None:
        super().__init__()
        self._make_modes()
        self._make_tools()
        self._make_labels()
        self._make_actions()
        self._make_layers()
        self._lay_out()

    def _make_modes(self) -> None:
        self.one = _toggle("One by one", "Click and correct one object, then accept it.")
        self.rapid = _toggle(
            "Rapid",
            f"Each click, box or shape is an object and accepted at once ({KEYS['rapid']}); Undo takes them "
            "back one by one.",
        )
        self.hover = _toggle(
            "Hover",
            f"Show what a click under the cursor would give ({KEYS['hover']}), where the image is encoded "
            "in memory.",
        )
        self.one.setChecked(True)
        self._modes = QButtonGroup(self)
        self._modes.addButton(self.one)
        self._modes.addButton(self.rapid)
        self._modes.buttonClicked.connect(self._on_modes_clicked)

    def _make_tools(self) -> None:
        self.click_tool = _toggle("Click", "Put points on the object (layer 'SAM points').")
        self.box_tool = _toggle("Box", "Drag a rectangle around the object (layer 'SAM shapes').")
        self.scribble_tool = _toggle(
            "Scribble", "Drag a line over the object, or with '-' over what does not belong to it."
        )
        self.polygon_tool = _toggle(
            "Polygon",
            "Drag an outline around the object: a rough mask. Ellipses and polygons of the layer's own "
            "controls do the same.",
        )
        self.refine_tool = _toggle(
            "Refine",
            "Click an object of any Labels layer to correct it under its own id "
            f"({KEYS['refine']}: the one under the cursor).",
        )
        self.next_mask = _button(
            "Next mask",
            f"Another of the model's masks for the same prompts ({KEYS['next_mask']}, back with "
            f"{KEYS['previous_mask']}).",
        )
        self._tools = {
            "click": self.click_tool,
            "box": self.box_tool,
            "scribble": self.scribble_tool,
            "polygon": self.polygon_tool,
            "refine": self.refine_tool,
        }
        for name, button in self._tools.items():
            # not an exclusive group: none is down while napari has another tool in hand
            button.clicked.connect(lambda _checked=False, name=name: self._on_tool_clicked(name))
        self._tool = ""

    def _make_labels(self) -> None:
        key = KEYS["toggle_label"]
        self.foreground = _toggle("+ Object", f"The next click or scribble is on the object ({key} toggles).")
        self.background = _toggle(
            "- Not object", f"The next click or scribble is on what does not belong to it ({key} toggles)."
        )
        self.foreground.setChecked(True)
        self._labels = QButtonGroup(self)
        self._labels.addButton(self.foreground)
        self._labels.addButton(self.background)
        self._labels.buttonClicked.connect(self._on_labels_clicked)

    def _make_actions(self) -> None:
        self.accept = _button("Accept", f"Write the object into its layer ({KEYS['accept']}).")
        font = self.accept.font()
        font.setBold(True)
        self.accept.setFont(font)
        self.undo = _button("Undo", f"Take the last step back ({KEYS['undo']}).")
        self.redo = _button("Redo", f"Repeat what was undone ({KEYS['redo']}).")
        self.clear = _button("Clear", f"Take away the prompts on this plane ({KEYS['clear']}).")

    def _make_layers(self) -> None:
        self.target = LayerCombo("new layer")
        self.target.setToolTip("The Labels layer that accepted objects go to; 'new layer' makes one.")
        self.points = LayerCombo("own: SAM points")
        self.points.setToolTip(
            "Points that are prompts. A feature 'label' tells foreground from background; without it all "
            "points are foreground."
        )
        self.shapes = LayerCombo("own: SAM shapes")
        self.shapes.setToolTip(
            "Shapes that are prompts: rectangles are boxes, polygons and ellipses rough masks, lines and "
            f"paths scribbles. In a Shapes layer of your own {KEYS['toggle_label']} stays napari's path tool."
        )
        self.rough_use = narrow(QComboBox())
        for text, use in ROUGH_USES:
            self.rough_use.addItem(text, use)
        self.rough_use.setToolTip(
            "What polygons, ellipses and refined objects are given to the model as; mask and box together "
            "serve best as a rule."
        )
        self.rough_use.currentIndexChanged.connect(self._on_rough_use_changed)

    def _lay_out(self) -> None:
        modes = QHBoxLayout()
        for button in (self.one, self.rapid, self.hover):
            modes.addWidget(button)
        tools = QGridLayout()
        for place, button in enumerate((*self._tools.values(), self.next_mask)):
            tools.addWidget(button, place // 3, place % 3)
        signs = QHBoxLayout()
        for button in (self.foreground, self.background):
            signs.addWidget(button)
        steps = QHBoxLayout()
        for button in (self.undo, self.redo, self.clear):
            steps.addWidget(button)
        form = make_form()
        form.addRow(form_label("Write to"), self.target)
        sources = make_form()
        sources.setContentsMargins(0, 0, 0, 0)
        sources.addRow(form_label("Points"), self.points)
        sources.addRow(form_label("Shapes"), self.shapes)
        sources.addRow(form_label("Polygons"), self.rough_use)
        self.sources = QWidget()
        self.sources.setLayout(sources)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for row in (modes, tools, signs):
            row.setSpacing(4)
            layout.addLayout(row)
        layout.addWidget(self.accept)
        layout.addLayout(steps)
        layout.addSpacing(6)
        layout.addLayout(form)

    # ------------------------------------------------------------- shown
    def show_label(self, label: str) -> None:
        """Mark what the next point will be; emits nothing."""
        (self.background if label == "background" else self.foreground).setChecked(True)

    def show_tool(self, tool: str) -> None:
        """Mark the tool in hand, empty for none of ours; emits nothing."""
        self._tool = tool
        for name, button in self._tools.items():
            button.setChecked(name == tool)

    def show_mode(self, mode: str, hover: bool, rough_use: str) -> None:
        """Mark what the user has set; emits nothing."""
        (self.rapid if mode == "rapid" else self.one).setChecked(True)
        self.hover.setChecked(hover)
        self.rough_use.blockSignals(True)
        self.rough_use.setCurrentIndex(self.rough_use.findData(rough_use))
        self.rough_use.blockSignals(False)

    def show_masks(self, choice: int, count: int) -> None:
        """Show which of how many masks is chosen."""
        self.next_mask.setEnabled(count > 1)
        self.next_mask.setText(f"Mask {choice + 1} of {count}" if count > 1 else "Next mask")

    def show_state(self, *, can_accept: bool, can_undo: bool, can_redo: bool, can_clear: bool) -> None:
        """Enable the buttons that would do something."""
        self.accept.setEnabled(can_accept)
        self.undo.setEnabled(can_undo)
        self.redo.setEnabled(can_redo)
        self.clear.setEnabled(can_clear)

    def show_steps(self, undo: str, redo: str) -> None:
        """Say in the tooltips what Undo and Redo would do next; empty when nothing."""
        for button, title in ((self.undo, undo), (self.redo, redo)):
            tip = button.toolTip().rpartition("\n")[2]
            button.setToolTip(f"Next: {title}.\n{tip}" if title else tip)

    # ------------------------------------------------------------- handlers
    def _on_labels_clicked(self) -> None:
        self.label_chosen.emit("background" if self.background.isChecked() else "foreground")

    def _on_modes_clicked(self) -> None:
        self.mode_chosen.emit("rapid" if self.rapid.isChecked() else "one")

    def _on_tool_clicked(self, name: str) -> None:
        self.show_tool(self._tool)  # it is down once the tool is really in hand
        self.tool_chosen.emit(name)

    def _on_rough_use_changed(self, _index: int) -> None:
        self.rough_use_chosen.emit(self.rough_use.currentData())


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _toggle(text: str, tip: str) -> QPushButton:
    button = _button(text, tip)
    button.setCheckable(True)
    return button
