"""The values that every floor speaks: ``Prompts``, ``ObjectMask`` and ``Progress``, and how jobs are run.

Coordinates are (row, col) with pixel centres at integers. Boxes are (r0, c0, r1, c1); a box of a
*prompt* is in the same continuous coordinates, a box of a *mask* is a half-open range of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_sam.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["LowResLogits", "ObjectMask", "Progress", "Prompts", "finish"]

Result = TypeVar("Result")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a job.

    Attributes
    ----------
    done, total : int
        Units of work finished and in all; ``total`` 0 means unknown.
    description : str
        What is being done now, for a progress bar.
    partial : Any
        What was finished since the last step, where a job hands out results as they come.
    """

    done: int
    total: int
    description: str = ""
    partial: Any = field(default=None, compare=False, repr=False)


def finish(job: Generator[Any, None, Result]) -> Result:
    """Run a job, which yields ``Progress``, to its end without looking at its steps; what it returns.

    Examples
    --------
    >>> def count(total):
    ...     for done in range(total):
    ...         yield Progress(done, total)
    ...     return total
    >>> finish(count(3))
    3
    """
    while True:
        try:
            next(job)
        except StopIteration as end:
            result: Result = end.value
            return result


@dataclass(frozen=True, slots=True, eq=False)
class LowResLogits:
    """Mask logits at the decoder's resolution, to be fed back as the next mask prompt.

    Attributes
    ----------
    values : (h, w) float32
        Logits; > 0 is foreground.
    frame : (r0, c0, r1, c1)
        The rectangle of the plane that ``values`` covers, in pixel *edges*: pixel (0, 0) covers
        (0, 0, 1, 1).
    """

    values: NDArray[np.float32]
    frame: Box


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """One object: a boolean mask cropped to its box, with where it lies and how good it is.

    Attributes
    ----------
    mask : (h, w) bool
        The object's pixels inside its box; (0, 0) when the object is empty.
    origin : (row, col) int
        Plane coordinates of ``mask[0, 0]``.
    predicted_iou : float
        The model's own estimate of the IoU with the true object, 0 to 1.
    stability_score : float
        IoU between the masks thresholded a little above and a little below 0
        (Kirillov et al. 2023, App. B), 0 to 1.
    logits : LowResLogits or None
        The decoder's logits, when a model made the mask.

    Examples
    --------
    >>> import numpy as np
    >>> plane = np.zeros((6, 6), bool)
    >>> plane[2:4, 1:5] = True
    >>> obj = ObjectMask.from_plane(plane)
    >>> obj.box, obj.area
    ((2, 1, 4, 5), 8)
    >>> bool((obj.paste((6, 6)) == plane).all())
    True
    """

    mask: NDArray[np.bool_]
    origin: tuple[int, int]
    predicted_iou: float = 1.0
    stability_score: float = 1.0
    logits: LowResLogits | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != np.bool_:
            raise PromptError(
                f"Expected a 2-D boolean mask, got {self.mask.ndim}-D {self.mask.dtype}; "
                "threshold it and pass one plane."
            )

    @classmethod
    def from_plane(cls, mask: ArrayLike, offset: tuple[int, int] = (0, 0), **scores: Any) -> ObjectMask:
        """Crop a mask of a plane (or of a window that starts at ``offset``) to its box.

        Parameters
        ----------
        mask : (H, W) array
            Non-zero is the object; without NaN.
        offset : (row, col)
            Plane coordinates of ``mask[0, 0]``.
        **scores
            ``predicted_iou``, ``stability_score``, ``logits``.
        """
        values = np.asarray(mask)
        if values.ndim != 2:
            raise PromptError(f"Expected a 2-D mask, got {values.ndim}-D; pass one plane.")
        unknown = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        if unknown:
            raise PromptError(f"Expected a mask without NaN, got {unknown}; set to 0 what is not the object.")
        window = values != 0
        rows = np.flatnonzero(window.any(axis=1))
        cols = np.flatnonzero(window.any(axis=0))
        if rows.size == 0:
            return cls(np.zeros((0, 0), bool), offset, **scores)
        r0, r1, c0, c1 = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
        crop = np.ascontiguousarray(window[r0:r1, c0:c1])
        return cls(crop, (offset[0] + r0, offset[1] + c0), **scores)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Half-open (r0, c0, r1, c1) in plane pixels."""
        (r, c), (h, w) = self.origin, self.mask.shape
        return r, c, r + h, c + w

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the object's box in its plane."""
        r0, c0, r1, c1 = self.box
        return slice(r0, r1), slice(c0, c1)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def centroid(self) -> tuple[float, float]:
        """Mean (row, col) in plane coordinates; (nan, nan) when empty."""
        rows, cols = np.nonzero(self.mask)
        if rows.size == 0:
            return (float("nan"), float("nan"))
        return float(rows.mean()) + self.origin[0], float(cols.mean()) + self.origin[1]

    def paste(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The full-size (H, W) boolean mask; pixels outside ``shape`` are left out."""
        plane = np.zeros(shape[:2], bool)
        r0, c0, r1, c1 = self.box
        inner = (max(r0, 0), max(c0, 0), min(r1, plane.shape[0]), min(c1, plane.shape[1]))
        if inner[0] < inner[2] and inner[1] < inner[3]:
            crop = self.mask[inner[0] - r0 : inner[2] - r0, inner[1] - c0 : inner[3] - c0]
            plane[inner[0] : inner[2], inner[1] : inner[3]] = crop
        return plane

    def intersection(self, other: ObjectMask) -> int:
        """Number of pixels that both objects hold."""
        r0, c0 = max(self.box[0], other.box[0]), max(self.box[1], other.box[1])
        r1, c1 = min(self.box[2], other.box[2]), min(self.box[3], other.box[3])
        if r0 >= r1 or c0 >= c1:
            return 0
        mine = self.mask[r0 - self.origin[0] : r1 - self.origin[0], c0 - self.origin[1] : c1 - self.origin[1]]
        theirs = other.mask[
            r0 - other.origin[0] : r1 - other.origin[0], c0 - other.origin[1] : c1 - other.origin[1]
        ]
        return int(np.count_nonzero(mine & theirs))

    def iou(self, other: ObjectMask) -> float:
        """Intersection over union with another object; 0 when both are empty."""
        shared = self.intersection(other)
        union = self.area + other.area - shared
        return shared / union if union else 0.0

    def shifted(self, rows: int, cols: int) -> ObjectMask:
        """The same object moved by whole pixels, its logits with it."""
        logits = self.logits
        if logits is not None:
            r0, c0, r1, c1 = logits.frame
            logits = replace(logits, frame=(r0 + rows, c0 + cols, r1 + rows, c1 + cols))
        return replace(self, origin=(self.origin[0] + rows, self.origin[1] + cols), logits=logits)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Prompts:
    """What the user says about one object of one plane (Kirillov et al. 2023, Sec. 2).

    Parameters
    ----------
    points : (N, 2) array-like
        (row, col) of each click, pixel centres at integers.
    labels : (N,) array-like
        1 for foreground, 0 for background; default all 1.
    box : (r0, c0, r1, c1) or None
        Corners in any order.
    mask : (H, W) array or ObjectMask or None
        A rough mask on all pixels of the plane, or the previous answer, whose logits are then fed back.

    Attributes
    ----------
    mask_shape : (H, W) or None
        Shape of the plane, where ``mask`` was an array.

    Raises
    ------
    PromptError
        When shapes or values are not as above.

    Examples
    --------
    >>> Prompts(points=[(10, 12)]).labels
    array([1], dtype=int8)
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int8]
    box: Box | None
    mask: ObjectMask | None
    mask_shape: tuple[int, int] | None = field(init=False)  # dropped by replace: what was moved fits no plane

    def __init__(
        self,
        points: ArrayLike = (),
        labels: ArrayLike | None = None,
        box: Sequence[float] | None = None,
        mask: ObjectMask | ArrayLike | None = None,
    ) -> None:
        read = _read_points(points)
        object.__setattr__(self, "points", read)
        object.__setattr__(self, "labels", _read_labels(labels, len(read)))
        object.__setattr__(self, "box", _read_box(box))
        shape = None
        if mask is not None and not isinstance(mask, ObjectMask):
            plane = np.asarray(mask)
            mask = ObjectMask.from_plane(plane)
            shape = plane.shape[0], plane.shape[1]
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "mask_shape", shape)

    @property
    def is_empty(self) -> bool:
        """True when there is nothing at all."""
        return len(self.points) == 0 and self.box is None and self.mask is None

    @property
    def has_foreground(self) -> bool:
        """True when a foreground point, a box or a non-empty mask says where the object is."""
        return bool((self.labels == 1).any()) or self.box is not None or bool(self.mask and self.mask.area)

    @property
    def extent(self) -> Box:
        """The smallest (r0, c0, r1, c1) that holds every prompt that says where the object is.

        Raises
        ------
        PromptError
            When there is no foreground prompt.
        """
        if not self.has_foreground:
            raise PromptError(
                "Expected at least one foreground point, box or mask, got none; "
                "add a foreground point on the object."
            )
        corners = [tuple(p) for p in self.points[self.labels == 1]]
        if self.box is not None:
            corners += [self.box[:2], self.box[2:]]
        if self.mask is not None and self.mask.area:
            r0, c0, r1, c1 = self.mask.box
            corners += [(r0, c0), (r1 - 1, c1 - 1)]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def shifted(self, rows: int, cols: int) -> Prompts:
        """The same prompts moved by whole pixels (to and from a crop's coordinates)."""
        box = self.box
        if box is not None:
            box = (box[0] + rows, box[1] + cols, box[2] + rows, box[3] + cols)
        mask = self.mask.shifted(rows, cols) if self.mask is not None else None
        moved = self.points + np.array([rows, cols], np.float32)
        return replace(self, points=moved, box=box, mask=mask)


