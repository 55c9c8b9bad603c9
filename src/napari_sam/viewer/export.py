"""Exports layers of the viewer in the formats of other programs, beside what the user does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.session.jobs import LONG, Job
from napari_sam.viewer.label_files import describe_objects, iter_write_labels, read_axes
from napari_sam.viewer.planes import full_resolution, spatial_shape

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.session.jobs import JobRunner
    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.viewer.controller import Controller

__all__ = ["Exporter"]

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


def stack_of(layer: Any) -> ImageStack:
    """A layer's pixels with the letters of their axes."""
    from napari_sam.stacks.image_io import ImageStack

    attributes = {name: getattr(layer, name, None) for name in ("scale", "units", "axis_labels")}
    values = {name: list(value) for name, value in attributes.items() if value is not None}
    axes, scale, unit = read_axes(layer.ndim, values)
    rgb = bool(getattr(layer, "rgb", False))
    return ImageStack(full_resolution(layer), axes + "C" * rgb, scale, unit, str(layer.name))
