"""Where a model runs."""

from __future__ import annotations

import torch

from napari_sam.errors import SamError


def list_devices() -> tuple[str, ...]:
    """Names that ``choose_device`` takes on this machine, ``"auto"`` first."""
    found = ["auto", "cpu"]
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(found)


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """Turn a name into a device; ``"auto"`` prefers a GPU.

    Parameters
    ----------
    name : str or torch.device
        One of ``list_devices``, with a number where there are several: ``"cuda:1"``.

    Returns
    -------
    torch.device

    Raises
    ------
    SamError
        When the device does not exist here.
    """
    known = list_devices()
    if isinstance(name, torch.device):
        name = str(name)
    if name == "auto":
        return torch.device(known[-1])
    kind, _, index = str(name).partition(":")
    if kind not in known:
        raise SamError(f"Expected a device out of {', '.join(known)}, got {name!r}{_explain_absence(kind)}.")
    if index and not (index.isdigit() and int(index) < _count(kind)):
        last = f"{kind}:{_count(kind) - 1}"
        raise SamError(f"Expected {kind}:0 to {last}, got {name!r}; use {kind!r} for the first.")
    return torch.device(name)


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def _explain_absence(kind: str) -> str:
    """Why a device that somebody has in mind is not there."""
    if kind == "cuda" and torch.version.cuda is None:
        return (
            ": this PyTorch was built without CUDA; install one that has it "
            "(pytorch.org/get-started), or use 'cpu'"
        )
    if kind == "cuda":
        return ": PyTorch finds no NVIDIA GPU or its driver is too old; see `nvidia-smi`, or use 'cpu'"
    if kind == "mps":
        return ": it needs a Mac with Apple silicon; use 'cpu'"
    return ""
