"""Files of a training: weights that it starts from, the state to resume from, its log."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from napari_sam.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_sam.modeling import Sam
    from napari_sam.training.config import TrainConfig
    from napari_sam.training.dataset import LabelledImage

__all__ = [
    "append_line",
    "check_folder",
    "check_run",
    "describe_run",
    "explain_damage",
    "read_curve",
    "read_initial_weights",
    "write_state",
]

logger = logging.getLogger(__name__)


def check_folder(out: Path, name: str, *, resume: bool) -> None:
    """Whether a run of this name can begin, or go on, in a folder.

    Raises
    ------
    CheckpointError
        When it has files of an earlier run that would be lost, or nothing to go on from.
    """
    state, left = out / "last.pt", [out / f"{name}.safetensors", out / "log.jsonl"]
    if state.exists() and not resume:
        raise CheckpointError(f"Expected no earlier run in {out}; pass --resume to go on, or another --out.")
    found = [path.name for path in left if path.exists()]
    if found and not state.exists():
        raise CheckpointError(
            f"Expected no earlier run in {out}, got {' and '.join(found)} without the last.pt to go on from; "
            "pass another --out."
        )


def read_initial_weights(model: Sam, init: str | Path) -> dict[str, Any]:
    """Copy the weights that ``model`` shares with another model; returns that one's name, sha256 and record.

    Raises
    ------
    CheckpointError
        When there is no such model, or a layer of the same name has another shape.
    """
    from napari_sam.inference.checkpoints import load_model
    from napari_sam.inference.registry import find_card
    from napari_sam.modeling.build import get_config

    card = find_card(str(init))
    if card is not None and not isinstance(model.config.encoder, type(get_config(card.architecture).encoder)):
        raise CheckpointError(  # before anything is downloaded
            f"Expected {card.name!r} to be of the architecture that is to be trained, "
            f"got {card.architecture}."
        )
    source = load_model(init, "cpu")
    known, own = source.module.state_dict(), model.state_dict()
    for key, value in known.items():
        if key in own and own[key].shape != value.shape:
            raise CheckpointError(
                f"Expected {source.name!r} to be of the architecture that is to be trained, "
                f"got {key} of shape {tuple(value.shape)} for {tuple(own[key].shape)}."
            )
    shared = {key: value for key, value in known.items() if key in own}
    if len(shared) < len(own) / 2:
        raise CheckpointError(
            f"Expected {source.name!r} to be of the architecture that is to be trained, "
            f"got {len(shared)} of its {len(own)} layers."
        )
    model.load_state_dict(shared, strict=False)
    return {"name": source.name, "sha256": source.sha256, "record": source.record}


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write what to resume from: complete or not at all."""
    partial = path.with_name(f"{path.name}.part")
    try:
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # the latter is what torch makes of a full disk
        partial.unlink(missing_ok=True)
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"Cannot write {path} ({reason}); make room, and go on with --resume from the state before."
        ) from error


def describe_run(config: TrainConfig, seed: int, images: Sequence[LabelledImage]) -> dict[str, Any]:
    """What must not change when a run goes on, as plain data.

    Of the images that is which there are: with others, some that were trained on would be held out.
    """
    names = json.dumps(sorted((image.name, image.group) for image in images))
    digest = hashlib.sha256(names.encode()).hexdigest()
    return {"recipe": json.loads(json.dumps(asdict(config))), "seed": seed, "set of images": digest}


def check_run(state: dict[str, Any], now: dict[str, Any], processes: int, path: Path) -> None:
    """Compare ``describe_run`` with the state of the run that is gone on with; what it lacks is not compared.

    Another number of processes is only warned of: it is as many times the crops a step.

    Raises
    ------
    CheckpointError
        When it differs: steps would fall into other phases.
    """
    begun = state.get("run") or {}
    other = [key for key in begun if begun[key] != now.get(key)]
    if other:
        raise CheckpointError(
            f"Expected to go on with {path} as the run was begun, got another {' and '.join(other)}; "
            "give the same options, or start anew in another folder."
        )
    if state.get("processes", processes) != processes:
        logger.warning("%s was trained by %s processes, now it is %s.", path, state["processes"], processes)


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a state is read becomes a ``CheckpointError`` that names the file."""
    try:
        yield
    except Exception as error:  # what a damaged file makes the unpickler raise has no common base
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"Cannot resume from {path}: {reason}; start anew in another folder."
        ) from error


def append_line(line: dict[str, Any], path: Path) -> None:
    """Add a line of JSON to a log."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, rounded; of steps that were done twice, after a stop, the second time."""
    lines: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found = json.loads(line)
        except ValueError:  # the process ended while it was written
            continue
        lines[int(found["step"])] = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}
    return [lines[step] for step in sorted(lines)]
