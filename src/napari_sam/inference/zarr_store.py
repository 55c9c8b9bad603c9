"""Embeddings on disk: a folder with one file per key, shared by as many processes as like to.

A file appears whole (it is written under another name, then renamed) and is never changed afterwards, so
readers and writers need no locks. Its time of modification is when it was last used; the oldest are
deleted first. Anybody may delete from the folder at any time: an entry that is gone is encoded again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from napari_sam.errors import CacheError
from napari_sam.inference.cache import DamagedEntryError
from napari_sam.inference.zarr_entry import open_embedding, pack_embedding

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from napari_sam.inference.embedding import ImageEmbedding

DEFAULT_BUDGET: Final = 10 * 10**9
"""Bytes on disk, unless the user says otherwise."""
SUFFIX: Final = ".embedding.zarr.zip"
"""Of entries; nothing else is ever deleted from the folder, which may be the user's own."""

_TEMPORARY: Final = ".embedding.tmp"
_ABANDONED: Final = 900.0  # seconds after which a temporary file has lost its writer
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,120}")
_TAG: Final = "Signature: 8a477f597d28d172789f06886806bc55\n# Embeddings of napari_sam; may be deleted.\n"
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """The folder ``NAPARI_SAM_CACHE_DIR``, else one in the platform's cache directory.

    Raises
    ------
    CacheError
        When the variable holds no path.
    """
    chosen = os.environ.get("NAPARI_SAM_CACHE_DIR")
    if chosen:
        return _expand(chosen)
    return Path(platformdirs.user_cache_dir("napari-sam", appauthor=False)) / "embeddings"


class ZarrStore:
    """Embeddings by key in a folder, the least recently used deleted beyond a budget.

    Safe for several threads and processes, also while others are killed.

    Parameters
    ----------
    folder : path
        Made when first written to.
    budget_bytes : int
        Of all entries; never more is used than half of what would be free without them.
    device : str or torch.device
        Where the tensors of embeddings go.

    Raises
    ------
    CacheError
        When the budget is negative, or the folder is no path.
    """

    def __init__(
        self,
        folder: str | Path,
        budget_bytes: int = DEFAULT_BUDGET,
        device: str | torch.device = "cpu",
    ) -> None:
        if budget_bytes < 0:
            raise CacheError(f"Expected a disk budget of 0 bytes or more, got {budget_bytes}.")
        self.folder = _expand(folder)
        self.budget_bytes = budget_bytes
        self.device = device
        self._lock = threading.Lock()
        self._seen: int | None = None  # bytes in the folder when it was last looked at
        self._added = 0  # bytes written since

    def __len__(self) -> int:
        """Number of entries."""
        return sum(1 for _ in self._list_files(SUFFIX))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and os.path.isfile(self._find(key))

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._list_files(SUFFIX))

    def get(self, key: str) -> ImageEmbedding | None:
        """The embedding of this key, now the most recently used, or None.

        An entry whose metadata are not as they were written is deleted. The rest is read and checked where
        it is looked at, or all at once by ``load``; both raise `DamagedEntryError`.
        """
        path = self._find(key)
        try:
            found = open_embedding(path, key, self.device)
        except DamagedEntryError as error:
            _log.info("%s It is encoded anew.", error)
            _delete(path)
            return None
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                _log.info("Cannot read %s: %s", path, error.strerror)
            return None
        with contextlib.suppress(OSError):  # in a folder that may only be read
            os.utime(path)
        return found

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding, whole or not at all.

        Raises
        ------
        CacheError
            When the folder cannot be written to, or the disk is full.
        """
        path = self._find(key)
        data = pack_embedding(key, embedding)
        try:
            if not self.folder.is_dir():
                # Only at first: a folder that vanishes later may have been on a disk that was taken out.
                self.folder.mkdir(parents=self._seen is None, exist_ok=True)
                (self.folder / "CACHEDIR.TAG").write_text(_TAG, encoding="ascii")  # backups pass it over
            if len(data) > self._make_room(len(data)):
                return
            try:
                self._write(path, data)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self.trim(self.nbytes - 2 * len(data))  # somebody else has filled the disk
                self._write(path, data)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise CacheError(
                f"Cannot keep embeddings in {self.folder}: {reason}. Free some space, or choose another "
                "folder in the settings or by NAPARI_SAM_CACHE_DIR."
            ) from error
        with self._lock:
            self._added += len(data)

    def delete(self, key: str) -> None:
        """Delete an entry."""
        _delete(self._find(key))

    def clear(self) -> None:
        """Delete all entries; other files stay."""
        for path, _, _ in self._list_files(SUFFIX):
            _delete(path)
        self.trim()

    def trim(self, budget: int | None = None) -> None:
        """Delete the least recently used entries, and what killed processes have left behind.

        Parameters
        ----------
        budget : int, optional
            Bytes that may remain; default what the parameters of the store allow.
        """
        now = time.time()
        for path, _, written in self._list_files(_TEMPORARY):
            if now - written > _ABANDONED:
                _delete(path)
        entries = sorted(self._list_files(SUFFIX), key=lambda entry: entry[2])
        total = sum(size for _, size, _ in entries)
        limit = self._limit(total) if budget is None else budget
        for path, size, _ in entries:
            if total <= limit:
                break
            if _delete(path):
                total -= size
        with self._lock:
            self._seen, self._added = total, 0

    def _make_room(self, size: int) -> int:
        """Trim when it is due before ``size`` bytes are written; gives how many bytes may be in use.

        Other processes add to the folder too, so it is looked at again after every fiftieth of the budget.
        """
        with self._lock:
            used = None if self._seen is None else self._seen + self._added
            due = used is None or self._added > self.budget_bytes // 50
        limit = self._limit(used or 0)
        if due or (used or 0) + size > limit:
            self.trim()
            limit = self._limit(self._seen or 0)
            if (self._seen or 0) + size > limit >= size:
                # A little more than is needed, so that the next entries find room without a look around.
                self.trim(max(0, min(limit - size, limit - limit // 20)))
        return limit

    def _limit(self, used: int) -> int:
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:
            return self.budget_bytes
        return min(self.budget_bytes, (used + free) // 2)

    def _write(self, path: Path, data: bytes) -> None:
        temporary = self.folder / f"{secrets.token_hex(8)}{_TEMPORARY}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave the name without the content
            try:
                temporary.replace(path)
            except PermissionError:  # on Windows, while another process reads the same entry
                if not path.exists():
                    raise
        finally:
            _delete(temporary)

    def _find(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise CacheError(f"Expected a key of at most 120 letters, digits, - or _, got {key!r}.")
        return self.folder / f"{key}{SUFFIX}"

    def _list_files(self, suffix: str) -> Iterator[tuple[Path, int, float]]:
        """Path, bytes and time of last use (seconds) of the files that end so."""
        try:
            with os.scandir(self.folder) as files:
                for file in files:
                    if file.name.endswith(suffix):
                        with contextlib.suppress(OSError):  # another process has just deleted it
                            found = file.stat()
                            yield Path(file.path), found.st_size, found.st_mtime
        except OSError:
            return


def _expand(folder: str | Path) -> Path:
    try:
        return Path(folder).expanduser()
    except (TypeError, RuntimeError) as error:  # a RuntimeError where "~" is nobody's
        raise CacheError(
            f"Expected a folder for embeddings, got {folder!r} ({str(error).rstrip('.')}); give all of it."
        ) from error


def _delete(path: Path) -> bool:
    """Delete a file; whether it is gone now."""
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a folder that may only be read; on Windows, a file that is being read
        return False
    return True
