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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from napari_sam.session.provenance import ObjectRecord
from napari_sam.session.record_files import replace_file
from napari_sam.session.record_json import (
    RecordError,
    read_list,
    read_mapping,
    read_prompts,
    read_text,
    read_whole,
)
from napari_sam.session.tile_pack import Tile, TilePack, unpack_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from napari_sam.types import Prompts

__all__ = ["STATE_VARIABLE", "LeftLayer", "LeftSession", "SessionFolder", "StateFolder"]

logger = logging.getLogger(__name__)

STATE_VARIABLE = "NAPARI_SAM_STATE_DIR"
"""Names another folder for unsaved work, for tests and for shared machines."""
INDEX = "session.json"
FORMAT = "napari-sam session"
VERSION = 1
SESSION_BYTES = 1 << 29
INDEX_BYTES = 1 << 29
MOST_SESSIONS = 10
MOST_DAYS = 30
MOST_LAYERS = 1000
MOST_TILES = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class LeftLayer:
    """A Labels layer of a session that was left behind.

    Attributes
    ----------
    head : dict
        name, path, transform, and whether it was the target.
    shape : tuple of int
        Of its labels.
    dtype : numpy.dtype
        Of its labels.
    records : tuple of ObjectRecord
        What is known of its objects.
    pack : Path
        Where its tiles are.
    tiles : dict or None
        First pixel of each tile and where it lies; None where the labels are in a file of their own.
    """

    head: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    records: tuple[ObjectRecord, ...]
    pack: Path
    tiles: Mapping[tuple[int, ...], Tile] | None

    def read(self) -> NDArray[Any] | None:
        """The labels, where they were kept.

        Raises
        ------
        RecordError
            When they are damaged, or there is no memory for them.
        """
        if self.tiles is None:
            return None
        try:
            return unpack_tiles(self.pack, self.tiles, self.shape, self.dtype)
        except (OSError, MemoryError, ValueError) as error:
            raise RecordError(f"The labels of {self.head.get('name')!r} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class LeftSession:
    """A session that was left behind, read but for its labels.

    Attributes
    ----------
    folder : Path
        Where it is.
    image : dict
        What is known of the image: name, path, shape, digest.
    saved : float
        When it was saved last, seconds since 1970.
    closed : bool
        Whether the viewer was closed in order, over unsaved labels.
    settings : dict
        As in the settings file.
    prompts : Prompts or None
        What was not accepted yet.
    plane : tuple of int or None
        Where the prompts lie.
    layers : tuple of LeftLayer
        What was worked on.
    """

    folder: Path
    image: Mapping[str, Any]
    saved: float
    closed: bool
    settings: Mapping[str, Any]
    prompts: Prompts | None
    plane: tuple[int | None, ...]
    layers: tuple[LeftLayer, ...]

    @property
    def count(self) -> int:
        """Number of objects that something is known of."""
        return sum(len({record.label for record in layer.records}) for layer in self.layers)

    @property
    def has_labels(self) -> bool:
        """True when it keeps labels, whoever has drawn them."""
        return any(layer.tiles for layer in self.layers)


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
    complete : dict of str to tuple of int
        Layers of which every plane was put into the pack, by key, and their shape then.
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self.pack = TilePack(path, SESSION_BYTES)
        self.complete: dict[str, tuple[int, ...]] = {}
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
        replace_file(self.path / INDEX, f'{text[:-1]},\n"layers": [\n{joined}\n]}}\n'.encode())
        self.pack.tidy()

    def forget(self, layer: str) -> None:
        """A layer is gone, or has become another one."""
        self.pack.forget(layer)
        self.complete.pop(layer, None)

    def empty(self) -> None:
        """Forget what was saved; the folder and its lock stay."""
        for path in [self.path / INDEX, *self.path.glob("tiles-*.bin")]:
            path.unlink(missing_ok=True)
        self.pack = TilePack(self.path, SESSION_BYTES)
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

    def _folders(self) -> list[Path]:
        try:
            found = [path for path in self.path.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError:
            return []
        return sorted(found, key=lambda path: path.name, reverse=True)


def read_session(path: Path) -> LeftSession:
    """Read a session but for its labels.

    Raises
    ------
    RecordError
        When there is nothing in it, or it is damaged.
    """
    index = path / INDEX
    try:
        if index.stat().st_size > INDEX_BYTES:
            raise RecordError(f"Expected {index} to be smaller than {INDEX_BYTES >> 20} MB.")
        values = read_mapping(json.loads(index.read_bytes()), "a session")
        if values.get("format") != FORMAT or read_whole(values, "version") > VERSION:
            raise RecordError(f"Expected {FORMAT!r} of version {VERSION}, got another in {index}.")
        pack = path / Path(read_text(values, "pack", "tiles-0.bin")).name  # never outside the folder
        prompts = values.get("prompts")
        return LeftSession(
            folder=path,
            image=read_mapping(values.get("image", {}), "image"),
            saved=float(read_whole(values, "saved", 0)),
            closed=values.get("closed") is True,
            settings=read_mapping(values.get("settings", {}), "settings"),
            prompts=None if prompts is None else read_prompts(prompts),
            plane=_read_index(values, "plane"),
            layers=tuple(_read_layer(each, pack) for each in read_list(values, "layers", MOST_LAYERS)),
        )
    except (OSError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise RecordError(f"Expected a session in {path}, got none: {error}") from error


def _read_layer(values: Any, pack: Path) -> LeftLayer:
    found = read_mapping(values, "a layer")
    shape = tuple(read_whole({"shape": v}, "shape", low=1) for v in read_list(found, "shape", 32))
    dtype = np.dtype(read_text(found, "dtype", "int32"))
    if len(shape) < 2 or dtype.kind not in "iu":
        raise RecordError(f"Expected labels of whole numbers, got {dtype} of shape {shape}.")
    tiles = None
    if found.get("tiles") is not None:
        tiles = {}
        for each in read_list(found, "tiles", MOST_TILES):
            first, offset, length, checksum = each
            numbers = [read_whole({"tile": v}, "tile", low=0) for v in (*first, offset, length, checksum)]
            tiles[tuple(numbers[:-3])] = Tile(*numbers[-3:])
    return LeftLayer(
        head=found,
        shape=shape,
        dtype=dtype,
        records=tuple(ObjectRecord.from_json(each) for each in read_list(found, "records", MOST_TILES)),
        pack=pack,
        tiles=tiles,
    )


def _read_index(found: Mapping[str, Any], name: str) -> tuple[int | None, ...]:
    values = read_list(found, name, 32)
    return tuple(None if value is None else read_whole({name: value}, name, low=0) for value in values)


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
