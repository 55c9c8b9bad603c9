"""What is remembered of images that are read lazily, so that a click on one reads no more than it must."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from operator import is_
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

__all__ = ["MemoryPool", "SourceMemory", "is_dask"]

DIGESTS: Final = 4096
"""Crops of one image whose digests are remembered."""
LASTS: Final = 20.0
"""Seconds after which the sample of an array that may change is read again ..."""
FRESH: Final = 1.0
"""... and for a crop that nobody has looked at before after so many, or ..."""
WORTH: Final = 20
"""... so many times as long as reading it took: most of what is read is to be the crops."""


def is_dask(level: Any) -> bool:
    """Whether this is a dask array, which cannot be written to."""
    # not by its attributes: an xarray.DataArray has the same ones, and a name that says nothing
    return any(base.__module__.startswith("dask.array") for base in type(level).__mro__)


class SourceMemory:
    """The sample and the digests of the crops of one image.

    A crop whose digest is another one than before means that the image was changed in place: then the sample
    is forgotten, to be read again. A crop that nobody has looked at before says nothing, so it wants a sample
    that was read just now. And after ``LASTS`` none is good any more, because an image that is still being
    written changes elsewhere too. Thread-safe.

    Parameters
    ----------
    levels : sequence of arrays
        The image's levels. Of dask arrays, which cannot change, digests are remembered so that later clicks
        read nothing; all others are read at every click.

    Attributes
    ----------
    immutable : bool
        Whether the pixels cannot change.
    """

    def __init__(self, levels: Sequence[Any]) -> None:
        self._sample: tuple[float, float, NDArray[Any]] | None = None  # when, and how long, it was read
        self.immutable = all(is_dask(level) for level in levels)
        self._digests: OrderedDict[Hashable, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def sample(self) -> NDArray[Any] | None:
        """The plane's sample, where it may still be true."""
        kept = self._sample
        if kept is None or not (self.immutable or time.monotonic() - kept[0] < LASTS):
            return None
        return kept[2]

    def keep_sample(self, sample: NDArray[Any], started: float) -> None:
        """Remember the plane's sample; ``started`` is when reading it began, by ``time.monotonic``."""
        self._sample = started, time.monotonic() - started, sample

    def known_digest(self, crop: Hashable) -> str | None:
        """The digest of a crop, where it cannot have changed since it was noted."""
        with self._lock:
            return self._digests.get(crop) if self.immutable else None

    def note_digest(self, crop: Hashable, digest: str) -> None:
        """Remember what a crop's pixels were."""
        with self._lock:
            known = self._digests.get(crop)
            if known is None and not self._is_fresh():
                self._sample = None
            elif known not in (None, digest):
                self._sample = None
                self._digests.clear()
            self._digests[crop] = digest
            if len(self._digests) > DIGESTS:
                self._digests.popitem(last=False)

    def forget(self) -> None:
        """Take nothing for granted any more."""
        with self._lock:
            self._sample = None
            self._digests.clear()

    def distrust(self) -> None:
        """Take it for an image that may change from now on."""
        self.immutable = False
        self.forget()

    def _is_fresh(self) -> bool:
        """Whether the sample is good for a crop that nobody has looked at before."""
        if self.immutable or self._sample is None:
            return True
        started, took, _ = self._sample
        return time.monotonic() - started < max(FRESH, WORTH * took)


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
        """The memory of an image, new where it is not known.

        A slice of a dask array has the same name each time it is made, but so has an array that is made anew
        of a file that was rewritten. So a name counts only with what it was first seen with.
        """
        key = tuple((level.name, str(level.dtype)) if is_dask(level) else id(level) for level in levels)
        origins = [origin for level in levels for origin in _find_origins(level)]
        with self._lock:
            references, memory = self._known.pop(key, ([], None))
            seen = [refer() for refer in references]
            same = len(seen) == len(origins) and all(map(is_, seen, origins))
            if memory is None or (not same and any(origin is None for origin in seen)):
                references, memory = [_refer(origin) for origin in origins], SourceMemory(levels)
            elif not same:
                memory.distrust()  # two of one name, perhaps from before and after the file was rewritten
            self._known[key] = references, memory
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
            return memory


def _find_origins(level: Any) -> list[Any]:
    """What arrays share that were cut out of the same: the layers of the graph that depend on no other."""
    if not is_dask(level) or hasattr(level, "expr"):  # with ``array.query-planning`` it has no graph yet
        return [level]
    graph = level.dask
    return [graph.layers[name] for name, needed in graph.dependencies.items() if not needed]


def _refer(origin: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(origin)
    except TypeError:  # it cannot be referred to weakly
        return lambda: origin
