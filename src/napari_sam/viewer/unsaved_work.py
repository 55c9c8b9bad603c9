"""What would be lost: which Labels layers were worked on, in which planes, and what is not accepted yet.

It is told by the records and edits of the session, and by the layers where the user paints. Collecting it
copies references only.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from psygnal import Signal

from napari_sam.session.work import LayerWork, Work
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.image_identity import identify_image
from napari_sam.viewer.label_places import find_path, is_in_memory
from napari_sam.viewer.planes import full_resolution
from napari_sam.viewer.silent_changes import SilentChanges, is_redrawn

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from napari_sam.session.edits import LabelEdit
    from napari_sam.viewer.controller import Controller

__all__ = ["RECORDS", "HeldRecords", "UnsavedWork"]

RECORDS = "napari_sam_records"
"""In the metadata of Labels layers: the records of their objects, for the next widget and for writers."""

ALL: None = None  # every plane
MANY = 100
"""Objects that change at once, of which nobody asks in which planes they are."""


class HeldRecords(dict[str, Any]):
    """Records of a layer that go where the layer goes; empty to whoever writes metadata as JSON.

    Attributes
    ----------
    page : mapping of int to tuple of ObjectRecord
        By label, as they are at any time.
    unsaved : bool
        Whether anything is not saved.
    digest : str or None
        Of the labels as they lie in a file that was written here; None where there is none, or where they are
        not in memory.
    doubtful : bool
        Whether labels that lie in a file may have changed: nobody has compared them yet.
    folder : str
        Name of the session's folder that keeps it; empty where there is none.
    describe_image : callable
        Gives what is known of the image.
    """

    def __init__(self, page: Mapping[int, Any], describe_image: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self.page = page
        self.unsaved = False
        self.digest: str | None = None
        self.doubtful = False
        self.folder = ""
        self.describe_image = describe_image

    def mark_saved(self, digest: str | None) -> None:
        """All of it lies in a file now; the digest as above."""
        self.unsaved, self.digest, self.doubtful = False, digest, False


@dataclass(eq=False, slots=True)
class _Watched:
    """What is known of one layer."""

    key: str
    held: HeldRecords
    data: Any
    planes: set[tuple[int, ...]] | None  # to be looked at; None for all
    connections: Connections
    changes: int = 0  # so many were noticed


def _nothing() -> Mapping[str, Any]:
    return {}


class UnsavedWork:
    """A ``WorkSource`` that watches the layers of a viewer.

    Parameters
    ----------
    controller : Controller
        Knows viewer, session and target.
    """

    changed = Signal()
    doubted = Signal(object)  # Labels that may be others than were saved: ``resolve`` is to be called

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._session = controller.session
        self._watched: WeakKeyDictionary[Any, _Watched] = WeakKeyDictionary()
        self._gone: list[LayerWork] = []  # removed since work was taken last: perhaps the viewer closes
        self._keys = count()
        self._quiet = 0
        self._silent = SilentChanges(controller.viewer)
        self._silent.noticed.connect(self._on_silent_noticed)
        self._connections = Connections()
        self._image: Any = None
        self._describe_image: Callable[[], Mapping[str, Any]] = _nothing

    # ------------------------------------------------------------- life
    def enable(self) -> None:
        """Listen."""
        session, layers = self._session, self._controller.viewer.layers
        for signal, handler in (
            (session.book.changed, self._on_book_changed),
            (session.edits.edited, self._on_session_edited),
            (session.state_changed, self._on_session_changed),
            (self._controller.target_changed, self._on_target_changed),
            (layers.events.removed, self._on_layers_removed),
        ):
            self._connections.add(signal, handler)

    def close(self) -> None:
        """Listen no more."""
        self._connections.clear()
        self._silent.close()
        for watched in list(self._watched.values()):
            watched.connections.clear()

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """What changes meanwhile is no work of the user's."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    # ------------------------------------------------------------- layers
    def watch(self, layer: Any) -> HeldRecords:
        """Notice from now on when a layer changes; its records."""
        watched = self._watched.get(layer)
        if watched is None:
            token = self._controller.target.token(layer)
            held = HeldRecords(self._session.book.page(token), self.describe_image())
            watched = _Watched(str(next(self._keys)), held, layer.data, ALL, Connections())
            self._watched[layer] = watched
            layer.metadata[RECORDS] = held
            watched.connections.add(layer.events.paint, self._on_layer_paint)
            self._silent.watch(layer)
        return watched.held

    def mark_saved(self, layer: Any, digest: str | None = None) -> None:
        """What is in a layer now lies in a file.

        Parameters
        ----------
        layer : napari.layers.Labels
            The layer.
        digest : str or None
            Of its labels, by which changes are noticed that nobody tells of; see ``resolve``.
        """
        self.watch(layer).mark_saved(digest)
        self.changed.emit()

    def count_changes(self, layer: Any) -> int:
        """How many changes of a layer were noticed; another number means that it has changed meanwhile."""
        self.watch(layer)
        return self._watched[layer].changes

    def resolve(self, layer: Any, digest: str, changes: int) -> None:
        """The labels of a layer that was doubted had this digest after so many changes."""
        watched = self._watched.get(layer)
        if watched is not None and watched.held.doubtful and watched.changes == changes:
            watched.held.doubtful = False
            if digest == watched.held.digest:
                self.changed.emit()  # what was kept meanwhile is not needed
            else:
                self.mark_unsaved(layer)

    def doubt(self, layer: Any) -> None:
        """A layer that was saved may hold something else now; ``doubted`` tells."""
        self.watch(layer).doubtful = True
        self.doubted.emit(layer)

    def mark_unsaved(self, layer: Any, planes: Iterable[tuple[int, ...]] | None = ALL) -> None:
        """A layer holds what lies in no file."""
        held = self.watch(layer)
        held.unsaved = True
        watched = self._watched[layer]
        watched.changes += 1
        if planes is None or watched.planes is None:
            watched.planes = ALL
        else:
            watched.planes.update(planes)
        self.changed.emit()

    def is_unsaved(self, layer: Any) -> bool:
        """True when a layer holds what lies in no file, or may do so."""
        watched = self._watched.get(layer)
        return watched is not None and (watched.held.unsaved or watched.held.doubtful)

    def describe_image(self) -> Callable[[], Mapping[str, Any]]:
        """What is known of the image that is segmented, for the worker."""
        image = self._controller.image_layer
        if image is not self._image or image is None:
            self._image = image
            self._describe_image = _nothing if image is None else identify_image(image)
        return self._describe_image

    def set_folder(self, name: str) -> None:
        """The session's folder has this name now."""
        for watched in self._watched.values():
            watched.held.folder = name

    # ------------------------------------------------------------- WorkSource
    def take(self) -> Work:
        """What is not saved now."""
        layers = [layer for layer in self._controller.viewer.layers if self.is_unsaved(layer)]
        works = [self._take_layer(layer) for layer in layers] + self._gone
        self._gone = []
        session, shows = self._session, self._controller.shows
        accepted = [state for state in session.prompting.decoding.accepted if shows(state.plane)]
        state = accepted[-1] if accepted else session.prompting.state
        describe = self._watched[layers[0]].held.describe_image if layers else self.describe_image()
        return Work(
            layers=tuple(works),
            describe_image=describe,
            settings=asdict(session.settings),
            prompts=None if state is None else state.prompts,
            plane=() if state is None else state.plane.index,
            is_accepted=bool(accepted),
        )

    def put_back(self, work: Work) -> None:
        """It could not be saved: all of it is to be looked at again."""
        for watched in self._watched.values():
            watched.planes = ALL

    def _take_layer(self, layer: Any) -> LayerWork:
        watched, token = self._watched[layer], self._controller.target.token(layer)
        data = layer.data
        planes = None if watched.planes is None or watched.data is not data else frozenset(watched.planes)
        watched.data, watched.planes = data, set()
        finest = full_resolution(layer)
        head = {
            "name": str(layer.name),
            "path": find_path(layer),
            "shape": [int(size) for size in finest.shape],
            "dtype": np.dtype(finest.dtype).str,
            "target": layer is self._controller.target_layer,
            "transform": _transform_json(layer),
        }
        records = self._session.book.records(token)
        return LayerWork(watched.key, head, data if is_in_memory(data) else None, planes, records)

    # ------------------------------------------------------------- handlers
    def _on_book_changed(self, token: Hashable, labels: frozenset[int]) -> None:
        layer = self._controller.target.surfaces.layer(token)
        if layer is None or self._quiet:
            return
        if len(labels) > MANY:
            self.mark_unsaved(layer)
            return
        records = (record for label in labels for record in self._session.book.get(token, label))
        planes = {_leading(record.plane) for record in records}
        self.mark_unsaved(layer, ALL if not planes or None in planes else planes)

    def _on_session_edited(self, edit: LabelEdit) -> None:
        layer = self._controller.target.surfaces.layer(edit.layer)
        if layer is not None and edit.patches:
            planes = {_leading(patch.index) for patch in edit.patches}
            self.mark_unsaved(layer, ALL if None in planes else planes)

    def _on_session_changed(self) -> None:
        if not self._session.is_closed:
            self.changed.emit()

    def _on_target_changed(self, layer: Any) -> None:
        if layer is not None:
            self.watch(layer)

    def _on_layers_removed(self, event: Any) -> None:
        layer = event.value
        watched = self._watched.get(layer)
        if watched is None:
            return
        if self.is_unsaved(layer):
            self._gone.append(self._take_layer(layer))
        watched.connections.clear()
        self._silent.release(layer)
        del self._watched[layer]
        self.changed.emit()

    def _on_layer_paint(self, event: Any) -> None:
        if not self._controller.target.writer.is_writing:  # of edits it is known which planes they change
            self.mark_unsaved(event.source)

    def _on_silent_noticed(self, layer: Any) -> None:
        """Napari's undo, or a script, or neither: all of the layer is to be looked at."""
        if is_redrawn(layer):  # ``mark_unsaved`` is told which planes changed
            return
        watched = self._watched[layer]
        watched.planes = ALL
        watched.changes += 1
        if watched.held.unsaved:
            self.changed.emit()
        elif watched.held.digest is not None:
            self.doubt(layer)


def _leading(index: tuple[int | None, ...]) -> Any:
    """Where a plane of the last two axes lies on the others; None for a plane of other axes."""
    *leading, rows, cols = index
    if rows is not None or cols is not None or None in leading:
        return None
    return tuple(leading)


def _transform_json(layer: Any) -> dict[str, Any]:
    """What puts a layer where it is."""
    values = {
        name: np.asarray(getattr(layer, name)).tolist() for name in ("scale", "translate", "rotate", "shear")
    }
    return {**values, "affine": np.asarray(layer.affine).tolist()}
