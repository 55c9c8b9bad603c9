"""Candidates that were found before, so that nothing is decoded twice."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam.inference.candidates import Candidates, FilterParams
    from napari_sam.session.auto_requests import AutoRequest

__all__ = ["CandidateCache"]


class CandidateCache:
    """Keeps the results of the last requests, the least recently used ones go first.

    Parameters
    ----------
    budget : int
        Bytes. A larger result than that is not kept.
    """

    def __init__(self, budget: int = 256 << 20) -> None:
        self._budget = budget
        self._kept: OrderedDict[AutoRequest, tuple[Candidates, FilterParams]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Memory in use, in bytes."""
        return sum(candidates.nbytes for candidates, _ in self._kept.values())

    def get(self, request: AutoRequest) -> tuple[Candidates, FilterParams] | None:
        """Candidates and their default thresholds, or None."""
        found = self._kept.get(request)
        if found is not None:
            self._kept.move_to_end(request)
        return found

    def put(self, request: AutoRequest, candidates: Candidates, defaults: FilterParams) -> None:
        """Keep the result of a request that was answered in full."""
        self._kept[request] = candidates, defaults
        self._kept.move_to_end(request)
        while self._kept and self.nbytes > self._budget:  # counted anew: overlaps are added on first use
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
