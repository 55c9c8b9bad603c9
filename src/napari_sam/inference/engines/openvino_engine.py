"""OpenVINO, which encodes faster than PyTorch on CPUs; the optional extra ``openvino``.

A model is converted once, which takes up to minutes, and lies compiled in a folder after that.
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
from napari_sam.modeling import ConvConfig
from napari_sam.modeling.image_encoder import Attention, has_amx
from napari_sam.modeling.sam import Features

if TYPE_CHECKING:
    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.modeling import Sam

MODEL_FILE: Final = "encoder.xml"
FORMAT: Final = 1
"""Raised when what is converted changes, so that older folders are not used."""


def has_openvino() -> bool:
    """Whether the extra is installed; nothing is imported."""
    return find_spec("openvino") is not None


def find_converted(model: LoadedModel, folder: Path) -> Path | None:
    """The folder of a model that was converted before, else None."""
    place = _place(model, folder)
    return place if (place / MODEL_FILE).is_file() else None


def convert(model: LoadedModel, folder: Path) -> Path:
    """Convert the encoder of a model; what is there already is left as it is.

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
    openvino = _import_openvino()
    place = _place(model, folder)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as unfinished:
            # Tracing holds the weights once, and the file is written from there: no second copy in between.
            openvino.save_model(
                _trace(openvino, model.module), Path(unfinished) / MODEL_FILE, compress_to_fp16=False
            )
            shutil.copytree(unfinished, place, dirs_exist_ok=True)
    except OSError as error:
        raise SamError(f"Cannot write the converted model to {place}: {error.strerror}.") from error
    return place


class OpenVinoEngine:
    """Runs what ``convert`` wrote.

    Parameters
    ----------
    model : LoadedModel
    place : Path
        From ``convert`` or ``find_converted``.
    precision : {"f32", "bf16"} or None
        None for what this CPU is fastest in.

    Raises
    ------
    SamError
        When OpenVINO is not installed.
    """

    def __init__(self, model: LoadedModel, place: Path, precision: str | None = None) -> None:
        openvino = _import_openvino()
        convolutional = isinstance(model.config.encoder, ConvConfig)  # see choose_precision
        self.precision = precision or ("bf16" if has_amx() and not convolutional else "f32")
        self._parts = _list_parts(model.module)
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(place / "compiled"),  # the second start is fast
        }
        self._compiled = openvino.Core().compile_model(str(place / MODEL_FILE), "CPU", settings)

    @property
    def name(self) -> str:
        """E.g. "openvino f32"."""
        return f"openvino {self.precision}"

    def encode(self, frames: Tensor) -> Features:
        """Encode normalised frames (B, 3, H, W); float32 in and out."""
        # A request of its own for each call, so that threads do not wait for or overwrite each other.
        found = self._compiled.create_infer_request().infer([frames.contiguous().numpy()])
        tensors = [torch.from_numpy(found[i].copy()) for i in range(len(self._parts))]
        return Features(**dict(zip(self._parts, tensors, strict=True)))


class _Encoder(nn.Module):
    """The encoder with its results as a tuple, which is all that a trace can hold."""

    def __init__(self, module: Sam) -> None:
        super().__init__()
        self.module = module

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        found = self.module.encode(frames)
        return tuple(t for t in (found.embedding, found.detail, found.maps) if t is not None)


def _list_parts(module: Sam) -> list[str]:
    config = module.config
    if not config.instance_decoder or config.reads_embedding_only:
        return ["embedding"]
    return ["embedding", "detail", "maps"] if config.detail_channels else ["embedding", "maps"]


def _trace(openvino: Any, module: Sam) -> Any:
    side = 256 if module.config.any_frame_size else module.config.image_size
    encoder = _Encoder(fold_encoder(module)).eval()
    attentions = [part for part in encoder.modules() if isinstance(part, Attention)]
    shape = [1, 3, -1, -1] if module.config.any_frame_size else [1, 3, side, side]
    for attention in attentions:
        attention.folds = True
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of branches on shapes, which are those of every frame
            example = torch.zeros(1, 3, side, side)
            traced = torch.jit.trace(encoder, example, check_trace=False)
            return openvino.convert_model(traced, example_input=example, input=shape)
    finally:
        for attention in attentions:
            del attention.folds


def _place(model: LoadedModel, folder: Path) -> Path:
    version = "none"
    if has_openvino():
        from importlib.metadata import version as version_of

        version = version_of("openvino")
    key = f"{FORMAT} {model.sha256} {model.config} {version}"
    return folder / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _import_openvino() -> Any:
    if not has_openvino():
        raise SamError("OpenVINO is not installed; get it with: pip install napari-sam-workbench[openvino]")
    import openvino

    return openvino
