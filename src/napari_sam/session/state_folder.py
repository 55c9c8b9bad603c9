"""Where unsaved work is kept: one folder for each session, locked while its process lives.

A lock of the operating system ends with its process, however that ends: a session whose lock can be taken was
left behind, by a crash, a ``kill -9``, or by closing the viewer over unsaved labels.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from filelock import FileLock, Timeout

from napari_sam.inference.whole_files import replace_file
from napari_sam.session.left_session import FORMAT, INDEX, VERSION, read_session
from napari_sam.session.record_json import RecordError
from napari_sam.session.tile_pack import TilePack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_sam.session.left_session import LeftSession

__all__ = ["STATE_VARIABLE", "SessionFolder", "StateFolder"]

logger = logging.getLogger(__name__)

STATE_VARIABLE = "NAPARI_SAM_STATE_DIR"
"""Names another folder for unsaved work, for tests and for shared machines."""
SESSION_BYTES = 1 << 29
MOST_SESSIONS = 10
MOST_DAYS = 30


class SessionFolder:
    """The folder of one session of this process; holds its lock.

    Parameters
    ----------
    path : Path
        The folder.
    lock : FileLock
        Its lock, which is held.

    Attributes
    ----------
    pack : TilePack
        The tiles of its layers.
    shapes : dict of str to tuple of int
        Of the layers of which tiles were put into the pack, by key.
    complete : set of str
        Keys of those of which every plane was put into it.
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self.pack = TilePack(path, SESSION_BYTES)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.complete: set[str] = set()
        self._lock = lock

    def write_index(self, head: Mapping[str, Any], layers: list[str]) -> None:
        """Make what was put into the pack, and all else, the state of the session.

        Parameters
        ----------
        head : dict
            All but the layers.
        layers : list of str
            Each as JSON already.

        Raises
        ------
        OSError
            When it cannot be written; the state before stays.
        """
        self.pack.settle()
        text = json.dumps({"format": FORMAT, "version": VERSION, **head, "pack": self.pack.path.name})
        joined = ",\n".join(layers)
        content = f'{text[:-1]},\n"layers": [\n{joined}\n]}}\n'.encode()
        replace_file(self.path / INDEX, lambda temporary: temporary.write_bytes(content))
        self.pack.tidy()

    def forget(self, layer: str) -> None:
        """A layer is gone, or has become another one."""
        self.pack.forget(layer)
        self.shapes.pop(layer, None)
        self.complete.discard(layer)

    def empty(self) -> None:
        """Forget what was saved; the folder and its lock stay."""
        for path in [self.path / INDEX, *self.path.glob("tiles-*.bin")]:
            path.unlink(missing_ok=True)
        self.pack = TilePack(self.path, SESSION_BYTES)
        self.shapes.clear()
        self.complete.clear()

    def release(self) -> None:
        """Let others have it, or remove it where there is nothing in it."""
        keep = (self.path / INDEX).exists()
        self._lock.release()
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)


class StateFolder:
    """All sessions of this user on this computer.

    Parameters
    ----------
    path : Path or None
        The folder; None for the platform's place, or that of the variable ``NAPARI_SAM_STATE_DIR``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = _default_path() if path is None else path

    def open(self) -> SessionFolder:
        """A new session.

        Raises
        ------
        OSError
            When nothing can be written there.
        """
        path = self.path / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
        path.mkdir(parents=True)
        lock = _lock(path)
        lock.acquire(timeout=0)
        return SessionFolder(path, lock)

    def list_left(self, skip: frozenset[str] = frozenset()) -> Iterator[LeftSession]:
        """Sessions that no living process works on, the latest first.

        Those that cannot be read are left to ``prune``: a later version may be able to.

        Parameters
        ----------
        skip : set of str
            Names of folders that are somebody's concern already.
        """
        for path in self._folders():
            if path.name in skip or not _is_free(path):
                continue
            try:
                yield read_session(path)
            except RecordError:
                logger.debug("cannot use %s", path, exc_info=True)
                if not (path / INDEX).exists():  # nothing was ever saved in it
                    self.remove(path)

    def prune(self) -> None:
        """Remove the sessions that are too old, and the oldest beyond so many."""
        free = [path for path in self._folders() if _is_free(path)]
        for number, path in enumerate(free):
            if number >= MOST_SESSIONS or _age(path) > MOST_DAYS:
                self.remove(path)

    def remove(self, path: Path) -> None:
        """Delete a session, unless somebody works on it; never anything outside this folder."""
        if path.parent == self.path and _is_free(path):
            shutil.rmtree(path, ignore_errors=True)

    def narrow(self, left: LeftSession) -> None:
        """Keep only those layers of a session that are left, and their records; unless somebody works on it.

        Parameters
        ----------
        left : LeftSession
            With fewer layers than it was read with, all of which have their labels in files of their own.

        Raises
        ------
        OSError
            When it cannot be written; the state before stays.
        """
        index, lock = left.folder / INDEX, _lock(left.folder)
        if left.folder.parent != self.path or not index.exists():
            return
        with contextlib.suppress(Timeout), lock.acquire(timeout=0):
            values = json.loads(index.read_bytes())
            values["layers"] = [dict(layer.head) for layer in left.layers]
            for name in ("settings", "prompts", "plane"):
                values.pop(name, None)
            content = json.dumps(values).encode()
            replace_file(index, lambda temporary: temporary.write_bytes(content))
            for path in left.folder.glob("tiles-*.bin"):
                path.unlink(missing_ok=True)

    def _folders(self) -> list[Path]:
        try:
            found = [path for path in self.path.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError:
            return []
        return sorted(found, key=lambda path: path.name, reverse=True)


def _default_path() -> Path:
    folder = os.environ.get(STATE_VARIABLE)
    if folder:
        return Path(folder)
    return Path(platformdirs.user_data_dir("napari-sam", appauthor=False)) / "sessions"


def _lock(path: Path) -> FileLock:
    return FileLock(path / "lock", thread_local=False)


def _is_free(path: Path) -> bool:
    """True when no living process holds a session."""
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError:  # a folder that cannot be written to: whoever works in it could not either
        return os.access(path, os.R_OK)
    lock.release()
    return True


def _age(path: Path) -> float:
    """Days since a session was saved last."""
    with contextlib.suppress(OSError):
        return (time.time() - (path / INDEX).stat().st_mtime) / 86400
    with contextlib.suppress(OSError):
        return (time.time() - path.stat().st_mtime) / 86400
    return 0.0
