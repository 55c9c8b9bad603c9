"""What runs a model's encoder: one small protocol, so that a device gets what is fastest on it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from napari_sam.inference.engines.folding import fold_norms
from napari_sam.modeling import ConvConfig
from napari_sam.modeling.image_encoder import has_amx
from napari_sam.modeling.sam import Features

if TYPE_CHECKING:
    from torch import Tensor

    from napari_sam.modeling import Sam


class Engine(Protocol):
    """Encodes frames, as ``Sam.encode`` does.

    Attributes
    ----------
    name : str
        Of the software and the precision, e.g. ``"torch bfloat16"``.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above

    def encode(self, frames: Tensor) -> Features:
        """Encode normalised frames (B, 3, H, W); float32 in and out."""
        ...


def choose_precision(device: torch.device, convolutional: bool) -> torch.dtype:
    """The type that matrices are multiplied in on a device, where it is faster and accurate enough.

    On CPUs bfloat16 pays only where it is multiplied in tiles (AMX); with the AVX-512 instructions alone it
    was measured to be slower than float32. The bundled model's masks fail the guard in bfloat16: its offsets
    to the centre need more digits.

    Parameters
    ----------
    device : torch.device
    convolutional : bool
        Whether the encoder is the one of plain convolutions, as the bundled model's.
    """
    if convolutional:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if has_amx() else torch.float32


def fold_encoder(module: Sam) -> Sam:
    """A model that shares everything with ``module`` but the norms that encoding goes through, folded."""
    folded = copy.copy(module)
    folded._modules = dict(module._modules)
    parts = ["image_encoder"]
    if module.config.instance_decoder and not module.config.reads_embedding_only:
        parts.append("instance_decoder")
    for part in parts:
        original: nn.Module = getattr(module, part)
        copied = fold_norms(original)
        if copied is not original:
            folded._modules[part] = copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return folded


class TorchEngine:
    """PyTorch, with norms folded into convolutions, channels last, and the precision of choice.

    Parameters
    ----------
    module : Sam
        In evaluation mode and on its device. Weights are copied where norms are folded: a change of the
        module later is not seen.
    precision : torch.dtype or None
        float32, bfloat16 or float16; None for what suits the device.
    """

    def __init__(self, module: Sam, precision: torch.dtype | None = None) -> None:
        self._device = module.pixel_mean.device
        convolutional = isinstance(module.config.encoder, ConvConfig)
        self.precision = precision or choose_precision(self._device, convolutional)
        self._module = fold_encoder(module)

    @property
    def name(self) -> str:
        """E.g. "torch bfloat16"."""
        return f"torch {str(self.precision).removeprefix('torch.')}"

    def encode(self, frames: Tensor) -> Features:
        """Encode normalised frames (B, 3, H, W); float32 in and out."""
        reduced = self.precision != torch.float32
        with torch.inference_mode(), torch.autocast(self._device.type, self.precision, enabled=reduced):
            found = self._module.encode(frames.contiguous(memory_format=torch.channels_last))
        return Features(*(_widen(part) for part in (found.embedding, found.detail, found.maps)))


def _widen(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.float()
