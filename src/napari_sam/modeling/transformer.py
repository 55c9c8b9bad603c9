"""Two-way transformer: prompts attend to the image and the image to the prompts (App. A).

What the first layer makes of the image before it meets a prompt is the same for every prompt: it is computed
once, see ``SharedImage``. In the other layers thousands of image tokens meet a handful of prompt tokens:
there the projections of the image are folded into those of the prompt, the same sum in fewer steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from napari_sam.modeling.layers import MLPBlock

if TYPE_CHECKING:
    from collections.abc import Callable


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than the embedding."""

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        inner = embedding_dim // downsample_rate
        if inner % num_heads:
            raise ValueError(f"Expected num_heads to divide {inner}, got {num_heads}.")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embedding_dim, inner)
        self.k_proj = nn.Linear(embedding_dim, inner)
        self.v_proj = nn.Linear(embedding_dim, inner)
        self.out_proj = nn.Linear(inner, embedding_dim)

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(1, 2)  # (B, nh, T, hs)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attend(self.queries(q), self.keys(k), self.values(v))

    def queries(self, x: Tensor) -> Tensor:
        """Project (B, T, C) to queries (B, nh, T, hs)."""
        return self._heads(self.q_proj(x))

    def keys(self, x: Tensor) -> Tensor:
        """Project (B, T, C) to keys (B, nh, T, hs)."""
        return self._heads(self.k_proj(x))

    def values(self, x: Tensor) -> Tensor:
        """Project (B, T, C) to values (B, nh, T, hs)."""
        return self._heads(self.v_proj(x))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of what is projected already; a batch of 1 stands for as many as the others have."""
        count = max(q.shape[0], k.shape[0])
        q, k, v = (x.expand(count, -1, -1, -1) for x in (q, k, v))
        attended = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, T, C)
        out: Tensor = self.out_proj(attended)
        return out

    def gather(self, few: Tensor, pe: Tensor, many: Tensor) -> Tensor:
        """Attention of few queries (B, T, C) to many values ``many`` (B, N, C), keys with positions added.

        Where there are few enough, their queries are taken back through the projection of the keys, and
        what they gather is projected afterwards: none of the many is projected. The bias of the keys adds the
        same to all scores of a query, so it drops out.
        """
        inner = self.q_proj.out_features
        if few.shape[1] * self.num_heads >= inner:
            return self.attend(self.queries(few), self.keys(many + pe), self.values(many))
        width, size = self.num_heads, inner // self.num_heads
        queries = (self.queries(few) * size**-0.5) @ self.k_proj.weight.unflatten(0, (width, size))
        queries = queries.flatten(1, 2)  # (B, nh * T, C)
        scores = torch.cat(
            [queries @ (many[:, part] + pe[:, part]).transpose(1, 2) for part in split_tokens(many)], dim=2
        )  # (B, nh * T, N)
        gathered = _weigh(scores, many).unflatten(1, (width, -1))  # (B, nh, T, C)
        values = gathered @ self.v_proj.weight.unflatten(0, (width, size)).transpose(1, 2)
        values = values + self.v_proj.bias.unflatten(0, (width, 1, size))
        out: Tensor = self.out_proj(values.transpose(1, 2).flatten(2))
        return out

    def spread(
        self, keys: Tensor, values: Tensor, known: Tensor | None = None
    ) -> Callable[[Tensor, Tensor, slice], Tensor]:
        """Attention of many queries to few keys and values (B, T, C), part by part of the many.

        As in ``gather``, with the projection of the output folded into the values.

        Parameters
        ----------
        keys, values : (B, T, C)
        known : (B or 1, nh, N, hs) or None
            The many with their positions as ``queries`` projects them, where that is done already.

        Returns
        -------
        callable
            Takes some of the many (B or 1, n, C), their positions, and which they are of all; gives them with
            what they attend to added.
        """
        inner = self.q_proj.out_features
        width, size = self.num_heads, inner // self.num_heads
        if keys.shape[1] * width >= inner:
            k, v = self.keys(keys), self.values(values)

            def attend(image: Tensor, pe: Tensor, part: slice) -> Tensor:
                queries = self.queries(image + pe) if known is None else known[:, :, part]
                return image + self.attend(queries, k, v)

            return attend
        k = self.keys(keys) * size**-0.5  # (B, nh, T, hs)
        back = (k @ self.q_proj.weight.unflatten(0, (width, size))).flatten(1, 2)  # (B, nh * T, C)
        shift = (k @ self.q_proj.bias.unflatten(0, (width, size, 1))).flatten(1, 2)  # (B, nh * T, 1)
        ahead = self.values(values) @ self.out_proj.weight.T.unflatten(0, (width, size))  # (B, nh, T, C)
        # The weights of a head add up to 1, so the output's bias can be carried by the heads' values.
        ahead = (ahead + self.out_proj.bias / width).flatten(1, 2)

        def add(image: Tensor, pe: Tensor, part: slice) -> Tensor:
            if known is not None:
                scores = k @ known[:, :, part].transpose(2, 3)  # (B, nh, T, n)
            else:
                scores = torch.baddbmm(shift, back, (image + pe).transpose(1, 2)).unflatten(1, (width, -1))
            weights = scores.softmax(2).flatten(1, 2).transpose(1, 2)  # (B, n, nh * T)
            return torch.baddbmm(image, weights, ahead)

        return add


def _weigh(scores: Tensor, values: Tensor) -> Tensor:
    """Softmax over the values, and their sum by these weights: (B, n, N) and (B, N, C) to (B, n, C)."""
    if not _is_tracing():
        return scores.softmax(-1) @ values
    # OpenVINO fuses a softmax between two products to a kernel that is slower than three by themselves.
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return (weights @ values) / weights.sum(-1, keepdim=True)


def _is_tracing() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


CACHED: Final = 2**18
"""Numbers that a core works on at once: 1 MB, which stays in its cache and in the allocator's hands."""


