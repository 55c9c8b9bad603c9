"""A Segment Anything model: image encoder, prompt encoder, mask decoder, instance decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from napari_sam.modeling.config import ConvConfig, SamConfig, ViTConfig
from napari_sam.modeling.conv_encoder import ConvEncoder
from napari_sam.modeling.image_encoder import ImageEncoderViT
from napari_sam.modeling.instance_decoder import OFFSET_UNIT, InstanceDecoder
from napari_sam.modeling.mask_decoder import MaskDecoder
from napari_sam.modeling.prompt_encoder import PromptEncoder
from napari_sam.modeling.prompt_maps import draw_prompt_maps
from napari_sam.modeling.tiny_vit import TinyViT
from napari_sam.modeling.unetr_decoder import UnetrDecoder

if TYPE_CHECKING:
    from napari_sam.modeling.transformer import SharedImage


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the encoder makes of frames of H x W pixels.

    Attributes
    ----------
    embedding : (B, C, H / stride, W / stride)
    detail : (B, D + 3, 4 H / stride, 4 W / stride) or None
        Features for sharp boundaries; the last three channels are the foreground and the offsets (row,
        column) to the centre in pixels.
    maps : (B, 5, H, W) or None
        Raw dense maps, in the order of ``instance_decoder.MAPS``. Those of a decoder that needs only the
        embedding are made when they are asked for, see ``Sam.decode_maps``.
    """

    embedding: Tensor
    detail: Tensor | None = None
    maps: Tensor | None = None


class Sam(nn.Module):
    """The model; attribute names equal the keys of the original checkpoints."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = _make_image_encoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        if config.reads_embedding_only:
            transposed = config.instance_decoder == "unetr_transposed"
            self.instance_decoder: nn.Module = UnetrDecoder(config.embed_dim, transposed)
        elif config.instance_decoder:
            skips = config.encoder.widths[:3] if isinstance(config.encoder, ConvConfig) else ()
            self.instance_decoder = InstanceDecoder(
                config.embed_dim, config.stride, skips, config.detail_channels
            )
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).reshape(3, 1, 1), persistent=False)

    def encode(self, frames: Tensor) -> Features:
        """Encode (B, 3, H, W) frames, normalised."""
        encoded = self.image_encoder(frames)
        embedding, skips = encoded if isinstance(encoded, tuple) else (encoded, ())
        if not self.config.instance_decoder or self.config.reads_embedding_only:
            return Features(embedding)
        maps, detail = self.instance_decoder(embedding, skips)
        if not self.config.detail_channels:
            return Features(embedding, None, maps)
        # The dense loss alone teaches these maps; prompts only read them.
        fixed = torch.cat([maps[:, :1].sigmoid(), maps[:, 3:] * OFFSET_UNIT], dim=1).detach()
        return Features(
            embedding, torch.cat([detail, avg_pool2d(fixed, self.config.stride // 4)], dim=1), maps
        )

    def decode_maps(self, embedding: Tensor) -> Tensor:
        """Dense maps of an embedding (B, C, h, w), for decoders that need no more than it.

        They take as long as the encoder does, and a prompt does not need them; so they are not made with it.

        Returns
        -------
        (B, 3, 16 h, 16 w)
            ``unetr_decoder.UNETR_MAPS``, 0 to 1.

        Raises
        ------
        ValueError
            When the model has no such decoder.
        """
        if not self.config.reads_embedding_only:
            kind = self.config.instance_decoder
            raise ValueError(f"Expected a model with a UNETR instance decoder, got one with {kind!r}.")
        logits: Tensor = self.instance_decoder(embedding)
        return logits.sigmoid()

    def share(self, embedding: Tensor) -> SharedImage | None:
        """What decoding computes of an embedding (1, C, h, w) whatever the prompts, for ``decode``.

        Returns
        -------
        SharedImage or None
            None for a model that draws prompts on its image tokens, so that there is nothing to share.
        """
        if self.config.detail_channels:
            return None
        height, width = embedding.shape[-2:]
        dense = self.prompt_encoder.encode_masks(None, height, width)
        pe = self.prompt_encoder.dense_pe(height, width)
        decoder: MaskDecoder = self.mask_decoder
        return decoder.share(embedding, pe, dense)

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        detail: Tensor | None = None,
        shared: SharedImage | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts on one embedding, or on a window of it per prompt.

        Parameters
        ----------
        embedding : (N or 1, C, h, w)
        coords : (N, P, 2)
            (x, y) in pixels from the window's first pixel.
        labels : (N, P)
            As ``PromptEncoder`` reads them.
        masks : (N, 1, 4 h, 4 w) or None
            Logits of rough masks.
        detail : (N or 1, D + 3, 4 h, 4 w) or None
        shared : SharedImage or None
            From ``share``, of this embedding; not used together with ``masks``.

        Returns
        -------
        logits : (N, M, 4 h, 4 w)
            Token 0 is the single mask, the others are the alternatives.
        iou : (N, M)
        """
        height, width = embedding.shape[-2:]
        sparse, dense = self.prompt_encoder(coords, labels, masks, height, width)
        shared = None if masks is not None else shared
        return self.decode_tokens(embedding, coords, labels, sparse, dense, masks, detail, shared)

    def decode_tokens(
        self,
        embedding: Tensor,
        coords: Tensor,
        labels: Tensor,
        sparse: Tensor,
        dense: Tensor,
        masks: Tensor | None,
        detail: Tensor | None,
        shared: SharedImage | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``decode`` with the prompts already encoded as (N, P, C) and (N or 1, C, h, w)."""
        image_pe = self.prompt_encoder.dense_pe(*embedding.shape[-2:]) if shared is None else shared.pe
        maps = None
        if detail is not None:
            detail = detail.expand(len(coords), -1, -1, -1)
            detail, offsets = detail[:, :-2], detail[:, -2:]
            maps = draw_prompt_maps(offsets, coords, labels, masks, self.config.stride / 4)
        out: tuple[Tensor, Tensor] = self.mask_decoder(
            embedding, image_pe, sparse, dense, detail, maps, shared
        )
        return out


def _make_image_encoder(config: SamConfig) -> nn.Module:
    encoder = config.encoder
    if isinstance(encoder, ConvConfig):
        return ConvEncoder(encoder, config.embed_dim)
    if isinstance(encoder, ViTConfig):
        return ImageEncoderViT(
            img_size=config.image_size,
            patch_size=encoder.patch_size,
            embed_dim=encoder.embed_dim,
            depth=encoder.depth,
            num_heads=encoder.num_heads,
            mlp_ratio=encoder.mlp_ratio,
            out_chans=config.embed_dim,
            window_size=encoder.window_size,
            global_attn_indexes=encoder.global_attn_indexes,
        )
    return TinyViT(
        img_size=config.image_size,
        embed_dims=encoder.embed_dims,
        depths=encoder.depths,
        num_heads=encoder.num_heads,
        window_sizes=encoder.window_sizes,
        mlp_ratio=encoder.mlp_ratio,
        out_chans=config.embed_dim,
    )
