"""Which objects deserve a look first, which were looked at, and which is looked at now.

The queue knows neither viewer nor pixels: it gets what was measured of the objects, what is known of their
scores and which are marked as done, and says in which order to go through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from napari_sam.session.object_places import ObjectPlaces

__all__ = ["ReviewItem", "ReviewQueue", "Suspicion", "worst_scores"]


@dataclass(frozen=True, slots=True, eq=False)
class Suspicion:
    """How likely each object is wrong, from 0 to 1, and why.

    The four signs are taken as independent: an object is fine when none of them is an error,
    ``score = 1 - prod(1 - sign)``.

    Attributes
    ----------
    iou : (N,) float
        0 from a predicted IoU of 0.95 on, 0.9 at 0.5; 0 where it is not known.
    stability : (N,) float
        The same of the stability score, 0.6 at most.
    border : (N,) float
        0.2 for an object that touches the edge of its plane, which may be cut off.
    size : (N,) float
        0 within two robust standard deviations of the median of log area, 0.8 from six on.
    """

    iou: NDArray[np.float64]
    stability: NDArray[np.float64]
    border: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        places: ObjectPlaces,
        predicted_iou: Mapping[int, float] | None = None,
        stability: Mapping[int, float] | None = None,
    ) -> Suspicion:
        """Judge objects by their size and place, and by the model's scores where they are known.

        Parameters
        ----------
        places : ObjectPlaces
            What was measured.
        predicted_iou, stability : mapping of int to float, optional
            Of labels, 0 to 1; NaN or missing where unknown.
        """
        return cls(
            0.9 * _fall(_column(predicted_iou, places.labels), 0.95, 0.5),
            0.6 * _fall(_column(stability, places.labels), 0.95, 0.5),
            np.where(places.on_border, 0.2, 0.0),
            0.8 * np.clip((_outlier(places.areas) - 2) / 4, 0, 1),
        )

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N,) the four signs taken together."""
        fine = (1 - self.iou) * (1 - self.stability) * (1 - self.border) * (1 - self.size)
        return np.asarray(1 - fine)


def worst_scores(pairs: Iterable[tuple[int, float]]) -> dict[int, float]:
    """The lowest known score of each label, for an object that was judged in many planes."""
    worst: dict[int, float] = {}
    for label, score in pairs:
        if not np.isnan(score):
            worst[label] = min(score, worst.get(label, score))
    return worst


