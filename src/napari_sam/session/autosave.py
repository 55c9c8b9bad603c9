"""Keeps unsaved work on disk while it is done, and finds what an earlier process left behind.

The main thread only collects references (``WorkSource.take``). Reading pixels, packing and writing happen in
a lane of their own, step by step, so that neither a click nor the brush waits.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.session.jobs import BACKGROUND, Job, JobRunner
from napari_sam.session.record_json import RecordError, dump_prompts
from napari_sam.session.state_folder import StateFolder
from napari_sam.session.tile_pack import iter_tiles
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from napari_sam.session.left_session import LeftSession
    from napari_sam.session.provenance import ObjectRecord
    from napari_sam.session.state_folder import SessionFolder
    from napari_sam.session.work import LayerWork, Work, WorkSource

__all__ = ["Autosave"]

logger = logging.getLogger(__name__)

LANE = "autosave"
CHUNK = 100
"""Records that are put into words, or tiles that are looked at, in one step."""


class Autosave:
    """Saves the work of one widget, and offers that of processes that ended without.

    Parameters
    ----------
    runner : JobRunner
        What writes and reads.
    source : WorkSource
        What there is to save.
    folder : StateFolder or None
        Where; None for the platform's place.
    enabled : bool
        Whether anything is saved at all.

    Attributes
    ----------
    session : SessionFolder or None
        Where it saves, once there was something to save.
    last_folder : str
        Name of that folder, once it is closed.
    """

    due = Signal()  # something changed: ``save`` is to be called soon
    saved = Signal(float)  # seconds since 1970
    found = Signal(object)  # (LeftSession, ...)
    warned = Signal(str)

    def __init__(
        self, runner: JobRunner, source: WorkSource, folder: StateFolder | None = None, enabled: bool = True
    ) -> None:
        self.folder = folder or StateFolder()
        self.session: SessionFolder | None = None
        self.last_folder = ""
        self._runner = runner
        self._source = source
        self._enabled = enabled
        self._dirty = False
        self._saving: Work | None = None
        self._again = False
        self._told = False
        self._closed = False
        self._started = time.time()
        self._writing = threading.Lock()
        self._lines: dict[int, tuple[ObjectRecord, str]] = {}  # by identity; records are values

    # ------------------------------------------------------------- saving
    @property
    def enabled(self) -> bool:
        """Whether anything is saved."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        if enabled == self._enabled:
            return
        self._enabled = enabled
        if enabled:
            self.touch()
        elif self.session is not None:
            session, self.session = self.session, None
            self._submit("Removing saved work", lambda: self._iter_drop(session))

    @property
    def is_dirty(self) -> bool:
        """True while something has changed that is not saved."""
        return self._dirty or self._saving is not None

    def touch(self) -> None:
        """Something changed."""
        if self._enabled and not self._closed and not self._dirty:
            self._dirty = True
            self.due.emit()

    def save(self) -> None:
        """Save in the background what there is now; quick."""
        if not self._enabled or self._closed:
            return
        if self._saving is not None:
            self._again = True  # when that is done, so that the last state is never left out
            return
        self._dirty, self._saving = False, self._source.take()
        work = self._saving
        self._submit(
            "Saving unsaved work",
            lambda: self._iter_save(work, closed=False),
            on_done=self._on_saved,
            on_failed=lambda message: self._on_failed(work, message),
            on_cancelled=lambda _: self._on_failed(work, ""),
        )

    def close(self, keep: bool = True) -> None:
        """Save what is not saved yet, and let others find it; nothing is left where all is saved.

        Parameters
        ----------
        keep : bool
            False where what is not saved may be forgotten.
        """
        if self._closed:
            return
        self._closed = True
        if self._saving is not None:
            self._source.put_back(self._saving)  # nobody knows how much of it was written
        work = self._source.take()
        if not work.is_accepted:
            work = replace(work, prompts=None)
        try:
            if keep and self._enabled and not work.is_empty:
                for _ in self._iter_save(work, closed=True):
                    pass
            elif self.session is not None:
                with self._writing:
                    self.session.empty()
        except (OSError, RecordError):
            logger.debug("cannot save at the end", exc_info=True)
        with self._writing:
            if self.session is not None:
                self.last_folder = self.session.path.name
                self.session.release()
                self.session = None

    def _iter_save(self, work: Work, closed: bool) -> Generator[Progress, None, float]:
        with self._writing:
            session = self.session
            if session is None:
                if work.is_empty:
                    return time.time()
                session = self.session = self.folder.open()
            if work.is_empty:
                session.empty()
                return time.time()
        yield Progress(0, 0, "Saving")
        layers = []
        for layer in work.layers:
            yield from self._iter_put(session, layer)
            layers.append((yield from self._iter_describe(session, layer)))
        now = time.time()
        head: dict[str, Any] = {
            "started": int(self._started),
            "saved": int(now),
            "closed": closed,
            "pid": os.getpid(),
            "image": dict(work.describe_image()),
            "settings": dict(work.settings),
            "plane": list(work.plane),
        }
        if work.prompts is not None and not work.prompts.is_empty:
            head["prompts"] = dump_prompts(work.prompts)
        with self._writing:
            kept = {layer.key for layer in work.layers}
            for key in {key for key, _ in session.pack.tiles} - kept:
                session.forget(key)
            session.write_index(head, layers)
        alive = {id(record) for layer in work.layers for record in layer.records}
        self._lines = {key: line for key, line in self._lines.items() if key in alive}
        return now

    def _iter_put(self, session: SessionFolder, layer: LayerWork) -> Generator[Progress, None, None]:
        data = layer.data
        if data is None:
            return
        planes: Iterator[tuple[int, ...]] = iter(np.ndindex(data.shape[:-2]))
        if session.shapes.get(layer.key, data.shape) != data.shape:
            with self._writing:
                session.forget(layer.key)
        session.shapes[layer.key] = data.shape
        if layer.key in session.complete and layer.planes is not None:
            planes = iter(sorted(layer.planes))
        for number, (first, index) in enumerate(iter_tiles(data.shape, planes)):
            with self._writing:
                session.pack.put((layer.key, first), np.asarray(data[index]))
            if number % CHUNK == 0:
                yield Progress(0, 0, "Saving")
        session.complete.add(layer.key)

    def _iter_describe(self, session: SessionFolder, layer: LayerWork) -> Generator[Progress, None, str]:
        head = dict(layer.head)
        if layer.data is not None:
            tiles = [(first, tile) for (key, first), tile in session.pack.tiles.items() if key == layer.key]
            head["tiles"] = [[list(first), tile.offset, tile.length, tile.checksum] for first, tile in tiles]
        lines = []
        for number, record in enumerate(layer.records):
            known = self._lines.get(id(record))
            if known is None:
                known = self._lines[id(record)] = record, json.dumps(record.to_json())
            lines.append(known[1])
            if number % CHUNK == CHUNK - 1:
                yield Progress(0, 0, "Saving")
        joined = ",\n".join(lines)
        return f'{json.dumps(head)[:-1]}, "records": [\n{joined}\n]}}'

    def _iter_drop(self, session: SessionFolder) -> Generator[Progress, None, None]:
        yield Progress(0, 0, "Removing")
        with self._writing:
            session.empty()
            session.release()

    def _on_saved(self, now: float) -> None:
        self._saving, self._told = None, False
        self.saved.emit(now)
        self._go_on()

    def _on_failed(self, work: Work, message: str) -> None:
        self._saving = None
        self._source.put_back(work)
        if message and not self._told:
            self._told = True  # once, not at every click
            self.warned.emit(
                f"Unsaved work cannot be kept in {self.folder.path} ({message}); save your labels yourself. "
                "It is tried again at the next change."
            )
        self._go_on()

    def _go_on(self) -> None:
        if self._again:
            self._again = self._dirty = False
            self.touch()

    # ------------------------------------------------------------- what was left behind
    def look(self, skip: frozenset[str] = frozenset()) -> None:
        """Look for work that was left behind; ``found`` tells."""
        self._submit("Looking for unsaved work", lambda: self._iter_look(skip), on_done=self.found.emit)

    def _iter_look(self, skip: frozenset[str]) -> Generator[Progress, None, tuple[LeftSession, ...]]:
        yield Progress(0, 0, "Looking")
        self.folder.prune()
        left = []
        for session in self.folder.list_left(skip):
            yield Progress(0, 0, "Looking")
            left.append(session)
        return tuple(left)

    def read(
        self,
        left: LeftSession,
        on_done: Callable[[list[NDArray[Any] | None]], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """Read the labels of all layers of a session."""
        self._submit("Reading unsaved work", lambda: _iter_read(left), on_done=on_done, on_failed=on_failed)

    def discard(self, left: LeftSession) -> None:
        """Delete a session that was left behind."""
        self.remove(left.folder.name)

    def remove(self, name: str) -> None:
        """Delete a session by the name of its folder, unless somebody works on it."""
        self._submit("Removing unsaved work", lambda: self._iter_remove(name))

    def _iter_remove(self, name: str) -> Generator[Progress, None, None]:
        yield Progress(0, 0, "Removing")
        self.folder.remove(self.folder.path / name)

    def narrow(self, left: LeftSession) -> None:
        """Keep only those layers of a session that are left; the others are somebody's already."""
        self._submit("Keeping the rest of unsaved work", lambda: self._iter_narrow(left))

    def _iter_narrow(self, left: LeftSession) -> Generator[Progress, None, None]:
        yield Progress(0, 0, "Keeping")
        self.folder.narrow(left)

    def _submit(
        self, name: str, steps: Callable[[], Generator[Progress, None, Any]], **callbacks: Any
    ) -> None:
        self._runner.submit(Job(name, steps, priority=BACKGROUND, lane=LANE, **callbacks))


def _iter_read(left: LeftSession) -> Generator[Progress, None, list[NDArray[Any] | None]]:
    found = []
    for number, layer in enumerate(left.layers):
        yield Progress(number, len(left.layers), "Reading unsaved work")
        found.append(layer.read())
    return found
