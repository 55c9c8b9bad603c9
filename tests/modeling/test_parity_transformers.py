"""The same weights give the same numbers as `SamModel` of transformers, an independent implementation."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_sam.modeling import Sam, SamConfig, ViTConfig, build_sam

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install napari-sam-workbench[test]"
)

SMALL = SamConfig(
    ViTConfig(embed_dim=48, depth=4, num_heads=3, global_attn_indexes=(1, 3), patch_size=8, window_size=5),
    image_size=96,
    embed_dim=32,
    decoder_heads=2,
    decoder_mlp_dim=40,
    iou_head_hidden_dim=24,
)

# What transformers calls the parts of the published checkpoints.
RENAMED = [
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^(vision_encoder\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.pe_layer\.\w+$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    # MLPs have three layers in all configurations here
    (r"(\.output_hypernetworks_mlps\.\d+|\.iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(\.output_hypernetworks_mlps\.\d+|\.iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(\.output_hypernetworks_mlps\.\d+|\.iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
]


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    # The prompt encoder and the model hold the same positions twice.
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[
        "shared_image_embedding.positional_embedding"
    ]
    return renamed


def build_reference(config: SamConfig) -> nn.Module:
    encoder = config.encoder
    assert isinstance(encoder, ViTConfig)
    return transformers.SamModel(
        transformers.SamConfig(
            vision_config={
                "hidden_size": encoder.embed_dim,
                "output_channels": config.embed_dim,
                "num_hidden_layers": encoder.depth,
                "num_attention_heads": encoder.num_heads,
                "image_size": config.image_size,
                "patch_size": encoder.patch_size,
                "mlp_ratio": encoder.mlp_ratio,
                "window_size": encoder.window_size,
                "global_attn_indexes": list(encoder.global_attn_indexes),
                "num_pos_feats": config.embed_dim // 2,
            },
            prompt_encoder_config={
                "hidden_size": config.embed_dim,
                "image_size": config.image_size,
                "patch_size": encoder.patch_size,
                "mask_input_channels": config.mask_in_chans,
            },
            mask_decoder_config={
                "hidden_size": config.embed_dim,
                "mlp_dim": config.decoder_mlp_dim,
                "num_hidden_layers": config.decoder_depth,
                "num_attention_heads": config.decoder_heads,
                "num_multimask_outputs": config.num_multimask_outputs,
                "iou_head_depth": config.iou_head_depth,
                "iou_head_hidden_dim": config.iou_head_hidden_dim,
                "layer_norm_eps": 1e-5,  # segment-anything's; transformers' default of 1e-6 deviates from it
            },
        )
    ).eval()


def build_pair(config: SamConfig, randomize: Any) -> tuple[Sam, nn.Module]:
    ours = build_sam(config)
    randomize(ours, 0)
    reference = build_reference(config)
    reference.load_state_dict(rename(ours.state_dict()))  # strict: every weight of both has its place
    return ours, reference


@pytest.mark.parametrize(
    ("encoder", "image_size"),
    [
        pytest.param(SMALL.encoder, 96, id="windows-padded"),
        pytest.param(ViTConfig(32, 3, 2, (1,), 16, 4), 128, id="windows-fit"),
        pytest.param(ViTConfig(32, 3, 4, (0,), 16, 14), 64, id="window-larger-than-the-image"),
    ],
)
@torch.inference_mode()
def test_image_encoder_equals_reference(
    randomize: Any, assert_parity: Any, encoder: ViTConfig, image_size: int
) -> None:
    config = SamConfig(encoder, image_size=image_size, embed_dim=32, decoder_heads=2, decoder_mlp_dim=16)
    ours, reference = build_pair(config, randomize)
    frames = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))

    assert_parity(ours.encode(frames).embedding, reference.get_image_embeddings(frames))


POINTS = torch.tensor([[[10.0, 20.0], [95.0, 0.5]], [[40.0, 41.5], [3.0, 90.0]], [[0.0, 0.0], [50.0, 50.0]]])
POINT_LABELS = torch.tensor([[1, 0], [1, 1], [0, 1]])
BOXES = torch.tensor([[5.0, 6.0, 50.0, 60.0], [0.0, 0.0, 95.0, 95.0], [30.0, 31.0, 33.0, 80.0]])
CORNERS, CORNER_LABELS = BOXES.reshape(3, 2, 2), torch.tensor([[2, 3]]).expand(3, -1)
PADDING, PADDING_LABELS = torch.zeros(3, 1, 2), torch.full((3, 1), -1)
MASK = 8 * torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("prompts", "coords", "labels", "mask"),
    [
        pytest.param(
            {"input_points": POINTS[None], "input_labels": POINT_LABELS[None]},
            torch.cat([POINTS, PADDING], 1),
            torch.cat([POINT_LABELS, PADDING_LABELS], 1),
            None,
            id="points",
        ),
        pytest.param({"input_boxes": BOXES[None]}, CORNERS, CORNER_LABELS, None, id="box"),
        pytest.param(
            {"input_points": POINTS[None], "input_labels": POINT_LABELS[None], "input_boxes": BOXES[None]},
            torch.cat([POINTS, CORNERS], 1),
            torch.cat([POINT_LABELS, CORNER_LABELS], 1),
            None,
            id="points-and-box",
        ),
        pytest.param(
            {"input_points": POINTS[None], "input_labels": POINT_LABELS[None], "input_masks": MASK},
            torch.cat([POINTS, PADDING], 1),
            torch.cat([POINT_LABELS, PADDING_LABELS], 1),
            MASK,
            id="points-and-mask",
        ),
    ],
)
@torch.inference_mode()
def test_prompts_decode_as_in_reference(
    randomize: Any,
    assert_parity: Any,
    prompts: dict[str, Tensor],
    coords: Tensor,
    labels: Tensor,
    mask: Tensor | None,
) -> None:
    ours, reference = build_pair(SMALL, randomize)
    embedding = torch.randn(1, 32, 12, 12, generator=torch.Generator().manual_seed(3))

    logits, iou = ours.decode(embedding, coords, labels, mask)

    # We return all mask tokens; the reference either the first, for one mask, or the others.
    single = reference(image_embeddings=embedding, multimask_output=False, **prompts)
    several = reference(image_embeddings=embedding, multimask_output=True, **prompts)
    assert_parity(logits, torch.cat([single.pred_masks[0], several.pred_masks[0]], 1))
    assert_parity(iou, torch.cat([single.iou_scores[0], several.iou_scores[0]], 1))


@pytest.mark.slow
@torch.inference_mode()
def test_vit_b_equals_reference_at_full_size(randomize: Any, assert_parity: Any) -> None:
    ours, reference = build_pair(build_sam("vit_b").config, randomize)
    frames = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(4))
    coords, labels = torch.tensor([[[500.0, 375.0], [0.0, 0.0]]]), torch.tensor([[1, -1]])

    embedding = ours.encode(frames).embedding
    assert_parity(embedding, reference.get_image_embeddings(frames))

    logits, iou = ours.decode(embedding, coords, labels)
    expected = reference(
        image_embeddings=embedding, input_points=coords[None, :, :1], input_labels=labels[None, :, :1]
    )
    assert_parity(logits[:, 1:], expected.pred_masks[0])
    assert_parity(iou[:, 1:], expected.iou_scores[0])
