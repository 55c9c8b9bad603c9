"""Interactive metrics with simulated clicks: mIoU after n clicks, box mIoU, clicks to reach an IoU (NoC).

As in RITM (Sofiiuk et al. 2022) and Segment Anything (Kirillov et al. 2023, App. D.1): who clicks where is
in `simulated_user`; each answer is fed back into the next question as a mask prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_sam.evaluation.simulated_user import (
    first_click,
    next_click,
    random_click,
    read_objects,
    tight_box,
)
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_sam.evaluation.simulated_user import Pixel

__all__ = [
    "ClickPredictor",
    "ClickScores",
    "evaluate_clicks",
    "pool_clicks",
]


class ClickPredictor(Protocol):
    """What the simulated user clicks at; `napari_sam.CachedPredictor` is one."""

    def predict_many(self, image: Any, prompts: Sequence[Prompts]) -> list[ObjectMask]:
        """One object per prompts, all of one image."""
        ...

    def predict_candidates(self, image: Any, prompts: Prompts) -> list[ObjectMask]:
        """All masks of one prompt; the last three are the alternatives of an ambiguous one."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ClickScores:
    """Interactive scores of the objects of one image, or pooled over several.

    Attributes
    ----------
    counts : tuple of int
        Numbers of clicks at which the IoU was taken.
    targets : tuple of float
        IoUs to be reached.
    max_clicks : int
        Clicks after which the simulated user gives up.
    areas : (n,) int64
        Pixels of each true object.
    iou : (n, len(counts)) float64
        IoU after so many clicks.
    clicks_to : (n, len(targets)) int64
        Clicks until each target was first reached; ``max_clicks`` where it never was.
    box_iou : (n,) float64
        IoU of the answer to the object's tight box.
    anywhere_iou : (n,) float64
        IoU of the answer to one click on any pixel of the object, instead of in its middle.
    best_iou : (n,) float64
        IoU of the best of the three alternative masks of the first click, chosen by an oracle.
    iou_error : (n,) float64
        ``|predicted IoU - IoU|`` after the first click.
    """

    counts: tuple[int, ...]
    targets: tuple[float, ...]
    max_clicks: int
    areas: NDArray[np.int64]
    iou: NDArray[np.float64]
    clicks_to: NDArray[np.int64]
    box_iou: NDArray[np.float64]
    anywhere_iou: NDArray[np.float64]
    best_iou: NDArray[np.float64]
    iou_error: NDArray[np.float64]

    @property
    def n_objects(self) -> int:
        """Number of objects."""
        return len(self.areas)

    @property
    def miou(self) -> dict[int, float]:
        """Mean IoU over the objects, by number of clicks; nan without objects."""
        return {n: _mean(self.iou[:, i]) for i, n in enumerate(self.counts)}

    @property
    def noc(self) -> dict[float, float]:
        """Mean number of clicks to reach each target (NoC@target); nan without objects."""
        return {t: _mean(self.clicks_to[:, i]) for i, t in enumerate(self.targets)}

    @property
    def box_miou(self) -> float:
        """Mean IoU of the answers to tight boxes."""
        return _mean(self.box_iou)

    @property
    def anywhere_miou(self) -> float:
        """Mean IoU after one click anywhere in the object."""
        return _mean(self.anywhere_iou)

    @property
    def best_miou(self) -> float:
        """Mean IoU of the best of three masks after one click."""
        return _mean(self.best_iou)

    @property
    def iou_mae(self) -> float:
        """Mean absolute error of the predicted IoU after one click."""
        return _mean(self.iou_error)


