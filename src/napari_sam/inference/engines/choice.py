"""Which engine runs a model: PyTorch, unless another one was prepared, passed the guard and is faster."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

import platformdirs

from napari_sam.inference.engines.engine import Engine, TorchEngine
from napari_sam.inference.engines.openvino_engine import OpenVinoEngine, find_converted, has_openvino

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_sam.inference.checkpoints import LoadedModel

VERDICT_FILE: Final = "verdict.json"
LEAST_MEDIAN: Final = 0.99
LEAST_LOW: Final = 0.97
"""IoU that masks must reach against float32 PyTorch: at the median, and at the 5th percentile."""
_log = logging.getLogger(__name__)


def default_engine_dir() -> Path:
    """Where converted models lie: ``engines`` in the platform's cache directory."""
    return platformdirs.user_cache_path("napari-sam", appauthor=False) / "engines"


def choose_engine(model: LoadedModel, folder: Path | None = None) -> Engine:
    """The fastest engine that is ready for a model on its device.

    OpenVINO is taken when the model was converted before, compared with PyTorch on this machine, and noted to
    be accurate and faster (``benchmarks/engine_accuracy.py --keep`` does it): nobody waits for a conversion.

    Parameters
    ----------
    model : LoadedModel
    folder : Path, optional
        Of the converted models, by default ``default_engine_dir()``.
    """
    if model.device.type == "cpu" and has_openvino():
        place = find_converted(model, folder or default_engine_dir())
        if place is not None and read_verdict(place).get("chosen") is True:
            try:
                return OpenVinoEngine(model, place)
            except RuntimeError as error:  # what OpenVINO raises for files that it cannot read
                _log.warning("The converted model in %s does not load (%s); PyTorch is used.", place, error)
    return TorchEngine(model.module)


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
    ordered = sorted(overlaps)
    return ordered[len(ordered) // 2] >= LEAST_MEDIAN and ordered[int(0.05 * len(ordered))] >= LEAST_LOW


def write_verdict(place: Path, overlaps: Sequence[float], seconds: float, torch_seconds: float) -> bool:
    """Note next to a converted model whether it is to be used on this machine; returns the answer.

    Parameters
    ----------
    place : Path
        From ``convert``.
    overlaps : sequence of float
        See ``passes_guard``.
    seconds, torch_seconds : float
        For one frame.
    """
    chosen = passes_guard(overlaps) and seconds < torch_seconds
    found = {"chosen": chosen, "seconds": seconds, "torch_seconds": torch_seconds, "masks": len(overlaps)}
    (place / VERDICT_FILE).write_text(json.dumps(found), encoding="utf-8")
    return chosen


def read_verdict(place: Path) -> dict[str, Any]:
    """What ``write_verdict`` wrote; empty where it did not."""
    try:
        found = json.loads((place / VERDICT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
