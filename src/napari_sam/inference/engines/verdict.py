"""What was found about the engines of a model on this machine, and the file that keeps it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from napari_sam.errors import SamError
from napari_sam.inference.engines.openvino_models import FORMAT as CONVERTED_FORMAT
from napari_sam.inference.engines.openvino_models import openvino_version
from napari_sam.inference.whole_files import replace_file
from napari_sam.modeling.image_encoder import has_amx, multiplies_bfloat16

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.inference.checkpoints import LoadedModel

PLAIN: Final = "torch float32"
"""What all others are compared with."""
ENGINES: Final = (PLAIN, "torch bfloat16", "torch float16", "openvino f32", "openvino bf16")
LEAST_MEDIAN: Final = 0.99
LEAST_LOW: Final = 0.97
"""IoU that masks must reach against float32 PyTorch: at the median, and at the 5th percentile."""
MOST_ERROR: Final = 0.03
"""Root mean square error, relative to that of the values, that embeddings of ViTs and TinyViTs may have."""
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine, tried on one part of a model.

    Attributes
    ----------
    part : {"encoder", "decoder"}
    engine : str
        One of ``ENGINES``.
    seconds : float
        For one frame, or one prompt.
    ratio : float
        How many times faster than float32 PyTorch.
    median, low : float
        IoU of the masks with those of float32 PyTorch: at the median, and at the 5th percentile.
    error : float
        Of the embedding, see ``MOST_ERROR``; 0 for decoders.
    passes : bool
        Whether it is accurate enough.
    """

    part: str
    engine: str
    seconds: float
    ratio: float
    median: float
    low: float
    error: float
    passes: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fastest accurate engine for each part of a model.

    Attributes
    ----------
    encoder, decoder : str
        Of ``ENGINES``.
    trials : tuple of Trial
        What it was chosen from.
    """

    encoder: str
    decoder: str
    trials: tuple[Trial, ...] = ()

    def describe(self) -> str:
        """In words, for people.

        Examples
        --------
        >>> trial = Trial("encoder", "openvino f32", 0.1, 1.96, 1.0, 1.0, 0.0, True)
        >>> Verdict("openvino f32", "torch float32", (trial,)).describe()
        'encoder openvino f32 (2.0 times as fast as torch float32), decoder torch float32'
        """
        words = []
        for part, engine in (("encoder", self.encoder), ("decoder", self.decoder)):
            ratios = [trial.ratio for trial in self.trials if (trial.part, trial.engine) == (part, engine)]
            gain = f" ({ratios[0]:.1f} times as fast as {PLAIN})" if ratios and engine != PLAIN else ""
            words.append(f"{part} {engine}{gain}")
        return ", ".join(words)


def passes_guard(overlaps: Sequence[float]) -> bool:
    """Whether masks agree well enough with those of float32 PyTorch.

    Parameters
    ----------
    overlaps : sequence of float
        IoU of the masks of the same prompts.

    Examples
    --------
    >>> passes_guard([0.98] + 19 * [1.0]), passes_guard(20 * [0.98]), passes_guard([])
    (True, False, False)
    """
    if not overlaps:
        return False
    median, low = summarize(overlaps)
    return median >= LEAST_MEDIAN and low >= LEAST_LOW


def summarize(overlaps: Sequence[float]) -> tuple[float, float]:
    """The median and the 5th percentile."""
    ordered = sorted(overlaps)
    return ordered[len(ordered) // 2], ordered[int(0.05 * len(ordered))]


def write_verdict(model: LoadedModel, folder: Path, verdict: Verdict) -> Path:
    """Note which engines a model is to use on this machine; the file is written whole or not at all.

    Raises
    ------
    SamError
        When the folder cannot be written to.
    """
    key = _make_key(model)
    path = _path(model, folder, key)
    text = json.dumps({"key": key, **dataclasses.asdict(verdict)}, indent=1)
    try:
        replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise SamError(
            f"Cannot note the fastest engine in {path}: {error.strerror}. Free some space, or make the "
            "folder writable."
        ) from error
    return path


def read_verdict(model: LoadedModel, folder: Path) -> Verdict | None:
    """What ``write_verdict`` wrote for this model on this machine, with these versions; else None.

    A file that says anything else, or that chose what it says is not accurate, counts as none.
    """
    key = _make_key(model)
    try:
        found = json.loads(_path(model, folder, key).read_text(encoding="utf-8"))
        if found["key"] != key:
            return None
        trials = tuple(Trial(**trial) for trial in found["trials"])
        verdict = Verdict(found["encoder"], found["decoder"], trials)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    passed = {(trial.part, trial.engine) for trial in trials if trial.passes is True}
    chosen = {("encoder", verdict.encoder), ("decoder", verdict.decoder)}
    known = all(engine in ENGINES for _, engine in chosen)
    return verdict if known and all(one[1] == PLAIN or one in passed for one in chosen) else None


def _make_key(model: LoadedModel) -> dict[str, Any]:
    """All that the verdict depends on."""
    device = model.device.type
    return {
        "format": [FORMAT, CONVERTED_FORMAT],
        "sha256": model.sha256,
        "torch": torch.__version__,
        "openvino": openvino_version(),
        "device": torch.cuda.get_device_name(model.device) if device == "cuda" else device,
        "processor": [_name_processor(), has_amx(), multiplies_bfloat16()],
    }


def _path(model: LoadedModel, folder: Path, key: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"{model.name}-{digest[:16]}.json"


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    known = ("model name", "cpu family", "model", "CPU part")
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    return " ".join(found[name] for name in known if name in found) or platform.machine()
