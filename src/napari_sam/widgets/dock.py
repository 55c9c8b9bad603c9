"""The dock widget *SAM*: wires panels, controller, session, runner and engine together."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Points, Shapes
from psygnal import Signal
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_sam.errors import SamError
from napari_sam.inference.candidates import FilterParams
from napari_sam.session.requests import Engine, ModelChoice
from napari_sam.session.session import Session
from napari_sam.session.settings import SettingsFile
from napari_sam.viewer.bindings import Bindings
from napari_sam.viewer.controller import Controller
from napari_sam.viewer.region_source import VISIBLE
from napari_sam.widgets.activity_bar import ActivityBar
from napari_sam.widgets.auto_panel import METHODS, AutoPanel
from napari_sam.widgets.engine import InferenceEngine
from napari_sam.widgets.image_section import ImageSection
from napari_sam.widgets.job_runner import QtJobRunner
from napari_sam.widgets.model_panel import ModelPanel
from napari_sam.widgets.prompt_panel import PromptPanel
from napari_sam.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from napari_sam.types import Progress
    from napari_sam.viewer.image_aids import ImageAids

__all__ = ["SamWidget"]


class SamWidget(QWidget):
    """Segment objects of an image by clicks, boxes, or all at once.

    Scripts use the same methods as the buttons; each returns when its request is queued, and
    ``wait`` returns when everything is done.

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
                "toggle_label": self._controller.prompts.toggle_label,
                "accept": self.accept,
                "undo": self.undo,
                "redo": self.redo,
                "clear": self.clear,
            },
        )
        self._activity = ActivityBar("SAM: segment everything")
        self._download_activity = ActivityBar("SAM: download")
        self._docked = False
        self._region: Any = None
        self._model_panel = ModelPanel(first)
        self._image_section = ImageSection(self._session, self._controller, file)
        self._prompt_panel = PromptPanel()
        self._auto_panel = AutoPanel()
        self._status = StatusLine("Open an image to begin.")
        self._lay_out()
        self._connect()
        # a closed window takes its widgets along without a close event for each
        self.destroyed.connect(
            partial(_take_apart, self._session, self._controller, self._bindings, self._image_section.aids)
        )
        self._session.list_models()
        self._controller.enable()
        self._image_section.enable()
        self._bindings.enable()
        if self._session.plane is None:
            self._session.warm_up()
        self._on_layers_changed()
        self._on_session_changed()
        if note is not None:
            self._session.warned.emit(note)

    # ------------------------------------------------------------- for scripts
    @property
    def image_layer(self) -> Any:
        """The image layer that is segmented; set a layer, a layer's name, or None."""
        return self._controller.image_layer

    @image_layer.setter
    def image_layer(self, layer: Any) -> None:
        self._controller.image_layer = self._find(layer, self._controller.images(), "an image layer")

    @property
    def target_layer(self) -> Any:
        """The Labels layer that accepted objects go to, None for a new one; set a layer or a name."""
        return self._controller.target_layer

    @target_layer.setter
    def target_layer(self, layer: Any) -> None:
        self._controller.target_layer = self._find(layer, self._controller.targets(), "a Labels layer")

    @property
    def model_name(self) -> str:
        """The model's name in the registry, or the path of a checkpoint."""
        return self._session.model.name

    @model_name.setter
    def model_name(self, name: str) -> None:
        self._on_model_chosen(ModelChoice(str(name), self._session.model.device))

    def download_model(self) -> None:
        """Get the weights of the model that is chosen, where they are not on this computer yet."""
        self._session.models.download(self.model_name)

    @property
    def overwrite(self) -> bool:
        """Whether accepted objects may take the pixels of others."""
        return self._prompt_panel.overwrite.isChecked()

    @overwrite.setter
    def overwrite(self, value: bool) -> None:
        self._prompt_panel.overwrite.setChecked(bool(value))

    @property
    def status(self) -> str:
        """The status line."""
        return self._status.said

    def accept(self) -> None:
        """Write the current object into the target layer, as soon as its mask is there."""
        self._session.accept()

    def clear(self) -> None:
        """Take away the prompts on the plane that is shown."""
        self._session.clear()

    def undo(self) -> None:
        """Go back to the prompts before the last change."""
        self._session.undo()

    def redo(self) -> None:
        """Repeat the change that was undone last."""
        self._session.redo()

    def toggle_label(self) -> None:
        """Switch the next click between foreground and background."""
        self._controller.prompts.toggle_label()

    def segment_everything(self) -> None:
        """Segment every object of the plane that is shown, or of ``region`` in it."""
        panel = self._auto_panel
        try:
            region = self._controller.read_region(self._region, panel.cut.isChecked())
        except SamError as error:
            self._session.warned.emit(str(error))
            return
        self._session.segment_everything(panel.method.currentText(), region)

    @property
    def method(self) -> str:
        """How everything is segmented: "auto", "instances" or "grid"."""
        return self._auto_panel.method.currentText()

    @method.setter
    def method(self, name: str) -> None:
        if self._auto_panel.method.findText(name) < 0:
            raise ValueError(f"Expected one of {[name for name, _ in METHODS]}, got {name!r}.")
        self._auto_panel.method.setCurrentText(name)

    @property
    def region(self) -> Any:
        """Where to segment: None for the whole plane, "visible", a Shapes or Labels layer or its name."""
        return self._region

    @region.setter
    def region(self, layer: Any) -> None:
        if not (isinstance(layer, str) and layer == VISIBLE):
            layer = self._find(layer, self._controller.regions(), "a Shapes or Labels layer")
        self._on_region_chosen(layer)

    @property
    def cut_at_region(self) -> bool:
        """Whether objects are cut at the region's edge, as with a mask of the foreground."""
        return self._auto_panel.cut.isChecked()

    @cut_at_region.setter
    def cut_at_region(self, value: bool) -> None:
        self._auto_panel.cut.setChecked(bool(value))

    @property
    def fill_gaps(self) -> bool:
        """Whether automatic objects fill the gaps of the target layer instead of a new one."""
        return self._controller.objects.fill_gaps

    @fill_gaps.setter
    def fill_gaps(self, value: bool) -> None:
        self._auto_panel.result.setCurrentIndex(int(value))

    @property
    def filter(self) -> FilterParams:
        """Thresholds of automatic objects, which follow at once; set all of them, or some as a dict."""
        return self._session.auto.params

    @filter.setter
    def filter(self, params: FilterParams | dict[str, Any]) -> None:
        changes = asdict(params) if isinstance(params, FilterParams) else dict(params)
        self._session.auto.set_params(changes)

    def cancel(self) -> None:
        """Cancel what is queued or runs, at its next step."""
        self._session.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Pump the Qt loop until nothing is queued or running.

        Parameters
        ----------
        timeout : float or None
            Seconds; None waits for ever.

        Returns
        -------
        bool
            False when time ran out.
        """
        return self._runner.wait(timeout)

    # ------------------------------------------------------------- life
    def shutdown(self) -> None:
        """Cancel everything, disconnect everything and let the worker end; layers stay."""
        if self._session.is_closed:
            return
        self._activity.close()
        self._download_activity.close()
        self._image_section.disable()
        self._controller.hide_preview()
        _take_apart(self._session, self._controller, self._bindings, self._image_section.aids)
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

    # ------------------------------------------------------------- wiring
    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(6, 6, 6, 6)
        for panel in (self._model_panel, self._image_section, self._prompt_panel, self._auto_panel):
            layout.addWidget(panel)
            layout.addWidget(_line())
        layout.addWidget(self._status, 1)
        scroll = _Column()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def _connect(self) -> None:
        session, controller = self._session, self._controller
        model, prompt, auto = self._model_panel, self._prompt_panel, self._auto_panel
        session.status_changed.connect(self._on_status_changed)
        session.state_changed.connect(self._on_session_changed)
        session.progressed.connect(self._on_session_progressed)
        session.auto.changed.connect(self._on_auto_changed)
        session.models_listed.connect(self._on_models_listed)
        session.models.download_changed.connect(self._on_download_changed)
        controller.layers_changed.connect(self._on_layers_changed)
        controller.image_changed.connect(self._on_layers_changed)
        controller.target_changed.connect(self._on_layers_changed)
        controller.prompts.layers_changed.connect(self._on_layers_changed)
        model.image.chosen.connect(self._on_image_chosen)
        model.model_chosen.connect(self._on_model_chosen)
        model.strip.download_asked.connect(session.models.download)
        model.strip.cancel_asked.connect(session.models.cancel_download)
        model.strip.look_asked.connect(session.models.look_again)
        model.model_chosen.connect(self._on_model_kept)
        prompt.points.chosen.connect(self._on_points_chosen)
        prompt.shapes.chosen.connect(self._on_shapes_chosen)
        prompt.target.chosen.connect(self._on_target_chosen)
        prompt.label_chosen.connect(self._on_label_chosen)
        prompt.overwrite.toggled.connect(self._on_overwrite_toggled)
        auto.region.chosen.connect(self._on_region_chosen)
        auto.result.currentIndexChanged.connect(self._on_result_chosen)
        auto.thresholds.thresholds_changed.connect(self._on_thresholds_changed)
        auto.thresholds.rested.connect(session.auto.settle)
        auto.thresholds.reset_asked.connect(session.auto.reset)
        for button, action in (
            (prompt.click_tool, lambda: controller.draw("points")),
            (prompt.box_tool, lambda: controller.draw("box")),
            (prompt.accept, self.accept),
            (prompt.undo, self.undo),
            (prompt.redo, self.redo),
            (prompt.clear, self.clear),
            (auto.segment, self.segment_everything),
            (auto.cancel, self.cancel),
        ):
            button.clicked.connect(lambda _checked=False, action=action: action())

    def _combos(self) -> tuple[Any, ...]:
        prompt = self._prompt_panel
        return self._model_panel.image, prompt.points, prompt.shapes, prompt.target, self._auto_panel.region

    @staticmethod
    def _find(layer: Any, layers: Any, wanted: str) -> Any:
        if layer is None:
            return None
        layers = list(layers)
        for candidate in layers:
            if candidate is layer or candidate.name == layer:
                return candidate
        names = [candidate.name for candidate in layers]
        raise ValueError(f"Expected {wanted} of this viewer or its name, one of {names}, got {layer!r}.")

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
            users = [layer for layer in layers if isinstance(layer, kind) and not controller.owns(layer)]
            combo.show_layers(users, current)
        regions = list(controller.regions())
        if self._region is not None and self._region != VISIBLE and self._region not in regions:
            self._region = None  # its layer was deleted
        self._auto_panel.show_regions(regions, self._region)
        prompt.show_label(controller.prompts.next_label)
        shapes = controller.prompts.shapes
        self._bindings.use_shapes(shapes if controller.owns(shapes) else None)

    def _on_session_changed(self) -> None:
        session = self._session
        has_prompts = not session.prompts.is_empty
        self._prompt_panel.show_state(
            can_accept=has_prompts,
            can_undo=session.history.can_undo,
            can_redo=session.history.can_redo,
            can_clear=has_prompts,
        )

    def _on_status_changed(self, text: str) -> None:
        self._status.say(text)

    def _on_session_progressed(self, progress: Progress | None) -> None:
        self._auto_panel.show_progress(progress)
        self._activity.show(progress)

    def _on_auto_changed(self) -> None:
        self._auto_panel.show_state(self._session.auto.state)

    def _on_region_chosen(self, layer: Any) -> None:
        self._region = layer
        self._auto_panel.show_regions(self._controller.regions(), layer)

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

    def _show_download(self) -> None:
        models = self._session.models
        name = models.choice.name
        self._model_panel.show_download(models.info(name), models.download_of(name))

    def _on_model_chosen(self, model: ModelChoice) -> None:
        self._session.set_model(model)
        self._model_panel.show_model(model)
        self._show_download()

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

    def _on_overwrite_toggled(self, checked: bool) -> None:
        self._controller.overwrite = checked


class _Column(QScrollArea):
    """Scrolls up and down only, so it is never narrower than what it shows."""

    def minimumSizeHint(self) -> QSize:
        """As wide as the content and the scroll bar."""
        content, bar, least = self.widget(), self.verticalScrollBar(), super().minimumSizeHint()
        if content is None or bar is None:
            return least
        return QSize(content.minimumSizeHint().width() + bar.sizeHint().width(), least.height())


def _take_apart(
    session: Session, controller: Controller, bindings: Bindings, aids: ImageAids, *_: Any
) -> None:
    """End everything that is not Qt; can run when the widget's Qt part is gone already."""
    aids.disable()
    heard = (
        session,
        session.models,
        session.auto,
        session.warming,
        session.precomputing,
        controller,
        controller.prompts,
        aids,
    )
    for signals in heard:
        for signal in (getattr(signals, name) for name in dir(type(signals)) if _is_signal(signals, name)):
            signal.disconnect()
    session.close()
    bindings.disable()
    controller.disable()


def _is_signal(owner: object, name: str) -> bool:
    return isinstance(getattr(type(owner), name), Signal)


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line
