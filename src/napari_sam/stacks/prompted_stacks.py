"""Labels of a stack from a table of prompts: its objects in all planes that follow from those in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError, PromptError
from napari_sam.stacks.prompted_labels import find_plane
from napari_sam.stacks.propagation import Anchor, PlaneObject, PropagationParams, iter_propagate
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.inference.propagation_values import PlanePredictor
    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.prompt_tables import PromptRow

__all__ = ["PropagatedLabels", "choose_axis", "iter_propagated_labels"]


@dataclass(slots=True, eq=False)
class PropagatedLabels:
    """What a table of prompts gives for a stack.

    Attributes
    ----------
    labels : (..., Y, X) int32
        The objects under their numbers; 0 is the background.
    axes : str
        One letter per axis.
    rows : list of (index, PlaneObject)
        How each object was found in each plane, with the plane's index along the leading axes.
    notes : list of str
        Objects that were not found.
    """

    labels: NDArray[np.int32]
    axes: str
    rows: list[tuple[tuple[int, ...], PlaneObject]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose_axis(stack: ImageStack, axis: str | None = None) -> str:
    """The letter of the axis that objects are followed along: as asked, else Z, else T, else the last.

    Raises
    ------
    ImageError
        When the stack has no such axis, or none at all.
    """
    if axis is None:
        axis = next((letter for letter in "ZT" if letter in stack.leading), stack.leading[-1:])
    if not axis or axis not in stack.leading:
        raise ImageError(
            f"Expected a stack with an axis {axis or 'Z or T'}, got axes {stack.axes} in {stack.name}; "
            "open one with several planes."
        )
    return axis


def iter_propagated_labels(
    stack: ImageStack,
    rows: Sequence[PromptRow],
    predictor: PlanePredictor,
    *,
    axis: str | None = None,
    params: PropagationParams | None = None,
) -> Generator[Progress, None, PropagatedLabels]:
    """Follow the objects of a table through a stack, as a job.

    Parameters
    ----------
    stack : ImageStack
        The image; of lazy ones one plane at a time is read.
    rows : sequence of PromptRow
        All of this image. Rows of one object in several planes are its anchors; one with background points
        alone says where the object is not.
    predictor : PlanePredictor
        Answers.
    axis : str, optional
        Letter of the axis, see ``choose_axis``. Planes along other axes are stacks of their own.
    params : PropagationParams, optional
        How objects are followed.

    Raises
    ------
    PromptError
        When a row is about a plane that the image does not have, or an object has no foreground.
    ImageError
        When there is no such axis, a plane cannot be read, or ids do not fit into 32 bits.
    """
    along = stack.leading.index(choose_axis(stack, axis))
    if max((row.object for row in rows), default=0) >= 1 << 31:
        raise ImageError(f"Expected object numbers below 2**31, got {max(row.object for row in rows)}.")
    groups: dict[tuple[int, ...], dict[int, list[Anchor]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        place = find_plane(row, stack)
        others = place[:along] + place[along + 1 :]
        groups[others][row.object].append(Anchor(place[along], prompts=row.prompts))
    if not groups:
        raise PromptError(f"Expected prompts for {stack.name}, got none; the table names no object in it.")
    y = stack.axes.index("Y")
    found = PropagatedLabels(np.zeros(stack.data.shape[: y + 2], np.int32), stack.axes[: y + 2])
    for done, (others, objects) in enumerate(groups.items()):
        job = iter_propagate(_Planes(stack, along, others), predictor, objects, params=params)
        while True:
            try:
                step = next(job)
            except StopIteration as stop:
                _draw(found, stop.value, others, along)
                break
            total = max(step.total, 1)
            yield Progress(done * total + step.done, len(groups) * total, step.description, step.partial)
    return found


class _Planes(Sequence[Any]):
    """The planes of a stack along one axis, each read when it is asked for."""

    def __init__(self, stack: ImageStack, along: int, others: tuple[int, ...]) -> None:
        self._stack, self._along, self._others = stack, along, others

    def __len__(self) -> int:
        return self._stack.plane_shape[self._along]

    def __getitem__(self, number: Any) -> Any:
        return self._stack.plane(_place(self._others, self._along, number))


def _place(others: tuple[int, ...], along: int, number: int) -> tuple[int, ...]:
    return (*others[:along], number, *others[along:])


def _draw(
    found: PropagatedLabels, results: dict[int, dict[int, PlaneObject]], others: tuple[int, ...], along: int
) -> None:
    for key, planes in sorted(results.items()):
        area = 0
        for number, result in planes.items():
            place = _place(others, along, number)
            found.rows.append((place, result))
            if result.mask is None:
                continue
            window = found.labels[place][result.mask.slices]
            free = result.mask.mask & (window == 0)
            window[free] = key
            area += int(free.sum())
        if not area:
            where = f" at {','.join(map(str, others))}" if others else ""
            found.notes.append(f"object {key}{where} was not found: the model saw nothing at its prompts")
