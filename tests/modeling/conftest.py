"""What the modeling tests share: random weights that exercise everything, and the reference packages."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def _not_needed(*_: Any, **__: Any) -> None:
    raise NotImplementedError("The architectures do not need this function; a stand-in cannot run it.")


# Reference packages import these for image resizing, box suppression and model registration, which no parity
# test touches. Standing in for them always, not only where they are missing, tests the same thing everywhere;
# it also keeps the references from replacing entries of timm's registry.
STAND_INS: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "torchvision.ops": {},
    "torchvision.ops.boxes": {"batched_nms": _not_needed, "box_area": _not_needed},
    "torchvision.transforms": {},
    "torchvision.transforms.functional": {"resize": _not_needed, "to_pil_image": _not_needed},
    "timm": {},
    "timm.models": {},
    "timm.models.layers": {
        "DropPath": nn.Module,
        "to_2tuple": lambda side: (side, side),
        "trunc_normal_": nn.init.trunc_normal_,
    },
    "timm.models.registry": {"register_model": lambda function: function},
}

POSITION_TABLES = ("pos_embed", "rel_pos_h", "rel_pos_w", "attention_biases")


@pytest.fixture(scope="session")
def import_reference() -> Callable[[str], ModuleType]:
    """Import a reference package with stand-ins for what it needs beside torch, or skip the test."""

    def import_it(name: str) -> ModuleType:
        package = name.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            pytest.skip(
                f"{package} is not installed: pip install --no-deps -r tests/requirements-reference.txt"
            )
        with pytest.MonkeyPatch.context() as patch:
            for stand_in, attributes in STAND_INS.items():
                module = ModuleType(stand_in)
                vars(module).update(attributes)
                patch.setitem(sys.modules, stand_in, module)
            try:
                return importlib.import_module(name)
            finally:
                # Nobody else shall find a package that is bound to stand-ins.
                for loaded in [key for key in sys.modules if key.partition(".")[0] == package]:
                    del sys.modules[loaded]

    return import_it


@pytest.fixture(scope="session")
def randomize() -> Callable[[nn.Module, int], None]:
    """Fill a module so that every parameter matters and activations stay of order 1.

    Position tables and statistics matter most: they are created as zeros and ones, where a wrong order or a
    missing term does not show.
    """

    @torch.no_grad()
    def fill(module: nn.Module, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(like: Tensor, mean: float, std: float) -> Tensor:
            return mean + std * torch.randn(like.shape, generator=generator)

        embeddings = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
        for name, parameter in module.named_parameters():
            if id(parameter) in embeddings or name.endswith(POSITION_TABLES):
                parameter.copy_(normal(parameter, 0.0, 0.5))
            elif parameter.ndim > 1:
                parameter.copy_(normal(parameter, 0.0, parameter[0].numel() ** -0.5))
            else:
                parameter.copy_(normal(parameter, float(name.endswith("weight")), 0.2))
        for layer in module.modules():
            frequencies = getattr(layer, "positional_encoding_gaussian_matrix", None)
            if frequencies is not None:
                frequencies.copy_(normal(frequencies, 0.0, 1.0))
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.copy_(normal(layer.running_mean, 0.0, 0.2))
                layer.running_var.copy_(0.5 + torch.rand(layer.running_var.shape, generator=generator))
        module.eval()

    return fill


@pytest.fixture(scope="session")
def assert_parity() -> Callable[[Tensor, Tensor], None]:
    """Check that an output equals the reference's to 1e-4, and that it carries a signal to compare."""

    def check(ours: Tensor, theirs: Tensor) -> None:
        assert theirs.std() > 0.05, "The reference's output is flat, so this comparison shows nothing."
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)

    return check
