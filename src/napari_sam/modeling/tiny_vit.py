"""TinyViT, the image encoder of MobileSAM: convolutions first, then windowed attention, stride 16.

Sources: Wu et al. 2022, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers"; Zhang et al.
2023, "Faster Segment Anything" (MobileSAM), which keeps the resolution of the third stage in the fourth and
adds the neck of Segment Anything. Module names equal the keys of MobileSAM's checkpoint.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.modeling.image_encoder import make_neck, merge_windows, split_windows

__all__ = ["TinyViT"]

STRIDE = 16
"""Pixels per token of the embedding."""


class TinyViT(nn.Module):
    """Encode an image into the embedding that prompts are decoded on.

    Parameters
    ----------
    img_size : int
        Height and width of the model's input in pixels, a multiple of 16. Only checked: there are no absolute
        positions, so every image with sides that are multiples of 16 can be encoded.
    in_chans : int
        Channels of the input.
    num_classes : int
        Outputs of the classification head that the backbone was trained with; 0 for none. It takes no part in
        encoding and is not trained, but MobileSAM's checkpoint holds it and loading is strict.
    embed_dims, depths, num_heads, window_sizes : tuple of int
        Width, number of blocks, attention heads (divisors of the widths) and window side in tokens of the
        four stages. The first stage is convolutional: its heads and window are not used.
    mlp_ratio : float
        Hidden width of the MLPs as a multiple of the stage's width.
    out_chans : int
        Channels of the embedding.

    Raises
    ------
    ValueError
        If there are not four stages, or a size does not divide as described above.
    """

    def __init__(
        self,
        *,
        img_size: int = 1024,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dims: tuple[int, ...] = (64, 128, 160, 320),
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (2, 4, 5, 10),
        window_sizes: tuple[int, ...] = (7, 7, 14, 7),
        mlp_ratio: float = 4.0,
        out_chans: int = 256,
    ) -> None:
        super().__init__()
        stages = list(zip(embed_dims, depths, num_heads, window_sizes, strict=True))
        if len(stages) != 4:
            raise ValueError(f"Expected four stages, got {len(stages)}.")
        if img_size % STRIDE:
            raise ValueError(f"Expected img_size to be a multiple of {STRIDE}, got {img_size}.")
        self.img_size = img_size
        self.out_chans = out_chans
        self.patch_embed = PatchEmbed(in_chans, embed_dims[0])  # stride 4
        self.layers = nn.ModuleList()
        for index, (dim, depth, heads, window) in enumerate(stages):
            blocks: list[nn.Module] = [
                TinyViTBlock(dim, heads, window, mlp_ratio) if index else MBConv(dim) for _ in range(depth)
            ]
            merging = None
            if index < 3:
                # Strides 8 and 16; MobileSAM does not halve the last stage as TinyViT does.
                merging = PatchMerging(dim, embed_dims[index + 1], stride=2 if index < 2 else 1)
            self.layers.append(Stage(blocks, merging))
        self.norm_head = nn.LayerNorm(embed_dims[-1])
        self.head = nn.Linear(embed_dims[-1], num_classes) if num_classes else nn.Identity()
        self.norm_head.requires_grad_(False)
        self.head.requires_grad_(False)
        self.neck = make_neck(embed_dims[-1], out_chans)
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Encode a batch of images.

        Parameters
        ----------
        image : Tensor
            Normalized pixels, shape (B, in_chans, H, W), H and W multiples of 16.

        Returns
        -------
        Tensor
            The embedding, shape (B, out_chans, H / 16, W / 16).

        Raises
        ------
        ValueError
            If H or W is not a multiple of 16.
        """
        height, width = image.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"Expected image sides in multiples of {STRIDE}, got {height} x {width}; pad it."
            )
        x: Tensor = self.patch_embed(image)  # (B, C0, H / 4, W / 4)
        for stage in self.layers:
            x = stage(x)
        x = self.neck(x)  # (B, out_chans, H / 16, W / 16)
        return x


class ConvBN(nn.Sequential):
    """Convolution without bias and batch normalization, no activation."""

    def __init__(
        self, in_chans: int, out_chans: int, size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(in_chans, out_chans, size, stride, size // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_chans)


class PatchEmbed(nn.Module):
    """Two strided convolutions from the image to stride 4."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvBN(in_chans, dim // 2, 3, stride=2), nn.GELU(), ConvBN(dim // 2, dim, 3, stride=2)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, dim, H / 4, W / 4) of an image (B, in_chans, H, W)."""
        x: Tensor = self.seq(image)
        return x


class MBConv(nn.Module):
    """Inverted residual: widen by four, depthwise 3 x 3, narrow again."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(dim, 4 * dim)
        self.conv2 = ConvBN(4 * dim, 4 * dim, 3, groups=4 * dim)
        self.conv3 = ConvBN(4 * dim, dim)
        nn.init.zeros_(self.conv3.bn.weight)  # the branch starts at nothing, which trains stably

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        y = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + y)


class PatchMerging(nn.Module):
    """Between two stages: change the width and, with stride 2, halve the resolution."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(in_chans, out_chans)
        self.conv2 = ConvBN(out_chans, out_chans, 3, stride, groups=out_chans)
        self.conv3 = ConvBN(out_chans, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_chans, h, w) to (B, out_chans, h / stride, w / stride)."""
        x = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return x


class Stage(nn.Module):
    """Blocks of one width, then the merging that leads to the next stage."""

    def __init__(self, blocks: list[nn.Module], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the next stage's input."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViTBlock(nn.Module):
    """Attention within windows, a depthwise convolution that joins the windows, and an MLP."""

    def __init__(self, dim: int, num_heads: int, window_size: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window_size = window_size
        self.attn = Attention(dim, num_heads, window_size)
        self.local_conv = ConvBN(dim, dim, 3, groups=dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        # The permutes only relabel the axes: memory stays channels-last through the block.
        x = x.permute(0, 2, 3, 1)  # (B, h, w, C)
        # Windows are cut before the norm inside attention (in the ViT after it): padding becomes its bias.
        windows = self.attn(split_windows(x, self.window_size))
        x = x + merge_windows(windows, self.window_size, x.shape[1], x.shape[2])
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(x)
        return x.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Normalize, widen, GELU, narrow."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        x = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return x


class Attention(nn.Module):
    """Multi-head self-attention in a window, with one learned bias per head and absolute offset."""

    attention_bias_idxs: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"Expected a width that is a multiple of {num_heads} heads, got {dim}.")
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window_size**2))
        row = torch.arange(window_size).repeat_interleave(window_size)  # (N,) of N = window_size ** 2 tokens
        column = torch.arange(window_size).repeat(window_size)
        idxs = (row[:, None] - row).abs() * window_size + (column[:, None] - column).abs()  # (N, N)
        self.register_buffer("attention_bias_idxs", idxs, persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Map windows (B, s, s, C) to windows of the same shape."""
        b, s, _, c = windows.shape
        qkv = self.qkv(self.norm(windows)).view(b, s * s, self.num_heads, 3, c // self.num_heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)  # (B, nh, N, hd) each
        bias = self.attention_biases[:, self.attention_bias_idxs].unsqueeze(0)  # (1, nh, N, N)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (B, nh, N, hd)
        out: Tensor = self.proj(x.transpose(1, 2).reshape(b, s, s, c))
        return out
