"""Batch normalisation folded into the convolutions before it: the same numbers in fewer passes."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_sam.modeling.unetr_decoder import Conv

Module = TypeVar("Module", bound=nn.Module)


def fold_norms(module: Module) -> Module:
    """Make a copy, for inference, whose batch normalisations are part of their convolutions.

    Where nothing is to be folded the module itself is returned. In all modules of ``modeling`` a
    normalisation is applied to what the child before it gives, so pairs are told by their order.

    Examples
    --------
    >>> import torch
    >>> block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> fold_norms(block)[1]
    Identity()
    """
    if not has_norms(module):
        return module
    module = copy.deepcopy(module).eval().requires_grad_(False)
    for parent in list(module.modules()):
        for (first, conv), (second, norm) in itertools.pairwise(list(parent.named_children())):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            if isinstance(conv, Conv):  # one level deeper in the names of the keys
                conv.block = fuse_conv_bn_eval(conv.block, norm)
            elif isinstance(conv, nn.Conv2d):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
            else:
                continue
            setattr(parent, second, nn.Identity())
    return module


def has_norms(module: nn.Module) -> bool:
    """Whether there is batch normalisation in a module."""
    return any(isinstance(child, nn.BatchNorm2d) for child in module.modules())
