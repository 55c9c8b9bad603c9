"""Exports labels, and the prompts they were made from, in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.errors import ImageError, PromptError
from napari_sam.session.jobs import LONG, Job
from napari_sam.types import Progress
from napari_sam.viewer.label_files import describe_objects, iter_write_labels, read_axes
from napari_sam.viewer.planes import full_resolution, spatial_shape

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.provenance import ObjectRecord
    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.prompt_tables import PromptRow
    from napari_sam.viewer.controller import Controller

__all__ = ["Exporter", "list_prompts", "stack_of"]

LANE = "export"


class Exporter:
    """Writes Labels layers with what is known of their objects; clicks go on meanwhile.

    Parameters
    ----------
    controller : Controller
        Knows the layers.
    runner : JobRunner
        What writes.
    """

    said = Signal(str)
    warned = Signal(str)

    def __init__(self, controller: Controller, runner: JobRunner) -> None:
        self._controller = controller
        self._runner = runner

    def close(self) -> None:
        """Tell nobody any more; what is being written is written to its end."""
        self.said.disconnect()
        self.warned.disconnect()

    def export(self, layer: Any, name: str, path: Path, *, volumes: bool = False) -> None:
        """Write a Labels layer in one format; what is at ``path`` is replaced.

        Intensities are those of the chosen image, where it has the layer's shape.

        Parameters
        ----------
        layer : napari.layers.Labels
            The layer.
        name : str
            Of the format, as ``napari-sam export`` calls it.
        path : Path
            The file, or the folder of an OME-Zarr.
        volumes : bool
            Whether tables measure objects along Z in 3-D.
        """
        labels = stack_of(layer)
        properties = describe_objects({"features": layer.features, "metadata": layer.metadata})
        source = self._controller.image_layer
        image = None
        if name == "csv" and source is not None and spatial_shape(source) == tuple(labels.data.shape):
            image = stack_of(source)
        self._runner.submit(
            Job(
                f"Writing {path.name}",
                lambda: iter_write_labels(name, path, labels, properties, image, volumes=volumes),
                priority=LONG,
                lane=LANE,
                on_done=lambda written: self.said.emit(f"{labels.name}: written to {written}."),
                on_failed=self.warned.emit,
            )
        )

    def export_prompts(self, layer: Any, path: Path) -> None:
        """Write the prompts of a layer's objects as a table that ``napari-sam prompts`` reads.

        Parameters
        ----------
        layer : napari.layers.Labels
            The layer.
        path : Path
            Ends in ``.csv`` or ``.geojson``; what is there is replaced.

        Raises
        ------
        PromptError
            When no object of the layer was made from prompts.
        """
        source = self._controller.image_layer
        name = str(layer.name)
        if source is not None:
            name = Path(source.source.path).name if source.source.path else str(source.name)
        axes, _, _ = read_axes(layer.ndim, {"axis_labels": list(getattr(layer, "axis_labels", ()))})
        records = self._controller.session.book.records(self._controller.target.token(layer))
        rows = list_prompts(records, name, axes)
        if not rows:
            raise PromptError(
                f"Expected objects made from prompts in {layer.name!r}, got none; accept an object, "
                "or choose another layer to write to."
            )
        self._runner.submit(
            Job(
                f"Writing {path.name}",
                lambda: _iter_write_prompts(path, rows),
                priority=LONG,
                lane=LANE,
                on_done=lambda _: self.said.emit(f"{len(rows)} objects' prompts written to {path}."),
                on_failed=self.warned.emit,
            )
        )


def list_prompts(records: Iterable[ObjectRecord], file: str, axes: str) -> list[PromptRow]:
    """The rows of a table for objects that were made from prompts.

    Parameters
    ----------
    records : iterable of ObjectRecord
        Those without prompts, and of planes that are not the image's rows and columns, are left out.
    file : str
        What the table calls the image.
    axes : str
        Letters of the layer's axes.
    """
    from napari_sam.stacks.prompt_tables import PromptRow

    rows = []
    for record in records:
        leading = record.plane[:-2]
        index = tuple(number for number in leading if number is not None)
        if record.prompts is None or not record.prompts.has_foreground or len(index) != len(leading):
            continue
        rows.append(PromptRow(file, index, record.label, record.prompts, axes[: len(index)]))
    return rows


def _iter_write_prompts(path: Path, rows: list[PromptRow]) -> Generator[Progress, None, Path]:
    from napari_sam.stacks.prompt_tables import write_prompt_table

    yield Progress(0, 1, f"Writing {path.name}")
    try:
        write_prompt_table(path, rows)
    except OSError as error:
        raise ImageError(f"Expected to write {path}, but: {error}. Choose another folder.") from error
    return path


def stack_of(layer: Any) -> ImageStack:
    """A layer's pixels with the letters of their axes."""
    from napari_sam.stacks.image_io import ImageStack

    attributes = {name: getattr(layer, name, None) for name in ("scale", "units", "axis_labels")}
    values = {name: list(value) for name, value in attributes.items() if value is not None}
    axes, scale, unit = read_axes(layer.ndim, values)
    rgb = bool(getattr(layer, "rgb", False))
    return ImageStack(full_resolution(layer), axes + "C" * rgb, scale, unit, str(layer.name))