def _column(scores: Mapping[int, float] | None, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    known = scores or {}
    return np.array([known.get(label, np.nan) for label in labels.tolist()], float)


def _fall(scores: NDArray[np.float64], good: float, bad: float) -> NDArray[np.float64]:
    """0 for good scores and unknown ones, 1 for bad ones, a line between."""
    return np.nan_to_num(np.clip((good - scores) / (good - bad), 0, 1))


def _outlier(areas: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of log area to the median, in robust standard deviations, but none of less than 10 %."""
    if len(areas) < 5:  # too few to say what is usual
        return np.zeros(len(areas))
    logs = np.log(np.maximum(areas, 1))
    distance = np.abs(logs - np.median(logs))
    return np.asarray(distance / max(1.4826 * float(np.median(distance)), 0.1))


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One object, for those who show it.

    Attributes
    ----------
    label : int
        Its id.
    plane : tuple of int or None
        Index of the plane where it is largest.
    box : (r0, c0, r1, c1)
        Half-open, there.
    area : int
        Pixels there.
    suspicion : float
        0 to 1.
    reasons : tuple of str
        Why, the strongest first; empty for an object that looks like the others.
    done : bool
        It was accepted.
    """

    label: int
    plane: tuple[int | None, ...]
    box: tuple[int, int, int, int]
    area: int
    suspicion: float
    reasons: tuple[str, ...]
    done: bool


class ReviewQueue:
    """The objects of one layer, the most suspicious first.

    Who reviews goes to the ``next`` object that is not done, or back to the ``previous`` one, done or not.
    """

    changed = Signal()  # order, counts or marks
    moved = Signal(object)  # ReviewItem | None: another object is looked at

    def __init__(self) -> None:
        self._places: ObjectPlaces | None = None
        self._signs: Suspicion | None = None
        self._scores: NDArray[np.float64] = np.zeros(0)
        self._iou: Mapping[int, float] = {}
        self._stability: Mapping[int, float] = {}
        self._order: list[int] = []  # rows of places
        self._labels: tuple[int, ...] = ()  # of those rows
        self._position: dict[int, int] = {}  # of a label in the order
        self._done: set[int] = set()
        self._current: int | None = None
        self._at = 0  # where the current object is, or was before it went away

    # ---------------------------------------------------------------- what is
    @property
    def labels(self) -> tuple[int, ...]:
        """All objects, in the order of review."""
        return self._labels

    @property
    def done(self) -> frozenset[int]:
        """Those that are marked as done and still there."""
        return frozenset(self._done & self._position.keys())

    @property
    def todo(self) -> int:
        """How many are left."""
        return len(self._order) - len(self.done)

    @property
    def current(self) -> ReviewItem | None:
        """The object that is looked at."""
        return None if self._current is None else self.item(self._current)

    def item(self, label: int) -> ReviewItem | None:
        """What is known of an object; None when there is none of this id."""
        if self._places is None or label not in self._position:
            return None
        row, places = self._order[self._position[label]], self._places
        r0, c0, r1, c1 = (int(value) for value in places.boxes[row])
        return ReviewItem(
            label=label,
            plane=places.indices[int(places.planes[row])],
            box=(r0, c0, r1, c1),
            area=int(places.areas[row]),
            suspicion=float(self._scores[row]),
            reasons=self._reasons(row),
            done=label in self._done,
        )

    def _reasons(self, row: int) -> tuple[str, ...]:
        assert self._places is not None
        assert self._signs is not None
        label, signs = int(self._places.labels[row]), self._signs
        usual = float(np.median(self._places.areas))
        small = self._places.areas[row] < usual
        iou, stability = self._iou.get(label, np.nan), self._stability.get(label, np.nan)
        found = (
            (signs.iou[row], f"predicted IoU {iou:.2f}"),
            (signs.stability[row], f"stability {stability:.2f}"),
            (signs.border[row], "touches the border"),
            (signs.size[row], "unusually small" if small else "unusually large"),
        )
        return tuple(text for sign, text in sorted(found, key=lambda pair: -pair[0]) if sign > 0.05)

    # ---------------------------------------------------------------- what is reviewed
    def show(
        self,
        places: ObjectPlaces | None,
        predicted_iou: Mapping[int, float] | None = None,
        stability: Mapping[int, float] | None = None,
        done: Collection[int] = (),
    ) -> None:
        """Take what is known now; the current object stays, or what took its place in the list is current.

        Parameters
        ----------
        places : ObjectPlaces or None
            None when there is nothing to review.
        predicted_iou, stability : mapping of int to float, optional
            As for ``Suspicion.of``.
        done : collection of int
            Labels that are marked as done.
        """
        before = self.current
        self._places = places
        self._iou, self._stability = predicted_iou or {}, stability or {}
        self._done = set(done)
        if places is None:
            self._signs, self._scores, self._order, self._labels = None, np.zeros(0), [], ()
        else:
            self._signs = Suspicion.of(places, self._iou, self._stability)
            self._scores = self._signs.scores
            order = np.lexsort((places.labels, -self._scores))
            self._order, self._labels = order.tolist(), tuple(places.labels[order].tolist())
        self._position = {label: number for number, label in enumerate(self._labels)}
        if self._current is not None and self._current not in self._position:
            self._current = self._first_todo(self._at)
        if self._current is not None:
            self._at = self._position[self._current]
        self.changed.emit()
        if self.current != before:
            self.moved.emit(self.current)

    def forget(self) -> None:
        """Another layer: nothing is looked at any more."""
        self._current, self._at = None, 0
        self.show(None)

    # ---------------------------------------------------------------- going through
    def go_to(self, label: int) -> bool:
        """Look at an object; False when there is none of this id."""
        if label not in self._position:
            return False
        self._current, self._at = label, self._position[label]
        self.moved.emit(self.current)
        return True

    def next(self) -> bool:
        """Look at the next one that is not done, after the last the first; False when all are done."""
        start = 0 if self._current is None else self._at + 1
        label = self._first_todo(start)
        return label is not None and self.go_to(label)

    def previous(self) -> bool:
        """Look at the one before in the list, done or not; False at its start."""
        if self._current is None or self._at == 0:
            return False
        return self.go_to(self.labels[self._at - 1])

    def mark(self, labels: Iterable[int], done: bool = True) -> tuple[int, ...]:
        """Mark objects as done, or as not done; those whose mark changed."""
        changed = tuple(label for label in labels if (label in self._done) != done)
        self._done = self._done.union(changed) if done else self._done.difference(changed)
        if changed:
            self.changed.emit()
        return changed

    def _first_todo(self, start: int) -> int | None:
        """The first one at or after a position that is not done, going around once."""
        labels = self.labels
        if not labels:
            return None
        start = start % len(labels)
        around = (*labels[start:], *labels[:start])
        return next((label for label in around if label not in self._done), None)
