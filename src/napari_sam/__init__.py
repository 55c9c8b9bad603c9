"""napari_sam: Segment Anything for microscopists, in napari and in scripts.

The public API is loaded on first use, so that ``import napari_sam`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as of typing, which takes longer to import than all the rest
if TYPE_CHECKING:
    from typing import Any

__version__: str
_HOMES = {
    "CachedPredictor": "napari_sam.inference.cached_predictor",
    "load_model": "napari_sam.inference.checkpoints",
    "segment_image": "napari_sam.inference.segment_image",
    "segment_stack": "napari_sam.stacks.segment_stack",
    "evaluate_labels": "napari_sam.evaluation.matching",
    "ObjectMask": "napari_sam.types",
    "Progress": "napari_sam.types",
    "Prompts": "napari_sam.types",
    "SamError": "napari_sam.errors",
    "PromptError": "napari_sam.errors",
    "ImageError": "napari_sam.errors",
    "CheckpointError": "napari_sam.errors",
    "CacheError": "napari_sam.errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        globals()[name] = _read_version()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _read_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-sam-workbench")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
