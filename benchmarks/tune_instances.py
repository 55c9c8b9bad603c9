"""Choose the thresholds of the instance method on images held out from training.

    python benchmarks/tune_instances.py --data DIR --model nuclei

Reads the ``train`` split only, and of it only what ``split_holdout`` holds out. Prints the best settings by
the mean of pooled AP at IoU 0.5 and mSA over the kinds of image, and what each step away costs, in objects
under 50 pixels as well: what is best by AP may drop the smallest. ``--trained 120`` looks at so many of the
images that were trained on too, apart, to tell a gain from chance.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threshold_search import search_thresholds

import napari_sam as ns
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.evaluation.matching import LabelScores, evaluate_labels, pool_scores
from napari_sam.inference.candidates import Candidates, draw_candidates, filter_candidates
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.filter_params import FILTER_DEFAULTS
from napari_sam.inference.instance_candidates import read_instances
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.training.dataset import NORMALIZED, LabelledImage, split_holdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.inference.checkpoints import LoadedModel

CHOICES: dict[str, tuple[float, ...]] = {
    "foreground": (0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    "vote_sigma": (1.5, 2.0, 2.5, 3.0),
    "vote_peak": (0.5, 0.65, 0.75, 1.0),  # above, objects of 30 pixels would be lost in frames not enlarged
    "merge_distance": (0.3, 0.5, 0.7, 0.9),
    "score": (0.75, 0.8, 0.83, 0.85, 0.87),
    "min_area": (8, 12, 16, 20),
}

SMALL = 50  # pixels


def main() -> None:
    """Search one parameter after the other, twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--holdout", type=float, default=0.1, help="fraction held out, as in training")
    parser.add_argument("--trained", type=int, default=0, help="images of those trained on to compare with")
    args = parser.parse_args()
    trained, held = split_holdout(read_labelled_images(args.data), args.holdout)
    model = ns.load_model(args.model, "cpu")
    print("held-out images")
    start = InstanceParams()
    best = search_thresholds(start, CHOICES, LookedAt(model, held).score)
    if args.trained:
        chosen = np.random.default_rng(0).permutation(len(trained))[: args.trained]
        images = LookedAt(model, [trained[i] for i in sorted(chosen)])
        print(f"{len(chosen)} images that were trained on")
        for name, params in (("start", start), ("best", best)):
            overall, said = images.score(params)
            print(f"{name} {overall:.4f} {said}")


class LookedAt:
    """Images with their maps, from which objects are read with any thresholds."""

    def __init__(self, model: LoadedModel, images: Sequence[LabelledImage]) -> None:
        settings = EncodeSettings(limits=NORMALIZED)
        predictor = ns.CachedPredictor(model, memory_bytes=0, settings=settings)
        self.model, self.images = model, images
        self.embeddings = [predictor.encode(image.pixels.astype(np.float32)) for image in images]
        self.read: dict[InstanceParams, list[Candidates]] = {}  # by what decides which candidates there are

    def score(self, params: InstanceParams) -> tuple[float, str]:
        """The mean over the kinds of image, and AP at IoU 0.5 and mSA of each, and small objects found."""
        asked = replace(params, score=0.0, min_area=1)
        if asked not in self.read:
            self.read.clear()
            self.read[asked] = [read_instances(self.model, e, asked) for e in self.embeddings]
        filters = replace(FILTER_DEFAULTS["instances"], foreground=params.score, min_area=params.min_area)
        found: dict[str, list[LabelScores]] = {}
        for image, candidates in zip(self.images, self.read[asked], strict=True):
            labels = draw_candidates(candidates, filter_candidates(candidates, filters))
            found.setdefault(image.group, []).append(evaluate_labels(image.labels, labels))
        pooled = {kind: pool_scores(results) for kind, results in found.items()}
        means = {kind: (scores.ap[0.5], scores.msa) for kind, scores in pooled.items()}
        weights = np.array([len(values) ** 0.5 for values in found.values()])
        overall = np.average([np.mean(m) for m in means.values()], weights=weights)
        hits, total = np.sum([scores.recall_by_area(0, SMALL) for scores in pooled.values()], axis=0)
        kinds = ", ".join(f"{kind} AP@0.5 {ap:.3f} mSA {msa:.3f}" for kind, (ap, msa) in means.items())
        return float(overall), f"({kinds}; of objects < {SMALL} px {hits / max(total, 1):.3f})"


if __name__ == "__main__":
    main()
