"""Encode a crop, decode prompts: both functions of values, with no state between them."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from napari_sam.inference.ambiguity import choose_index
from napari_sam.inference.corrections import contains_any, find_pixels, honour_clicks, is_correction
from napari_sam.inference.decode_window import Window, choose_window
from napari_sam.inference.embedding import Frame, ImageEmbedding, round_to_half
from napari_sam.inference.engines import Engine, choose_engine
from napari_sam.inference.instance_maps import Instances
from napari_sam.inference.mask_ops import clean_mask, stability_score, upscale_logits
from napari_sam.inference.prompt_batch import (
    cut_windows,
    group_prompts,
    propose_instance,
    read_dense,
    read_sparse,
)
from napari_sam.inference.scale_search import search_scale
from napari_sam.inference.shared_work import SharedWork, choose_batch
from napari_sam.modeling.instance_decoder import activate
from napari_sam.types import LowResLogits, ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.tiling import Crop
    from napari_sam.inference.transforms import Normalization
    from napari_sam.modeling import SamConfig

CHUNK = 64
"""Prompts decoded at once, at most."""


class Predictor:
    """Runs a model. Safe to share between threads: it keeps nothing but the model.

    Parameters
    ----------
    model : LoadedModel
    engine : Engine, optional
        What runs it; by default the best that is ready, chosen when it is first needed.
    """

    def __init__(self, model: LoadedModel, engine: Engine | None = None) -> None:
        self.model = model
        self.config: SamConfig = model.config
        self._chosen = None if engine is None else (engine, SharedWork(engine))

    # -- encode -----------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """What runs the model."""
        return self._choose()[0]

    def choose_again(self) -> None:
        """Take what is the best engine now, after one was found or the model was moved."""
        self._chosen = None

    def _choose(self) -> tuple[Engine, SharedWork]:
        chosen = self._chosen
        if chosen is None:
            engine = choose_engine(self.model)
            self._chosen = chosen = engine, SharedWork(engine)
        return chosen

    def make_frame(self, crop: tuple[int, int, int, int], scale: float | None = None) -> Frame:
        """The model's input frame for a crop; ``scale`` defaults to what the model expects."""
        height, width = crop[2] - crop[0], crop[3] - crop[1]
        side = self.config.image_size
        if not self.config.any_frame_size:
            return Frame(crop, side / max(height, width), (side, side))
        scale = min(1.0, side / max(height, width)) if scale is None else scale
        multiple = self.config.frame_multiple
        least = self.config.decode_window * self.config.stride
        size = [max(least, -(-max(1, round(n * scale)) // multiple) * multiple) for n in (height, width)]
        return Frame(crop, scale, (size[0], size[1]))

    def encode(
        self,
        pixels: NDArray[Any],
        normalization: Normalization,
        frame: Frame,
        plane_shape: tuple[int, int],
        *,
        adapt: bool = False,
    ) -> ImageEmbedding:
        """Encode the pixels of one crop.

        Parameters
        ----------
        pixels : (h, w) or (h, w, C)
            The crop's pixels, as in the image or of a coarser level.
        normalization : Normalization
            Of the whole plane, so that neighbouring crops look alike.
        frame : Frame
            From ``make_frame``.
        plane_shape : (H, W)
        adapt : bool
            Encode it once more at another scale, where what was found are objects too small or too large to
            be outlined well; the embedding's frame tells.
        """
        embedding = self._encode(pixels, normalization, frame, plane_shape)
        if not (adapt and self.config.any_frame_size) or embedding.maps is None:
            return embedding
        r0, c0, r1, c1 = frame.crop
        rows, cols = pixels.shape[0] / (r1 - r0), pixels.shape[1] / (c1 - c0)  # 1 unless of a coarser level

        def encode(crop: Crop, scale: float) -> ImageEmbedding:
            top, left, bottom, right = crop
            taken = pixels[
                round((top - r0) * rows) : math.ceil((bottom - r0) * rows),
                round((left - c0) * cols) : math.ceil((right - c0) * cols),
            ]
            return self._encode(taken, normalization, self.make_frame(crop, scale), plane_shape)

        return search_scale(embedding, encode, self.config.image_size)

    def _encode(
        self, pixels: NDArray[Any], normalization: Normalization, frame: Frame, plane_shape: tuple[int, int]
    ) -> ImageEmbedding:
        module, device = self.model.module, self.model.device
        inner = frame.inner
        with torch.inference_mode():
            x = torch.from_numpy(normalization.apply(pixels)).to(device).permute(2, 0, 1)[None] * 255
            if inner != x.shape[-2:]:
                x = interpolate(x, inner, mode="bilinear", align_corners=False, antialias=True)
            x = (x - module.pixel_mean) / module.pixel_std
            x = _pad_frame(x, frame.size, mirror=self.config.any_frame_size)
            features = self.engine.encode(x)
            maps = None
            if features.maps is not None:
                active = activate(features.maps.float())[0, :, : inner[0], : inner[1]]
                maps = active.half().cpu().numpy()
            return ImageEmbedding(
                round_to_half(features.embedding.contiguous()),
                None if features.detail is None else round_to_half(features.detail),
                maps,
                None if maps is None else Instances.from_maps(maps.astype(np.float32)),
                frame,
                (plane_shape[0], plane_shape[1]),
            )

    # -- decode -----------------------------------------------------------------------------------

    def decode(self, embedding: ImageEmbedding, prompts: Prompts) -> ObjectMask:
        """The best mask for one prompt, in plane coordinates."""
        return self.decode_many(embedding, [prompts])[0]

    def decode_many(self, embedding: ImageEmbedding, prompts: Sequence[Prompts]) -> list[ObjectMask]:
        """The best mask for each of many prompts, decoded in batches."""
        return [best for (best,) in self.decode_candidates(embedding, prompts, only_best=True)]

    def decode_candidates(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompts], only_best: bool = False
    ) -> list[list[ObjectMask]]:
        """All masks of each prompt: the single mask first, then the alternatives for ambiguity.

        With ``only_best`` the one that ``choose_best`` would take, which is all that is upscaled then.

        Raises
        ------
        PromptError
            When a prompt says nowhere where the object is.
        """
        results: list[list[ObjectMask]] = [[] for _ in prompts]
        for i, window, logits, iou in self.iter_logits(embedding, prompts):
            iou = np.clip(iou, 0, 1)
            answer = partial(self._read_answer, embedding, prompts[i], window)
            results[i] = _find_best(prompts[i], logits, iou, answer) if only_best else answer(logits, iou)
        return results

    def iter_logits(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompts]
    ) -> Iterator[tuple[int, Window, NDArray[np.float32], NDArray[np.float32]]]:
        """What the mask decoder says about each prompt, as it comes, in batches; windows grow as needed.

        Yields
        ------
        index : int
            Which of the prompts.
        window : Window
        logits : (M, h, w) float32
            The single mask first, then the alternatives; four cells a token of the window.
        iou : (M,) float32
            As predicted, which may lie a little outside 0 to 1.
        """
        prompts = [propose_instance(embedding, p) for p in prompts]
        pending = {
            i: choose_window(embedding, p.extent, self.config.decode_window, self.config.stride)
            for i, p in enumerate(prompts)
        }
        while pending:
            grown: dict[int, Window] = {}
            for indices in group_prompts(pending, prompts):
                tokens = pending[indices[0]].height * pending[indices[0]].width
                size = choose_batch(self.model.device, tokens, CHUNK)
                for start in range(0, len(indices), size):
                    chunk = indices[start : start + size]
                    windows = [pending[i] for i in chunk]
                    answers = self._decode_chunk(embedding, [prompts[i] for i in chunk], windows)
                    for i, window, (logits, iou) in zip(chunk, windows, answers, strict=True):
                        larger = window.grown(logits[int(iou.argmax())] > 0, *embedding.tokens)
                        if larger is not None:
                            grown[i] = larger
                        else:
                            yield i, window, logits, iou
            pending = grown

    def _decode_chunk(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompts], windows: Sequence[Window]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        device, stride = self.model.device, self.config.stride
        height, width = windows[0].height, windows[0].width
        coords, labels = read_sparse(prompts, windows, embedding.frame, stride)
        masks = read_dense(prompts, windows, embedding.frame, stride)
        engine, shared = self._choose()
        with torch.inference_mode():
            features = cut_windows(embedding.features, [(w.row, w.col) for w in windows], height, width)
            detail = embedding.detail
            if detail is not None:
                detail = cut_windows(detail, [(4 * w.row, 4 * w.col) for w in windows], 4 * height, 4 * width)
            whole = (
                masks is None and isinstance(embedding.features, Tensor) and features is embedding.features
            )
            logits, iou = engine.decode(
                features,
                torch.from_numpy(coords).to(device),
                torch.from_numpy(labels).to(device),
                None if masks is None else torch.from_numpy(masks).to(device),
                detail,
                shared.of(features) if whole else None,
            )
            values, scores = logits.float().cpu().numpy(), iou.float().cpu().numpy()
        return list(zip(values, scores, strict=True))

    def _read_answer(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        window: Window,
        logits: NDArray[np.float32],
        iou: NDArray[np.float32],
    ) -> list[ObjectMask]:
        edges = window.edges(embedding.frame, self.config.stride)
        corrects = is_correction(prompts)
        found = []
        for values, score in zip(logits, iou, strict=True):
            plain = values
            if corrects:
                values = honour_clicks(values, edges, prompts.points, prompts.labels)
            mask, origin = upscale_logits(values, edges, embedding.frame.crop)
            if mask.any():
                clicked = find_pixels(prompts.points).astype(np.int64) - origin
                asked = prompts.labels == 1
                # A pixel that was turned by force is no reason to drop the object beside it.
                forced = values is not plain and not contains_any(plain, edges, prompts.points[asked])
                mask = clean_mask(mask, clicked[asked], open_at=clicked[~asked], largest=forced)
            obj = ObjectMask.from_plane(
                mask,
                origin,
                predicted_iou=float(score),
                stability_score=stability_score(values),
                logits=LowResLogits(values, edges),
            )
            found.append(obj)
        return found


def _find_best(
    prompts: Prompts,
    logits: NDArray[np.float32],
    iou: NDArray[np.float32],
    answer: Callable[[NDArray[np.float32], NDArray[np.float32]], list[ObjectMask]],
) -> list[ObjectMask]:
    """The mask that ``choose_best`` would choose; as a rule no other is upscaled."""
    filled = [bool((values > 0).any()) for values in logits]
    while True:
        best = choose_index(iou.tolist(), filled, prompts)
        found = answer(logits[best : best + 1], iou[best : best + 1])
        if found[0].area or not filled[best]:
            return found
        filled[best] = False  # what was positive lies beyond the plane


def _pad_frame(x: Tensor, size: tuple[int, int], mirror: bool) -> Tensor:
    """Pad (1, 3, h, w) at bottom and right, by mirroring as often as it takes, or with zeros."""
    if not mirror:
        return pad(x, (0, size[1] - x.shape[-1], 0, size[0] - x.shape[-2]))
    for axis, target in ((-2, size[0]), (-1, size[1])):
        length = x.shape[axis]
        ramp = torch.arange(target, device=x.device) % (2 * length)
        x = x.index_select(axis, torch.where(ramp < length, ramp, 2 * length - 1 - ramp))
    return x
