"""Records of objects that come and go with their layers: from files, from earlier widgets, and into files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_sam.errors import ImageError, SamError
from napari_sam.inference.embedding_key import digest_pixels
from napari_sam.session.autosave import LANE
from napari_sam.session.jobs import BACKGROUND, LONG, Job
from napari_sam.session.record_files import (
    RecordFile,
    mark_records,
    read_record_file,
    record_path,
    write_record_file,
)
from napari_sam.types import Progress
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.label_places import is_in_memory
from napari_sam.viewer.planes import full_resolution
from napari_sam.viewer.unsaved_work import RECORDS, HeldRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from numpy.typing import NDArray

    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.provenance import ObjectRecord
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.unsaved_work import UnsavedWork

__all__ = ["RecordKeeping", "iter_digest", "iter_save_labels", "plane_reader"]

logger = logging.getLogger(__name__)

Index = tuple[int | None, ...]


class RecordKeeping:
    """Brings back what is known of the objects of layers that are opened, and saves it with them.

    Parameters
    ----------
    controller : Controller
        Knows viewer, session and layers.
    runner : JobRunner
        What reads and writes.
    work : UnsavedWork
        Is told what is saved.
    """

    said = Signal(str)
    warned = Signal(str)
    saved = Signal(object, object)  # Labels, Path

    def __init__(self, controller: Controller, runner: JobRunner, work: UnsavedWork) -> None:
        self._controller = controller
        self._book = controller.session.book
        self._runner = runner
        self._work = work
        self._connections = Connections()

    def enable(self) -> frozenset[str]:
        """Take over what earlier widgets left in the layers; names of the folders in which they kept it."""
        layers = self._controller.viewer.layers
        folders = {layer.metadata[RECORDS].folder for layer in layers if _held(layer) is not None}
        self._connections.add(self._work.doubted, self._on_work_doubted)
        for layer in list(layers):
            self._take_over(layer)
        self._connections.add(layers.events.inserted, self._on_layers_inserted)
        return frozenset(folders - {""})

    def close(self) -> None:
        """Listen no more."""
        self._connections.clear()

    # ------------------------------------------------------------- coming
    def _on_layers_inserted(self, event: Any) -> None:
        self._take_over(event.value)

    def _take_over(self, layer: Any) -> None:
        if not isinstance(layer, Labels):
            return
        token, held = self._controller.target.token(layer), _held(layer)
        if held is not None and held.page is not self._book.page(token):  # of a widget before, or a copy
            page = dict(held.page)
            with self._work.quietly():
                self._book.change_many(token, page)
            mine = self._work.watch(layer)
            mine.describe_image, mine.digest = held.describe_image, held.digest
            if held.unsaved:
                self._work.mark_unsaved(layer)
            elif held.digest is not None:  # nobody has looked since that widget was closed
                self._work.doubt(layer)
        elif held is None and layer.source.path is not None:
            path = record_path(Path(layer.source.path))
            if path.exists():
                self._read(layer, path)

    def _read(self, layer: Any, path: Path) -> None:
        """Read the records beside a label image that was opened."""
        read_plane = plane_reader(full_resolution(layer))
        self._runner.submit(
            Job(
                f"Reading {path.name}",
                lambda: _iter_read(path, read_plane),
                priority=BACKGROUND,
                lane=LANE,
                on_done=lambda found: self._on_read(layer, path, *found),
                on_failed=self.warned.emit,
            )
        )

    def _on_read(self, layer: Any, path: Path, found: tuple[ObjectRecord, ...], count: int) -> None:
        if layer not in self._controller.viewer.layers:
            return
        token = self._controller.target.token(layer)
        by_label: dict[int, list[ObjectRecord]] = {}
        for record in found:
            by_label.setdefault(record.label, []).append(record)
        new = {label: records for label, records in by_label.items() if not self._book.get(token, label)}
        with self._work.quietly():
            self._book.change_many(token, new)
        self._work.watch(layer)
        self.said.emit(f"{layer.name}: prompts and models of {len(by_label)} objects are back.")
        if len(found) < count:
            self.warned.emit(
                f"{count - len(found)} of {count} objects in {path.name} are not those of {layer.name!r} any "
                "more: they were edited elsewhere, or the file belongs to other labels. What it says of "
                "them is left out."
            )

    # ------------------------------------------------------------- going
    def save(self, layer: Any, path: Path, done: Callable[[Path], None] | None = None) -> None:
        """Save a Labels layer as TIFF, and the records of its objects beside it; ``saved`` tells.

        Parameters
        ----------
        layer : napari.layers.Labels
            The layer.
        path : Path
            A name that ends in ``.tif`` or ``.tiff``.
        done : callable, optional
            Gets the path when it is written.
        """
        token = self._controller.target.token(layer)
        held = self._work.watch(layer)
        records = self._book.records(token)
        data, changes = layer.data, self._work.count_changes(layer)

        def on_done(digest: str | None) -> None:
            beside = record_path(path).name
            said = f"{layer.name}: saved to {path.name}, with {len(records)} records in {beside}."
            if layer.data is data and self._work.count_changes(layer) == changes:
                self._work.mark_saved(layer, digest)
            else:
                said += " It may have changed meanwhile: save it again."
            self.said.emit(said)
            self.saved.emit(layer, path)
            if done is not None:
                done(path)

        self._runner.submit(
            Job(
                f"Saving {path.name}",
                lambda: _iter_save(path, layer_values(layer), records, held.describe_image),
                priority=LONG,
                lane=LANE,
                on_done=on_done,
                on_failed=self.warned.emit,
            )
        )

    def _on_work_doubted(self, layer: Any) -> None:
        """A layer that was saved was drawn anew: for its looks, by napari's undo, or by a script."""
        data, changes = full_resolution(layer), self._work.count_changes(layer)
        self._runner.submit(
            Job(
                f"Comparing {layer.name} with what was saved",
                lambda: iter_digest(data),
                slot=f"compare {self._controller.target.token(layer)}",
                priority=BACKGROUND,
                lane=LANE,
                on_done=lambda digest: self._work.resolve(layer, digest, changes),
                on_failed=self.warned.emit,
            )
        )


