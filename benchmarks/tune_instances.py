"""Choose the thresholds of the instance method on images held out from training.

    python benchmarks/tune_instances.py --data DIR --model nuclei

Reads the ``train`` split only, and of it only what ``split_holdout`` holds out. Prints the best
settings by the mean of pooled AP at IoU 0.5 and mSA over the kinds of image, and what each step away costs.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import napari_sam as ns
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.evaluation.matching import LabelScores, evaluate_labels, pool_scores
from napari_sam.inference.candidates import Candidates, draw_candidates, filter_candidates
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.filter_params import FILTER_DEFAULTS
from napari_sam.inference.instance_candidates import read_instances
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.training.dataset import NORMALIZED, split_holdout

CHOICES: dict[str, tuple[float, ...]] = {
    "foreground": (0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    "vote_sigma": (1.5, 2.0, 2.5, 3.0),
    "vote_peak": (0.5, 0.65, 0.75, 1.0),  # above, objects of 30 pixels would be lost in frames not enlarged
    "merge_distance": (0.3, 0.5, 0.7, 0.9),
    "score": (0.75, 0.8, 0.83, 0.86, 0.88),
    "min_area": (8, 12, 20),
}


def main() -> None:
    """Search one parameter after the other, twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--holdout", type=float, default=0.1, help="fraction held out, as in training")
    args = parser.parse_args()
    _, held = split_holdout(read_labelled_images(args.data), args.holdout)
    settings = EncodeSettings(limits=NORMALIZED)
    model = ns.load_model(args.model, "cpu")
    predictor = ns.CachedPredictor(model, memory_bytes=0, settings=settings)
    embeddings = [predictor.encode(image.pixels.astype(np.float32)) for image in held]
    read: dict[InstanceParams, list[Candidates]] = {}  # by what decides which candidates there are

    def score(params: InstanceParams) -> tuple[float, dict[str, tuple[float, float]]]:
        found: dict[str, list[LabelScores]] = {}
        asked = replace(params, score=0.0, min_area=1)
        if asked not in read:
            read.clear()
            read[asked] = [read_instances(model, embedding, asked) for embedding in embeddings]
        filters = replace(FILTER_DEFAULTS["instances"], foreground=params.score, min_area=params.min_area)
        for image, candidates in zip(held, read[asked], strict=True):
            labels = draw_candidates(candidates, filter_candidates(candidates, filters))
            found.setdefault(image.group, []).append(evaluate_labels(image.labels, labels))
        pooled = {kind: pool_scores(results) for kind, results in found.items()}
        means = {kind: (scores.ap[0.5], scores.msa) for kind, scores in pooled.items()}
        weights = np.array([len(values) ** 0.5 for values in found.values()])
        overall = np.average([np.mean(m) for m in means.values()], weights=weights)
        return float(overall), means

    best = InstanceParams()
    best_score, means = score(best)
    print(f"start {best_score:.4f} {_show(means)}")
    for _ in range(2):
        for name, values in CHOICES.items():
            for value in values:
                if value == getattr(best, name):
                    continue
                trial = replace(best, **{name: value})
                got, detail = score(trial)
                print(f"  {name} {value}: {got:.4f}")
                if got > best_score:
                    best, best_score, means = trial, got, detail
    print(f"best {best_score:.4f} {_show(means)}\n{asdict(best)}")


def _show(means: dict[str, tuple[float, float]]) -> str:
    return ", ".join(f"{kind} AP@0.5 {ap:.3f} mSA {msa:.3f}" for kind, (ap, msa) in means.items())


if __name__ == "__main__":
    main()
