"""Mask decoder: embedding and prompt tokens become masks with predicted IoU (App. A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_sam.modeling.layers import MLP, LayerNorm2d
from napari_sam.modeling.mask_quality import MaskQuality
from napari_sam.modeling.prompt_maps import CHANNELS
from napari_sam.modeling.transformer import TwoWayTransformer, split_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.modeling.config import SamConfig
    from napari_sam.modeling.transformer import SharedImage


class MaskDecoder(nn.Module):
    """Predicts one mask for an unambiguous prompt (token 0) and three for an ambiguous one."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.num_mask_tokens = config.num_multimask_outputs + 1
        self.transformer = TwoWayTransformer(
            config.decoder_depth, dim, config.decoder_heads, config.decoder_mlp_dim
        )
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        maps = CHANNELS if config.detail_channels else 0
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8 + maps, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(
            dim, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth
        )
        if config.detail_channels:
            self.map_downscaling = nn.Conv2d(CHANNELS, dim, kernel_size=4, stride=4)
            self.detail_proj = nn.Sequential(
                nn.Conv2d(config.detail_channels + 1 + CHANNELS, dim // 4, kernel_size=1),
                nn.GELU(),
                nn.Conv2d(dim // 4, dim // 8, kernel_size=1),
            )
        self.refines = config.detail_refinement
        if self.refines:
            self.detail_mix = nn.Sequential(*(DetailBlock(dim // 4, dilation) for dilation in (1, 2)))
            self.mask_quality = MaskQuality(dim // 8 + CHANNELS + 1, dim)

    def forward(
        self,
        image: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        detail: Tensor | None = None,
        maps: Tensor | None = None,
        shared: SharedImage | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts.

        Parameters
        ----------
        image : (N or 1, C, h, w)
            Embedding, or one window of it per prompt.
        image_pe : (1, C, h, w)
        sparse : (N, P, C)
        dense : (N or 1, C, h, w)
        detail : (N, D + 1, 4 h, 4 w) or None
            The instance decoder's detail features and foreground for the same window.
        maps : (N, CHANNELS, 4 h, 4 w) or None
            The prompts drawn as maps, see ``prompt_maps``; together with ``detail``.
        shared : SharedImage or None
            What ``share`` made of this ``image`` and ``dense`` before; without ``maps``.

        Returns
        -------
        logits : (N, M, 4 h, 4 w)
            One mask per mask token, token 0 first.
        iou : (N, M)
            Predicted IoU of each.
        """
        count = sparse.shape[0]
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output.expand(count, -1, -1), sparse], dim=1)  # (N, 1 + M + P, C)
        height, width = image.shape[-2:]
        placed = None
        if maps is not None and detail is not None:
            placed = self.map_downscaling(maps)
            foreground = detail[:, -1:]
            expand, act, reduce = self.detail_proj
            detail = act(expand(torch.cat([detail, maps], dim=1)))
            detail = reduce(self.detail_mix(detail) if self.refines else detail)
        if shared is None:
            shared = self.share(image, image_pe, dense, placed)
        tokens, source = self.transformer(shared, tokens)
        hyper = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )  # (N, M, C / 8 and the maps' channels)
        upscale = self._make_upscaling()
        if detail is None:
            parts = [
                hyper @ nn.functional.gelu(upscale(source[:, part])).transpose(1, 2)
                for part in split_tokens(source, width=4)
            ]
            logits = _unnest(torch.cat(parts, dim=2), height, width)
        else:
            upscaled = upscale(source).transpose(1, 2)  # (N, C / 8, h * w * 16)
            # The detail comes row by row.
            upscaled = nn.functional.gelu(_unnest(upscaled, height, width).flatten(2) + detail.flatten(2))
            if maps is not None:
                upscaled = torch.cat([upscaled, maps.flatten(2)], dim=1)
            logits = hyper @ upscaled
        logits = logits.reshape(*logits.shape[:2], 4 * height, 4 * width)
        iou: Tensor = self.iou_prediction_head(tokens[:, 0])
        if self.refines:
            look = torch.cat([upscaled, foreground.flatten(2)], dim=1)
            iou = iou + self.mask_quality(logits.flatten(2), look, tokens[:, 1 : 1 + self.num_mask_tokens])
        return logits, iou

    def share(
        self, image: Tensor, image_pe: Tensor, dense: Tensor, placed: Tensor | None = None
    ) -> SharedImage:
        """What decoding needs of an image and of dense prompts, the same for all sparse prompts on them.

        Parameters
        ----------
        image, dense : (N or 1, C, h, w)
        image_pe : (1, C, h, w)
        placed : (N, C, h, w) or None
            Of the prompts drawn as maps.
        """
        source = image + dense
        return self.transformer.share(source if placed is None else source + placed, image_pe)

    def score_parameters(self) -> Iterator[nn.Parameter]:
        """What predicts IoU and changes no mask."""
        yield from self.iou_prediction_head.parameters()
        if self.refines:
            yield from self.mask_quality.parameters()

    def _make_upscaling(self) -> Callable[[Tensor], Tensor]:
        """What makes tokens (N, n, C) to cells (N, n * 16, C / 8), token by token, before the last GELU."""
        first, norm, _, second, _ = self.output_upscaling
        assert isinstance(norm, LayerNorm2d)  # a Sequential forgets what it holds
        shape, weight, bias, eps = (norm.weight.numel(),), norm.weight, norm.bias, norm.eps
        once, twice = _as_product(first), _as_product(second)

        def upscale(source: Tensor) -> Tensor:
            source = nn.functional.layer_norm(_double(source, *once), shape, weight, bias, eps)
            return _double(nn.functional.gelu(source), *twice)

        return upscale


def _as_product(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight (2 * 2 * D, C) and bias of a transposed convolution of 2 x 2 by 2 as one matrix product.

    It takes a quarter of the convolution's time on a CPU.
    """
    assert isinstance(conv, nn.ConvTranspose2d)
    assert conv.bias is not None
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)


def _double(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each token (N, L, C) becomes four (N, 4 L, D), row by row."""
    tokens: Tensor = nn.functional.linear(x, weight, bias).unflatten(2, (4, -1)).flatten(1, 2)
    return tokens


def _unnest(x: Tensor, height: int, width: int) -> Tensor:
    """(N, M, h * w * 16) in the order of ``_upscale`` to (N, M, 4 h, 4 w)."""
    x = x.unflatten(2, (height, width, 2, 2, 2, 2))  # (N, M, h, w, rows, cols, rows, cols)
    return x.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)


class DetailBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: lets a click act on the boundary pixels around it."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)  # starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(nn.functional.relu(self.conv1(x)))
        return out
