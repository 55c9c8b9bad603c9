"""The ViT image encoder of Segment Anything: a plain backbone with windowed and a few global blocks.

Sources: Kirillov et al. 2023, "Segment Anything", App. A (the encoder and its neck); Li et al. 2022,
"Exploring Plain Vision Transformer Backbones for Object Detection" (windowed and global attention);
Li et al. 2022, "MViTv2" (decomposed relative positions). Module names equal the keys of the published
checkpoints.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.modeling.layers import LayerNorm2d, MLPBlock

__all__ = ["ImageEncoderViT", "make_neck", "merge_windows", "split_windows"]


class ImageEncoderViT(nn.Module):
    """Encode an image into the embedding that prompts are decoded on.

    Parameters
    ----------
    img_size : int
        Height and width of the model's input in pixels, a multiple of `patch_size`.
    patch_size : int
        Pixels along the side of one token, the stride of the embedding.
    in_chans : int
        Channels of the input.
    embed_dim, depth, num_heads : int
        Width, number of blocks, and attention heads (a divisor of `embed_dim`).
    mlp_ratio : float
        Hidden width of the MLPs as a multiple of `embed_dim`.
    out_chans : int
        Channels of the embedding.
    window_size : int
        Side of the attention windows in tokens; 0 makes every block global.
    global_attn_indexes : tuple of int
        Blocks that attend over the whole image instead of a window.

    Raises
    ------
    ValueError
        If a size does not divide as described above.
    """

    def __init__(
        self,
        *,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        out_chans: int = 256,
        window_size: int = 14,
        global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11),
    ) -> None:
        super().__init__()
        if img_size % patch_size:
            raise ValueError(f"Expected img_size to be a multiple of {patch_size}, got {img_size}.")
        if embed_dim % num_heads:
            raise ValueError(f"Expected embed_dim to be a multiple of {num_heads} heads, got {embed_dim}.")
        self.img_size = img_size
        self.patch_size = patch_size
        self.out_chans = out_chans
        grid = img_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim)
        self.pos_embed = nn.Parameter(torch.empty(1, grid, grid, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio, 0 if index in global_attn_indexes else window_size, grid)
            for index in range(depth)
        )
        self.neck = make_neck(embed_dim, out_chans)

    def forward(self, image: Tensor) -> Tensor:
        """Encode a batch of images.

        Parameters
        ----------
        image : Tensor
            Normalized pixels, shape (B, in_chans, H, W), H and W multiples of the patch size. For another
            size than `img_size` the learned positions are interpolated.

        Returns
        -------
        Tensor
            The embedding, shape (B, out_chans, H / patch_size, W / patch_size).

        Raises
        ------
        ValueError
            If H or W is not a multiple of the patch size.
        """
        height, width = image.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            # The convolution would silently drop the remainder and shift every mask decoded from it.
            raise ValueError(
                f"Expected image sides in multiples of {self.patch_size}, got {height} x {width}; pad it."
            )
        x: Tensor = self.patch_embed(image)  # (B, h, w, C)
        x = x + self._resized_pos_embed(x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x)
        x = self.neck(x.permute(0, 3, 1, 2))  # (B, out_chans, h, w)
        return x

    def _resized_pos_embed(self, height: int, width: int) -> Tensor:
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        table = self.pos_embed.permute(0, 3, 1, 2)  # (1, C, grid, grid)
        return F.interpolate(table, (height, width), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """Cut the image into patches and project each to one token."""

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """Return tokens (B, h, w, C) of an image (B, in_chans, H, W)."""
        tokens: Tensor = self.proj(image).permute(0, 2, 3, 1)
        return tokens


class Block(nn.Module):
    """Transformer block: attention within windows (or over everything, with `window_size` 0), then an MLP."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, window_size: int, grid: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, window_size or grid)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, h, w, C) to tokens of the same shape."""
        y = self.norm1(x)
        if self.window_size:
            # Windows are cut after the norm, so padded tokens are zeros; they are attended to, as they were
            # when the checkpoints were trained.
            windows = self.attn(split_windows(y, self.window_size))
            y = merge_windows(windows, self.window_size, x.shape[1], x.shape[2])
        else:
            y = self.attn(y)
        x = x + y
        x = x + self.mlp(self.norm2(x))
        return x