def layer_values(layer: Any) -> dict[str, Any]:
    """What a label file is written from: data, name, scale and unit."""
    units = [str(unit) for unit in getattr(layer, "units", ())] or ["pixel"]
    return {
        "data": full_resolution(layer),
        "name": str(layer.name),
        "scale": [float(value) for value in layer.scale],
        "unit": units[-1],
    }


def iter_save_labels(
    path: Path,
    values: Mapping[str, Any],
    records: tuple[ObjectRecord, ...],
    describe_image: Callable[[], Mapping[str, Any]],
) -> Generator[Progress, None, Path]:
    """Write labels as TIFF and the records of their objects beside them, as a job.

    Raises
    ------
    ImageError
        When the labels cannot be written there.
    """
    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.outputs import make_content, write_format

    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ImageError(
            f"Expected a name that ends in .tif, got {path.name!r}; records lie beside TIFF files."
        )
    data = values["data"]
    yield Progress(0, 2, f"Saving {path.name}")
    axes = "TZYX"[-data.ndim :] if data.ndim <= 4 else "ABCDEFTZYX"[-data.ndim :]
    scale = dict(zip(axes, values["scale"], strict=True))
    try:
        write_format(
            "tiff",
            path,
            make_content(ImageStack(data, axes, scale, values["unit"], values["name"])),
            overwrite=True,
        )
        yield Progress(1, 2, f"Saving {record_path(path).name}")
        kept, marks = mark_records(records, plane_reader(data))
        about = {
            "name": values["name"],
            "file": path.name,
            "shape": list(data.shape),
            "dtype": str(data.dtype),
        }
        write_record_file(record_path(path), RecordFile(kept, marks, dict(describe_image()), about))
    except OSError as error:
        raise ImageError(f"Expected to write {path}, but: {error}. Choose another folder.") from error
    return path


def _iter_save(path: Path, values: Mapping[str, Any], *more: Any) -> Generator[Progress, None, str | None]:
    """The same; the digest of labels in memory, which others may change without telling."""
    yield from iter_save_labels(path, values, *more)
    return (yield from iter_digest(values["data"])) if is_in_memory(values["data"]) else None


def iter_digest(data: NDArray[Any]) -> Generator[Progress, None, str]:
    """The digest of labels in memory, by which it is noticed that they have changed; a plane at a time."""
    digests = []
    for index in np.ndindex(data.shape[:-2]):
        digests.append(digest_pixels(data[index]))
        yield Progress(0, 0, "Comparing labels")
    return f"{data.shape} {'-'.join(digests)}"


def plane_reader(data: Any) -> Callable[[Index], Any]:
    """Gives the labels of a plane, rows first, or None where there is no such plane."""

    def read(index: Index) -> Any:
        inside = len(index) == data.ndim and index.count(None) == 2
        if not inside or any(i is not None and i >= n for i, n in zip(index, data.shape, strict=True)):
            return None
        return np.asarray(data[tuple(slice(None) if i is None else i for i in index)])

    return read


def _iter_read(
    path: Path, read_plane: Callable[[Index], Any]
) -> Generator[Progress, None, tuple[tuple[ObjectRecord, ...], int]]:
    yield Progress(0, 1, f"Reading {path.name}")
    file = read_record_file(path)
    try:
        return file.believe(read_plane), len(file.records)
    except (OSError, ValueError, IndexError) as error:
        raise SamError(f"{path.name} could not be compared with its labels: {error}") from error


def _held(layer: Any) -> HeldRecords | None:
    held = layer.metadata.get(RECORDS) if isinstance(layer, Labels) else None
    return held if isinstance(held, HeldRecords) else None
