"""Embeddings by key: a memory tier, the least recently used dropped first, over an optional store on disk."""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal, Protocol

from napari_sam.errors import CacheError

if TYPE_CHECKING:
    from napari_sam.inference.embedding import ImageEmbedding

_QUEUE: Final = 4  # embeddings that wait for the disk, at most
_log = logging.getLogger(__name__)


class DamagedEntryError(CacheError):
    """What a store holds under a key is not what was written there, or is gone."""


class EmbeddingStore(Protocol):
    """Where embeddings outlive the process; ``ZarrStore`` is one.

    ``get`` answers None for everything that is not there whole and sound. ``put`` may raise `CacheError`.
    """

    def get(self, key: str) -> ImageEmbedding | None:
        """The embedding of this key, or None. What nobody looks at may be read later."""

    def delete(self, key: str) -> None:
        """Forget an embedding."""

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding, whole or not at all."""

    def __contains__(self, key: object) -> bool:
        """Whether there is an entry of this key."""

    def clear(self) -> None:
        """Delete all entries."""

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""

    def trim(self, budget: int | None = None) -> None:
        """Drop the least recently used entries until at most ``budget`` bytes are left."""


class EmbeddingCache:
    """Embeddings by key, the least recently used dropped from memory beyond a budget. Thread-safe.

    Writing to the store is left to a thread of its own, so that a click need not wait for it; at the end
    of the process what is still queued is written. A process that is forked from this one has a thread of
    its own, and leaves to this one what was queued before.

    Parameters
    ----------
    memory_bytes : int
        Budget of the memory tier.
    store : EmbeddingStore, optional
        The tier below. Where it fails, the cache goes on without, logs that once, and says so in
        ``disk_error``.

    Attributes
    ----------
    nbytes : int
        Bytes in memory.
    disk_error : str or None
        Why the last write to the store failed; None when it worked.

    Raises
    ------
    CacheError
        When the budget is negative.
    """

    def __init__(self, memory_bytes: int, store: EmbeddingStore | None = None) -> None:
        if memory_bytes < 0:
            raise CacheError(f"Expected a memory budget of 0 bytes or more, got {memory_bytes}.")
        self.budget = memory_bytes
        self.store = store
        self.nbytes = 0
        self.disk_error: str | None = None
        self._entries: OrderedDict[str, ImageEmbedding] = OrderedDict()
        self._begin()
        _caches.add(self)

    def _begin(self) -> None:
        """With nothing to be written: at first, and in a forked process, where no other thread goes on."""
        self._lock = threading.Lock()
        self._queued: dict[str, ImageEmbedding] = {}
        self._room = threading.BoundedSemaphore(_QUEUE)
        self._writer: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        """Number of entries in memory."""
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.tier(key) is not None

    def tier(self, key: str) -> Literal["memory", "disk"] | None:
        """Where the embedding of this key is; None where it would have to be encoded."""
        if key in self._entries or key in self._queued:
            return "memory"
        return "disk" if self.store is not None and key in self.store else None

    def get(self, key: str, partial: bool = False) -> ImageEmbedding | None:
        """The embedding of this key, now the most recently used, or None.

        Parameters
        ----------
        key : str
        partial : bool
            Whether it may be read and checked where and when it is looked at, which then can raise
            `DamagedEntryError`. A second ``get`` without this option drops what is damaged.
        """
        with self._lock:
            found = self._entries.get(key) or self._queued.get(key)
            if key in self._entries:
                self._entries.move_to_end(key)
        if found is None and self.store is not None:
            found = self.store.get(key)
            if found is not None:
                self._remember(key, found)
        if found is None or partial:
            return found
        try:
            found.load()
        except DamagedEntryError as error:
            _log.info("%s It is encoded anew.", error)
            self._drop(key)
            return None
        return found

    def _drop(self, key: str) -> None:
        with self._lock:
            if key in self._entries:
                self.nbytes -= self._entries.pop(key).nbytes
        if self.store is not None:
            self.store.delete(key)

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding, on disk too; one larger than the whole budget is not kept in memory.

        It waits only where the store has fallen behind by some embeddings.
        """
        self._remember(key, embedding)
        if self.store is None:
            return
        with self._lock:
            if key in self._queued:
                return
            self._queued[key] = embedding
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, "napari-sam-cache")
        self._room.acquire()
        try:
            self._writer.submit(self._write, self.store, key, embedding)
        except RuntimeError:  # the process ends
            self._write(self.store, key, embedding)

    def write_missing(self, key: str) -> None:
        """Write what is in memory and not in the store, which was cleared since, or failed."""
        if self.store is None or key not in self._entries or key in self._queued or key in self.store:
            return
        found = self.get(key)  # whole: the file that the rest of it is in may be gone
        if found is not None:
            self.put(key, found)

    def flush(self) -> None:
        """Wait until everything is on disk, or has failed to get there."""
        if self._writer is not None:
            self._writer.submit(int).result()

    def _write(self, store: EmbeddingStore, key: str, embedding: ImageEmbedding) -> None:
        try:
            store.put(key, embedding)
        except Exception as error:  # noqa: BLE001 - in this thread nobody else would hear of it
            if self.disk_error is None:
                _log.warning("%s Until then embeddings are kept in memory only.", error)
            self.disk_error = str(error)
        else:
            self.disk_error = None
        finally:
            with self._lock:
                self._queued.pop(key, None)
            self._room.release()

    def _remember(self, key: str, embedding: ImageEmbedding) -> None:
        with self._lock:
            if embedding.nbytes > self.budget:
                return
            if key in self._entries:
                self.nbytes -= self._entries.pop(key).nbytes
            self._entries[key] = embedding
            self.nbytes += embedding.nbytes
            while self.nbytes > self.budget:
                _, dropped = self._entries.popitem(last=False)
                self.nbytes -= dropped.nbytes


_caches: weakref.WeakSet[EmbeddingCache] = weakref.WeakSet()


def _begin_again() -> None:
    for cache in _caches:
        cache._begin()


if sys.platform != "win32":  # where nothing forks
    os.register_at_fork(after_in_child=_begin_again)
