"""The predicted IoU's last lesson: answers about whole images, given as the model is used.

While a model is trained its masks change, and crops are not quite what it will be shown. Here nothing changes
but the head of ``MaskQuality``: each mask's description is taken down once, next to the IoU that it really
has, and the head is fitted to all of them many times over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from napari_sam.errors import SamError
from napari_sam.modeling.mask_quality import SetHead
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch.utils.hooks import RemovableHandle

    from napari_sam.modeling import Sam

__all__ = ["DescribedMasks", "MaskRecorder", "fit_scores"]

LEARNING_RATE: Final = 1e-3
WEIGHT_DECAY: Final = 0.3
BATCH: Final = 128
"""Answers a step."""
LEAST_SPREAD: Final = 1e-3
"""Added to the standard deviation of each feature, by which it is divided."""


@dataclass(frozen=True, slots=True, eq=False)
class DescribedMasks:
    """The masks of N answers.

    Attributes
    ----------
    features : (N, M, F) float32
        What the head of ``MaskQuality`` is told of each mask.
    scores : (N, M) float32
        IoU by the token alone, which the head corrects.
    actual : (N, M) float32
        IoU with the object that was meant.
    weight : (N,) float32
        What each answer counts.
    """

    features: Tensor
    scores: Tensor
    actual: Tensor
    weight: Tensor


class MaskRecorder:
    """Takes down how masks are described while a model answers; a context.

    Parameters
    ----------
    model : Sam
        One whose mask decoder has ``MaskQuality``. Its answers are of one prompt at a time.

    Raises
    ------
    SamError
        When the model's mask decoder does not look at its masks.
    """

    def __init__(self, model: Sam) -> None:
        if not model.mask_decoder.refines:
            raise SamError("Expected a model whose mask decoder looks at its masks, this one does not.")
        self._decoder = model.mask_decoder
        self._hooks: list[RemovableHandle] = []
        self._features = self._scores = torch.zeros(0)
        self._found: list[tuple[Tensor, ...]] = []

    def __enter__(self) -> MaskRecorder:
        self._hooks = [
            self._decoder.mask_quality.head.register_forward_pre_hook(self._see_features),
            self._decoder.iou_prediction_head.register_forward_hook(self._see_scores),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self, actual: Sequence[float], weight: float = 1.0) -> None:
        """Take down the last answer, with the IoU of each of its masks, and what it counts."""
        facts = torch.tensor([list(actual)]), torch.tensor([weight])
        self._found.append((self._features, self._scores, *facts))

    def read(self) -> DescribedMasks:
        """All that was taken down.

        Raises
        ------
        SamError
            When nothing was.
        """
        if not self._found:
            raise SamError("Expected at least one answer to fit the predicted IoU to, got none.")
        return DescribedMasks(*(torch.cat(column) for column in zip(*self._found, strict=True)))

    def _see_features(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        self._features = inputs[0].detach().float().cpu()

    def _see_scores(self, _module: Any, _inputs: Any, output: Tensor) -> None:
        self._scores = output.detach().float().cpu()


def fit_scores(
    model: Sam, masks: DescribedMasks, *, epochs: int = 60, seed: int = 0
) -> Generator[Progress, None, None]:
    """Fit the head of ``MaskQuality`` anew, in place, by absolute error; a job. No mask changes.

    Parameters
    ----------
    model : Sam
        The one that gave the masks.
    masks : DescribedMasks
    epochs : int
        Passes over all masks.
    seed : int
        Of the first weights, and of the masks' order.

    Yields
    ------
    Progress
        After each epoch; cancelled before the last one, the model stays as it was.
    """
    head = model.mask_decoder.mask_quality.head
    every = masks.features.flatten(0, 1)
    mean, spread = every.mean(0), every.std(0) + LEAST_SPREAD
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fitted = SetHead(head.look.in_features, head.look.out_features)
    optimizer = torch.optim.AdamW(fitted.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - epoch / epochs)
        total = 0.0
        for rows in torch.randperm(len(masks.scores), generator=generator).split(BATCH):
            predicted = masks.scores[rows] + fitted((masks.features[rows] - mean) / spread)[..., 0]
            error = (predicted - masks.actual[rows]).abs().mean(1)
            loss = (error * masks.weight[rows]).sum() / masks.weight[rows].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * float(masks.weight[rows].sum())
        yield Progress(epoch + 1, epochs, f"error {total / float(masks.weight.sum()):.4f}")
    with torch.no_grad():  # the model's head takes the features as they are
        fitted.look.weight.div_(spread)
        fitted.look.bias.sub_(fitted.look.weight @ mean)
    head.load_state_dict(fitted.state_dict())
