"""Labels from tables of prompts: each object of a file where its prompts say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError, PromptError
from napari_sam.stacks.image_io import IMAGE_SUFFIXES, name_image
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.prompt_tables import PromptRow

__all__ = ["PromptedLabels", "find_plane", "iter_prompted_labels", "match_images"]

AT_ONCE: Final = 32
"""Objects that are decoded together."""


@dataclass(slots=True, eq=False)
class PromptedLabels:
    """What a table of prompts gives for one image.

    Attributes
    ----------
    labels : (..., Y, X) integer array
        The objects under their numbers; 0 is the background.
    axes : str
        One letter per axis.
    records : dict of int to dict
        Scores of each object, by id; of one in several planes those of the least sure.
    notes : list of str
        Objects that came out empty, or lie on others.
    """

    labels: NDArray[Any]
    axes: str
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def match_images(
    rows: Iterable[PromptRow], images: Sequence[Path], name: str = ""
) -> dict[Path, list[PromptRow]]:
    """Which rows are about which image.

    Parameters
    ----------
    rows : iterable of PromptRow
    images : sequence of Path
        Those that may be meant. A single one is meant by rows that name none, and where all name the same
        thing that is no file, such as a layer.
    name : str
        What is meant by rows that name none, where there are several; the table's own, for example.

    Returns
    -------
    dict of Path to list of PromptRow
        In the order of the rows; images without prompts are left out.

    Raises
    ------
    PromptError
        When a row names an image that is not there, or one of several.
    """
    matched: dict[Path, list[PromptRow]] = {}
    known: dict[str, Path] = {}
    rows = list(rows)
    called = {row.file for row in rows}
    if len(images) == 1 and len(called) == 1 and Path(*called).suffix.lower() not in IMAGE_SUFFIXES:
        known[called.pop()] = images[0]
    for row in rows:
        if row.file not in known:
            known[row.file] = _find_image(row, images, row.file or name)
        matched.setdefault(known[row.file], []).append(row)
    return matched


def _find_image(row: PromptRow, images: Sequence[Path], file: str) -> Path:
    if not row.file and len(images) == 1:
        return images[0]
    if not file:
        raise PromptError(f"Line {row.line}: expected a file, got none; there are {len(images)} images.")
    wanted: PurePath = PureWindowsPath(file) if "\\" in file else Path(file)
    name = name_image(Path(*wanted.parts))
    tests = (
        lambda path: path.parts[-len(wanted.parts) :] == wanted.parts,
        lambda path: path.name == wanted.name,
        lambda path: name_image(path) == name,
    )
    for fits in tests:  # the more exact first
        found = [path for path in images if fits(path)]
        if len(found) == 1:
            return found[0]
        if found:
            raise PromptError(
                f"Line {row.line}: expected one image for {file!r}, got {found[0]} and {found[1]}; write "
                "more of its path into the table."
            )
    some = ", ".join(path.name for path in images[:3]) + (" ..." if len(images) > 3 else "")
    raise PromptError(f"Line {row.line}: expected an image {file!r}, got only {some or 'none'}.")


def iter_prompted_labels(
    stack: ImageStack, rows: Sequence[PromptRow], predictor: CachedPredictor
) -> Generator[Progress, None, PromptedLabels]:
    """Segment the objects of one image that its prompts mean, as a job.

    No object writes over another: pixels belong to the one that comes first in the table.

    Parameters
    ----------
    stack : ImageStack
        The image.
    rows : sequence of PromptRow
        All of this image.
    predictor : CachedPredictor
        Answers.

    Yields
    ------
    Progress
        Objects done.

    Returns
    -------
    PromptedLabels

    Raises
    ------
    PromptError
        When a row is about a plane that the image does not have, or its prompts lie outside.
    ImageError
        When ids do not fit into 32 bits.
    """
    places = [find_plane(row, stack) for row in rows]  # what is wrong is said before anything is computed
    largest = max((row.object for row in rows), default=0)
    if largest >= 1 << 31:
        raise ImageError(f"Expected object numbers below 2**31, got {largest}.")
    y = stack.axes.index("Y")
    labels = np.zeros(stack.data.shape[: y + 2], np.int32)
    found = PromptedLabels(labels, stack.axes[: y + 2])
    done = 0
    for place in dict.fromkeys(places):
        members = [row for row, where in zip(rows, places, strict=True) if where == place]
        for start in range(0, len(members), AT_ONCE):
            yield Progress(done, len(rows), "objects")
            part = members[start : start + AT_ONCE]
            try:
                masks = predictor.predict_many(stack.plane(place), [row.prompts for row in part])
            except PromptError:
                masks = [_predict_one(stack.plane(place), row, predictor) for row in part]
            for row, mask in zip(part, masks, strict=True):
                _draw(found, row, place, mask)
            done += len(part)
    yield Progress(done, len(rows), "objects")
    return found


def _predict_one(plane: Any, row: PromptRow, predictor: CachedPredictor) -> Any:
    """One object alone, so that an error can say whose it is."""
    try:
        return predictor.predict(plane, row.prompts)
    except PromptError as error:
        raise PromptError(f"Line {row.line}, object {row.object}: {error}") from error


def find_plane(row: PromptRow, stack: ImageStack) -> tuple[int, ...]:
    """The index of a row's plane in its image; PromptError where the image has no such plane."""
    given = dict(zip(row.axes, row.plane, strict=True))
    shape = dict(zip(stack.leading, stack.plane_shape, strict=True))
    unnamed = [axis for axis in shape if axis not in "TZ"]  # pages that say nothing count as Z, then as T
    for axis in unnamed:
        meant = next((other for other in "ZT" if other in given and other not in shape), None)
        if meant is not None:
            given[axis] = given.pop(meant)
    for axis, number in given.items():
        size = shape.get(axis, 1)
        if number >= size:
            raise PromptError(
                f"Line {row.line}, object {row.object}: expected {axis.lower()} from 0 to {size - 1} in "
                f"{stack.name}, got {number}."
            )
    missing = [axis for axis, size in shape.items() if axis not in given and size > 1]
    if missing:
        raise PromptError(
            f"Line {row.line}, object {row.object}: expected the plane of a stack, got none; add a column "
            f"{missing[0].lower() if missing[0] in 'TZ' else 'z'} to the table, {stack.name} has "
            f"{shape[missing[0]]} planes."
        )
    return tuple(given.get(axis, 0) for axis in stack.leading)


def _draw(found: PromptedLabels, row: PromptRow, place: tuple[int, ...], mask: Any) -> None:
    where = f"object {row.object}" + (f" in plane {','.join(map(str, place))}" if place else "")
    if not mask.area:
        found.notes.append(f"{where} is empty: the model saw nothing at its prompts (line {row.line})")
        return
    window = found.labels[place][mask.slices]
    free = mask.mask & (window == 0)
    if not free.any():
        found.notes.append(f"{where} has no pixel of its own: others lie there (line {row.line})")
        return
    window[free] = row.object
    scores = {"predicted_iou": float(mask.predicted_iou), "stability": float(mask.stability_score)}
    known = found.records.setdefault(row.object, {"source": "prompts", **scores})
    for name, value in scores.items():
        known[name] = min(known[name], value)
