"""The collapsible sections "Image" and "Cache": joins their panels to session and viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_sam.viewer.image_aids import ImageAids
from napari_sam.widgets.activity_bar import ActivityBar
from napari_sam.widgets.cache_panel import CachePanel
from napari_sam.widgets.image_panel import ImagePanel
from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from napari_sam.session.session import Session
    from napari_sam.session.settings import CacheChoice, Settings, SettingsFile
    from napari_sam.session.warming import ViewCache
    from napari_sam.types import Progress
    from napari_sam.viewer.controller import Controller

__all__ = ["ImageSection"]

RESTS_MS = 150
"""A view that has not moved for so long is looked at."""


class ImageSection(QWidget):
    """What the model sees of the image, and what of it is encoded.

    Parameters
    ----------
    session : Session
        Its settings are shown and set here.
    controller : Controller
        Knows viewer and image.
    file : SettingsFile or None
        Keeps what the user sets; None for nowhere.
    """

    def __init__(self, session: Session, controller: Controller, file: SettingsFile | None = None) -> None:
        super().__init__()
        self._session = session
        self._controller = controller
        self._file = file
        self._shown: Any = None
        self.aids = ImageAids(controller)
        self.panel = ImagePanel(session.settings)
        self.cache = CachePanel(session.settings.cache)
        self.image_box = Section("Image", self.panel, "What the model sees of the image.")
        self.cache_box = Section("Cache", self.cache, "Where embeddings are kept.")
        self._activity = ActivityBar("SAM: encode")
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(RESTS_MS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.image_box)
        layout.addWidget(self.cache_box)

    # ------------------------------------------------------------- life
    def enable(self) -> None:
        """Connect everything."""
        session, panel, aids = self._session, self.panel, self.aids
        self._rest.timeout.connect(self._on_rest_timeout)
        aids.view_moved.connect(self._on_aids_view_moved)
        aids.measured.connect(self._on_aids_measured)
        aids.enable()
        session.state_changed.connect(self._on_session_changed)
        session.settings_changed.connect(self._on_settings_changed)
        session.warming.changed.connect(self._on_warming_changed)
        session.precomputing.progressed.connect(self._on_precomputing_progressed)
        session.precomputing.cache_measured.connect(self._on_cache_measured)
        panel.chosen.connect(self._on_settings_chosen)
        panel.refused.connect(self._on_panel_refused)
        panel.measure.clicked.connect(lambda: aids.measure())
        panel.show_input.clicked.connect(lambda: aids.request_input())
        panel.encode_plane.clicked.connect(lambda: session.encode_all())
        panel.encode_stack.clicked.connect(lambda: session.encode_all(whole_stack=True))
        panel.cancel.clicked.connect(lambda: session.precomputing.cancel())
        self.cache.chosen.connect(self._on_cache_chosen)
        self.cache.clear_asked.connect(self._on_cache_clear_asked)
        self.cache_box.toggled.connect(self._on_cache_box_toggled)
        self._on_session_changed()

    def disable(self) -> None:
        """Let go of session and viewer."""
        self._rest.stop()
        self._activity.close()
        self.aids.disable()
        self._shown = None

    # ------------------------------------------------------------- settings
    def set_settings(self, settings: Settings, keep: bool = True) -> None:
        """Take settings, and keep them for the next day too."""
        before = self._session.settings
        self._session.set_settings(settings)
        if keep and self._file is not None:
            note = self._file.save(before, settings)
            if note is not None:
                self._session.warned.emit(note)

    def _on_settings_chosen(self, settings: Settings) -> None:
        self.set_settings(replace(settings, cache=self._session.settings.cache))

    def _on_cache_chosen(self, cache: CacheChoice) -> None:
        self.set_settings(replace(self._session.settings, cache=cache))
        self._session.precomputing.measure_cache(cache)

    def _on_settings_changed(self, settings: Settings) -> None:
        self.panel.show_settings(settings)
        self.cache.show_choice(settings.cache)
        if self.aids.input_layer is not None:
            self.aids.request_input()

    def _on_panel_refused(self, message: str) -> None:
        self._session.status_changed.emit(message)

    # ------------------------------------------------------------- image and view
    def _on_session_changed(self) -> None:
        """Another plane is shown, perhaps."""
        plane = self._session.plane
        shown = self._shown
        if plane is not None and shown is not None and (plane, plane.measure) == (shown, shown.measure):
            return
        self._shown = plane
        self.panel.show_plane(plane)
        image = self._controller.image_layer
        if plane is not None and image is not None:
            self.panel.show_range(*image.contrast_limits)
            self._rest.start()

    def _on_aids_view_moved(self) -> None:
        self._rest.start()

    def _on_rest_timeout(self) -> None:
        self.aids.report_view()

    def _on_aids_measured(self, pixels: float) -> None:
        # later: the line may still be in the hand, and its layer cannot go away from under it
        QTimer.singleShot(0, self.aids.end_measuring)
        plane = self._session.plane
        if plane is not None:
            self.panel.set_object_size(pixels, plane.pixel_size)
            self._session.status_changed.emit(f"Object size: {pixels:.1f} pixels.")

    # ------------------------------------------------------------- cache
    def _on_warming_changed(self, cache: ViewCache | None) -> None:
        self.panel.show_cache(cache)
        summary = "" if cache is None else cache.summary
        self.image_box.set_title(f"Image · {summary}" if summary else "Image")

    def _on_precomputing_progressed(self, progress: Progress | None) -> None:
        self.panel.show_progress(progress)
        self._activity.show(progress)
        if progress is None and self.cache_box.is_open:
            self._session.precomputing.measure_cache(self._session.settings.cache)

    def _on_cache_measured(self, folder: str, nbytes: int) -> None:
        self.cache.show_disk(folder, nbytes)

    def _on_cache_clear_asked(self) -> None:
        self._session.precomputing.measure_cache(self._session.settings.cache, clear=True)
        self._session.warming.retry()

    def _on_cache_box_toggled(self, expanded: bool) -> None:
        if expanded:
            self._session.precomputing.measure_cache(self._session.settings.cache)