def split_tokens(image: Tensor, width: int = 1) -> list[slice]:
    """Parts of the tokens (B, N, C) that are worked on one after the other.

    Whole images of thousands of tokens, in one step after the other, are taken from memory and given back to
    the system each time; on a CPU that takes longer than all that is computed.

    Parameters
    ----------
    image : (B, N, C)
    width : int
        How many times wider than the tokens the widest intermediate result is.
    """
    count, tokens, channels = image.shape
    if image.device.type != "cpu" or torch.is_grad_enabled() or _is_tracing():
        return [slice(None)]
    size = max(64, CACHED // (count * channels * width))
    return [slice(start, start + size) for start in range(0, tokens, size)]


@dataclass(frozen=True, slots=True, eq=False)
class SharedImage:
    """An image as the first layer sees it before any prompt.

    Attributes
    ----------
    tokens : (N or 1, h * w, C)
        The image's tokens.
    pe : (1, h * w, C)
        Their positions.
    keys, values, queries : (N or 1, nh, h * w, hs)
        Keys and values for the prompts, queries to them.
    """

    tokens: Tensor
    pe: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, skip_first_layer_pe: bool) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, num_heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPBlock(dim, mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, num_heads, downsample_rate=2)
        self.skip_first_layer_pe = skip_first_layer_pe

    def project(self, image: Tensor, image_pe: Tensor) -> SharedImage:
        """What this block makes of the image's tokens before they meet a prompt."""
        placed = image + image_pe
        return SharedImage(
            image,
            image_pe,
            self.cross_attn_token_to_image.keys(placed),
            self.cross_attn_token_to_image.values(image),
            self.cross_attn_image_to_token.queries(placed),
        )

    def forward(
        self, tokens: Tensor, image: Tensor, tokens_pe: Tensor, pe: Tensor, shared: SharedImage | None
    ) -> tuple[Tensor, Tensor]:
        if self.skip_first_layer_pe:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + tokens_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        to_image, to_tokens = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        if shared is not None:
            seen = to_image.attend(to_image.queries(tokens + tokens_pe), shared.keys, shared.values)
        else:
            seen = to_image.gather(tokens + tokens_pe, pe, image)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        spread = to_tokens.spread(tokens + tokens_pe, tokens, None if shared is None else shared.queries)
        places = split_tokens(image, width=tokens.shape[0] // image.shape[0])
        parts = [self.norm4(spread(image[:, part], pe[:, part], part)) for part in places]
        return tokens, torch.cat(parts, dim=1)


class TwoWayTransformer(nn.Module):
    """``depth`` two-way blocks and a last attention from the tokens to the image."""

    def __init__(self, depth: int, embedding_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, skip_first_layer_pe=i == 0)
            for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def share(self, image: Tensor, image_pe: Tensor) -> SharedImage:
        """What is the same for every prompt on an image (N or 1, C, h, w) with positions (1, C, h, w)."""
        first: TwoWayAttentionBlock = self.layers[0]  # type: ignore[assignment] # a module list forgets it
        return first.project(image.flatten(2).transpose(1, 2), image_pe.flatten(2).transpose(1, 2))

    def forward(self, image: SharedImage, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Take an image, from ``share``, and prompt tokens (N, T, C).

        Returns the tokens (N, T, C) and the image (N, h * w, C) after attending to each other.
        """
        tokens_pe, source = tokens, image.tokens
        for i, block in enumerate(self.layers):
            tokens, source = block(tokens, source, tokens_pe, image.pe, None if i else image)
        attended = self.final_attn_token_to_image.gather(tokens + tokens_pe, image.pe, source)
        return self.norm_final_attn(tokens + attended), source
