"""The same weights give the same numbers as Meta's package, and its state dict loads as it is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from napari_sam.modeling import Sam, SamConfig, ViTConfig, build_sam

if TYPE_CHECKING:
    from types import ModuleType

SMALL = SamConfig(
    ViTConfig(embed_dim=48, depth=4, num_heads=3, global_attn_indexes=(1, 3), patch_size=8, window_size=5),
    image_size=96,
    embed_dim=32,
    decoder_heads=2,
    decoder_mlp_dim=40,
    iou_head_hidden_dim=24,
)


@pytest.fixture(scope="module")
def segment_anything(import_reference: Any) -> ModuleType:
    return import_reference("segment_anything.modeling")


def build_reference(segment_anything: ModuleType, config: SamConfig) -> nn.Module:
    encoder = config.encoder
    assert isinstance(encoder, ViTConfig)
    grid = config.image_size // encoder.patch_size
    return segment_anything.Sam(
        image_encoder=segment_anything.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=encoder.patch_size,
            embed_dim=encoder.embed_dim,
            depth=encoder.depth,
            num_heads=encoder.num_heads,
            mlp_ratio=encoder.mlp_ratio,
            out_chans=config.embed_dim,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=encoder.window_size,
            global_attn_indexes=encoder.global_attn_indexes,
        ),
        prompt_encoder=segment_anything.PromptEncoder(
            embed_dim=config.embed_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_in_chans,
        ),
        mask_decoder=segment_anything.MaskDecoder(
            num_multimask_outputs=config.num_multimask_outputs,
            transformer=segment_anything.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.embed_dim,
                mlp_dim=config.decoder_mlp_dim,
                num_heads=config.decoder_heads,
            ),
            transformer_dim=config.embed_dim,
            iou_head_depth=config.iou_head_depth,
            iou_head_hidden_dim=config.iou_head_hidden_dim,
        ),
    ).eval()


def build_pair(segment_anything: ModuleType, config: SamConfig, randomize: Any) -> tuple[Sam, nn.Module]:
    reference = build_reference(segment_anything, config)
    randomize(reference, 0)
    ours = build_sam(config).eval()
    ours.load_state_dict(reference.state_dict())  # strict: the upstream checkpoint is our file format
    return ours, reference


@pytest.mark.parametrize(
    ("encoder", "image_size"),
    [
        pytest.param(SMALL.encoder, 96, id="windows-padded"),
        pytest.param(ViTConfig(32, 3, 2, (1,), 16, 4), 128, id="windows-fit"),
        pytest.param(ViTConfig(32, 3, 4, (0,), 16, 14), 64, id="window-larger-than-the-image"),
        pytest.param(ViTConfig(64, 2, 4, (), 8, 0, 2.0), 64, id="all-global"),
    ],
)
@torch.inference_mode()
def test_image_encoder_equals_reference(
    segment_anything: ModuleType, randomize: Any, assert_parity: Any, encoder: ViTConfig, image_size: int
) -> None:
    config = SamConfig(encoder, image_size=image_size, embed_dim=32, decoder_heads=2, decoder_mlp_dim=16)
    ours, reference = build_pair(segment_anything, config, randomize)
    frames = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))

    assert_parity(ours.encode(frames).embedding, reference.image_encoder(frames))


POINTS = torch.tensor([[[10.0, 20.0], [95.0, 0.5]], [[40.0, 41.5], [3.0, 90.0]], [[0.0, 0.0], [50.0, 50.0]]])
POINT_LABELS = torch.tensor([[1, 0], [1, 1], [0, 1]])
BOXES = torch.tensor([[5.0, 6.0, 50.0, 60.0], [0.0, 0.0, 95.0, 95.0], [30.0, 31.0, 33.0, 80.0]])
MASKS = 8 * torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(2))
PROMPTS = [
    pytest.param((POINTS, POINT_LABELS), None, None, id="points"),
    pytest.param((POINTS[:, :1], POINT_LABELS[:, :1]), None, None, id="one-point"),
    pytest.param(None, BOXES, None, id="box"),
    pytest.param((POINTS, POINT_LABELS), BOXES, None, id="points-and-box"),
    pytest.param((POINTS, POINT_LABELS), None, MASKS, id="points-and-mask"),
    pytest.param((POINTS, POINT_LABELS), BOXES, MASKS, id="points-box-and-mask"),
    pytest.param(None, None, MASKS, id="mask"),
]


def join_prompts(points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """One list of labelled coordinates as our prompt encoder reads it: corners are 2 and 3, padding is -1."""
    coords, labels = points if points is not None else (torch.zeros(3, 0, 2), torch.zeros(3, 0))
    if boxes is not None:
        corners, kinds = boxes.reshape(-1, 2, 2), torch.tensor([[2, 3]]).expand(len(boxes), -1)
    elif points is not None:
        corners, kinds = torch.zeros(len(coords), 1, 2), torch.full((len(coords), 1), -1)
    else:
        return coords, labels
    return torch.cat([coords, corners], 1), torch.cat([labels, kinds], 1)


@pytest.mark.parametrize(("points", "boxes", "masks"), PROMPTS)
@torch.inference_mode()
def test_prompts_decode_as_in_reference(
    segment_anything: ModuleType,
    randomize: Any,
    assert_parity: Any,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    masks: Tensor | None,
) -> None:
    ours, reference = build_pair(segment_anything, SMALL, randomize)
    embedding = torch.randn(1, 32, 12, 12, generator=torch.Generator().manual_seed(3))
    sparse, dense = reference.prompt_encoder(points, boxes, masks)
    coords, labels = join_prompts(points, boxes)

    our_sparse, our_dense = ours.prompt_encoder(coords, labels, masks, 12, 12)
    if sparse.numel():
        assert_parity(our_sparse, sparse)
    assert_parity(our_dense.expand_as(dense), dense)
    assert_parity(ours.prompt_encoder.dense_pe(12, 12), reference.prompt_encoder.get_dense_pe())

    # We return all mask tokens; upstream either the first, for one mask, or the others.
    expected = [
        reference.mask_decoder(
            image_embeddings=embedding,
            image_pe=reference.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        for multimask in (False, True)
    ]
    logits, iou = ours.decode(embedding, coords, labels, masks)
    assert_parity(logits, torch.cat([single_or_multi[0] for single_or_multi in expected], 1))
    assert_parity(iou, torch.cat([single_or_multi[1] for single_or_multi in expected], 1))
