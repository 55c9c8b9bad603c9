"""Rounds of prompt, prediction and correction teach the mask decoder (Kirillov et al. 2023, App. A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from napari_sam.inference.instance_maps import PROPOSALS, find_proposals, segment_maps
from napari_sam.modeling.instance_decoder import activate
from napari_sam.modeling.prompt_encoder import MASK_LOGIT
from napari_sam.training.losses import prompt_loss
from napari_sam.training.prompt_sampler import (
    MIDDLE,
    MIDDLE_IN_USE,
    PromptBatch,
    draw_corrections,
    make_rough_logits,
    sample_first_prompts,
    take_windows,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from napari_sam.modeling import Features, Sam
    from napari_sam.training.config import TrainConfig

__all__ = ["PromptRounds", "measure_iou"]


class PromptRounds:
    """Simulates the user of a model that is trained.

    Parameters
    ----------
    model : Sam
    config : TrainConfig
    device : torch.device
    autocast : callable
        Gives the context in which the decoder is run.
    """

    def __init__(
        self,
        model: Sam,
        config: TrainConfig,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.model, self.config, self.device = model, config, device
        self._autocast = autocast

    def measure_losses(
        self,
        features: Features,
        labels: Tensor,
        rng: np.random.Generator,
        generator: torch.Generator,
        chance: np.random.Generator,
        *,
        in_use: bool = False,
    ) -> dict[str, Tensor]:
        """Prompt, predict and correct some objects of each crop.

        Parameters
        ----------
        features : Features
            Of B crops, float32.
        labels : (B, H, W) int
        rng, generator, chance : random generators
            Of objects and their prompts; of rough masks and corrections; of which instances are proposed.
        in_use : bool
            Whether most clicks fall near the middle of their object.

        Returns
        -------
        dict
            ``"prompts"`` is the loss, averaged over the rounds; ``"iou1"`` and ``"iou_last"`` the mean IoU of
            the mask that is predicted best, after the first and the last round. Empty without any object.
        """
        stride = self.model.config.stride
        tokens = labels.shape[-1] // stride
        window = min(self.model.config.decode_window or tokens, tokens)
        if rng.random() < 0.15:  # the window grows with the object, so larger ones must work as well
            window = min(2 * window, tokens)
        objects = max(2, self.config.objects // max(1, window // 16) ** 2)
        middle = MIDDLE_IN_USE if in_use else MIDDLE
        first = sample_first_prompts(labels.cpu().numpy(), objects, window, stride, rng, middle=middle)
        if first is None:
            return {}
        image, origin = first.image.to(self.device), first.origin.to(self.device)
        embedding = take_windows(features.embedding, image, origin, window)
        detail = None
        if features.detail is not None:
            detail = take_windows(features.detail, image, origin * 4, window * 4)
        ids = take_windows(labels.unsqueeze(1), image, origin * stride, window * stride)[:, 0]
        object_id = first.object_id.to(self.device)
        target = (ids == object_id[:, None, None]) & (object_id > 0)[:, None, None]  # (N, px, px)
        soft = avg_pool2d(target.float().unsqueeze(1), stride // 4)  # (N, 1, 4w, 4w)
        coords, codes = first.coords.to(self.device), first.labels.to(self.device)
        proposed = self._propose(features, first, window, chance)
        given = first.rough.to(self.device)[:, None, None, None]
        masks = torch.where(given, make_rough_logits(soft, generator), proposed)
        given = given | (proposed.amax((-2, -1), keepdim=True) > 0)
        losses, ious = [], []
        rounds = int(rng.integers(1, self.config.rounds + 1))
        for n in range(rounds):
            logits, iou = self._decode(embedding, coords, codes, masks, given, detail)
            actual = measure_iou(logits.detach(), target, stride // 4)
            losses.append(prompt_loss(logits, iou, soft, actual, self.config))
            best = iou.detach().argmax(dim=1)
            rows = torch.arange(len(best), device=best.device)
            ious.append(actual[rows, best][object_id > 0])
            if n + 1 == rounds:
                break
            chosen = logits.detach()[rows, best].unsqueeze(1)  # (N, 1, 4w, 4w)
            masks, given = chosen.clamp(-32, 32), torch.ones_like(given)
            full = interpolate(chosen, scale_factor=stride // 4, mode="bilinear", align_corners=False)
            extra, extra_codes = draw_corrections(full[:, 0] > 0, target, generator)
            coords, codes = torch.cat([coords, extra], 1), torch.cat([codes, extra_codes], 1)
        found = {"prompts": torch.stack(losses).mean()}
        if len(ious[0]):  # none where all prompts lie on background
            found |= {"iou1": ious[0].mean(), "iou_last": ious[-1].mean()}
        return found

    def _propose(
        self, features: Features, first: PromptBatch, window: int, chance: np.random.Generator
    ) -> Tensor:
        """Mask logits of the automatic instance under some of the prompts, as users get them.

        Returns (N, 1, 4 w, 4 w); all negative where there is no proposal.
        """
        stride = self.model.config.stride
        shape = (len(first.image), 1, 4 * window, 4 * window)
        if features.maps is None:
            return torch.full(shape, -MASK_LOGIT, device=self.device)
        maps = activate(features.maps.detach().float()).cpu().numpy()
        labels = torch.from_numpy(np.stack([segment_maps(m, PROPOSALS) for m in maps]))  # (B, H, W)
        windows = take_windows(labels.unsqueeze(1), first.image, first.origin * stride, window * stride)[:, 0]
        ids = torch.from_numpy(find_proposals(windows.numpy(), first.coords.numpy(), first.labels.numpy()))
        covered = ((windows == ids[:, None, None]) & (ids > 0)[:, None, None]).float().unsqueeze(1)
        logits = (avg_pool2d(covered, stride // 4) - 0.5) * 2 * MASK_LOGIT
        keep = torch.from_numpy(chance.random(len(ids)) < self.config.proposed)[:, None, None, None]
        return torch.where(keep, logits, torch.full_like(logits, -MASK_LOGIT)).to(self.device)

    def _decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        codes: Tensor,
        masks: Tensor,
        given: Tensor,
        detail: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Decode prompts of which only those ``given`` (N, 1, 1, 1) have a mask."""
        encoder = self.model.prompt_encoder
        height, width = embedding.shape[-2:]
        sparse = encoder.encode_points(coords, codes)
        dense = torch.where(
            given, encoder.encode_masks(masks, height, width), encoder.encode_masks(None, height, width)
        )
        masks = torch.where(given, masks, torch.full_like(masks, -32.0))
        with self._autocast():
            logits, iou = self.model.decode_tokens(embedding, coords, codes, sparse, dense, masks, detail)
        return logits.float(), iou.float()


@torch.no_grad()
def measure_iou(logits: Tensor, target: Tensor, factor: int) -> Tensor:
    """IoU of (N, M, h, w) logits, upscaled by ``factor``, with (N, H, W) bool targets: (N, M).

    An empty mask of an empty target counts 0: on background the predicted IoU shall be 0.
    """
    full = interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False) > 0
    truth = target.unsqueeze(1)
    shared = (full & truth).sum((-2, -1)).float()
    union = (full | truth).sum((-2, -1)).float()
    return shared / union.clamp(min=1.0)
