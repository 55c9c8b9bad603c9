"""OpenVINO, which encodes and decodes faster than PyTorch on CPUs; the optional extra ``openvino``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from napari_sam.inference.engines.engine import Engine, TorchEngine, describe
from napari_sam.inference.engines.openvino_models import (
    DECODER,
    ENCODER,
    MASK_DECODER,
    SHARED,
    decodes,
    import_openvino,
)
from napari_sam.modeling.sam import Features

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.modeling import Sam
    from napari_sam.modeling.transformer import SharedImage


class OpenVinoEngine:
    """Runs what ``convert`` wrote, and leaves to another engine what is not converted.

    Parameters
    ----------
    model : LoadedModel
    place : Path
        From ``convert`` or ``find_converted``.
    encoder, decoder : {"f32", "bf16"} or None
        Precisions; None leaves that part to ``otherwise``. The decoder of models that decode in windows is
        not converted.
    otherwise : Engine or None
        By default PyTorch in float32.

    Raises
    ------
    SamError
        When OpenVINO is not installed.
    RuntimeError
        When it cannot read what was converted.
    """

    def __init__(
        self,
        model: LoadedModel,
        place: Path,
        encoder: str | None = "f32",
        decoder: str | None = "f32",
        otherwise: Engine | None = None,
    ) -> None:
        if not decodes(model.config):
            decoder = None
        self._module = model.module
        self._otherwise = otherwise or TorchEngine(model.module, torch.float32)
        self._parts = _list_parts(model.module)
        self._encoder = None if encoder is None else _Compiled(place, ENCODER, encoder)
        self._decoder = None if decoder is None else _Compiled(place, DECODER, decoder)
        self._mask_decoder = None if decoder is None else _Compiled(place, MASK_DECODER, decoder)
        names = [
            self._otherwise.name.partition(",")[0] if encoder is None else f"openvino {encoder}",
            "torch float32" if decoder is None else f"openvino {decoder}",
        ]
        self._name = describe(*names) if encoder or decoder else self._otherwise.name

    @property
    def name(self) -> str:
        """E.g. "openvino f32"."""
        return self._name

    def encode(self, frames: Tensor) -> Features:
        """Encode normalised frames (B, 3, H, W); float32 in and out."""
        if self._encoder is None:
            return self._otherwise.encode(frames)
        tensors = self._encoder.run([frames])
        return Features(**dict(zip(self._parts, tensors, strict=True)))

    def share(self, embedding: Tensor) -> SharedImage | None:
        """What decoding computes of an embedding (1, C, h, w) whatever the prompts, for ``decode``."""
        if self._decoder is None:
            return self._otherwise.share(embedding)
        with torch.inference_mode():
            shared = self._module.share(embedding)
            if shared is None:
                return None
            # in the order of memory in which it is taken, once and not for every click
            return replace(shared, **{name: getattr(shared, name).contiguous() for name in SHARED})

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        detail: Tensor | None = None,
        shared: SharedImage | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, M, 4 h, 4 w) and predicted IoU (N, M); everything is as in ``Sam.decode``."""
        if self._decoder is None or self._mask_decoder is None or len(embedding) > 1:
            return self._otherwise.decode(embedding, coords, labels, masks, detail, shared)
        if masks is not None:
            with torch.inference_mode():
                dense = self._module.prompt_encoder.encode_masks(masks, *embedding.shape[-2:])
            logits, iou = self._mask_decoder.run([coords, labels, dense, embedding])
        else:
            shared = shared or self.share(embedding)
            logits, iou = self._decoder.run([coords, labels, *(getattr(shared, name) for name in SHARED)])
        return logits, iou


class _Compiled:
    """A converted part, ready to run in any thread."""

    def __init__(self, place: Path, name: str, precision: str) -> None:
        openvino = import_openvino()
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(place / "compiled"),  # the second start is fast
        }
        self._compiled = openvino.Core().compile_model(str(place / name), "CPU", settings)
        self._keeps = name != ENCODER  # the encoder's memory is large, and making it anew costs nothing
        self._idle: list[Any] = []

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """All results, as tensors of their own."""
        # A request for each call under way, so that threads do not wait for or overwrite each other.
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        inputs: list[NDArray[Any]] = [tensor.contiguous().numpy() for tensor in tensors]
        found = request.infer(inputs, share_inputs=True, share_outputs=True)
        copies = [torch.from_numpy(found[i].copy()) for i in range(len(self._compiled.outputs))]
        if self._keeps:
            self._idle.append(request)
        return copies


def _list_parts(module: Sam) -> list[str]:
    config = module.config
    if not config.instance_decoder or config.reads_embedding_only:
        return ["embedding"]
    return ["embedding", "detail", "maps"] if config.detail_channels else ["embedding", "maps"]