class Attention(nn.Module):
    """Multi-head self-attention with decomposed relative positions, a table per axis shared by the heads.

    What a query adds to its logits is one number by the key's row and one by its column. The (hw, hw)
    matrix of their sums is never made: it takes more memory than all weights, and more time than attention.

    Attributes
    ----------
    folds : bool
        Whether positions are always folded into queries and keys, as what converts the model to another
        engine needs it; else what is fastest on the device.
    """

    folds = False

    def __init__(self, dim: int, num_heads: int, grid: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, h, w, C) to tokens of the same shape."""
        b, h, w, c = x.shape
        qkv = self.qkv(x).view(b, h * w, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, nh, hw, hd) each
        grid = torch.unflatten(q, 2, (h, w))  # (B, nh, h, w, hd), not scaled: only the content logits are
        row_table = _offset_vectors(self.rel_pos_h, h).to(q.dtype)
        column_table = _offset_vectors(self.rel_pos_w, w).to(q.dtype)
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, row_table)  # (B, nh, h, w, h)
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, column_table)  # (B, nh, h, w, w)
        attend = _attend_by_rows if self._prefers_rows(q) else _attend_folded
        y = attend(q, k, v, rows, columns)  # (B, nh, hw, hd)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(b, h, w, c))
        return out

    def _prefers_rows(self, q: Tensor) -> bool:
        if self.folds or q.device.type != "cpu" or q.shape[2] <= LONG_SEQUENCE:
            return False
        return not (q.dtype == torch.bfloat16 and has_amx())


LONG_SEQUENCE: Final = 1024
"""Tokens from which a CPU without matrix tiles attends row by row."""


def _attend_folded(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attention with the positions as further channels: a query's numbers, a key's row and column one-hot.

    Exact, and a fused kernel without any mask does it all.
    """
    h, w, hd = rows.shape[-1], columns.shape[-1], q.shape[-1]
    q = torch.cat(
        [q * hd**-0.5, rows.flatten(2, 3), columns.flatten(2, 3)], dim=-1
    )  # (B, nh, hw, hd + h + w)
    row = torch.eye(h, dtype=k.dtype, device=k.device).repeat_interleave(w, dim=0)  # (hw, h)
    column = torch.eye(w, dtype=k.dtype, device=k.device).repeat(h, 1)  # (hw, w)
    place = torch.cat([row, column], dim=-1).expand(*k.shape[:2], -1, -1)
    k = torch.cat([k, place], dim=-1)
    # The fused kernels want values as wide as keys.
    return F.scaled_dot_product_attention(q, k, F.pad(v, (0, h + w)), scale=1.0)[..., :hd]


def _attend_by_rows(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attention of one row of queries after the other, with a mask so small that it stays in the cache.

    Half the time of both the whole mask and the folded form on CPUs that have no matrix tiles.
    """
    w = columns.shape[-1]
    found = []
    for i, queries in enumerate(q.split(w, dim=2)):  # (B, nh, w, hd)
        bias = (rows[:, :, i].unsqueeze(-1) + columns[:, :, i].unsqueeze(-2)).flatten(3)  # (B, nh, w, hw)
        found.append(F.scaled_dot_product_attention(queries, k, v, attn_mask=bias))
    return torch.cat(found, dim=2)


@cache
def has_amx() -> bool:
    """Whether this CPU has tiles for bfloat16 (Intel AMX), and this PyTorch uses them."""
    return _has("amx_bf16", "_is_amx_tile_supported")


@cache
def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16, in tiles or by instructions of AVX-512, faster than float32."""
    return has_amx() or _has("avx512_bf16", "_is_avx512_bf16_supported")


def _has(capability: str, function: str) -> bool:
    try:
        return bool(torch.cpu.get_capabilities().get(capability, False))
    except AttributeError:  # before PyTorch 2.10
        supported = getattr(torch.cpu, function, None)
        return bool(supported and supported())


def _offset_vectors(table: Tensor, size: int) -> Tensor:
    """Look up the vector of each query-to-key offset, (size, size, hd), in a table (2 * grid - 1, hd)."""
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.T[None], 2 * size - 1, mode="linear", align_corners=False)[0].T
    position = torch.arange(size, device=table.device)
    return table[position[:, None] - position[None, :] + size - 1]


def split_windows(x: Tensor, window_size: int) -> Tensor:
    """Cut tokens into windows that do not overlap, zero-padded at the bottom and right.

    Parameters
    ----------
    x : Tensor
        Tokens, shape (B, h, w, C).
    window_size : int
        Side of a window in tokens, called s below.

    Returns
    -------
    Tensor
        Windows in row-major order, shape (B * ceil(h / s) * ceil(w / s), s, s, C).
    """
    b, h, w, c = x.shape
    s = window_size
    x = F.pad(x, (0, 0, 0, -w % s, 0, -h % s))
    x = x.view(b, x.shape[1] // s, s, x.shape[2] // s, s, c)  # (B, rows, s, columns, s, C)
    return x.transpose(2, 3).reshape(-1, s, s, c)


def merge_windows(windows: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Put the windows of `split_windows` together again and drop the padding.

    Parameters
    ----------
    windows : Tensor
        Shape (B * rows * columns, s, s, C).
    window_size : int
        Side s of a window in tokens.
    height, width : int
        Size in tokens before the split.

    Returns
    -------
    Tensor
        Tokens, shape (B, height, width, C).
    """
    s, c = window_size, windows.shape[-1]
    rows, columns = -(-height // s), -(-width // s)
    x = windows.view(-1, rows, columns, s, s, c).transpose(2, 3)  # (B, rows, s, columns, s, C)
    return x.reshape(-1, rows * s, columns * s, c)[:, :height, :width]


def make_neck(in_chans: int, out_chans: int) -> nn.Sequential:
    """Make the two normalized convolutions from the backbone's channels to the embedding's."""
    return nn.Sequential(
        nn.Conv2d(in_chans, out_chans, kernel_size=1, bias=False),
        LayerNorm2d(out_chans),
        nn.Conv2d(out_chans, out_chans, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_chans),
    )
