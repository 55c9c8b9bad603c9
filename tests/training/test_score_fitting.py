from __future__ import annotations

import pytest
import torch

from napari_sam.errors import SamError
from napari_sam.modeling import Sam, build_sam
from napari_sam.training.score_fitting import DescribedMasks, MaskRecorder, fit_scores


@pytest.fixture
def model() -> Sam:
    torch.manual_seed(0)
    return build_sam("conv_test").eval()


def answer(model: Sam, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        features = model.encode(torch.randn(1, 3, 64, 64, generator=generator))
        window = model.config.decode_window
        logits, iou = model.decode(
            features.embedding[..., :window, :window],
            torch.rand(1, 1, 2, generator=generator) * 60,
            torch.ones(1, 1, dtype=torch.int64),
            None,
            features.detail[..., : 4 * window, : 4 * window],
        )
    return logits.clone(), iou.clone()


def record(model: Sam, seeds: range) -> tuple[DescribedMasks, torch.Tensor]:
    """Answers with IoUs that their number tells, and what was predicted."""
    predicted = []
    with MaskRecorder(model) as recorder:
        for seed in seeds:
            predicted.append(answer(model, seed)[1])
            recorder.take([0.2 + 0.05 * (seed % 8) + 0.1 * m for m in range(4)])
    return recorder.read(), torch.cat(predicted)


def test_what_is_taken_down_is_what_the_head_corrects(model: Sam) -> None:
    with torch.no_grad():  # it starts without a correction
        model.mask_decoder.mask_quality.head.judge.layers[-1].bias.fill_(0.3)
    masks, predicted = record(model, range(3))
    assert masks.features.shape[:2] == masks.scores.shape == masks.actual.shape == (3, 4)
    head = model.mask_decoder.mask_quality.head
    with torch.no_grad():
        again = masks.scores + head(masks.features)[..., 0]
    torch.testing.assert_close(again, predicted, atol=1e-5, rtol=0)
    torch.testing.assert_close(masks.actual[1], torch.tensor([0.25, 0.35, 0.45, 0.55]))
    assert (predicted - masks.scores).abs().min() > 0.1


def test_nothing_is_recorded_when_it_is_over(model: Sam) -> None:
    with MaskRecorder(model) as recorder:
        pass
    answer(model, 0)
    head = model.mask_decoder.mask_quality.head
    assert not head._forward_pre_hooks
    assert not model.mask_decoder.iou_prediction_head._forward_hooks
    with pytest.raises(SamError, match="at least one answer"):
        recorder.read()


def test_fitting_lowers_the_error_and_changes_nothing_else(model: Sam) -> None:
    masks, before = record(model, range(16))
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    logits = answer(model, 1)[0]
    steps = list(fit_scores(model, masks, epochs=150))
    assert (steps[-1].done, steps[-1].total) == (150, 150)
    after = torch.cat([answer(model, seed)[1] for seed in range(16)])
    assert (after - masks.actual).abs().mean() < 0.5 * (before - masks.actual).abs().mean()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, kept[key])}
    assert changed
    assert all(key.startswith("mask_decoder.mask_quality.head.") for key in changed)
    assert torch.equal(answer(model, 1)[0], logits)


def test_what_counts_nothing_is_not_fitted_to(model: Sam) -> None:
    found = []
    for misleading in (0.0, 0.9):
        with MaskRecorder(model) as recorder:
            for seed in range(8):
                answer(model, seed)
                recorder.take([0.4] * 4 if seed < 4 else [misleading] * 4, weight=float(seed < 4))
        masks = recorder.read()
        start = {key: value.clone() for key, value in model.state_dict().items()}
        list(fit_scores(model, masks, epochs=3))
        found.append(model.mask_decoder.mask_quality.head.look.weight.clone())
        model.load_state_dict(start)
    assert masks.weight.tolist() == [1.0] * 4 + [0.0] * 4
    assert torch.equal(*found)


def test_a_fit_that_is_cancelled_leaves_the_model(model: Sam) -> None:
    masks, _ = record(model, range(4))
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    job = fit_scores(model, masks)
    for _ in range(3):
        next(job)
    job.close()
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())


def test_a_fit_follows_its_seed(model: Sam) -> None:
    masks, _ = record(model, range(4))
    start = {key: value.clone() for key, value in model.state_dict().items()}
    found = []
    for _ in range(2):
        model.load_state_dict(start)
        list(fit_scores(model, masks, epochs=3))
        found.append(model.mask_decoder.mask_quality.head.look.weight.clone())
    assert torch.equal(*found)


def test_a_decoder_that_does_not_look_has_nothing_to_fit() -> None:
    with pytest.raises(SamError, match="looks at its masks"):
        MaskRecorder(build_sam("vit_test"))
