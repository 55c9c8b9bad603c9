"""The reference packages, without torchvision and timm, whose newest builds bring another torch.

What they use of these is stood in for: registration and initialisation do nothing that matters to a
benchmark, and images are resized by Pillow, which is what torchvision does with them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from PIL import Image
from torch import nn

__all__ = ["import_reference"]


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _not_needed(*_: Any, **__: Any) -> None:
    raise NotImplementedError("The benchmarks do not need this function; a stand-in cannot run it.")


_STAND_INS: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "torchvision.ops": {},
    "torchvision.ops.boxes": {"batched_nms": _not_needed, "box_area": _not_needed},
    "torchvision.transforms": {},
    "torchvision.transforms.functional": {"resize": _resize, "to_pil_image": Image.fromarray},
    "timm": {},
    "timm.models": {},
    "timm.models.layers": {
        "DropPath": nn.Module,
        "to_2tuple": lambda side: (side, side),
        "trunc_normal_": nn.init.trunc_normal_,
    },
    "timm.models.registry": {"register_model": lambda function: function},
}


def import_reference(name: str) -> Any:
    """Import ``segment_anything`` or ``mobilesam_lite.mobile_sam``.

    Raises
    ------
    ImportError
        When it is not installed: ``pip install --no-deps -r tests/requirements-reference.txt``.
    """
    for needed, attributes in _STAND_INS.items():
        if needed not in sys.modules:
            try:
                importlib.import_module(needed)
            except ImportError:
                sys.modules[needed] = ModuleType(needed)
                vars(sys.modules[needed]).update(attributes)
    return importlib.import_module(name)
