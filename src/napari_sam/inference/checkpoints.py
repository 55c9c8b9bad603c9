"""Models by name or path, loaded without ever running what a file says.

safetensors files carry their configuration in the metadata. Original PyTorch checkpoints are read
with ``weights_only`` and recognised by their keys.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from napari_sam.errors import CheckpointError
from napari_sam.inference.device import choose_device
from napari_sam.modeling import Sam, SamConfig, build_sam, get_config, list_architectures

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LoadedModel", "ModelCard", "list_models", "load_model", "write_checkpoint"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that can be chosen by name.

    Attributes
    ----------
    name, title, description : str
    license : str
        Of the weights.
    bundled : bool
        Whether the weights come with the package.
    """

    name: str
    title: str
    description: str
    license: str
    bundled: bool


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


_CARDS: Final = (
    ModelCard(
        "nuclei",
        "Nuclei (bundled)",
        "Small convolutional model for nuclei and similar blobs in fluorescence, histology and bright field.",
        "CC0-1.0",
        True,
    ),
)


def list_models() -> tuple[ModelCard, ...]:
    """The models that ``load_model`` knows by name."""
    return _CARDS


def load_model(name_or_path: str | Path = "nuclei", device: str = "auto") -> LoadedModel:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or Path
        A name from ``list_models``, or the path of a ``.safetensors``, ``.pt`` or ``.pth`` file.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Returns
    -------
    LoadedModel

    Raises
    ------
    CheckpointError
        When there is no such model or file, or the file is damaged, unsafe, or no Segment Anything
        checkpoint.
    SamError
        When the device does not exist.
    """
    target = choose_device(device)
    if any(str(name_or_path) == card.name for card in _CARDS):
        resource = files("napari_sam").joinpath("weights", f"{name_or_path}.safetensors")
        with as_file(resource) as path:
            return _load_file(path, str(name_or_path), target)
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(card.name for card in _CARDS)
        raise CheckpointError(
            f"Expected a model out of {known}, or the path of a checkpoint, got {str(name_or_path)!r}."
        )
    return _load_file(path, path.stem, target)


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
    partial = path.with_name(path.name + ".part")
    save_file(state, partial, metadata)
    partial.replace(path)


def _load_file(path: Path, name: str, device: torch.device) -> LoadedModel:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint {path}: {error.strerror}.") from error
    if path.suffix.lower() == ".safetensors":
        state, config, record = _read_safetensors(path)
    else:
        state = _read_pickle(path)
        config, record = _recognise(state, path), {}
    if config not in map(get_config, list_architectures()):
        _check_size(config, state, path)
    module = build_sam(config)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(f"The weights in {path} do not fit their architecture: {first}") from error
    return LoadedModel(name, digest, config, device, module.eval().to(device), record)


def _check_size(config: SamConfig, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a configuration that asks for more than the file holds, before memory is taken for it."""
    try:
        with torch.device("meta"):  # shapes without memory
            expected = build_sam(config).state_dict()
    except (ValueError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"The configuration in {path} describes no possible model: {error}") from error
    for key, value in expected.items():
        if key not in state or state[key].shape != value.shape:
            got = f"one of {tuple(state[key].shape)}" if key in state else "none"
            raise CheckpointError(
                f"The weights in {path} do not fit their architecture: expected a tensor {key!r} of "
                f"{tuple(value.shape)}, got {got}."
            )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], SamConfig, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is damaged or cut off ({error}); get it again."
        ) from error
    if "config" not in metadata:
        return state, _recognise(state, path), {}
    try:
        config, record = json.loads(metadata["config"]), json.loads(metadata.get("record", "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The configuration in {path} is damaged ({error}); get it again.") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"Expected a training record in {path}, got {record!r:.40}; get it again.")
    return state, SamConfig.from_dict(config), record


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The checkpoint {path} holds more than weights, or is damaged, and was not opened: "
            "loading it could run code. Convert it to safetensors, or get it from its authors again."
        ) from error
    except Exception as error:  # what a damaged stream makes the unpickler raise has no common base
        raise CheckpointError(f"The checkpoint {path} is damaged or cut off; get it again.") from error
    for wrapper in ("model_state", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"Expected a state dict of tensors in {path}, got {type(state).__name__}.")
    return {str(key).removeprefix("module.").removeprefix("sam."): value for key, value in state.items()}


def _recognise(state: Mapping[str, Tensor], path: Path) -> SamConfig:
    """Tell the architecture of an original checkpoint from its weights."""
    position = state.get("image_encoder.pos_embed")
    widths = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
    if position is not None and position.ndim == 4 and position.shape[-1] in widths:
        return get_config(widths[position.shape[-1]])
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return get_config("vit_t")
    raise CheckpointError(
        f"Expected a Segment Anything checkpoint (ViT-B, -L, -H or TinyViT) in {path}, got other weights."
    )
