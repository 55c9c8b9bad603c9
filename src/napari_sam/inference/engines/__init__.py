"""What runs a model's encoder on a device."""

from napari_sam.inference.engines.choice import choose_engine
from napari_sam.inference.engines.engine import Engine, TorchEngine

__all__ = ["Engine", "TorchEngine", "choose_engine"]
