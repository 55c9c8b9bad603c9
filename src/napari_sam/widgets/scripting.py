"""What scripts can do with the dock widget: the same as its buttons."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_sam.errors import SamError
from napari_sam.session.requests import ModelChoice
from napari_sam.viewer.region_source import VISIBLE
from napari_sam.widgets.auto_panel import METHODS, SCOPES

if TYPE_CHECKING:
    from napari_sam.inference.candidates import FilterParams
    from napari_sam.session.session import Session
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.propagation_desk import PropagationDesk, What
    from napari_sam.viewer.propagation_view import PropagationView
    from napari_sam.widgets.auto_panel import AutoPanel
    from napari_sam.widgets.job_runner import QtJobRunner
    from napari_sam.widgets.model_panel import ModelPanel
    from napari_sam.widgets.prompt_panel import PromptPanel
    from napari_sam.widgets.status_line import StatusLine

__all__ = ["ScriptableWidget"]


class ScriptableWidget(QWidget):
    """Properties and methods for scripts; the dock widget makes what they are about.

    Each method returns when its request is queued; ``wait`` returns when everything is done.
    """

    _session: Session
    _controller: Controller
    _runner: QtJobRunner
    _model_panel: ModelPanel
    _prompt_panel: PromptPanel
    _auto_panel: AutoPanel
    _status: StatusLine
    _propagation: PropagationDesk
    _region: Any

    @property
    def session(self) -> Session:
        """The session behind the widget: its edits, objects and settings; see ``docs/editing.md``."""
        return self._session

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
        self._choose_model(ModelChoice(str(name), self._session.model.device))

    def download_model(self) -> None:
        """Get the weights of the model that is chosen, where they are not on this computer yet."""
        self._session.models.download(self.model_name)

    @property
    def overwrite(self) -> bool:
        """Whether accepted objects may take the pixels of others."""
        return self._controller.overwrite

    @overwrite.setter
    def overwrite(self, value: bool) -> None:
        self._controller.overwrite = bool(value)

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
        self._controller.toggle_label()

    def segment_everything(self) -> None:
        """Segment every object of the plane that is shown, or of ``region`` in it."""
        panel = self._auto_panel
        try:
            region = self._controller.read_region(self._region, panel.cut.isChecked())
        except SamError as error:
            self._session.warned.emit(str(error))
            return
        self._session.segment_everything(panel.method.currentText(), region)

    def segment_stack(self, axis: str = "z") -> None:
        """Segment every plane of the stack that is shown, and link their objects.

        Parameters
        ----------
        axis : str
            "z": sections of one volume; "t": frames of a series, whose objects are tracked.
        """
        if axis not in ("z", "t"):
            raise ValueError(f"Expected the axis 'z' or 't', got {axis!r}.")
        panel = self._auto_panel
        panel.scope.setCurrentIndex([name for name, *_ in SCOPES].index(axis))
        try:
            region = self._controller.read_region(self._region, panel.cut.isChecked())
        except SamError as error:
            self._session.warned.emit(str(error))
            return
        self._session.segment_stack("z" if axis == "z" else "t", panel.method.currentText(), region)

    def segment_scope(self) -> None:
        """What the button does: segment the plane that is shown, or the whole stack."""
        axis = self._auto_panel.axis
        if axis is None:
            self.segment_everything()
        else:
            self.segment_stack(axis)

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
        self._choose_region(layer)

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
        changes = asdict(params) if not isinstance(params, dict) else params
        self._session.auto.set_params(changes)

    def propagate(self, what: What | int = "auto", **changes: Any) -> None:
        """Follow objects through the planes of the stack; the target layer changes when it is over.

        Parameters
        ----------
        what : "auto", "prompts", "selected", "plane" or int
            The object that the prompts on all planes mean, the selected label of the target layer, all
            objects of the plane that is shown, or a label. "auto" takes prompts where there are any, else
            the selected label.
        **changes
            Fields of ``PropagationParams``, which stay: ``direction``, ``first``, ``last`` ...
        """
        self._propagation.set_params(**changes)
        self._propagation.propagate(what)

    def correct_propagation(self) -> None:
        """Follow the object propagated last again, from planes that were painted, clicked or stopped."""
        self._propagation.correct()

    def toggle_stop(self) -> None:
        """The object that was propagated last, or the next one, does not enter the plane that is shown."""
        self._propagation.toggle_stop()

    @property
    def propagation(self) -> PropagationView:
        """How the object that was propagated last came through the stack."""
        return self._propagation.view

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

    # ------------------------------------------------------------- what others call too
    def _choose_model(self, model: ModelChoice) -> None:
        self._session.set_model(model)
        self._model_panel.show_model(model)
        self._show_download()

    def _show_download(self) -> None:
        models = self._session.models
        name = models.choice.name
        self._model_panel.show_download(models.info(name), models.download_of(name))

    def _choose_region(self, layer: Any) -> None:
        self._region = layer
        self._auto_panel.show_regions(self._controller.regions(), layer)

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
