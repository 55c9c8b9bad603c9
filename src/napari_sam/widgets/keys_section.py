"""The collapsible section "Keys": all shortcuts as they are now, and a field to find one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGridLayout, QLabel, QLineEdit, QToolButton, QVBoxLayout, QWidget

from napari_sam.viewer.shortcuts import KEYS, SHORTCUTS
from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from napari_sam.viewer.bindings import Bindings

__all__ = ["KeysPanel", "KeysSection"]

_NAMES = {key: name for name, key in KEYS.items()}
_TOLD = re.compile(
    rf"(?:(?<=\()|(?<=back with ))({'|'.join(map(re.escape, _NAMES))})(?=[ ),;:.])"  # "(N)", "(W: the one"
)


class KeysPanel(QWidget):
    """A table of keys under headings, of which those are shown that the text in the field is part of."""

    def __init__(self) -> None:
        super().__init__()
        self.search = QLineEdit()
        self.search.setPlaceholderText("find a key or what it does")
        self.search.setClearButtonEnabled(True)
        self.search.setToolTip("Show the shortcuts that this text is part of.")
        for button in self.search.findChildren(QToolButton):
            button.setToolTip("Show all shortcuts again.")
        self.hint = QLabel("Change them under Preferences > Shortcuts > Viewer key bindings.")
        self.hint.setWordWrap(True)
        self.hint.setToolTip("napari keeps your keys; SAM's are listed there while this widget is open.")
        self._rows: dict[str, tuple[QLabel, QLabel]] = {}
        self._heads: dict[str, QLabel] = {}
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.search)
        layout.addLayout(self._grid)
        layout.addWidget(self.hint)
        self.search.textChanged.connect(self._on_search_changed)

    @property
    def texts(self) -> dict[str, str]:
        """The keys that are shown, by the name of what they do."""
        return {name: key.text() for name, (key, _) in self._rows.items() if not key.isHidden()}

    def show_keys(self, name: str, keys: tuple[str, ...]) -> None:
        """Show the keys of an action."""
        if name not in self._rows:
            self._add(name)
        self._rows[name][0].setText(" or ".join(key.replace("-", "+") for key in keys) or "no key")
        self._on_search_changed(self.search.text())

    def _add(self, name: str) -> None:
        shortcut = SHORTCUTS[name]
        key, does = QLabel(), QLabel(shortcut.does)
        does.setWordWrap(True)
        font = key.font()
        font.setBold(True)
        key.setFont(font)
        for label in (key, does):
            label.setToolTip(f"{shortcut.group}: {shortcut.does}.")
        if shortcut.group not in self._heads:
            head = self._heads[shortcut.group] = QLabel(shortcut.group)
            head.setToolTip(f"Keys of {shortcut.group.lower()}.")
            head.setStyleSheet("QLabel { text-decoration: underline; padding-top: 4px; }")
            self._grid.addWidget(head, self._grid.rowCount(), 0, 1, 2)
        row = self._grid.rowCount()
        self._grid.addWidget(key, row, 0)
        self._grid.addWidget(does, row, 1)
        self._rows[name] = key, does

    def _on_search_changed(self, text: str) -> None:
        wanted = text.strip().lower()
        groups = set()
        for name, (key, does) in self._rows.items():
            shortcut = SHORTCUTS[name]
            found = any(wanted in part.lower() for part in (key.text(), shortcut.does, shortcut.group))
            key.setVisible(found)
            does.setVisible(found)
            if found:
                groups.add(shortcut.group)
        for group, head in self._heads.items():
            head.setVisible(group in groups)


class KeysSection:
    """Keeps the table true to what is bound.

    Parameters
    ----------
    bindings : Bindings
        Knows the keys.
    root : QWidget
        Its tooltips name keys of ``KEYS``: "(N)"; they are changed with the keys.

    Attributes
    ----------
    section : Section
        To be laid out.
    """

    def __init__(self, bindings: Bindings, root: QWidget) -> None:
        self._bindings = bindings
        self._root = root
        self._told = dict(KEYS)
        self._templates: dict[str, str] = {}  # lines of tooltips, with the keys of ``KEYS``
        self.panel = KeysPanel()
        self.section = Section("Keys", self.panel, "All keyboard shortcuts of this widget.")
        self.section.toggled.connect(self._on_section_toggled)
        bindings.changed.connect(self._on_bindings_changed)

    def close(self) -> None:
        """Listen no more; touches no widget."""
        self._bindings.changed.disconnect(self._on_bindings_changed)

    def _on_bindings_changed(self, name: str, keys: tuple[str, ...]) -> None:
        if self.section.is_open:
            self.panel.show_keys(name, keys)
        before, self._told[name] = self._told[name], keys[0] if keys else "no key"
        if before != self._told[name]:
            for widget in self._root.findChildren(QWidget):
                tip = widget.toolTip()
                told = "\n".join(map(self._name_keys, tip.split("\n")))
                if told != tip:
                    widget.setToolTip(told)

    def _name_keys(self, line: str) -> str:
        # from the keys to begin with: two actions may share a key for a while, or have none
        template = self._templates.get(line, line)
        if not _TOLD.search(template):
            return line
        told = _TOLD.sub(lambda key: self._told[_NAMES[key[1]]], template)
        self._templates[told] = template
        return told

    def _on_section_toggled(self, is_open: bool) -> None:
        # the table is made when somebody looks at it, so that the widget opens sooner
        groups = list(dict.fromkeys(shortcut.group for shortcut in SHORTCUTS.values()))
        for name in sorted(self._bindings.keys, key=lambda name: groups.index(SHORTCUTS[name].group)):
            self.panel.show_keys(name, self._bindings.keys[name])
