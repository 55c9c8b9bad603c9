"""Joins autosave to the viewer: what is worked on goes in, what was left behind comes back as layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.autosave import Autosave
from napari_sam.session.prompt_state import PromptState
from napari_sam.session.settings import settings_from_json
from napari_sam.viewer.connections import Connections
from napari_sam.viewer.image_identity import identify_image, same_image
from napari_sam.viewer.label_places import find_path
from napari_sam.viewer.planes import full_resolution, go_to_plane
from napari_sam.viewer.record_keeping import RecordKeeping
from napari_sam.viewer.unsaved_work import UnsavedWork

if TYPE_CHECKING:
    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.left_session import LeftLayer, LeftSession
    from napari_sam.session.settings import Settings
    from napari_sam.viewer.controller import Controller

__all__ = ["Recovery"]


class Recovery:
    """Autosave, what was left behind, and records in files, for one viewer.

    Parameters
    ----------
    controller : Controller
        Knows viewer and session.
    runner : JobRunner
        What reads and writes.

    Attributes
    ----------
    work : UnsavedWork
        What is not saved.
    autosave : Autosave
        Keeps it on disk.
    records : RecordKeeping
        Records that come and go with layers.
    """

    offered = Signal(object)  # LeftSession that may be restored, or None
    due = Signal()  # ``autosave.save`` is to be called soon

    def __init__(self, controller: Controller, runner: JobRunner) -> None:
        self._controller = controller
        self._session = controller.session
        self.work = UnsavedWork(controller)
        self.autosave = Autosave(runner, self.work, enabled=self._session.settings.autosave)
        self.records = RecordKeeping(controller, runner, self.work)
        self._left: list[LeftSession] = []
        self._inherited: frozenset[str] = frozenset()
        self._narrowed: dict[str, LeftSession] = {}  # by folder: what is left of those that came back in part
        self._connections = Connections()

    # ------------------------------------------------------------- life
    def enable(self) -> None:
        """Listen, and look for what was left behind; ``offered`` tells."""
        for signal, handler in (
            (self.work.changed, self.autosave.touch),
            (self.autosave.due, self.due.emit),
            (self.autosave.saved, self._on_autosave_saved),
            (self.autosave.found, self._on_autosave_found),
            (self.autosave.warned, self._on_warned),
            (self.records.warned, self._on_warned),
            (self.records.said, self._on_said),
            (self._session.settings_changed, self._on_settings_changed),
        ):
            self._connections.add(signal, handler)
        self.work.enable()
        self._inherited = self.records.enable()
        self.autosave.look(self._inherited)

    def close(self) -> None:
        """Save what is not saved, and let go of viewer and session."""
        self.autosave.close()
        if self.autosave.last_folder:
            self.work.set_folder(self.autosave.last_folder)
        self._connections.clear()
        self.records.close()
        self.work.close()

    # ------------------------------------------------------------- what was left behind
    @property
    def offer(self) -> LeftSession | None:
        """The session that is offered now."""
        return self._left[0] if self._left else None

    def restore(self) -> None:
        """Bring back what is offered: layers, records, prompts and image; then it is this session's."""
        left = self.offer
        if left is None:
            return
        self._left.pop(0)
        self.autosave.read(
            left,
            lambda labels: self._on_read(left, labels),
            lambda message: self._on_unreadable(left, message),
        )
        self.offered.emit(self.offer)

    def discard(self) -> None:
        """Delete what is offered."""
        if self._left:
            self.autosave.discard(self._left.pop(0))
            self.offered.emit(self.offer)

    def later(self) -> None:
        """Offer it again the next time."""
        if self._left:
            self._left.pop(0)
            self.offered.emit(self.offer)

    def _on_read(self, left: LeftSession, arrays: list[Any]) -> None:
        image = self._find_image(left)
        if image is not None:
            self._controller.image_layer = image
        count, added, missing = 0, 0, []
        for kept, data in zip(left.layers, arrays, strict=True):
            layer = self._add_layer(kept, data)
            if layer is None:
                missing.append(kept)
                continue
            added += 1
            count += len({record.label for record in kept.records})
            if kept.head.get("target") is True:
                self._controller.target_layer = layer
        self._restore_settings(left)
        self._restore_prompts(left, image)
        missing = [kept for kept in missing if kept.records]
        folder = left.folder.name
        if missing:  # nobody else has them: they are offered until it is open, without what is back
            rest = replace(left, layers=tuple(missing), prompts=None, settings={}, plane=())
            self._left.append(rest)
            if added or folder in self._narrowed:
                self._narrowed[folder] = rest
            self.offered.emit(self.offer)
        else:
            self._narrowed.pop(folder, None)
            self._inherited |= {folder}  # removed once it is saved as work of this session
        self.autosave.touch()
        what = f"{count} objects are" if count else "The labels are"
        self._on_said(f"{what} back in {added} layers.")
        if image is None and left.image.get("name"):
            self._on_warned(
                f"The labels are back, but their image {left.image['name']!r} is not open: open it to go on."
            )

    def _find_image(self, left: LeftSession) -> Any:
        """The image of a session, opened where that is possible; else None."""
        for layer in self._controller.images():
            if same_image(identify_image(layer)(), left.image):
                return layer
        path = left.image.get("path")
        if not isinstance(path, str) or not Path(path).exists():
            return None
        try:
            opened = self._controller.viewer.open(path)
        except Exception:  # noqa: BLE001 - readers of other plugins raise whatever they do
            return None
        for layer in opened:
            if layer in list(self._controller.images()) and same_image(identify_image(layer)(), left.image):
                return layer
        return None

    def _add_layer(self, kept: LeftLayer, data: Any) -> Any:
        name, path = str(kept.head.get("name", "SAM objects")), kept.head.get("path")
        layer: Any = None
        if data is None:  # its labels lie in a file of their own
            layer = self._find_labels(kept)
        else:
            layer = Labels(data, name=name, **_transform(kept.head, data.ndim))
            self._controller.viewer.add_layer(layer)
        if layer is None:
            more = " Open it, and restore again to have what is known of its objects." if kept.records else ""
            place = path or "another array"
            self._on_warned(f"The labels of {name!r} lie in {place}, which is not open as it was.{more}")
            return None
        token = self._controller.target.token(layer)
        by_label: dict[int, list[Any]] = {}
        for record in kept.records:
            by_label.setdefault(record.label, []).append(record)
        self._session.book.change_many(token, by_label)
        self.work.mark_unsaved(layer)
        return layer

    def _find_labels(self, kept: LeftLayer) -> Any:
        """The open layer whose labels lie where those of a kept one do; None where that is not certain."""
        path = kept.head.get("path")
        found = [
            layer
            for layer in self._controller.viewer.layers
            if isinstance(layer, Labels) and path is not None and find_path(layer) == path
        ]
        arrays = [(layer, full_resolution(layer)) for layer in found]
        fit = [layer for layer, data in arrays if (tuple(data.shape), data.dtype) == (kept.shape, kept.dtype)]
        named = [layer for layer in fit if layer.name == kept.head.get("name")]
        fit = named or fit  # a file may hold several, of which no more is known
        return fit[0] if len(fit) == 1 else None

    def _restore_settings(self, left: LeftSession) -> None:
        """What the model saw of the image then; where embeddings and sessions are kept stays as it is."""
        now = self._session.settings
        if not left.settings:  # they came back with an earlier part of the session
            return
        try:
            then = settings_from_json(dict(left.settings))
        except (SamError, TypeError, ValueError, KeyError, AttributeError):
            return
        self._session.set_settings(replace(then, cache=now.cache, autosave=now.autosave, device=now.device))

    def _restore_prompts(self, left: LeftSession, image: Any) -> None:
        plane = self._session.plane
        if left.prompts is None or image is None or plane is None or len(left.plane) != len(plane.index):
            return
        if [i is None for i in left.plane] != [i is None for i in plane.index]:
            return
        go_to_plane(image, self._controller.viewer.dims, replace(plane, index=left.plane))
        shown = self._session.plane
        if shown is not None and shown.index == left.plane:
            self._session.set_prompts(left.prompts)
            self._session.prompts_restored.emit(PromptState(shown, left.prompts))

    # ------------------------------------------------------------- handlers
    def _on_unreadable(self, left: LeftSession, message: str) -> None:
        self._on_warned(f"{message} It stays in {left.folder}.")

    def _on_autosave_found(self, left: tuple[LeftSession, ...]) -> None:
        self._left = [
            session for session in left if session.count or session.has_labels or session.prompts is not None
        ]
        self.offered.emit(self.offer)

    def _on_autosave_saved(self, _: float) -> None:
        if self.autosave.session is not None:
            self.work.set_folder(self.autosave.session.path.name)
        if self.autosave.is_dirty:  # this save may have begun before something came back
            return
        for name in self._inherited:
            self.autosave.remove(name)
        for left in self._narrowed.values():
            self.autosave.narrow(left)
        self._inherited, self._narrowed = frozenset(), {}

    def _on_settings_changed(self, settings: Settings) -> None:
        self.autosave.enabled = settings.autosave

    def _on_warned(self, message: str) -> None:
        self._session.warned.emit(message)

    def _on_said(self, message: str) -> None:
        self._session.status_changed.emit(message)


def _transform(head: Any, ndim: int) -> dict[str, Any]:
    """What puts a layer where it was; nothing where that is damaged."""
    found = head.get("transform")
    if not isinstance(found, dict) or len(found.get("scale", ())) != ndim:
        return {}
    return {
        name: found[name] for name in ("scale", "translate", "rotate", "shear", "affine") if name in found
    }
