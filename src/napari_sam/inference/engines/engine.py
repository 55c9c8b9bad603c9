"""What runs a model: one small protocol, so that a device gets what is fastest on it."""

from __future__ import annotations

import copy
import itertools
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import nn

from napari_sam.inference.engines.folding import fold_norms, has_norms
from napari_sam.modeling import ConvConfig
from napari_sam.modeling.image_encoder import multiplies_bfloat16
from napari_sam.modeling.sam import Features

if TYPE_CHECKING:
    from torch import Tensor

    from napari_sam.modeling import Sam
    from napari_sam.modeling.transformer import SharedImage


class Engine(Protocol):
    """Encodes frames and decodes prompts, as ``Sam`` does; float32 in, floating point out. Thread-safe.

    Attributes
    ----------
    name : str
        Of the software and the precision, e.g. ``"torch bfloat16"``, and of the decoder's where that is
        another one, see ``describe``.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above

    def encode(self, frames: Tensor) -> Features:
        """Encode normalised frames (B, 3, H, W); float32 in and out."""
        ...

    def share(self, embedding: Tensor) -> SharedImage | None:
        """What decoding computes of an embedding (1, C, h, w) whatever the prompts, for ``decode``."""
        ...

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
        ...


def describe(encoder: str, decoder: str) -> str:
    """Name of an engine by those of its parts.

    Examples
    --------
    >>> describe("torch bfloat16", "torch float32"), describe("openvino f32", "openvino f32")
    ('torch bfloat16', 'openvino f32')
    >>> describe("torch float32", "openvino bf16")
    'torch float32, decoder openvino bf16'
    """
    return encoder if decoder in (encoder, "torch float32") else f"{encoder}, decoder {decoder}"


def choose_precision(device: torch.device, convolutional: bool) -> torch.dtype:
    """The type that matrices are multiplied in on a device that nothing was measured on yet.

    CPUs that multiply bfloat16, in tiles or by AVX-512 alone, encode in half the time. What is really fastest
    and accurate on a machine is found by ``tuning.iter_tune``; encoders of plain convolutions are left at
    float32 on a GPU until then.

    Parameters
    ----------
    device : torch.device
    convolutional : bool
        Whether the encoder is the one of plain convolutions, as the bundled model's.
    """
    if device.type == "cpu":
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    if convolutional:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16


_folded: Final[WeakKeyDictionary[Sam, tuple[object, Sam]]] = WeakKeyDictionary()
_folding: Final = threading.Lock()


def fold_encoder(module: Sam) -> Sam:
    """A model that shares everything with ``module`` but the norms that encoding goes through, folded.

    It is made once for all who ask, and anew when weights have changed or have moved. Where nothing is to be
    folded it is the module itself.
    """
    parts = ["image_encoder"]
    if module.config.instance_decoder and not module.config.reads_embedding_only:
        parts.append("instance_decoder")
    if not any(has_norms(getattr(module, part)) for part in parts):
        return module
    state = _describe_weights(module)
    with _folding:
        found = _folded.get(module)
        if found is None or found[0] != state:
            _folded[module] = found = state, _fold(module, parts)
        return found[1]


def _describe_weights(module: Sam) -> tuple[tuple[int, int], ...]:
    """Where each weight lies in memory, and how often it was changed there."""
    weights = itertools.chain(module.parameters(), module.buffers())
    return tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)


def _fold(module: Sam, parts: list[str]) -> Sam:
    folded = copy.copy(module)
    folded._modules = dict(module._modules)
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
        Of the encoder: float32, bfloat16 or float16; None for what suits the device.
    decoder_precision : torch.dtype
        Of the decoder, the same.
    """

    def __init__(
        self,
        module: Sam,
        precision: torch.dtype | None = None,
        decoder_precision: torch.dtype = torch.float32,
    ) -> None:
        self._device = module.pixel_mean.device
        convolutional = isinstance(module.config.encoder, ConvConfig)
        self.precision = precision or choose_precision(self._device, convolutional)
        self.decoder_precision = decoder_precision
        self._module = fold_encoder(module)

    @property
    def name(self) -> str:
        """E.g. "torch bfloat16"."""
        names = [
            f"torch {str(dtype).removeprefix('torch.')}" for dtype in (self.precision, self.decoder_precision)
        ]
        return describe(*names)

    def encode(self, frames: Tensor) -> Features:
        """Encode normalised frames (B, 3, H, W); float32 in and out."""
        with torch.inference_mode(), self._in(self.precision):
            found = self._module.encode(frames.contiguous(memory_format=torch.channels_last))
        return Features(*(_widen(part) for part in (found.embedding, found.detail, found.maps)))

    def share(self, embedding: Tensor) -> SharedImage | None:
        """What decoding computes of an embedding (1, C, h, w) whatever the prompts, for ``decode``."""
        with torch.inference_mode(), self._in(self.decoder_precision):
            return self._module.share(embedding)

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
        with torch.inference_mode(), self._in(self.decoder_precision):
            return self._module.decode(embedding, coords, labels, masks, detail, shared)

    def _in(self, precision: torch.dtype) -> torch.autocast:
        return torch.autocast(self._device.type, precision, enabled=precision != torch.float32)


def _widen(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.float()
