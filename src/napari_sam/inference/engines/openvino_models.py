"""Models converted for OpenVINO: an encoder, and decoders without and with a mask prompt, in a folder each.

A model is converted once, which takes up to minutes, and lies compiled in its folder after that.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from napari_sam.errors import SamError
from napari_sam.inference.engines.engine import fold_encoder
from napari_sam.modeling.image_encoder import Attention
from napari_sam.modeling.transformer import SharedImage
from napari_sam.types import Progress, finish

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.modeling import Sam, SamConfig

ENCODER: Final = "encoder.xml"
DECODER: Final = "decoder.xml"
MASK_DECODER: Final = "mask_decoder.xml"
"""The decoder of prompts that bring a mask: these change the image's tokens, so that nothing is shared."""
FORMAT: Final = 2
"""Raised when what is converted changes, so that older folders are not used."""
SHARED: Final = ("tokens", "pe", "keys", "values", "queries")
"""Fields of ``SharedImage``, in the order in which the decoder takes them after the prompts."""


def has_openvino() -> bool:
    """Whether the extra is installed; nothing is imported."""
    return find_spec("openvino") is not None


def openvino_version() -> str:
    """Of what is installed; "none" where nothing is."""
    if not has_openvino():
        return "none"
    from importlib.metadata import version

    return version("openvino")


def import_openvino() -> Any:
    """The package.

    Raises
    ------
    SamError
        When it is not installed.
    """
    if not has_openvino():
        raise SamError("OpenVINO is not installed; get it with: pip install napari-sam-workbench[openvino]")
    import openvino

    return openvino


def decodes(config: SamConfig) -> bool:
    """Whether the decoder of a model is converted: that of models which see whole frames of one size."""
    return not config.any_frame_size and not config.detail_channels


def find_converted(model: LoadedModel, folder: Path) -> Path | None:
    """The folder of a model that was converted before, else None."""
    place = _place(model, folder)
    return place if all((place / name).is_file() for name in _list_files(model.config)) else None


def convert(model: LoadedModel, folder: Path) -> Path:
    """``iter_convert`` in one go."""
    return finish(iter_convert(model, folder))


def iter_convert(model: LoadedModel, folder: Path) -> Generator[Progress, None, Path]:
    """Convert a model, as a job; what is there already is left as it is.

    Parameters
    ----------
    model : LoadedModel
    folder : Path
        Where converted models lie, each in a folder named after its weights.

    Returns
    -------
    Path
        The folder of this model.

    Raises
    ------
    SamError
        When OpenVINO is not installed, or nothing can be written to the folder.
    """
    found = find_converted(model, folder)
    if found is not None:
        return found
    openvino = import_openvino()
    place, names = _place(model, folder), _list_files(model.config)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as unfinished:
            for i, name in enumerate(names):
                yield Progress(i, len(names), f"Converting {name.removesuffix('.xml').replace('_', ' ')}")
                # Tracing holds the weights once, and the file is written from there: no second copy between.
                converted = _TRACES[name](openvino, model.module)
                openvino.save_model(converted, Path(unfinished) / name, compress_to_fp16=False)
                del converted
            if find_converted(model, folder) is None:  # else somebody else was faster
                shutil.rmtree(place, ignore_errors=True)
                Path(unfinished).rename(place)  # whole or not at all
    except OSError as error:
        raise SamError(
            f"Cannot write the converted model to {place}: {error.strerror or error}. Free some space, or "
            "make the folder writable."
        ) from error
    return place


class _Encoder(nn.Module):
    """The encoder with its results as a tuple, which is all that a trace can hold."""

    def __init__(self, module: Sam) -> None:
        super().__init__()
        self.module = module

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        found = self.module.encode(frames)
        return tuple(t for t in (found.embedding, found.detail, found.maps) if t is not None)


class _Decoder(nn.Module):
    """Prompts on what they share."""

    def __init__(self, module: Sam, side: int) -> None:
        super().__init__()
        self.module, self.side = module, side

    def forward(self, coords: Tensor, labels: Tensor, *shared: Tensor) -> tuple[Tensor, Tensor]:
        image = SharedImage(*shared)
        shape = torch.empty(1, 1, self.side, self.side)  # nothing else of the embedding is looked at
        return self.module.decode(shape, coords, labels, shared=image)


class _MaskDecoder(nn.Module):
    """Prompts with a dense embedding each, of their masks, on an embedding.

    The masks are encoded by PyTorch: with these convolutions in one graph with points, in numbers that are
    not known before, OpenVINO 2026.4 gives results of wrong shapes or ends the process.
    """

    def __init__(self, module: Sam) -> None:
        super().__init__()
        self.module = module

    def forward(
        self, coords: Tensor, labels: Tensor, dense: Tensor, embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        sparse = self.module.prompt_encoder.encode_points(coords, labels)
        return self.module.decode_tokens(embedding, coords, labels, sparse, dense, None, None)


def _convert(openvino: Any, part: nn.Module, example: tuple[Tensor, ...], shapes: list[list[int]]) -> Any:
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches on shapes, which are those of every call
        traced = torch.jit.trace(part.eval(), example, check_trace=False)
        return openvino.convert_model(traced, example_input=example, input=shapes)


def _trace_encoder(openvino: Any, module: Sam) -> Any:
    side = 256 if module.config.any_frame_size else module.config.image_size
    encoder = _Encoder(fold_encoder(module))
    attentions = [part for part in encoder.modules() if isinstance(part, Attention)]
    shape = [1, 3, -1, -1] if module.config.any_frame_size else [1, 3, side, side]
    for attention in attentions:
        attention.folds = True
    try:
        return _convert(openvino, encoder, (torch.zeros(1, 3, side, side),), [shape])
    finally:
        for attention in attentions:
            del attention.folds


def _make_prompts(side: int) -> tuple[Tensor, Tensor]:
    return torch.full((2, 3, 2), side / 2), torch.tensor([[1, 0, -1]] * 2)


def _trace_decoder(openvino: Any, module: Sam) -> Any:
    side = module.config.image_size // module.config.stride
    with torch.inference_mode():
        shared = module.share(torch.zeros(1, module.config.embed_dim, side, side))
    tensors = [getattr(shared, name).contiguous() for name in SHARED]
    shapes = [[-1, -1, 2], [-1, -1], *(list(t.shape) for t in tensors)]
    example = (*_make_prompts(module.config.image_size), *tensors)
    return _convert(openvino, _Decoder(module, side), example, shapes)


def _trace_mask_decoder(openvino: Any, module: Sam) -> Any:
    side, channels = module.config.image_size // module.config.stride, module.config.embed_dim
    dense, embedding = torch.zeros(2, channels, side, side), torch.zeros(1, channels, side, side)
    shapes = [[-1, -1, 2], [-1, -1], [-1, *dense.shape[1:]], list(embedding.shape)]
    example = (*_make_prompts(module.config.image_size), dense, embedding)
    return _convert(openvino, _MaskDecoder(module), example, shapes)


_TRACES: Final = {ENCODER: _trace_encoder, DECODER: _trace_decoder, MASK_DECODER: _trace_mask_decoder}


def _list_files(config: SamConfig) -> list[str]:
    return [ENCODER, DECODER, MASK_DECODER] if decodes(config) else [ENCODER]


def _place(model: LoadedModel, folder: Path) -> Path:
    key = f"{FORMAT} {model.sha256} {model.config} {openvino_version()}"
    return folder / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
