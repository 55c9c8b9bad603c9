from __future__ import annotations

import torch

from napari_sam.modeling import build_sam
from napari_sam.modeling.mask_quality import SetHead, compare_masks


def test_masks_are_compared_with_the_others() -> None:
    masks = torch.zeros(1, 3, 8)
    masks[0, 0, :4] = 1
    masks[0, 1, :2] = 1
    masks[0, 2, 6:] = 1
    found = compare_masks(masks * 2 - 1)
    half, none = [0.0, 0.25, 0.5], [0.0, 0.0, 0.0]
    torch.testing.assert_close(found, torch.tensor([[half, half, none]]))


def test_empty_and_equal_masks_are_compared_too() -> None:
    assert compare_masks(-torch.ones(1, 4, 6)).eq(0).all()
    assert compare_masks(torch.ones(2, 4, 6)).eq(1).all()


def test_what_predicts_iou_changes_no_mask() -> None:
    torch.manual_seed(0)
    model = build_sam("conv_test").eval()
    features = model.encode(torch.randn(1, 3, 64, 64))
    prompt = torch.tensor([[[30.0, 30.0], [0.0, 0.0]]]), torch.tensor([[1, -1]])
    with torch.no_grad():
        masks, iou = model.decode(features.embedding, *prompt, None, features.detail)
        for parameter in model.mask_decoder.score_parameters():
            parameter += torch.randn_like(parameter)
        other_masks, other_iou = model.decode(features.embedding, *prompt, None, features.detail)
    assert torch.equal(masks, other_masks)
    assert not torch.allclose(iou, other_iou)


def test_each_mask_is_judged_in_view_of_all_in_any_order() -> None:
    torch.manual_seed(0)
    head = SetHead(5, 8)
    described = torch.randn(3, 4, 5)
    with torch.no_grad():
        assert head(described).eq(0).all()  # no correction before it is trained
        torch.nn.init.normal_(head.judge.layers[-1].weight)
        found = head(described)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(head(described[:, order]), found[:, order])
        described[:, 3] += 5
        assert (head(described)[:, :3] - found[:, :3]).abs().min() > 1e-4
