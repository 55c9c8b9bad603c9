"""Fit the head that predicts a mask's IoU, to answers about the images that a model was trained on.

    python benchmarks/fit_scores.py --data DIR --model trained.safetensors [--average start.safetensors]
        --out OUT.safetensors

With ``--average`` the weights are first set to the mean of theirs and those of the model that the training
started from (cf. Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). Then objects of the
``train`` split are boxed, clicked and corrected in whole images, and the head that predicts the IoU of a mask
is fitted to all masks of the answers (``training/score_fitting.py``; a quarter of an hour on one core). That
is not done on images that ``split_holdout`` takes out: what one click gives there, and the error of its
predicted IoU, is printed before and after. The last step of the bundled model's recipe, after
``napari-sam train``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from robustness import finish

import napari_sam as ns
from napari_sam.evaluation.clicks import evaluate_clicks, pool_clicks
from napari_sam.evaluation.simulated_user import first_click, next_click, read_objects, tight_box
from napari_sam.inference.checkpoints import LoadedModel, write_checkpoint
from napari_sam.inference.predictor import Predictor
from napari_sam.training.dataset import LabelledImage, read_labelled_images, split_holdout
from napari_sam.training.score_fitting import DescribedMasks, MaskRecorder, fit_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam.types import ObjectMask

OBJECTS = 24
"""Objects of an image that the head is fitted to, at most."""
CORRECTIONS = 2
"""Clicks after the first one, at most."""


def collect_masks(model: LoadedModel, images: Sequence[LabelledImage]) -> DescribedMasks:
    """Box, click and correct objects of whole images, and take down all masks of the answers."""
    with MaskRecorder(model.module) as recorder:
        for n, image in enumerate(images):
            for truth, masks in iter_answers(model, image, np.random.default_rng(n)):
                recorder.take([truth.iou(mask) for mask in masks])
            print(f"\r{n + 1} of {len(images)} images", end="", flush=True)
    print()
    return recorder.read()


def iter_answers(
    model: LoadedModel, image: LabelledImage, rng: np.random.Generator
) -> Iterator[tuple[ObjectMask, list[ObjectMask]]]:
    """Some of an image's objects with all masks of an answer about them, as it is given."""
    objects = read_objects(image.labels)
    if not objects:
        return
    embedding = ns.CachedPredictor(model).encode(image.pixels.astype(np.float32))
    predictor = Predictor(model)
    for i in rng.permutation(len(objects))[:OBJECTS]:
        truth = objects[i]
        yield truth, predictor.decode_candidates(embedding, [ns.Prompts(box=tight_box(truth))])[0]
        clicks, mask = {first_click(truth): 1}, None
        for _ in range(1 + int(rng.integers(CORRECTIONS + 1))):
            points, labels = np.array(list(clicks), np.float32), np.array(list(clicks.values()), np.int8)
            prompts = ns.Prompts(points=points, labels=labels, mask=mask)
            masks = predictor.decode_candidates(embedding, [prompts])[0]
            yield truth, masks
            mask = max(masks, key=lambda m: m.predicted_iou)
            click = next_click(truth, mask, clicks)
            if click is None:
                break
            clicks[click[0]] = click[1]


def average_weights(model: LoadedModel, other: LoadedModel) -> None:
    """Set a model's weights to the mean of its own and another one's, in place."""
    theirs = other.module.state_dict()
    with torch.no_grad():
        for key, value in model.module.state_dict().items():
            value.copy_((value.double() + theirs[key].double()) / 2)


def measure(model: LoadedModel, images: Sequence[LabelledImage]) -> str:
    """What one click in the middle of each object gives."""
    scores = pool_clicks(
        finish(
            evaluate_clicks(
                image.pixels.astype(np.float32),
                image.labels,
                ns.CachedPredictor(model),
                counts=(1,),
                max_clicks=1,
            )
        )
        for image in images
    )
    return f"1 click {scores.miou[1]:.3f}, error of the predicted IoU {scores.iou_mae:.3f}"


def main() -> None:
    """Collect, fit, measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--average", help="a model whose weights are averaged with those of --model first")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--holdout", type=float, default=0.1, help="fraction held out, as in training")
    args = parser.parse_args()
    trained, held = split_holdout(read_labelled_images(args.data), args.holdout)
    model = ns.load_model(args.model, "cpu")
    record = dict(model.record)
    if args.average:
        other = ns.load_model(args.average, "cpu")
        average_weights(model, other)
        record["averaged_with"] = other.sha256
    print("held-out images before:", measure(model, held))
    masks = collect_masks(model, trained)
    finish(fit_scores(model.module, masks))
    print("held-out images after: ", measure(model, held))
    record["scores_fitted_to"] = len(masks.scores)
    write_checkpoint(model.module, args.out, name=model.name, record=record, half=True)


if __name__ == "__main__":
    main()
