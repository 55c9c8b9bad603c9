"""The dock widget *SAM*: wires panels, controller, session, runner and engine together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from napari.layers import Points, Shapes
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QVBoxLayout

from napari_sam.session.requests import Engine, ModelChoice
from napari_sam.session.session import Session
from napari_sam.session.settings import SettingsFile
from napari_sam.viewer.bindings import Bindings
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.own_layers import OWN
from napari_sam.viewer.propagation_desk import PropagationDesk
from napari_sam.viewer.recovery import Recovery
from napari_sam.viewer.region_source import VISIBLE
from napari_sam.viewer.stack_sink import StackSink
from napari_sam.widgets.accept_panel import AcceptControls
from napari_sam.widgets.activity_bar import ActivityBar
from napari_sam.widgets.auto_panel import AutoPanel
from napari_sam.widgets.column import Column, pile
from napari_sam.widgets.edit_panel import EditSection
from napari_sam.widgets.engine import InferenceEngine
from napari_sam.widgets.export_buttons import ExportButtons
from napari_sam.widgets.fastest_engine import FastestEngine
from napari_sam.widgets.feature import Feature, take_apart
from napari_sam.widgets.guide import Guide
from napari_sam.widgets.image_section import ImageSection
from napari_sam.widgets.job_clock import JobClock
from napari_sam.widgets.job_runner import QtJobRunner
from napari_sam.widgets.keyboard import FOCUS_RING, move_focus
from napari_sam.widgets.keys_section import KeysSection
from napari_sam.widgets.model_panel import ModelPanel
from napari_sam.widgets.prompt_controls import PromptControls
from napari_sam.widgets.prompt_panel import PromptPanel
from napari_sam.widgets.propagation_panel import PropagationSection
from napari_sam.widgets.recovery_section import RecoverySection
from napari_sam.widgets.review_section import ReviewSection
from napari_sam.widgets.scripting import ScriptableWidget
from napari_sam.widgets.section import Section
from napari_sam.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from napari_sam.types import Progress

__all__ = ["SamWidget"]


F = TypeVar("F", bound=Feature)


class SamWidget(ScriptableWidget):
    """Segment objects of an image by clicks, boxes, or all at once.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    engine : Engine or None
        Where models come from; None for ``napari_sam.inference``.
    """

    def __init__(self, napari_viewer: Any, engine: Engine | None = None) -> None:
        super().__init__()
        self._runner = QtJobRunner()
        file = SettingsFile()
        settings, note = file.load()
        first = ModelChoice(settings.model, settings.device)
        self._session = Session(engine or InferenceEngine(), self._runner, first, settings)
        self._controller = Controller(napari_viewer, self._session)
        self._bindings = Bindings(
            napari_viewer,
            {
                "toggle_label": self._controller.toggle_label,
                "accept": self.accept,
                "undo": self.undo,
                "redo": self.redo,
                "clear": self.clear,
            },
        )
        self._activity = ActivityBar("SAM: segment everything")
        self._download_activity = ActivityBar("SAM: download")
        self._docked = False
        self._tool = QTimer(self)
        self._tool.setSingleShot(True)
        self._region: Any = None
        self._model_panel = ModelPanel(first)
        self._image_section = ImageSection(self._session, self._controller, file)
        self._prompt_panel = PromptPanel()
        self._auto_panel = AutoPanel()
        self._status, self._clock = StatusLine("Open an image to begin."), JobClock()
        self._features: list[Feature] = []
        self._make_features()
        self._lay_out()
        self._connect()
        # a closed window takes its widgets along without a close event for each
        self._take_apart = partial(
            take_apart,
            self._session,
            self._controller,
            self._bindings,
            self._image_section.aids,
            self._features,
        )
        self.destroyed.connect(self._take_apart)
        self._session.list_models()
        self._controller.enable()
        self._image_section.enable()
        self._recovery_section.enable()
        self._recovery.enable()
        self._bindings.enable()
        if self._session.plane is None:
            self._session.warm_up()
        self._on_layers_changed()
        self._on_session_changed()
        if note is not None:
            self._session.warned.emit(note)

    # ------------------------------------------------------------- life
    def shutdown(self) -> None:
        """Cancel everything, disconnect everything and let the worker end; layers stay."""
        if self._session.is_closed:
            return
        self._tool.stop()
        self._activity.close()
        self._download_activity.close()
        self._image_section.disable()
        self._recovery_section.disable()
        self._review.hide()
        self._controller.hide_preview()
        self._take_apart()
        for combo in self._combos():
            combo.forget()
        self.setEnabled(False)

    def closeEvent(self, event: Any) -> None:
        """Qt closes the widget itself, not a dock around it."""
        self.shutdown()
        super().closeEvent(event)

    def event(self, event: Any) -> bool:
        """Notice when napari takes the widget out of its dock, which is how a dock is closed."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                self.shutdown()
        return bool(super().event(event))

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Tab goes through the dock as it is read, and then on to the window."""
        return move_focus(self, forward)

    # ------------------------------------------------------------- wiring
    def _make_features(self) -> None:
        """One line for each, and one where it has keys: what they do, by their names in ``SHORTCUTS``."""
        controller = self._controller
        self._recovery = self._feature(Recovery(controller, self._runner))  # first, so that it closes last
        # next, so that what ends with them is kept, and shown by nobody any more
        sink = self._feature(StackSink(controller, self._session.stacks))
        for drawing in (sink, controller.objects):
            drawing.drawn.connect(self._recovery.work.mark_unsaved)
        self._propagation = self._feature(PropagationDesk(self._session, controller))
        self._recovery_section = RecoverySection(
            self._session, controller, self._recovery, self._image_section.set_settings
        )
        self._export = self._feature(
            ExportButtons(controller, self._runner, self._recovery_section.box.content)
        )
        self._accept_controls = self._feature(AcceptControls(self._session, self._image_section.set_settings))
        self._edit = self._feature(EditSection(controller))
        self._bindings.add(self._edit.actions)
        self._review = self._feature(ReviewSection(controller, self._runner))
        self._bindings.add(self._review.actions)
        self._guide = self._feature(Guide(controller, self._bindings, self._image_section.set_settings))
        self._feature(FastestEngine(self._model_panel.tune, self._session))
        self._keys = self._feature(KeysSection(self._bindings, self))
        self._propagation_section = PropagationSection(self._propagation)
        self._bindings.add(self._propagation.actions)
        keep = self._image_section.set_settings
        self._prompt_controls = self._feature(
            PromptControls(self._prompt_panel, controller, self._runner, keep, self._auto_panel.cancel)
        )
        self._bindings.add(self._prompt_controls.actions)

    def _feature(self, feature: F) -> F:
        """Have a feature closed with the widget."""
        self._features.append(feature)
        return feature

    def _lay_out(self) -> None:
        column = Column()
        self._options = Section(
            "Ids and prompt layers",
            pile(self._accept_controls.panel, self._prompt_panel.sources),
            "Under which id objects are accepted, what becomes of others, and which layers are prompts.",
        )
        # one line for each feature, where it belongs: from the image over one object to many
        column.add(
            (self._recovery_section.strip, self._guide.panel, self._model_panel),
            (self._image_section,),
            (self._prompt_panel, self._options),
            (self._auto_panel,),
            (self._edit.section, self._review.section, self._propagation_section),
            (self._recovery_section, self._keys.section),
        )
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(column, 1)
        outer.addWidget(self._status)
        self.setStyleSheet(FOCUS_RING)

    def _connect(self) -> None:
        session, controller = self._session, self._controller
        model, prompt, auto = self._model_panel, self._prompt_panel, self._auto_panel
        self._runner.busy_changed.connect(self._on_runner_changed)
        session.status_changed.connect(self._status.say)
        session.state_changed.connect(self._on_session_changed)
        session.progressed.connect(self._on_session_progressed)
        session.auto.changed.connect(self._on_auto_changed)
        session.models_listed.connect(self._on_models_listed)
        session.models.download_changed.connect(self._on_download_changed)
        controller.layers_changed.connect(self._on_layers_changed)
        controller.image_changed.connect(self._on_layers_changed)
        controller.image_changed.connect(self._on_image_changed)
        self._tool.timeout.connect(self._on_tool_timeout)
        controller.target_changed.connect(self._on_layers_changed)
        controller.prompts.layers_changed.connect(self._on_layers_changed)
        model.image.chosen.connect(self._on_image_chosen)
        model.model_chosen.connect(self._choose_model)
        model.strip.download_asked.connect(session.models.download)
        model.strip.cancel_asked.connect(session.models.cancel_download)
        model.strip.look_asked.connect(session.models.look_again)
        model.model_chosen.connect(self._on_model_kept)
        prompt.points.chosen.connect(self._on_points_chosen)
        prompt.shapes.chosen.connect(self._on_shapes_chosen)
        prompt.target.chosen.connect(self._on_target_chosen)
        prompt.label_chosen.connect(self._on_label_chosen)
        auto.region.chosen.connect(self._choose_region)
        auto.result.currentIndexChanged.connect(self._on_result_chosen)
        auto.thresholds.thresholds_changed.connect(self._on_thresholds_changed)
        auto.thresholds.rested.connect(session.auto.settle)
        auto.thresholds.reset_asked.connect(session.auto.reset)
        for button, action in (
            (prompt.accept, self.accept),
            (prompt.undo, self.undo),
            (prompt.redo, self.redo),
            (prompt.clear, self.clear),
            (auto.segment, self.segment_scope),
            (auto.cancel, self.cancel),
        ):
            button.clicked.connect(lambda _checked=False, action=action: action())

    def _combos(self) -> tuple[Any, ...]:
        prompt = self._prompt_panel
        more = self._auto_panel.region, self._review.panel.layer
        return self._model_panel.image, prompt.points, prompt.shapes, prompt.target, *more

    # ------------------------------------------------------------- handlers
    def _on_layers_changed(self, *_: Any) -> None:
        controller, prompt = self._controller, self._prompt_panel
        layers = list(controller.viewer.layers)
        self._model_panel.image.show_layers(controller.images(), controller.image_layer)
        prompt.target.show_layers(controller.targets(), controller.target_layer)
        for combo, kind, current in (
            (prompt.points, Points, controller.prompts.points),
            (prompt.shapes, Shapes, controller.prompts.shapes),
        ):
            users = [layer for layer in layers if isinstance(layer, kind) and OWN not in layer.metadata]
            combo.show_layers(users, current)
        regions = list(controller.regions())
        if self._region is not None and self._region != VISIBLE and self._region not in regions:
            self._region = None  # its layer was deleted
        self._auto_panel.show_regions(regions, self._region)
        self._auto_panel.show_stack(controller.image_layer is not None and controller.image_layer.ndim > 2)
        prompt.show_label(controller.prompts.next_label)
        shapes = controller.prompts.shapes
        self._bindings.use_shapes(shapes if controller.owns(shapes) else None)

    def _on_image_changed(self, image: Any) -> None:
        if image is not None:
            self._tool.start(0)  # the viewer first finishes adding the layer, which selects it

    def _on_tool_timeout(self) -> None:
        """An image that was just opened is there to be clicked on: put the points into the user's hand."""
        controller = self._controller
        active = controller.viewer.layers.selection.active
        if active is not None and active is controller.image_layer:
            controller.draw("points")

    def _on_session_changed(self) -> None:
        session = self._session
        has_prompts = not session.prompts.is_empty
        self._prompt_panel.show_state(
            can_accept=has_prompts,
            can_undo=session.history.can_undo,
            can_redo=session.history.can_redo,
            can_clear=has_prompts,
        )
        self._prompt_panel.show_steps(session.history.undo_title, session.history.redo_title)

    def _on_runner_changed(self, busy: bool) -> None:
        if busy:
            self._clock.begin()
        else:
            self._status.note(self._clock.end())

    def _on_session_progressed(self, progress: Progress | None) -> None:
        self._status.note(self._clock.estimate(progress))
        self._auto_panel.show_progress(progress)
        self._activity.show(progress)

    def _on_auto_changed(self) -> None:
        self._auto_panel.show_state(self._session.auto.state)

    def _on_result_chosen(self, index: int) -> None:
        self._controller.objects.fill_gaps = bool(index)

    def _on_thresholds_changed(self, changes: dict[str, Any]) -> None:
        self._session.auto.set_params(changes, settle=False)

    def _on_models_listed(self, models: Any, devices: Any) -> None:
        self._model_panel.show_available(models, devices, self._session.model)
        self._show_download()

    def _on_download_changed(self, name: str) -> None:
        self._show_download()
        self._download_activity.show(self._session.models.download_of(name).progress)

    def _on_model_kept(self, model: ModelChoice) -> None:
        """What the user chooses is chosen tomorrow too; what a script sets is not."""
        settings = replace(self._session.settings, model=model.name, device=model.device)
        self._image_section.set_settings(settings)

    def _on_image_chosen(self, layer: Any) -> None:
        self._controller.image_layer = layer

    def _on_target_chosen(self, layer: Any) -> None:
        self._controller.target_layer = layer

    def _on_points_chosen(self, layer: Any) -> None:
        self._controller.use_points(layer)

    def _on_shapes_chosen(self, layer: Any) -> None:
        self._controller.use_shapes(layer)

    def _on_label_chosen(self, label: str) -> None:
        self._controller.prompts.next_label = label
