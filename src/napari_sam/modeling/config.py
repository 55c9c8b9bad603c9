"""The shape of a Segment Anything model, as plain data that travels with its checkpoint."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Final

from napari_sam.errors import CheckpointError

LARGEST: Final = 16384
"""No side, width or count in a configuration that is read from a file may exceed this ..."""
DEEPEST: Final = 128
"""... nor any number of layers this."""
INSTANCE_DECODERS: Final = ("", "maps", "unetr", "unetr_transposed")
"""Kinds of dense decoders beside the promptable one; "" for none."""


@dataclass(frozen=True, slots=True)
class ViTConfig:
    """Plain vision transformer with windowed and global attention (Kirillov et al. 2023, App. A)."""

    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    patch_size: int = 16
    window_size: int = 14
    mlp_ratio: float = 4.0


@dataclass(frozen=True, slots=True)
class TinyViTConfig:
    """TinyViT of MobileSAM (Zhang et al. 2023); four stages, the embedding is at stride 16."""

    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)
    mlp_ratio: float = 4.0


@dataclass(frozen=True, slots=True)
class ConvConfig:
    """Residual convolutions at strides 1, 2, 4, 8 and 16, fused to an embedding at stride 8."""

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    blocks: tuple[int, ...] = (0, 1, 1, 3, 4)


@dataclass(frozen=True, slots=True)
class SamConfig:
    """A whole model.

    Attributes
    ----------
    encoder : ViTConfig, TinyViTConfig or ConvConfig
        The image encoder.
    image_size : int
        Side in pixels of the square frame that the encoder sees. A convolutional encoder takes
        frames of any size; there it is the largest that is encoded at once.
    embed_dim : int
        Channels of the embedding and width of the mask decoder.
    decode_window : int
        Side, in embedding tokens, of the window around a prompt in which its mask is decoded; 0
        decodes over the whole frame, as the paper does. The window grows with the object.
    instance_decoder : str
        The dense decoder beside the promptable one: ``""`` for none, ``"maps"`` (``instance_decoder.py``, the
        bundled model's), ``"unetr"`` (``unetr_decoder.py``, the microscopy-tuned models'), or
        ``"unetr_transposed"``, the same with transposed convolutions.
    detail_channels : int
        Channels, at a quarter of the embedding's stride, that the instance decoder hands to the
        mask decoder for sharp boundaries; 0 for none.
    detail_refinement : bool
        Whether the mask decoder mixes prompts and detail by convolutions, and looks at each mask before
        it predicts its IoU; needs ``detail_channels``.
    pixel_mean, pixel_std : (3,) float
        What the input, scaled to 0 .. 255, is normalised with.
    """

    encoder: ViTConfig | TinyViTConfig | ConvConfig = field(default_factory=ViTConfig)
    image_size: int = 1024
    embed_dim: int = 256
    mask_in_chans: int = 16
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    decode_window: int = 0
    instance_decoder: str = ""
    detail_channels: int = 0
    detail_refinement: bool = False
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        if self.image_size % self.stride:
            raise ValueError(
                f"Expected image_size to be a multiple of the stride {self.stride}, got {self.image_size}."
            )
        if self.decode_window * self.stride > self.image_size:
            raise ValueError(
                f"Expected a decode_window of at most image_size / stride, got {self.decode_window} tokens "
                f"of {self.stride} pixels with an image_size of {self.image_size}."
            )
        for name, divisor in (("embed_dim", 8), ("mask_in_chans", 4)):
            if getattr(self, name) % divisor:
                raise ValueError(f"Expected {name} to be a multiple of {divisor}, got {getattr(self, name)}.")
        if self.instance_decoder not in INSTANCE_DECODERS:
            kinds = ", ".join(map(repr, INSTANCE_DECODERS))
            raise ValueError(f"Expected an instance_decoder out of {kinds}, got {self.instance_decoder!r}.")
        if self.reads_embedding_only and self.stride != 16:
            raise ValueError(
                f"Expected an embedding at stride 16 for the instance decoder {self.instance_decoder!r}, "
                f"which enlarges it 16 times, got stride {self.stride}."
            )
        if self.detail_channels and self.instance_decoder != "maps":
            raise ValueError('Expected instance_decoder="maps" with detail_channels, which come from it.')
        if self.detail_refinement and not self.detail_channels:
            raise ValueError("Expected detail_channels with detail_refinement, which works on them.")

    @property
    def stride(self) -> int:
        """Pixels per embedding token."""
        if isinstance(self.encoder, ViTConfig):
            return self.encoder.patch_size
        return 16 if isinstance(self.encoder, TinyViTConfig) else 8

    @property
    def reads_embedding_only(self) -> bool:
        """True for an instance decoder that needs no features of the encoder beside the embedding.

        It can then run later than the encoder, when somebody asks for instances.
        """
        return self.instance_decoder.startswith("unetr")

    @property
    def any_frame_size(self) -> bool:
        """True when frames need not be padded to ``image_size``."""
        return isinstance(self.encoder, ConvConfig)

    @property
    def frame_multiple(self) -> int:
        """Frame sides must be multiples of this many pixels."""
        return (
            2 ** (len(self.encoder.widths) - 1) if isinstance(self.encoder, ConvConfig) else self.image_size
        )

    @property
    def position_scale(self) -> int:
        """Pixels that coordinates are divided by before they are encoded."""
        return self.decode_window * self.stride if self.decode_window else self.image_size

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint's metadata; ``from_dict`` reads it back."""
        kind = _KIND_OF[type(self.encoder)]
        return asdict(self) | {"encoder": {"kind": kind} | asdict(self.encoder)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SamConfig:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        CheckpointError
            When a field is missing, unknown, or has an impossible value.
        """
        try:
            values = {name: _tupled(value) for name, value in dict(data).items()}
            encoder = {name: _tupled(value) for name, value in dict(values.pop("encoder")).items()}
            kind = _ENCODERS[encoder.pop("kind")]
            if isinstance(values.get("instance_decoder"), bool):  # until there was more than one kind
                values["instance_decoder"] = "maps" if values["instance_decoder"] else ""
            _check_values(kind, encoder)
            _check_values(cls, values)
            return cls(encoder=kind(**encoder), **values)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"Expected the configuration of a napari_sam model, got one that does not fit ({error}); "
                "the checkpoint may come from a newer version."
            ) from error


_ENCODERS: dict[str, type[ViTConfig] | type[TinyViTConfig] | type[ConvConfig]] = {
    "vit": ViTConfig,
    "tiny_vit": TinyViTConfig,
    "conv": ConvConfig,
}
_KIND_OF = {kind: name for name, kind in _ENCODERS.items()}


_MAY_BE_ZERO = ("blocks", "global_attn_indexes", "decode_window", "detail_channels", "window_size")


def _check_values(kind: type[Any], values: dict[str, Any]) -> None:
    """Refuse what no model has, before anything of that size is built: a file may say anything."""
    for member in fields(kind):
        if member.name not in values or member.default is MISSING:
            continue
        value, default = values[member.name], member.default
        items, example = (value, default[0]) if isinstance(default, tuple) else ((value,), default)
        if not isinstance(items, tuple) or not 0 < len(items) <= DEEPEST:
            raise ValueError(f"{member.name} is {value!r}")
        most = DEEPEST if "depth" in member.name or member.name == "blocks" else LARGEST
        for item in items:
            if isinstance(example, bool | str):
                good = isinstance(item, type(example))
            elif isinstance(example, int):
                least = 0 if member.name in _MAY_BE_ZERO else 1
                good = isinstance(item, int) and not isinstance(item, bool) and least <= item <= most
            else:
                good = isinstance(item, int | float) and math.isfinite(item) and 0 <= item <= most
                good = good and (item > 0 or member.name == "pixel_mean")
            if not good:
                raise ValueError(f"{member.name} is {value!r}")


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