def evaluate_clicks(
    image: Any,
    labels: ArrayLike,
    predictor: ClickPredictor,
    *,
    counts: Sequence[int] = (1, 2, 4, 8),
    targets: Sequence[float] = (0.85, 0.9),
    max_clicks: int = 20,
) -> Generator[Progress, None, ClickScores]:
    """Click at every object of an image until it is right; a job.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array-like
        Handed on to the predictor as it is.
    labels : (H, W) integer array
        The true objects, 0 = background.
    predictor : ClickPredictor
        Asked about all objects of a round in one call.
    counts : sequence of int
        Numbers of clicks at which the IoU is taken.
    targets : sequence of float
        IoUs for the number of clicks.
    max_clicks : int
        Cap of the number of clicks, at least ``max(counts)``.

    Yields
    ------
    Progress
        After each round.

    Returns
    -------
    ClickScores

    Raises
    ------
    ImageError
        When ``labels`` is not a 2-D integer image.
    ValueError
        When ``counts`` or ``max_clicks`` make no sense.
    """
    if not counts or min(counts) < 1 or max_clicks < max(counts):
        raise ValueError(f"Expected click counts from 1 to {max_clicks}, got {list(counts)}.")
    objects = read_objects(labels)
    rounds = max_clicks + 2
    answers = np.zeros((len(objects), max_clicks))  # IoU after each click
    reached = np.full((len(objects), len(targets)), max_clicks, np.int64)
    box_iou, anywhere_iou, best_iou, iou_error = np.zeros((4, len(objects)))

    if objects:
        rng = np.random.default_rng(0)
        single = [Prompts(box=tight_box(obj)) for obj in objects]
        single += [_make_prompts({random_click(obj, rng): 1}) for obj in objects]
        found = zip((*objects, *objects), predictor.predict_many(image, single), strict=True)
        box_iou[:], anywhere_iou[:] = np.reshape([obj.iou(answer) for obj, answer in found], (2, -1))
    yield Progress(1, rounds, "boxes")

    clicks: list[dict[Pixel, int]] = [{first_click(obj): 1} for obj in objects]
    for i, obj in enumerate(objects):
        candidates = predictor.predict_candidates(image, _make_prompts(clicks[i]))
        best_iou[i] = max((obj.iou(candidate) for candidate in candidates[-3:]), default=0.0)
        yield Progress(1, rounds, f"candidates of object {i + 1} of {len(objects)}")
    yield Progress(2, rounds, "candidates")

    masks: list[ObjectMask | None] = [None] * len(objects)
    active = list(range(len(objects)))
    for n in range(1, max_clicks + 1):
        if not active:
            break
        prompts = [_make_prompts(clicks[i], masks[i]) for i in active]
        for i, answer in zip(active, predictor.predict_many(image, prompts), strict=True):
            masks[i] = answer
            iou = objects[i].iou(answer)
            answers[i, n - 1 :] = iou  # stands until the next answer
            reached[i, (iou >= np.asarray(targets)) & (reached[i] >= n)] = n
            if n == 1:
                iou_error[i] = abs(answer.predicted_iou - iou)
        remaining = []
        for i in active:
            done = n >= max(counts) and bool((answers[i, :n].max() >= np.asarray(targets)).all())
            click = None if done else next_click(objects[i], masks[i], clicks[i])
            if click is not None:
                clicks[i][click[0]] = click[1]
                remaining.append(i)
        active = remaining
        yield Progress(2 + n, rounds, f"click {n}")

    return ClickScores(
        counts=tuple(counts),
        targets=tuple(targets),
        max_clicks=max_clicks,
        areas=np.array([obj.area for obj in objects], np.int64),
        iou=answers[:, np.asarray(counts) - 1],
        clicks_to=reached,
        box_iou=box_iou,
        anywhere_iou=anywhere_iou,
        best_iou=best_iou,
        iou_error=iou_error,
    )


def pool_clicks(scores: Iterable[ClickScores]) -> ClickScores:
    """Put the objects of several images together, so that every object weighs the same.

    Parameters
    ----------
    scores : iterable of ClickScores
        Of the same counts, targets and cap.

    Returns
    -------
    ClickScores

    Raises
    ------
    ValueError
        When there is none, or they were taken differently.
    """
    parts = list(scores)
    settings = {(part.counts, part.targets, part.max_clicks) for part in parts}
    if len(settings) != 1:
        raise ValueError(f"Expected click scores of one setting, got {len(parts)} of {len(settings)}.")
    (counts, targets, max_clicks) = settings.pop()
    return ClickScores(
        counts=counts,
        targets=targets,
        max_clicks=max_clicks,
        areas=np.concatenate([part.areas for part in parts]),
        iou=np.concatenate([part.iou for part in parts]),
        clicks_to=np.concatenate([part.clicks_to for part in parts]),
        box_iou=np.concatenate([part.box_iou for part in parts]),
        anywhere_iou=np.concatenate([part.anywhere_iou for part in parts]),
        best_iou=np.concatenate([part.best_iou for part in parts]),
        iou_error=np.concatenate([part.iou_error for part in parts]),
    )


def _make_prompts(clicks: dict[Pixel, int], mask: ObjectMask | None = None) -> Prompts:
    points, labels = np.array(list(clicks), np.float32), np.array(list(clicks.values()), np.int8)
    return Prompts(points=points, labels=labels, mask=mask)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
