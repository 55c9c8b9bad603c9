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


def choose_device(name: str = "auto") -> torch.device:
    """Turn a name into a device; ``"auto"`` prefers a GPU.

    Raises
    ------
    SamError
        When the device does not exist here.
    """
    known = list_devices()
    if name == "auto":
        return torch.device(known[-1])
    if name.split(":")[0] not in known:
        raise SamError(f"Expected a device out of {', '.join(known)}, got {name!r}.")
    return torch.device(name)
