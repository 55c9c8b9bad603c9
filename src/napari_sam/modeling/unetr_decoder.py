"""UNETR instance decoder of the microscopy-tuned models: the embedding upsampled to three dense maps.

Sources: Archit et al. 2025, "Segment Anything for Microscopy" (the three maps); Hatamizadeh et al. 2022,
"UNETR" (the shape of the decoder). Module names equal the keys of the published decoders. Beside them only
the order of two linear steps differs: a 1x1 convolution comes before the bilinear upsampling that it follows
there, which gives the same numbers for a quarter of the work.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from collections.abc import Iterable

UNETR_MAPS: Final = ("foreground", "center_distance", "boundary_distance")
"""The maps; both distances are 0 in the middle of an object and 1 at its edge and outside of it."""
WIDTHS: Final = (512, 256, 128, 64)
"""Channels at twice the embedding's resolution, four times, ..."""


class UnetrDecoder(nn.Module):
    """Two paths from the embedding to 16 times its resolution; the first is the skip features of the second.

    Parameters
    ----------
    in_channels : int
        Channels of the embedding.
    transposed : bool
        Whether it upsamples by transposed convolutions; else bilinearly, as the published decoders do.
    """

    def __init__(self, in_channels: int, transposed: bool = False) -> None:
        super().__init__()
        first, second, third, last = WIDTHS
        upsampler = TransposedUpsampler if transposed else Upsampler
        self.decoder = UpsamplingPath(upsampler)
        self.deconv1 = DeconvBlock(in_channels, first, upsampler)
        self.deconv2 = DeconvBlock(first, second, upsampler)
        self.deconv3 = DeconvBlock(second, third, upsampler)
        self.deconv4 = DeconvBlock(third, last, upsampler)
        self.base = DoubleConv(in_channels, first)
        self.out_conv = nn.Conv2d(last, len(UNETR_MAPS), 1)
        self.deconv_out = upsampler(last, last)
        self.decoder_head = DoubleConv(2 * last, last)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map an embedding (B, C, h, w) to the logits of ``UNETR_MAPS``, (B, 3, 16 h, 16 w)."""
        twice = self.deconv1(embedding)  # (B, 512, 2 h, 2 w)
        four = self.deconv2(twice)
        eight = self.deconv3(four)
        full = self.deconv4(eight)  # (B, 64, 16 h, 16 w)
        x = self.decoder(self.base(embedding), (twice, four, eight))
        del twice, four, eight  # half a gigabyte for a frame of 1024 pixels
        x = torch.cat([self.deconv_out(x), full], dim=1)
        out: Tensor = self.out_conv(self.decoder_head(x))
        return out


class UpsamplingPath(nn.Module):
    """Three times: upsample, join the skip features of that resolution, convolve."""

    def __init__(self, upsampler: type[Upsampler | TransposedUpsampler]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(WIDTHS))
        self.blocks = nn.ModuleList(DoubleConv(wide, narrow) for wide, narrow in pairs)
        self.samplers = nn.ModuleList(upsampler(wide, narrow) for wide, narrow in pairs)

    def forward(self, x: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        """Map (B, 512, h, w) to (B, 64, 8 h, 8 w), with skips of 512, 256, 128 channels at 2 h, 4 h, 8 h."""
        for block, sampler, skip in zip(self.blocks, self.samplers, skips, strict=True):
            x = sampler(x)
            # A skip has twice as many channels as the path; the weights were trained on those in the middle.
            x = block(torch.cat([x, skip.narrow(1, x.shape[1] // 2, x.shape[1])], dim=1))
        return x


class Upsampler(nn.Module):
    """Change the width and double the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Both are linear, and the weights of the interpolation sum to 1, so that the bias passes through it.
        return interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=False)


class TransposedUpsampler(nn.Module):
    """Change the width and double the resolution by a transposed convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class Conv(nn.Module):
    """A 3x3 convolution, one level deeper in the names of the keys."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class DeconvBlock(nn.Module):
    """Upsample, convolve, normalise over the batch, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, upsampler: type[Upsampler | TransposedUpsampler]
    ) -> None:
        super().__init__()
        self.block = nn.Sequential(
            upsampler(in_channels, out_channels),
            Conv(out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class DoubleConv(nn.Module):
    """Twice: normalise each channel over the image, convolve, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.InstanceNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


def name_unetr(keys: Iterable[str]) -> str | None:
    """Tell the kind of a decoder, as ``SamConfig.instance_decoder`` names it, by its keys.

    Parameters
    ----------
    keys : iterable of str
        Of the state dict of a decoder; those of an encoder among them do no harm.

    Returns
    -------
    str or None
        ``"unetr"`` or ``"unetr_transposed"``; None when they are of another decoder.

    Examples
    --------
    >>> name_unetr(["decoder.samplers.0.conv.weight", "out_conv.weight"])
    'unetr'
    """
    samplers = [key for key in keys if key.startswith("decoder.samplers.")]
    if not samplers:
        return None
    return "unetr_transposed" if any(".block." in key for key in samplers) else "unetr"
