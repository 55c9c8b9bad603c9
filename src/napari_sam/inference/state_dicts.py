"""State dicts out of files of many projects, read without ever running what a file says."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from napari_sam.errors import CheckpointError, SamError
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.modeling import SamConfig, build_sam, get_config, list_architectures
from napari_sam.modeling.unetr_decoder import name_unetr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Weights", "check_fit", "join_decoder", "read_decoder", "read_weights", "recognise"]

_WRAPPERS: Final = ("model_state", "state_dict", "model_state_dict", "model")
_PREFIXES: Final = ("module.", "sam.", "model.")
_DECODER: Final = "instance_decoder."
_PARTS: Final = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
# Buffers that other projects store and we compute, and the head with which TinyViT was trained.
_IGNORED: Final = (
    "pixel_mean",
    "pixel_std",
    ".attention_bias_idxs",
    "image_encoder.head.",
    "image_encoder.norm_head.",
)
_TITLES: Final = {"vit_b": "ViT-B", "vit_l": "ViT-L", "vit_h": "ViT-H", "vit_t": "TinyViT, as in MobileSAM"}


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What a file holds.

    Attributes
    ----------
    state : dict of str to Tensor
        With the keys of ``Sam``, an instance decoder's among them.
    config : SamConfig
    record : dict
        How the model was trained, where the file says so.
    """

    state: dict[str, Tensor]
    config: SamConfig
    record: dict[str, Any] = field(default_factory=dict)


def read_weights(path: Path) -> Weights:
    """Read a checkpoint of a whole model: safetensors, or a PyTorch file of any project.

    Raises
    ------
    CheckpointError
        When it cannot be read, is damaged, holds more than weights, or no Segment Anything model.
    """
    _check_readable(path)
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    content = _read_pickle(path)
    state = _unwrap(content, path)
    weights = Weights(state, recognise(state, path))
    decoder = content.get("decoder_state") if isinstance(content, dict) else None
    if isinstance(decoder, dict) and _is_state_dict(decoder):
        return join_decoder(weights, decoder, path)
    return weights


def read_decoder(path: Path) -> dict[str, Tensor]:
    """Read the file of an instance decoder alone.

    Raises
    ------
    CheckpointError
        When it cannot be read, is damaged or holds more than weights.
    """
    _check_readable(path)
    content = _read_pickle(path)
    if isinstance(content, dict) and isinstance(content.get("decoder_state"), dict):
        content = content["decoder_state"]
    return _unwrap(content, path)


def join_decoder(weights: Weights, decoder: Mapping[str, Tensor], path: Path) -> Weights:
    """Add an instance decoder to a model.

    Raises
    ------
    CheckpointError
        When it is none that fits the model.
    """
    # A whole UNETR holds a second copy of the image encoder.
    own = {str(key): value for key, value in decoder.items() if not str(key).startswith("encoder.")}
    kind = name_unetr(own)
    if kind is None:
        raise CheckpointError(f"Expected a UNETR instance decoder in {path}, got {_some(own)}.")
    state = weights.state | {_DECODER + key: value for key, value in own.items()}
    return Weights(state, replace(weights.config, instance_decoder=kind), weights.record)


def recognise(state: Mapping[str, Tensor], path: Path) -> SamConfig:
    """Tell the architecture of an original or fine-tuned model from its weights.

    Raises
    ------
    CheckpointError
        When they are of none.
    """
    name = _name_architecture(state)
    if name is None:
        raise CheckpointError(
            f"Expected a Segment Anything checkpoint (ViT-B, -L, -H or TinyViT) in {path}, got other weights"
            + (f", {_some(state)}." if state else ".")
        )
    if not any(key.startswith(_PARTS[1:]) for key in state):
        raise CheckpointError(
            f"Expected a whole model in {path}, got the image encoder alone (likely {_TITLES[name]}): "
            "without the prompt encoder and the mask decoder it answers no prompts; export the whole model."
        )
    return get_config(name)


def check_fit(weights: Weights, path: Path) -> dict[str, Tensor]:
    """The tensors that the architecture has, before memory is taken for it.

    Raises
    ------
    CheckpointError
        When one is missing, of another shape, or surplus.
    """
    try:
        with torch.device("meta"):  # shapes without memory
            expected = build_sam(weights.config).state_dict()
    except (ValueError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"The configuration in {path} describes no possible model: {error}") from error
    state = {key: value for key, value in weights.state.items() if key in expected or not _is_ignored(key)}
    for key, value in expected.items():
        if key not in state and _is_ignored(key):
            state[key] = torch.zeros(value.shape, dtype=value.dtype)
    problem = _find_misfit(expected, state)
    if problem is not None:
        name = _name_config(weights.config)
        raise CheckpointError(f"The weights in {path} do not fit their architecture{name}: {problem}.")
    return state


