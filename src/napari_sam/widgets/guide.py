"""Guided first use: three lines that tell what to do next, and a sample for an empty viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_sam.viewer.connections import Connections
from napari_sam.viewer.shortcuts import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.session.settings import Settings
    from napari_sam.viewer.bindings import Bindings
    from napari_sam.viewer.controller import Controller

__all__ = ["Guide", "GuidePanel"]


class GuidePanel(QWidget):
    """The lines, each done, to be done now, or later; and the button that opens a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.sample = QPushButton("Open the sample: nuclei")
        self.sample.setToolTip("Open an image of nuclei that comes with the plugin, to try everything on.")
        self._keys = {"toggle_label": KEYS["toggle_label"], "accept": KEYS["accept"]}
        self._step, self._guided = 0, False
        self._lines = tuple(QLabel() for _ in self._texts)
        for line in self._lines:
            line.setWordWrap(True)
            line.setToolTip("What to do first; these lines go away when the first object is accepted.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._lines[0])
        layout.addWidget(self.sample)
        for line in self._lines[1:]:
            layout.addWidget(line)
        self.show_step(0, guided=False)

    @property
    def _texts(self) -> tuple[str, ...]:
        toggle, accept = self._keys["toggle_label"], self._keys["accept"]
        return (
            "Open an image, or the sample.",
            f"Click on an object. After {toggle or 'Background'}, click on what is not part of it.",
            f"Accept it with {accept or 'the button'}, and click on the next one.",
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The texts that are shown."""
        return tuple(line.text() for line in self._lines if not line.isHidden())

    def show_step(self, step: int, *, guided: bool) -> None:
        """Show how far the user is.

        Parameters
        ----------
        step : int
            The line that is to be done now, 0 to 2; 3 when all are done.
        guided : bool
            The user knows: only an empty viewer still offers the sample.
        """
        self._step, self._guided = step, guided
        for number, (line, text) in enumerate(zip(self._lines, self._texts, strict=True)):
            sign = "✓" if number < step else "▸" if number == step else " "
            line.setText(f"{sign} {number + 1}. {text}")
            line.setEnabled(number == step)
            line.setVisible(not guided and step < len(self._lines))
        self.sample.setVisible(step == 0)
        self.setVisible(step == 0 or (not guided and step < len(self._lines)))

    def show_keys(self, name: str, keys: tuple[str, ...]) -> None:
        """Name another key in the lines: that of ``"toggle_label"`` or ``"accept"``."""
        if name in self._keys:
            self._keys[name] = keys[0] if keys else ""
            self.show_step(self._step, guided=self._guided)


class Guide:
    """Follows what the user does, until the first object is accepted.

    Parameters
    ----------
    controller : Controller
        Knows viewer and session.
    bindings : Bindings
        Knows the keys.
    keep : callable
        Takes settings that are to last until tomorrow.

    Attributes
    ----------
    panel : GuidePanel
        To be laid out.
    """

    def __init__(
        self, controller: Controller, bindings: Bindings, keep: Callable[[Settings], object]
    ) -> None:
        self._controller = controller
        self._keep = keep
        self._clicked = False
        self.panel = GuidePanel()
        self.panel.sample.clicked.connect(self._on_sample_clicked)
        self._connections = Connections()
        session = controller.session
        for signal, handler in (
            (controller.image_changed, self._on_image_changed),
            (session.preview_changed, self._on_preview_changed),
            (session.edits.edited, self._on_edited),
            (session.auto.filled, self._on_edited),
            (bindings.changed, self.panel.show_keys),
        ):
            self._connections.add(signal, handler)
        self._show()

    @property
    def step(self) -> int:
        """Which line is to be done now."""
        if self._controller.image_layer is None:
            return 0
        return 2 if self._clicked else 1

    def open_sample(self) -> None:
        """Open the sample in the viewer."""
        # making it takes a moment and scipy: not before somebody wants it
        from napari_sam.sample_data import load_nuclei_2d

        for data, options, _ in load_nuclei_2d():
            self._controller.image_layer = self._controller.viewer.add_image(data, **options)

    def close(self) -> None:
        """Listen no more; touches no widget."""
        self._connections.clear()

    def _show(self) -> None:
        self.panel.show_step(self.step, guided=self._controller.session.settings.guided)

    def _on_sample_clicked(self) -> None:
        self.open_sample()

    def _on_image_changed(self, image: Any) -> None:
        self._show()

    def _on_preview_changed(self, preview: Any) -> None:
        if preview is not None and not self._clicked:
            self._clicked = True
            self._show()

    def _on_edited(self, _: Any) -> None:
        settings = self._controller.session.settings
        if not settings.guided:
            self._keep(replace(settings, guided=True))
            self._show()
