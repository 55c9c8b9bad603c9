"""When a propagated object is taken to end, and where doubt begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_sam.inference.propagation_values import PropagationParams
from napari_sam.widgets.layer_combo import form_label, make_form, narrow
from napari_sam.widgets.value_slider import ValueSlider

if TYPE_CHECKING:
    from napari_sam.viewer.propagation_desk import PropagationDesk

__all__ = ["LimitsPanel"]

BETWEEN = ("nearest", "blend")
SLIDERS = {
    "min_overlap": (
        "Overlap",
        0.0,
        1.0,
        "An object ends where less than this share of it overlaps with the plane before.",
    ),
    "max_area_change": ("Area", 1.0, 5.0, "An object ends where its area changes by more than this factor."),
    "max_regrowth": (
        "Regrowth",
        1.0,
        5.0,
        "An object that has shrunk, as towards its end along z, ends where it grows again by more than this "
        "factor.",
    ),
    "min_contrast": (
        "Contrast",
        0.0,
        1.0,
        "An object ends where it stands out from its surroundings less than this share of what it does where "
        "you clicked: out of focus, along z.",
    ),
    "min_score": (
        "Pred. IoU",
        0.0,
        1.0,
        "An object ends where the model itself rates its outline lower than this (0 to 1).",
    ),
    "doubt": (
        "Flag at",
        0.0,
        1.0,
        "Planes whose overlap or predicted IoU is below this are flagged but kept.",
    ),
}


class LimitsPanel(QWidget):
    """Thresholds of a ``PropagationDesk``.

    Parameters
    ----------
    desk : PropagationDesk
        Whose ``params`` they change.
    """

    def __init__(self, desk: PropagationDesk) -> None:
        super().__init__()
        self._desk = desk
        self.jumps = QCheckBox("End at jumps")
        self.jumps.setToolTip("Off: the object goes on whatever happens, and jumps are only flagged.")
        self.motion = QCheckBox("It moves on (time series)")
        self.motion.setToolTip(
            "Expect the object to move as it did from the plane before, and let it grow, shrink and fade."
        )
        self.between = narrow(QComboBox())
        self.between.addItems(list(BETWEEN))
        self.between.setToolTip(
            "Between two planes where it is known: each half follows its nearer one, or both are blended."
        )
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("Back to the thresholds to begin with.")
        self.sliders = {
            name: ValueSlider(low, high, tip, infinite=name in ("max_area_change", "max_regrowth"))
            for name, (_, low, high, tip) in SLIDERS.items()
        }
        form = make_form()
        form.addRow(self.jumps)
        for name, slider in self.sliders.items():
            form.addRow(form_label(SLIDERS[name][0]), slider)
        form.addRow(form_label("Between"), self.between)
        form.addRow(self.motion)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.reset)
        self.jumps.clicked.connect(lambda on: desk.set_params(stop_at_jumps=on))
        self.motion.clicked.connect(self._on_motion_clicked)
        self.between.activated.connect(lambda i: desk.set_params(between=BETWEEN[i]))
        self.reset.clicked.connect(self._on_reset_clicked)
        for name, slider in self.sliders.items():
            slider.value_changed.connect(lambda value, name=name: desk.set_params(**{name: value}))

    def show_params(self, params: PropagationParams) -> None:
        """Show what is set; emits nothing."""
        self.between.setCurrentIndex(BETWEEN.index(params.between))
        self.jumps.setChecked(params.stop_at_jumps)
        self.motion.setChecked(params.motion)
        for name, slider in self.sliders.items():
            slider.show_value(getattr(params, name))
            slider.setEnabled(params.stop_at_jumps or name == "doubt")

    def _on_motion_clicked(self, on: bool) -> None:
        chosen = PropagationParams.for_series() if on else PropagationParams()
        names = ("motion", "max_regrowth", "min_contrast")
        self._desk.set_params(**{name: getattr(chosen, name) for name in names})

    def _on_reset_clicked(self) -> None:
        default = PropagationParams()
        names = (*self.sliders, "stop_at_jumps", "between", "motion")
        self._desk.set_params(**{name: getattr(default, name) for name in names})