def _find_misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    missing = [key for key in expected if key not in state]
    if missing:
        return f"expected {len(expected)} tensors, {len(missing)} are missing: {_list(missing)}"
    for key, value in expected.items():
        if state[key].shape != value.shape:
            return f"expected {key} to be {tuple(value.shape)}, got {tuple(state[key].shape)}"
        if state[key].is_floating_point() != value.is_floating_point():
            return f"expected {key} to be {value.dtype}, got {state[key].dtype}"
    surplus = [key for key in state if key not in expected]
    if surplus:
        return f"{len(surplus)} tensors have no place in it: {_list(surplus)}"
    return None


def _check_readable(path: Path) -> None:
    """What may not be read would be called damaged else, or missing."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint {path}: {error.strerror}.") from error


def _read_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is damaged or cut off ({error}); get it again."
        ) from error
    if "config" not in metadata:
        state = _strip(state)
        return Weights(state, recognise(state, path))
    try:
        config, record = json.loads(metadata["config"]), json.loads(metadata.get("record", "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The configuration in {path} is damaged ({error}); get it again.") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"Expected a training record in {path}, got {record!r:.40}; get it again.")
    defaults = record.get("defaults", {})
    if not isinstance(defaults, dict) or not all(isinstance(value, dict) for value in defaults.values()):
        raise CheckpointError(
            f"Expected default thresholds by method in {path}, got {defaults!r:.40}; get it again."
        )
    own = {f.name for f in fields(InstanceParams)}
    try:
        InstanceParams(
            **{name: value for name, value in defaults.get("instances", {}).items() if name in own}
        )
    except SamError as error:
        raise CheckpointError(f"The default thresholds in {path} are of no use: {error}") from error
    return Weights(state, SamConfig.from_dict(config), record)


def _read_pickle(path: Path) -> Any:
    try:
        # A zip is mapped, not read: only one copy of the weights is ever in memory.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The checkpoint {path} holds more than weights, or is damaged, and was not opened: loading it "
            "could run code. Export the model's weights alone (a state dict, or safetensors), or get it "
            "from its authors again."
        ) from error
    except Exception as error:  # what a damaged stream makes the unpickler raise has no common base
        raise CheckpointError(f"The checkpoint {path} is damaged or cut off; get it again.") from error


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise CheckpointError(f"Expected a state dict of tensors in {path}, got {type(content).__name__}.")
    if not _is_state_dict(content):
        other = next(value for value in content.values() if not isinstance(value, Tensor))
        raise CheckpointError(
            f"Expected a state dict of tensors in {path}, got {type(other).__name__} in it."
        )
    return _strip(content)


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in content.values())


def _strip(state: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    """Take away the names of what a model was wrapped in, as long as all keys begin with one."""
    keys = [str(key) for key in state]
    values = list(state.values())
    while True:
        prefix = next((p for p in _PREFIXES if any(key.startswith(p) for key in keys)), None)
        if prefix is None:
            return dict(zip(keys, values, strict=True))
        keys = [key.removeprefix(prefix) for key in keys]


def _name_architecture(state: Mapping[str, Tensor]) -> str | None:
    position = state.get("image_encoder.pos_embed")
    widths = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
    if position is not None and position.ndim == 4 and position.shape[-1] in widths:
        return widths[position.shape[-1]]
    return "vit_t" if "image_encoder.patch_embed.seq.0.c.weight" in state else None


def _name_config(config: SamConfig) -> str:
    plain = replace(config, instance_decoder="") if config.reads_embedding_only else config
    for name in list_architectures():
        if get_config(name) == plain:
            return f" (likely {_TITLES[name]})" if name in _TITLES else f" ({name})"
    return ""


def _is_ignored(key: str) -> bool:
    return any(key.endswith(name) or (name.endswith(".") and key.startswith(name)) for name in _IGNORED)


def _list(keys: Iterable[str], count: int = 3) -> str:
    keys = list(keys)
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more


def _some(state: Mapping[str, Tensor]) -> str:
    return f"{len(state)} tensors such as {next(iter(state))}" if state else "nothing"
