"""Accuracy of the grid method in its modes on images held out from training, and its thresholds.

    python benchmarks/grid_quality.py --data DIR [--model nuclei] [--limit 40] [--tune]
    python benchmarks/grid_quality.py --data DIR --split test --modes fast "every point"

Reads what ``split_holdout`` holds out of the ``train`` split, or with ``--split`` another split, which is
never tuned on. The modes: fast; every point of
the grid with the same thresholds; exact, the original procedure with its own. ``--tune`` then searches for
better thresholds of the fast mode among its candidates, which are found once.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from threshold_search import search_thresholds
from timing import print_table

import napari_sam as ns
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.evaluation.matching import LabelScores, evaluate_labels, pool_scores
from napari_sam.inference.candidates import Candidates, FilterParams, draw_candidates, filter_candidates
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.segment_image import filter_defaults, iter_candidates
from napari_sam.training.dataset import NORMALIZED, split_holdout

MODES: dict[str, dict[str, Any]] = {"fast": {}, "every point": {"skip": False}, "exact": {"exact": True}}
CHOICES: dict[str, tuple[float, ...]] = {
    "predicted_iou": (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8),
    "stability": (0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    "foreground": (0.0, 0.5, 0.6, 0.7, 0.8, 0.85),
    "nms_iou": (0.2, 0.3, 0.4, 0.5, 0.6),
    "containment": (0.6, 0.75, 0.9, 1.0),
    "min_area": (8, 12, 20, 30),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--holdout", type=float, default=0.1, help="fraction held out, as in training")
    parser.add_argument("--split", help="all images of this split, for a report")
    parser.add_argument("--limit", type=int, default=1000, help="most images")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--tune", action="store_true")
    args = parser.parse_args()
    if args.split and args.tune:
        parser.error("thresholds are tuned on held-out images of the train split only: leave --split away")
    if args.split:
        held = read_labelled_images(args.data, args.split)
    else:
        _, held = split_holdout(read_labelled_images(args.data), args.holdout)
    held = held[:: max(1, len(held) // args.limit)][: args.limit]
    settings = EncodeSettings(limits=NORMALIZED)
    predictor = ns.CachedPredictor(ns.load_model(args.model, "cpu"), memory_bytes=4 << 30, settings=settings)
    asked = 0
    original = predictor.predictor.iter_logits

    def count(embedding: Any, prompts: Any) -> Any:
        nonlocal asked
        asked += len(prompts)
        return original(embedding, prompts)

    predictor.predictor.iter_logits = count  # type: ignore[method-assign]
    rows, found = [], {}
    for image in held:
        predictor.encode(image.pixels.astype(np.float32))
    for mode in args.modes:
        asked, start = 0, time.process_time()
        found[mode] = [_run(image.pixels.astype(np.float32), predictor, MODES[mode]) for image in held]
        seconds = time.process_time() - start
        params = filter_defaults(predictor, "grid", **MODES[mode])
        scores = pool_scores(_score(held, found[mode], params))
        rows.append(
            [mode, asked / len(held), seconds / len(held), scores.ap[0.5], scores.ap[0.75], scores.msa]
        )
    count = sum(int(image.labels.max()) for image in held)
    print(f"{len(held)} {args.split or 'held-out'} images, {count} objects, model {args.model}")
    print_table(["mode", "decodes", "CPU s", "AP@0.5", "AP@0.75", "mSA"], rows)
    if args.tune:
        _tune(held, found["fast"], filter_defaults(predictor, "grid"))


def _run(image: np.ndarray, predictor: ns.CachedPredictor, options: dict[str, Any]) -> Candidates:
    job = iter_candidates(image, predictor, "grid", **options)
    while True:
        try:
            next(job)
        except StopIteration as end:
            found: Candidates = end.value
            return found


def _score(held: Any, found: list[Candidates], params: FilterParams) -> list[LabelScores]:
    return [
        evaluate_labels(image.labels, draw_candidates(c, filter_candidates(c, params)))
        for image, c in zip(held, found, strict=True)
    ]


def _tune(held: Any, found: list[Candidates], start: FilterParams) -> None:
    def score(params: FilterParams) -> tuple[float, str]:
        pooled = pool_scores(_score(held, found, params))
        return float(pooled.ap[0.5] + pooled.msa) / 2, ""

    search_thresholds(start, CHOICES, score)


if __name__ == "__main__":
    main()
