"""How well tracks follow the true objects: correct links between frames, and correct divisions.

Objects are matched frame by frame first, at IoU 0.5. A true link is right when both its ends are matched and
have one predicted id; these are the edges of the graphs of the Cell Tracking Challenge (Matula et al. 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.evaluation.matching import match_objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Parents = Mapping[int, Sequence[int]]

__all__ = ["TrackScores", "evaluate_tracks"]


@dataclass(frozen=True, slots=True)
class TrackScores:
    """Counts of links and divisions, and their ratios.

    Attributes
    ----------
    true_links, found_links, right_links : int
        Pairs of frames in which one object is seen one after the other: in the truth, in the prediction, and
        in both.
    true_divisions, found_divisions, right_divisions : int
        The same of mothers with two daughters or more.
    """

    true_links: int
    found_links: int
    right_links: int
    true_divisions: int
    found_divisions: int
    right_divisions: int

    @property
    def link_recall(self) -> float:
        """Right links of all true ones; 1 where there is none."""
        return self.right_links / self.true_links if self.true_links else 1.0

    @property
    def link_precision(self) -> float:
        """Right links of all that were predicted; 1 where there is none."""
        return self.right_links / self.found_links if self.found_links else 1.0

    @property
    def division_recall(self) -> float:
        """Right divisions of all true ones; 1 where there is none."""
        return self.right_divisions / self.true_divisions if self.true_divisions else 1.0

    @property
    def division_precision(self) -> float:
        """Right divisions of all that were predicted; 1 where there is none."""
        return self.right_divisions / self.found_divisions if self.found_divisions else 1.0


@dataclass(frozen=True, slots=True)
class _Tracks:
    """In which frames each id is."""

    frames: dict[int, list[int]]
    families: dict[int, list[int]]  # mother to daughters

    @property
    def links(self) -> list[tuple[int, int, int]]:
        """(id, frame, next frame) of everything that is seen again."""
        return [(number, a, b) for number, frames in self.frames.items() for a, b in pairwise(frames)]


def evaluate_tracks(
    true: Any, true_parents: Parents, predicted: Any, predicted_parents: Parents, *, tolerance: int = 1
) -> TrackScores:
    """Compare predicted tracks with true ones.

    Parameters
    ----------
    true, predicted : (T, ...) integer arrays of one shape
        Labels, 0 = background, read frame by frame; an id is a track.
    true_parents, predicted_parents : mapping of int to sequence of int
        By the id of a daughter that of her mother.
    tolerance : int
        A division may be seen so many frames too early or too late.

    Returns
    -------
    TrackScores

    Raises
    ------
    ImageError
        When shapes differ, or there are no labels.
    """
    if tuple(true.shape) != tuple(predicted.shape) or len(true.shape) < 3:
        raise ImageError(
            f"Expected two series (T, H, W) of one shape, got {tuple(true.shape)} and "
            f"{tuple(predicted.shape)}."
        )
    seen: tuple[dict[int, list[int]], dict[int, list[int]]] = {}, {}
    matched: list[dict[int, int]] = []
    for frame in range(int(true.shape[0])):
        planes = np.asarray(true[frame]), np.asarray(predicted[frame])
        for plane, frames in zip(planes, seen, strict=True):
            for number in np.unique(plane[plane != 0]).tolist():
                frames.setdefault(number, []).append(frame)
        matched.append(match_objects(*planes))
    truth, found = (
        _Tracks(frames, _list_families(parents, frames))
        for frames, parents in zip(seen, (true_parents, predicted_parents), strict=True)
    )
    links = set(found.links)
    right = 0
    for number, a, b in truth.links:
        one, other = matched[a].get(number), matched[b].get(number)
        right += one is not None and one == other and (one, a, b) in links
    divided = sum(
        _is_right(mother, daughters, truth, found, matched, tolerance)
        for mother, daughters in truth.families.items()
    )
    return TrackScores(len(truth.links), len(links), right, len(truth.families), len(found.families), divided)


def _list_families(parents: Parents, frames: dict[int, list[int]]) -> dict[int, list[int]]:
    """Mothers with at least two daughters; all of them must be there."""
    families: dict[int, list[int]] = {}
    for daughter, mothers in parents.items():
        for mother in mothers:
            if daughter in frames and mother in frames:
                families.setdefault(int(mother), []).append(int(daughter))
    return {mother: daughters for mother, daughters in families.items() if len(daughters) > 1}


def _is_right(
    mother: int,
    daughters: list[int],
    truth: _Tracks,
    found: _Tracks,
    matched: list[dict[int, int]],
    tolerance: int,
) -> bool:
    """Whether the prediction has a division of the same mother into the same daughters, about then."""
    last = truth.frames[mother][-1]
    first = min(truth.frames[daughter][0] for daughter in daughters)
    before = [matched[f].get(mother) for f in truth.frames[mother] if f >= last - tolerance]
    for candidate in {number for number in before if number in found.families}:
        assert candidate is not None
        offspring = set(found.families[candidate])
        begin = min(found.frames[daughter][0] for daughter in offspring)
        if abs(begin - first) > tolerance:
            continue
        names: list[set[int]] = []
        for daughter in daughters:
            early = [f for f in truth.frames[daughter] if f <= first + tolerance]
            names.append({n for f in early if (n := matched[f].get(daughter)) in offspring and n is not None})
        if all(names) and len(set.union(*names)) >= len(daughters):
            return True
    return False
