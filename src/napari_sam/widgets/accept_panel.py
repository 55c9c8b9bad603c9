"""How objects are accepted: under which id, and what becomes of the objects that are there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QSpinBox, QWidget

from napari_sam.widgets.layer_combo import form_label, make_form, narrow

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.session.accepting import AcceptRule
    from napari_sam.session.session import Session
    from napari_sam.session.settings import Settings

__all__ = ["AcceptControls", "AcceptPanel"]

IDS = (
    ("next free id", "next"),
    ("as the last one", "same"),
    ("chosen id", "chosen"),
    ("class id", "class"),
)
KEEPS = (
    ("keep their pixels", "pixels"),
    ("must not be covered", "objects"),
    ("are overwritten", "overwrite"),
)


class AcceptPanel(QWidget):
    """Two choices; who shows it connects them."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = _combo(
            IDS,
            "The id of an accepted object: the next free one; that of the object before, for one object in "
            "several planes; one that you choose; or that of a class, which all its objects share.",
        )
        self.label = QSpinBox()
        self.label.setRange(1, 2**31 - 1)
        self.label.setToolTip("The chosen id, or that of the class.")
        self.label.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed
        )  # else as wide as 2**31
        self.keep = _combo(
            KEEPS,
            "What becomes of objects that a new one overlaps.\n"
            "keep their pixels: the new object takes free pixels only.\n"
            "must not be covered: the same, but a new object of which more than a tenth lies on others is "
            "refused.\n"
            "are overwritten: they lose these pixels to the new object.",
        )
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.ids, 3)
        row.addWidget(self.label, 2)
        form = make_form()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(form_label("Id"), row)
        form.addRow(form_label("Others"), self.keep)
        self.setLayout(form)

    def show_rule(self, rule: AcceptRule) -> None:
        """Show how objects are accepted."""
        self.ids.setCurrentIndex(self.ids.findData(rule.ids))
        self.keep.setCurrentIndex(self.keep.findData(rule.keep))
        self.label.setValue(rule.label)
        self.label.setVisible(rule.ids in ("chosen", "class"))


class AcceptControls:
    """Joins the panel and the rule; what the user chooses for others is kept for tomorrow.

    Parameters
    ----------
    session : Session
        Accepts by the rule.
    save : callable
        Takes settings and keeps them.

    Attributes
    ----------
    panel : AcceptPanel
        To be laid out.
    """

    def __init__(self, session: Session, save: Callable[[Settings], object]) -> None:
        self.panel = AcceptPanel()
        self._session = session
        self._save = save
        self._accepting = accepting = session.prompting.accepting
        accepting.rule = replace(accepting.rule, keep=session.settings.keep)
        self.panel.show_rule(accepting.rule)
        accepting.rule_changed.connect(self.panel.show_rule)
        self.panel.ids.activated.connect(self._on_ids_activated)
        self.panel.keep.activated.connect(self._on_keep_activated)
        self.panel.label.valueChanged.connect(self._on_label_changed)

    def close(self) -> None:
        """Listen no more."""
        self._accepting.rule_changed.disconnect()

    def _change(self, **changes: Any) -> None:
        self._accepting.rule = replace(self._accepting.rule, **changes)

    def _on_ids_activated(self, index: int) -> None:
        self._change(ids=self.panel.ids.itemData(index))

    def _on_keep_activated(self, index: int) -> None:
        keep = self.panel.keep.itemData(index)
        self._change(keep=keep)
        self._save(replace(self._session.settings, keep=keep))

    def _on_label_changed(self, label: int) -> None:
        self._change(label=label)


def _combo(choices: tuple[tuple[str, str], ...], tip: str) -> QComboBox:
    combo = narrow(QComboBox())
    for text, value in choices:
        combo.addItem(text, value)
    combo.setToolTip(tip)
    return combo
