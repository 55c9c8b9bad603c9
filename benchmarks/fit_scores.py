"""Fit the head that predicts a mask's IoU, to answers about the images that a model was trained on.

    python benchmarks/fit_scores.py --data DIR --model trained.safetensors [--average start.safetensors]
        --out OUT.safetensors

With ``--average`` the weights are first set to the mean of theirs and those of the model that the training
started from (cf. Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). Then objects of the
``train`` split are boxed, clicked and corrected in whole images, in their middle and elsewhere, and the head
that predicts the IoU of a mask is fitted to all masks of the answers (``training/score_fitting.py``; twenty
minutes on two cores). That is not done on images that ``split_holdout`` takes out: what one click gives
there, and the error of its predicted IoU, is printed before and after. The last step of the bundled model's
recipe, after ``napari-sam train``.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from robustness import finish

import napari_sam as ns
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.evaluation.clicks import evaluate_clicks, pool_clicks
from napari_sam.evaluation.simulated_user import (
    first_click,
    next_click,
    random_click,
    read_objects,
    tight_box,
)
from napari_sam.inference.ambiguity import choose_best
from napari_sam.inference.checkpoints import LoadedModel, write_checkpoint
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.predictor import Predictor
from napari_sam.training.dataset import NORMALIZED, LabelledImage, split_holdout
from napari_sam.training.score_fitting import DescribedMasks, MaskRecorder, fit_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.embedding import ImageEmbedding
    from napari_sam.types import ObjectMask

SETTINGS = EncodeSettings(limits=NORMALIZED)
OBJECTS = 24
"""Objects of an image that the head is fitted to, at most."""
BOX, MIDDLE, INSIDE, ANYWHERE, CORRECTED = 0.5, 1.0, 0.7, 0.3, 0.5
"""What an answer counts: to a box, to a click in the middle of the object, to one rather inside than at the
rim, to one anywhere in it, and to a click in the middle with the correction of its answer."""
TURNS = (0, 1)
"""Quarter turns: each image is asked about as it is, and turned and mirrored."""

_model: LoadedModel


def collect_masks(path: Path, images: Sequence[LabelledImage], processes: int) -> DescribedMasks:
    """Box, click and correct objects of whole images, and take down all masks of the answers."""
    tasks = [(image, turn) for image in images for turn in TURNS]
    found = []
    with ProcessPoolExecutor(processes, mp.get_context("spawn"), start_worker, (path,)) as pool:
        for n, columns in enumerate(pool.map(describe_image, tasks)):
            found += [columns] if columns else []
            print(f"\r{n + 1} of {len(tasks)} images", end="", flush=True)
    print()
    return DescribedMasks(*(torch.from_numpy(np.concatenate(column)) for column in zip(*found, strict=True)))


def start_worker(path: Path) -> None:
    """Load the model in a process of its own."""
    global _model
    torch.set_num_threads(1)
    _model = ns.load_model(path, "cpu")


def describe_image(task: tuple[LabelledImage, int]) -> list[NDArray[np.float32]] | None:
    """The columns of ``DescribedMasks`` for an image; None where there is no object."""
    image, turn = task
    pixels, labels = np.rot90(image.pixels, turn), np.rot90(image.labels, turn)
    if turn:
        pixels, labels = pixels[::-1], labels[::-1]
    objects = read_objects(np.ascontiguousarray(labels))
    if not objects:
        return None
    rng = np.random.default_rng((turn, *image.name.encode()))
    embedding = ns.CachedPredictor(_model, settings=SETTINGS).encode(np.ascontiguousarray(pixels, np.float32))
    with MaskRecorder(_model.module) as recorder:
        for i in rng.permutation(len(objects))[:OBJECTS]:
            for masks, weight in iter_answers(Predictor(_model), embedding, objects[i], rng):
                recorder.take([objects[i].iou(mask) for mask in masks], weight)
        described = recorder.read()
    columns = described.features, described.scores, described.actual, described.weight
    return [column.numpy() for column in columns]


def iter_answers(
    predictor: Predictor, embedding: ImageEmbedding, truth: ObjectMask, rng: np.random.Generator
) -> Iterator[tuple[list[ObjectMask], float]]:
    """All masks of each answer about an object as it is given, and what the answer counts."""

    def ask(prompts: ns.Prompts) -> list[ObjectMask]:
        return predictor.decode_candidates(embedding, [prompts])[0]

    yield ask(ns.Prompts(box=tight_box(truth))), BOX
    for depth, weight in ((1.0, INSIDE), (0.0, ANYWHERE)):
        yield ask(ns.Prompts(points=np.array([random_click(truth, rng, depth)], np.float32))), weight
    first = first_click(truth)
    prompts = ns.Prompts(points=np.array([first], np.float32))
    masks = ask(prompts)
    yield masks, MIDDLE
    mask = choose_best(masks, prompts)
    click = next_click(truth, mask, {first: 1})
    if click is not None:
        place, label = click
        points, labels = np.array([first, place], np.float32), np.array([1, label], np.int8)
        yield ask(ns.Prompts(points=points, labels=labels, mask=mask)), CORRECTED


def average_weights(model: LoadedModel, other: LoadedModel) -> None:
    """Set a model's weights to the mean of its own and another one's, in place."""
    theirs = other.module.state_dict()
    with torch.no_grad():
        for key, value in model.module.state_dict().items():
            value.copy_((value.double() + theirs[key].double()) / 2)


def measure(model: LoadedModel, images: Sequence[LabelledImage]) -> str:
    """What one click on each object gives."""
    scores = pool_clicks(
        finish(
            evaluate_clicks(
                image.pixels.astype(np.float32),
                image.labels,
                ns.CachedPredictor(model, settings=SETTINGS),
                counts=(1,),
                max_clicks=1,
            )
        )
        for image in images
    )
    return (
        f"1 click {scores.miou[1]:.3f}, anywhere in the object {scores.anywhere_miou:.3f}, "
        f"error of the predicted IoU {scores.iou_mae:.3f}"
    )


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
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    trained, held = split_holdout(read_labelled_images(args.data), args.holdout)
    model = ns.load_model(args.model, "cpu")
    record = dict(model.record)
    if args.average:
        other = ns.load_model(args.average, "cpu")
        average_weights(model, other)
        record["averaged_with"] = other.sha256
    print("held-out images before:", measure(model, held))
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.safetensors"
        write_checkpoint(model.module, asked, name=model.name, record=record)
        masks = collect_masks(asked, trained, args.processes)
    finish(fit_scores(model.module, masks))
    record["scores_fitted_to"] = len(masks.scores)
    write_checkpoint(model.module, args.out, name=model.name, record=record, half=True)
    print("held-out images after: ", measure(ns.load_model(args.out, "cpu"), held))


if __name__ == "__main__":
    main()
