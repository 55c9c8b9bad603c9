"""The buttons that export labels, and the prompts they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_sam.errors import SamError
from napari_sam.viewer.export import Exporter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.session.jobs import JobRunner
    from napari_sam.viewer.controller import Controller

__all__ = ["ExportButtons"]

FILTERS: Final[Mapping[str, tuple[str, bool]]] = {
    "ImageJ ROIs (*.zip)": ("rois", False),
    "GeoJSON polygons, QuPath (*.geojson)": ("geojson", False),
    "Measurements, plane by plane (*.csv)": ("csv", False),
    "Measurements, objects in 3-D (*.csv)": ("csv", True),
    "COCO JSON with RLE (*.json)": ("coco", False),
    "TIFF label image (*.tif)": ("tiff", False),
    "OME-Zarr labels (*.zarr)": ("ome-zarr", False),
}
"""What the file dialog offers: format, and whether objects are measured in 3-D."""
TABLES: Final = "Prompts, CSV (*.csv);;Prompts, GeoJSON (*.geojson)"


class ExportButtons:
    """Two buttons beside each other; the layer that objects go to is what is exported.

    Parameters
    ----------
    controller : Controller
        Knows the layers.
    runner : JobRunner
        What writes.
    host : QWidget
        Where the buttons appear, second in its vertical layout.
    """

    def __init__(self, controller: Controller, runner: JobRunner, host: QWidget) -> None:
        self._controller = controller
        self.exporter = Exporter(controller, runner)
        self.panel = QWidget()
        self.labels = QPushButton("Export labels…")
        self.labels.setToolTip(
            "Write the layer that objects go to as ImageJ ROIs, GeoJSON for QuPath, COCO, OME-Zarr, or as a "
            "table of measurements."
        )
        self.prompts = QPushButton("Export prompts…")
        self.prompts.setToolTip(
            "Write the clicks, boxes and polygons of all objects as a table; `napari-sam prompts` makes the "
            "same objects from it without a viewer."
        )
        layout = QHBoxLayout(self.panel)
        layout.setContentsMargins(0, 0, 0, 0)
        for button in (self.labels, self.prompts):
            layout.addWidget(button)
        box = host.layout()
        if isinstance(box, QVBoxLayout):
            box.insertWidget(1, self.panel)
        self.labels.clicked.connect(self._on_labels_clicked)
        self.prompts.clicked.connect(self._on_prompts_clicked)
        session = controller.session
        self.exporter.said.connect(session.status_changed.emit)
        self.exporter.warned.connect(session.warned.emit)

    def close(self) -> None:
        """Tell nobody any more."""
        self.exporter.close()

    def _target(self) -> Any:
        layer = self._controller.target_layer
        if layer is None:
            self.exporter.warned.emit(
                "Nothing to export: accept an object first, or choose a layer to write to."
            )
        return layer

    def _on_labels_clicked(self) -> None:
        layer = self._target()
        if layer is None:
            return
        path, chosen = QFileDialog.getSaveFileName(
            self.panel, "Export labels", str(layer.name), ";;".join(FILTERS)
        )
        if path:
            name, volumes = FILTERS.get(chosen, ("rois", False))
            self.exporter.export(layer, name, Path(path), volumes=volumes)

    def _on_prompts_clicked(self) -> None:
        layer = self._target()
        if layer is None:
            return
        path, chosen = QFileDialog.getSaveFileName(
            self.panel, "Export prompts", f"{layer.name} prompts", TABLES
        )
        if not path:
            return
        ending = ".geojson" if "GeoJSON" in chosen else ".csv"
        file = Path(path)
        if file.suffix.lower() not in (".csv", ".geojson", ".json"):
            file = file.with_name(file.name + ending)
        try:
            self.exporter.export_prompts(layer, file)
        except SamError as error:
            self.exporter.warned.emit(str(error))
