"""Models by name or path, loaded without ever running what a file says.

A model that was downloaded is kept a second time as safetensors, one file with its instance decoder and its
configuration, which the next start maps into memory instead of reading it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

from napari_sam.errors import CheckpointError, MissingWeightsError
from napari_sam.inference.device import choose_device
from napari_sam.inference.fetch import fetch
from napari_sam.inference.registry import ModelCard, describe_choice, find_card, list_models
from napari_sam.inference.state_dicts import Weights, check_fit, join_decoder, read_decoder, read_weights
from napari_sam.inference.weight_files import WeightFolder
from napari_sam.inference.whole_files import replace_file
from napari_sam.modeling import Sam, SamConfig, build_sam

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LoadedModel", "ModelCard", "list_models", "load_model", "write_checkpoint"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model on its device, with what identifies it.

    Attributes
    ----------
    name : str
    sha256 : str
        Of the checkpoint file.
    config : SamConfig
    device : torch.device
    module : Sam
        In evaluation mode.
    record : dict
        How the model was trained and which thresholds suit it, where the checkpoint says so.
    """

    name: str
    sha256: str
    config: SamConfig
    device: torch.device
    module: Sam
    record: dict[str, Any] = field(default_factory=dict)

    def move_to(self, device: torch.device) -> None:
        """Move the model; the one thing about it that may change, when a GPU's memory is exhausted."""
        self.module.to(device)
        object.__setattr__(self, "device", device)


def load_model(
    name_or_path: str | Path = "nuclei", device: str | torch.device = "auto", *, download: bool = True
) -> LoadedModel:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or Path
        A name from ``list_models``, or the path of a ``.safetensors``, ``.pt`` or ``.pth`` file.
    device : str or torch.device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    download : bool
        Whether to get a model that has a name and is not on this computer yet; it takes as long as it takes.

    Returns
    -------
    LoadedModel

    Raises
    ------
    CheckpointError
        When there is no such model or file, or the file is damaged, unsafe, or no Segment Anything
        checkpoint, or its weights are no numbers.
    MissingWeightsError, DownloadError
        When it is not on this computer and must not or cannot be downloaded; both are CheckpointErrors.
    SamError
        When the device does not exist.
    """
    target = choose_device(device)
    card = find_card(str(name_or_path))
    if card is None:
        path = _find_file(name_or_path)
        model = _put_together(read_weights(path), path, path.stem, _hash_file(path), target)
        _check_finite(model.module, path)
        return model
    if card.bundled:
        with as_file(files("napari_sam").joinpath("weights", f"{card.name}.safetensors")) as path:
            return _put_together(read_weights(path), path, card.name, _hash_file(path), target)
    return _load_card(card, target, download)


def write_checkpoint(
    module: Sam, path: Path, *, name: str, record: Mapping[str, Any], half: bool = False
) -> None:
    """Write weights as safetensors with the configuration and a training record.

    The file is complete or absent: it is written beside ``path`` and then moved. With ``half``, weights
    of two and more dimensions are rounded to float16, which halves the file; norms and biases, and
    everything without it, are float32.
    """
    state = {}
    for key, value in module.state_dict().items():
        small = half and value.ndim > 1
        kept = value.to(torch.float16 if small else torch.float32) if value.is_floating_point() else value
        state[key] = kept.detach().cpu().contiguous()
    metadata = {
        "name": name,
        "config": json.dumps(module.config.to_dict()),
        "record": json.dumps(dict(record)),
    }
    try:
        replace_file(path, lambda temporary: save_file(state, temporary, metadata))
    except SafetensorError as error:  # it does not tell a full disk from anything else
        raise OSError(f"Cannot write {path}: {error}.") from error


def _load_card(card: ModelCard, device: torch.device, download: bool) -> LoadedModel:
    folder = WeightFolder()
    for _ in folder.iter_scan():
        pass
    if not folder.has(card):
        if not download:
            raise MissingWeightsError(
                f"The model {card.title} is not on this computer yet; "
                f"download it first ({card.megabytes} MB)."
            )
        fetch(card, folder)
    paths = [path for path in map(folder.find, card.files) if path is not None]
    digests = [folder.sha256(path) or _hash_file(path) for path in paths]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    record: dict[str, Any] = {"defaults": card.defaults}
    if card.object_size is not None:
        record["object_size"] = card.object_size
    converted = folder.path / "converted" / f"{digest[:32]}.safetensors"
    if converted.is_file():
        try:
            weights = read_weights(converted)
            return _put_together(weights, converted, card.name, digest, device, record, mapped=True)
        except CheckpointError as error:
            logger.warning("%s; it is made anew", error)
    weights = read_weights(paths[0])
    for path in paths[1:]:
        weights = join_decoder(weights, read_decoder(path), path)
    model = _put_together(weights, paths[0], card.name, digest, torch.device("cpu"), record)
    _keep_converted(model, converted)
    return LoadedModel(card.name, digest, model.config, device, model.module.to(device), record)


def _keep_converted(model: LoadedModel, path: Path) -> None:
    """Write a second copy for the next start, where there is plenty of space; nobody misses it if not."""
    size = sum(value.nbytes for value in model.module.state_dict().values())
    try:
        path.parent.mkdir(exist_ok=True)
        if shutil.disk_usage(path.parent).free > 4 * size:
            write_checkpoint(model.module, path, name=model.name, record={"source": model.sha256})
    except OSError as error:
        logger.info("cannot keep %s for the next start: %s", path, error)


def _find_file(name_or_path: str | Path) -> Path:
    try:
        path = Path(name_or_path).expanduser()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a RuntimeError where "~" is nobody's
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise CheckpointError(
            f"Cannot look for a checkpoint at {str(name_or_path)!r:.200}: {reason}."
        ) from error
    if not is_file:
        raise CheckpointError(
            f"Expected the name of a model or the path of a checkpoint, got {str(name_or_path)!r}. "
            f"{describe_choice(path.name)}"
        )
    return path


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint {path}: {error.strerror}.") from error


def _put_together(
    weights: Weights,
    path: Path,
    name: str,
    digest: str,
    device: torch.device,
    record: Mapping[str, Any] | None = None,
    mapped: bool = False,
) -> LoadedModel:
    # random numbers on "meta" would import torch's compiler too, after which a window crashed
    with _WithoutRandomNumbers():
        state = check_fit(weights, path)
        module = build_sam(weights.config)
    try:
        module.load_state_dict(state, assign=mapped)
    except RuntimeError as error:
        raise CheckpointError(f"The weights in {path} do not fit their architecture: {error}") from error
    record = dict(weights.record if record is None else record)
    return LoadedModel(name, digest, weights.config, device, module.eval().to(device), record)


def _check_finite(module: Sam, path: Path) -> None:
    """A model of weights that are no numbers would find nothing anywhere, without a word."""
    for key, value in module.state_dict().items():
        wrong = int(value.numel() - value.isfinite().sum())
        if wrong:
            raise CheckpointError(
                f"Expected finite weights in {path}, got {wrong} that are not in {key}; "
                "its training went astray, so take an earlier checkpoint."
            )


class _WithoutRandomNumbers(TorchFunctionMode):
    """Makes modules without the random weights that a checkpoint replaces: most of the time of a start."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("uniform_", "normal_", "kaiming_uniform_", "trunc_normal_"):
            tensor = args[0] if args else kwargs["tensor"]
            if func.__name__ == "normal_":
                # trunc_normal_ draws until all is within its bounds, which what memory held may never be.
                with torch.no_grad():
                    tensor.zero_()
            return tensor
        return func(*args, **(kwargs or {}))
