"""What is remembered of images that are read lazily, so that a click on one reads no more than it must."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

__all__ = ["MemoryPool", "SourceMemory", "is_dask"]

DIGESTS: Final = 4096
"""Crops of one image whose digests are remembered."""
LASTS: Final = 20.0
"""Seconds after which the sample of an array that may change is read again."""


def is_dask(level: Any) -> bool:
    """Whether this is a dask array, whose name stands for its content."""
    # not by its attributes: an xarray.DataArray has the same ones, and a name that says nothing
    return type(level).__module__.startswith("dask.array")


class SourceMemory:
    """The sample and the digests of the crops of one image.

    A crop whose digest is another one than before means that the image was changed in place: then the sample
    is forgotten, to be read again. So it is after ``LASTS``, because an image that is still being written
    changes where nobody has looked before. Thread-safe.

    Parameters
    ----------
    levels : sequence of arrays
        The image's levels. Of dask arrays, which cannot change, digests are remembered so that later clicks
        read nothing; all others are read at every click.
    """

    def __init__(self, levels: Sequence[Any]) -> None:
        self._sample: tuple[float, NDArray[Any]] | None = None  # when it was read
        self.immutable = all(is_dask(level) for level in levels)
        self._digests: OrderedDict[Hashable, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def sample(self) -> NDArray[Any] | None:
        """The plane's sample, where it may still be true."""
        kept = self._sample
        if kept is None or not (self.immutable or time.monotonic() - kept[0] < LASTS):
            return None
        return kept[1]

    @sample.setter
    def sample(self, sample: NDArray[Any] | None) -> None:
        self._sample = None if sample is None else (time.monotonic(), sample)

    def known_digest(self, crop: Hashable) -> str | None:
        """The digest of a crop, where it cannot have changed since it was noted."""
        with self._lock:
            return self._digests.get(crop) if self.immutable else None

    def note_digest(self, crop: Hashable, digest: str) -> None:
        """Remember what a crop's pixels were."""
        with self._lock:
            if self._digests.get(crop, digest) != digest:
                self.sample = None
                self._digests.clear()
            self._digests[crop] = digest
            if len(self._digests) > DIGESTS:
                self._digests.popitem(last=False)

    def forget(self) -> None:
        """Take nothing for granted any more."""
        with self._lock:
            self.sample = None
            self._digests.clear()


class MemoryPool:
    """The memories of the images used last; the images themselves are not kept alive.

    Parameters
    ----------
    limit : int
        Number of images.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._known: OrderedDict[Hashable, tuple[list[Callable[[], Any]], SourceMemory]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, levels: Sequence[Any]) -> SourceMemory:
        """The memory of an image, new where it is not known."""
        key = tuple((level.name, str(level.dtype)) if is_dask(level) else id(level) for level in levels)
        with self._lock:
            known = self._known.pop(key, None)
            if known is None or not _same(known[0], levels):  # an id is given again after an image is gone
                known = [_refer(level) for level in levels], SourceMemory(levels)
            self._known[key] = known
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
            return known[1]


def _refer(level: Any) -> Callable[[], Any]:
    if is_dask(level):
        return lambda: None
    try:
        return weakref.ref(level)
    except TypeError:  # it cannot be referred to weakly
        return lambda: level


def _same(references: Sequence[Callable[[], Any]], levels: Sequence[Any]) -> bool:
    return all(is_dask(level) or refer() is level for refer, level in zip(references, levels, strict=True))