def _read_numbers(values: Any, what: str) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"Expected {what}, got {values!r}.") from error


def _read_points(points: Any) -> NDArray[np.float32]:
    array = _read_numbers(points, "points of shape (N, 2) as (row, col)")
    if array.size == 0:
        return np.zeros((0, 2), np.float32)
    if array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(f"Expected points of shape (N, 2) as (row, col), got {array.shape}.")
    usable = np.abs(array) <= np.finfo(np.float32).max  # False for NaN as well
    if not usable.all():
        index = int(np.flatnonzero(~usable.all(axis=1))[0])
        raise PromptError(f"Expected finite point coordinates, got {array[index].tolist()} at index {index}.")
    return array.astype(np.float32)


def _read_labels(labels: Any, count: int) -> NDArray[np.int8]:
    if labels is None:
        return np.ones(count, np.int8)
    array = np.asarray(labels)
    if array.shape != (count,) and not (array.size == 0 and count == 0):
        raise PromptError(f"Expected one label per point ({count}), got shape {array.shape}.")
    wrong = np.flatnonzero((array != 0) & (array != 1))
    if wrong.size:
        raise PromptError(
            f"Expected point labels in {{0, 1}}, got {array[wrong[0]]} at index {wrong[0]}; "
            "use 1 for foreground and 0 for background."
        )
    return array.reshape(-1).astype(np.int8)


def _read_box(box: Sequence[float] | None) -> Box | None:
    if box is None:
        return None
    values = _read_numbers(box, "a box of four finite numbers (r0, c0, r1, c1)")
    if values.shape != (4,) or not np.isfinite(values).all():
        raise PromptError(f"Expected a box of four finite numbers (r0, c0, r1, c1), got {box!r}.")
    r0, r1 = sorted((float(values[0]), float(values[2])))
    c0, c1 = sorted((float(values[1]), float(values[3])))
    if r0 == r1 or c0 == c1:
        raise PromptError(f"Expected a box with an area, got {(r0, c0, r1, c1)}; drag a rectangle.")
    return r0, c0, r1, c1
