"""Which engine runs a model: PyTorch, unless another one was found to be accurate and faster on a machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import platformdirs
import torch

from napari_sam.errors import SamError
from napari_sam.inference.engines.engine import Engine, TorchEngine
from napari_sam.inference.engines.openvino_engine import OpenVinoEngine
from napari_sam.inference.engines.openvino_models import find_converted
from napari_sam.inference.engines.verdict import read_verdict

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.inference.checkpoints import LoadedModel

_log = logging.getLogger(__name__)


def default_engine_dir() -> Path:
    """Where converted models and verdicts lie: ``engines`` in the platform's cache directory."""
    return platformdirs.user_cache_path("napari-sam", appauthor=False) / "engines"


def choose_engine(model: LoadedModel, folder: Path | None = None) -> Engine:
    """The engine that ``tuning.iter_tune`` found to be best for a model on this machine.

    Where it was not asked, that is PyTorch in the precision that suits the device: nobody waits for a
    conversion.

    Parameters
    ----------
    model : LoadedModel
    folder : Path, optional
        Of converted models and verdicts, by default ``default_engine_dir()``.
    """
    folder = folder or default_engine_dir()
    verdict = read_verdict(model, folder)
    if verdict is None:
        return TorchEngine(model.module)
    try:
        return build_engine(model, verdict.encoder, verdict.decoder, folder)
    except (RuntimeError, SamError) as error:  # the first is what OpenVINO raises for files it cannot read
        _log.warning("%s in %s does not load (%s); PyTorch is used.", verdict.encoder, folder, error)
        return TorchEngine(model.module, torch.float32)


def build_engine(model: LoadedModel, encoder: str, decoder: str, folder: Path) -> Engine:
    """An engine by the names of its parts, which are among ``verdict.ENGINES``.

    Raises
    ------
    SamError
        When OpenVINO is not installed, or the model was not converted for it.
    RuntimeError
        When what was converted cannot be read.
    """
    kinds = [name.split() for name in (encoder, decoder)]
    precisions = [getattr(torch, p) if kind == "torch" else torch.float32 for kind, p in kinds]
    engine = TorchEngine(model.module, *precisions)
    if all(kind == "torch" for kind, _ in kinds):
        return engine
    place = find_converted(model, folder)
    if place is None:
        raise SamError(
            f"Expected the model {model.name} converted for OpenVINO in {folder}, got none; run "
            f"`napari-sam models tune {model.name}`."
        )
    converted = [p if kind == "openvino" else None for kind, p in kinds]
    return OpenVinoEngine(model, place, encoder=converted[0], decoder=converted[1], otherwise=engine)
