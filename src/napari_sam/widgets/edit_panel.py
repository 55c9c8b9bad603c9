"""The edit tools: what a click on an object does, and what is done to the object at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_sam.viewer.bindings import KEYS
from napari_sam.viewer.label_editor import TOOLS, LabelEditor
from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["EditPanel", "EditSection"]


class EditPanel(QWidget):
    """Buttons only; who shows it connects them."""

    def __init__(self) -> None:
        super().__init__()
        self.object = QLabel()
        self.object.setWordWrap(True)
        self.object.setToolTip(
            "The object that the buttons below change: the selected label of the Labels layer."
        )
        self.tools = {
            "pick": _toggle("Pick", "Choose the object at hand by a click."),
            "delete": _toggle(
                "Delete", f"Delete objects by clicks ({KEYS['edit_delete']}: the one under the cursor)."
            ),
            "merge": _toggle(
                "Merge",
                f"Click on objects one after the other: all get the first's id ({KEYS['edit_merge']}).",
            ),
            "split": _toggle(
                "Split",
                f"Click on an object twice, once in each half ({KEYS['edit_split']}); the larger half keeps "
                "the id.",
            ),
        }
        self.everywhere = QCheckBox("In all planes")
        self.everywhere.setToolTip("Delete and merge in the whole stack, not only in this plane.")
        self.edges = QCheckBox("Split at edges")
        self.edges.setToolTip("Off: an object is split where it is narrowest. On: at edges of the image too.")
        self.fill = _button("Fill holes", f"Fill the object's holes ({KEYS['edit_fill']}: under the cursor).")
        self.smooth = _button("Smooth", "Smooth the object's boundary; neighbours keep their pixels.")
        self.largest = _button("Largest part", "Keep the object's largest part, and drop the others.")
        self.sigma = QSpinBox()
        self.sigma.setRange(1, 20)
        self.sigma.setValue(2)
        self.sigma.setSuffix(" px")
        self.sigma.setToolTip("How much is smoothed: details smaller than about twice this go.")
        self.remove = _button("Remove small", "Remove all objects of this plane with fewer pixels.")
        self.area = QSpinBox()
        self.area.setRange(2, 1_000_000)
        self.area.setValue(50)
        self.area.setSuffix(" px")
        self.area.setToolTip("Objects of this plane with fewer pixels are removed.")
        self._lay_out()
        self.show_object("", 0)

    def _lay_out(self) -> None:
        clicks = QGridLayout()
        for place, name in enumerate(TOOLS):
            clicks.addWidget(self.tools[name], place // 2, place % 2)
        options = QHBoxLayout()
        options.addWidget(self.everywhere)
        options.addWidget(self.edges)
        options.addStretch(1)
        shape = QGridLayout()
        shape.addWidget(self.fill, 0, 0)
        shape.addWidget(self.largest, 0, 1)
        shape.addWidget(self.smooth, 1, 0)
        shape.addWidget(self.sigma, 1, 1)
        shape.addWidget(self.remove, 2, 0)
        shape.addWidget(self.area, 2, 1)
        for grid in (clicks, shape):
            grid.setColumnStretch(0, 1)
            grid.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(clicks)
        layout.addLayout(options)
        layout.addWidget(self.object)
        layout.addLayout(shape)

    def show_object(self, layer: str, label: int) -> None:
        """Show which object is at hand; an empty name where there is no layer."""
        for button in (*self.tools.values(), self.remove):
            button.setEnabled(bool(layer))
        for button in (self.fill, self.smooth, self.largest):
            button.setEnabled(bool(layer) and label != 0)
        if not layer:
            self.object.setText("No Labels layer yet: accept an object, or open labels.")
        elif label == 0:
            self.object.setText(f"No object at hand in {layer!r}: pick one.")
        else:
            self.object.setText(f"At hand: object {label} of {layer!r}")

    def show_tool(self, tool: str) -> None:
        """Show which tool is in hand; emits nothing."""
        for name, button in self.tools.items():
            button.setChecked(name == tool)


class EditSection:
    """The collapsible section "Edit objects": joins editor and panel.

    Parameters
    ----------
    controller : Controller
        Whose layers are edited.

    Attributes
    ----------
    editor : LabelEditor
        Applies the tools.
    section : Section
        To be laid out.
    """

    def __init__(self, controller: Any) -> None:
        self.editor = LabelEditor(controller)
        self.panel = EditPanel()
        self.section = Section(
            "Edit objects", self.panel, "Delete, merge, split and clean objects, each as one step of Undo."
        )
        self._connect()
        self.editor.enable()

    @property
    def actions(self) -> Mapping[str, Callable[[], object]]:
        """What the keys do."""
        return {
            "edit_delete": self.editor.delete_here,
            "edit_merge": lambda: self.take("merge"),
            "edit_split": lambda: self.take("split"),
            "edit_fill": self.editor.fill_holes_here,
        }

    def take(self, tool: Any) -> None:
        """Take up a tool, or put it down."""
        self.editor.take(tool)
        self.panel.show_tool(self.editor.tool)

    def close(self) -> None:
        """Let go of viewer and layers; touches no widget."""
        self.editor.changed.disconnect()
        self.editor.close()

    def _connect(self) -> None:
        panel, editor = self.panel, self.editor
        editor.changed.connect(self._on_editor_changed)
        panel.everywhere.toggled.connect(self._on_everywhere_toggled)
        panel.edges.toggled.connect(self._on_edges_toggled)
        for name, button in panel.tools.items():
            button.clicked.connect(lambda _checked=False, name=name: self.take(name))
        for button, action in (
            (panel.fill, editor.fill_holes),
            (panel.largest, editor.keep_largest),
            (panel.smooth, lambda: editor.smooth(float(panel.sigma.value()))),
            (panel.remove, lambda: editor.remove_small(panel.area.value())),
        ):
            button.clicked.connect(lambda _checked=False, action=action: action())

    def _on_editor_changed(self) -> None:
        layer = self.editor.layer
        self.panel.show_object("" if layer is None else str(layer.name), self.editor.label)
        self.panel.show_tool(self.editor.tool)

    def _on_everywhere_toggled(self, checked: bool) -> None:
        self.editor.everywhere = checked

    def _on_edges_toggled(self, checked: bool) -> None:
        self.editor.follow_edges = checked


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _toggle(text: str, tip: str) -> QPushButton:
    button = _button(text, tip)
    button.setCheckable(True)
    return button
