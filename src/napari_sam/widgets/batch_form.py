"""What a batch is to do: images, folder, model and settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam.errors import BatchError
from napari_sam.inference.registry import list_models
from napari_sam.widgets.auto_panel import METHODS
from napari_sam.widgets.layer_combo import form_label, make_form, narrow
from napari_sam.widgets.section import Section

if TYPE_CHECKING:
    from napari_sam.stacks.work_units import BatchJob

__all__ = ["BatchForm"]

FORMATS: Final = {
    "tiff": "TIFF label images (NAME_labels.tif), for ImageJ and napari.",
    "ome-zarr": "OME-Zarr labels (NAME_labels.zarr), for images larger than memory.",
    "rois": "ImageJ ROIs (NAME_rois.zip).",
    "geojson": "Polygons for QuPath (NAME_objects.geojson).",
    "coco": "COCO JSON (NAME_coco.json).",
    "csv": "Measurements of every object (NAME_objects.csv).",
}
LINKS: Final = (
    ("each plane alone", None, "Objects are numbered from 1 in every plane."),
    ("along z", "z", "An object has one id in all sections of a volume."),
    ("along time", "t", "An object has one id in all frames of a series."),
)
SEPARATOR: Final = "; "


class BatchForm(QWidget):
    """The controls; ``output_chosen`` tells when another folder was chosen, ``changed`` of anything else."""

    output_chosen = Signal(str)
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.inputs = QLineEdit()
        self.inputs.setPlaceholderText("folder, files, pattern or plate")
        self.inputs.setToolTip(
            "Images to segment: a folder, files, a pattern like scans/**/*.tif, an OME-Zarr plate; several "
            "with a semicolon between them."
        )
        self.pick_files = _tool(QStyle.StandardPixmap.SP_FileIcon, "Choose image files.")
        self.pick_folder = _tool(QStyle.StandardPixmap.SP_DirOpenIcon, "Choose a folder of images.")
        self.output = QLineEdit()
        self.output.setPlaceholderText("folder for the results")
        self.output.setToolTip("Where label images and the manifest go. A folder with a manifest is resumed.")
        self.pick_output = _tool(QStyle.StandardPixmap.SP_DirOpenIcon, "Choose the folder for the results.")
        self.model = narrow(QComboBox())
        self.model.setEditable(True)
        self.model.addItems([card.name for card in list_models()])
        self.model.setToolTip("A model's name, or the path of a checkpoint.")
        self.method = narrow(QComboBox())
        self.method.addItems([name for name, _ in METHODS])
        self.method.setToolTip("\n".join(f"{name}: {text}" for name, text in METHODS))
        self.link = narrow(QComboBox())
        self.link.addItems([title for title, _, _ in LINKS])
        self.link.setToolTip("\n".join(f"{title}: {text}" for title, _, text in LINKS))
        self.formats = {name: QCheckBox(name) for name in FORMATS}
        for name, box in self.formats.items():
            box.setToolTip(FORMATS[name])
            box.toggled.connect(lambda _checked: self.changed.emit())
        self.formats["tiff"].setChecked(True)
        self._make_more()
        self._lay_out()
        self.pick_files.clicked.connect(self._on_files_clicked)
        self.pick_folder.clicked.connect(self._on_folder_clicked)
        self.pick_output.clicked.connect(self._on_output_clicked)
        self.output.editingFinished.connect(lambda: self.output_chosen.emit(self.output.text().strip()))
        self.inputs.textChanged.connect(lambda _text: self.changed.emit())
        self.output.textChanged.connect(lambda _text: self.changed.emit())

    def read_inputs(self) -> list[str]:
        """The images, folders and patterns that were named."""
        return [part.strip() for part in self.inputs.text().split(";") if part.strip()]

    def read_job(self) -> BatchJob:
        """The settings.

        Raises
        ------
        BatchError
            When they make no sense.
        """
        from napari_sam.stacks.work_units import BatchJob

        options: dict[str, Any] = {}
        if self.min_area.value():
            options["min_area"] = float(self.min_area.value())
        if self.max_area.value():
            options["max_area"] = float(self.max_area.value())
        if not self.keep_border.isChecked():
            options["keep_border"] = False
        formats = tuple(name for name, box in self.formats.items() if box.isChecked())
        if not formats:
            raise BatchError("Expected at least one format for the results, got none.")
        model = self.model.currentText().strip()
        path = Path(model).expanduser()
        return BatchJob(
            model=str(path.absolute()) if path.is_file() else model,
            method=self.method.currentText(),
            options=options,
            channels=_read_channels(self.channels.text()),
            object_size=float(self.object_size.value()) or None,
            link=LINKS[self.link.currentIndex()][1],
            formats=formats,
        )

    def show_job(self, job: BatchJob) -> None:
        """Show settings."""
        self.model.setCurrentText(job.model)
        self.method.setCurrentText(job.method)
        self.link.setCurrentIndex([axis for _, axis, _ in LINKS].index(job.link))
        for name, box in self.formats.items():
            box.setChecked(name in job.formats)
        self.channels.setText("" if job.channels is None else ",".join(map(str, job.channels)))
        self.object_size.setValue(round(job.object_size or 0))
        self.min_area.setValue(round(job.options.get("min_area", 0)))
        self.max_area.setValue(round(job.options.get("max_area", 0)))
        self.keep_border.setChecked(job.options.get("keep_border", True))

    def _make_more(self) -> None:
        self.channels = QLineEdit()
        self.channels.setPlaceholderText("all, or such as 0 or 2,0")
        self.channels.setToolTip("Channels that the model sees, counted from 0, at most three.")
        self.object_size = _number(
            "auto",
            " px",
            "Typical diameter of the objects. The bundled model finds it itself, others take the image as it "
            "is.\nSet it when objects are larger than about 100 pixels, or when outlines are wrong.",
        )
        self.min_area = _number("the model's", " px²", "Smaller objects are dropped.")
        self.max_area = _number("any", " px²", "Larger objects are dropped.")
        self.keep_border = QCheckBox("Keep objects at the border")
        self.keep_border.setChecked(True)
        self.keep_border.setToolTip("Off: objects that touch the border of the image are dropped.")
        self.workers = _number("as suits", "", "Processes; each loads the model, and takes memory for it.")
        self.workers.setMaximum(256)
        self.retry = QCheckBox("Try again what failed before")
        self.retry.setToolTip("Images that failed in an earlier run are left alone otherwise.")
        self.overwrite = QCheckBox("Overwrite other results")
        self.overwrite.setToolTip("Replace results of other settings, and files of no batch.")
        content = QWidget()
        form = make_form()
        form.addRow(form_label("Channel"), self.channels)
        form.addRow(form_label("Size"), self.object_size)
        form.addRow(form_label("Smallest"), self.min_area)
        form.addRow(form_label("Largest"), self.max_area)
        form.addRow(self.keep_border)
        form.addRow(form_label("Workers"), self.workers)
        form.addRow(self.retry)
        form.addRow(self.overwrite)
        content.setLayout(form)
        self.more = Section("More settings", content, "Channels, sizes, workers, and what may be replaced.")

    def _lay_out(self) -> None:
        form = make_form()
        form.addRow(form_label("Images"), _row(self.inputs, self.pick_files, self.pick_folder))
        form.addRow(form_label("Results"), _row(self.output, self.pick_output))
        form.addRow(form_label("Model"), self.model)
        form.addRow(form_label("Method"), self.method)
        form.addRow(form_label("Objects"), self.link)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        for i, box in enumerate(self.formats.values()):
            grid.addWidget(box, i // 3, i % 3)
        form.addRow(form_label("Write"), grid)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(form)
        layout.addWidget(self.more)

    def _on_files_clicked(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Images", self._start_folder())
        if paths:
            self.inputs.setText(SEPARATOR.join(paths))

    def _on_folder_clicked(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of images", self._start_folder())
        if path:
            self.inputs.setText(path)

    def _on_output_clicked(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder for the results", self._start_folder())
        if path:
            self.output.setText(path)
            self.output_chosen.emit(path)

    def _start_folder(self) -> str:
        """Where the user was last."""
        for text in (self.output.text(), *self.read_inputs()):
            path = Path(text)
            if text and path.exists():
                return str(path if path.is_dir() else path.parent)
        return ""


def _read_channels(text: str) -> tuple[int, ...] | None:
    if not text.strip():
        return None
    try:
        channels = tuple(int(part) for part in text.split(","))
    except ValueError:
        channels = (-1,)
    if not 1 <= len(channels) <= 3 or min(channels) < 0 or len(set(channels)) != len(channels):
        raise BatchError(f"Expected one to three different channels like 0 or 2,0, got {text!r}.")
    return channels


def _tool(picture: Any, tip: str) -> QToolButton:
    button = QToolButton()
    style = button.style()
    if style is not None:
        button.setIcon(style.standardIcon(picture))
    button.setToolTip(tip)
    return button


def _number(none: str, suffix: str, tip: str) -> QSpinBox:
    """A number whose 0 stands for something else."""
    box = QSpinBox()
    box.setRange(0, 10**8)
    box.setSpecialValueText(none)
    box.setSuffix(suffix)
    box.setToolTip(f"{tip} 0: {none}.")
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    box.setMinimumWidth(60)
    return box


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(2)
    for i, widget in enumerate(widgets):
        row.addWidget(widget, 0 if i else 1)
    return row
