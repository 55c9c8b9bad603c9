"""The classical baseline: Otsu threshold and watershed of the distance transform, tuned on split ``train``.

    python benchmarks/otsu_watershed.py --data DIR [--json OUT]

``DIR`` holds ``index.csv`` (id, kind, split ...), ``images/ID.png`` and ``labels/ID.png``.

What counts as signal is decided image by image, without looking at the labels:

- *Coloured* images (mean saturation above 0.05) are stained tissue: the signal is either the haematoxylin
  channel (colour deconvolution, Ruifrok & Johnston 2001) or the inverted gray value; the tuning chooses.
- *Gray* images: nuclei are bright, unless the image's median lies nearer to its 99th than to its 1st
  percentile. Then the background is bright, nuclei are dark, and the image is inverted.

Smoothing, seed distance, smallest size and the channel are chosen by grid search for the best pooled
AP@0.5 on a seeded sample of ``train``, once for all images and once for each kind of image (which makes
the baseline stronger: a user knows what he images; the networks are told nothing).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.color import rgb2gray, rgb2hed, rgb2hsv
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.io import imread
from skimage.segmentation import watershed

from napari_sam.evaluation import LabelScores, bootstrap_ratio, evaluate_labels, pool_scores

CHANNELS = ("haematoxylin", "inverted gray")
SIGMAS = (0.5, 1.0, 2.0)  # px, before the threshold
MIN_DISTANCES = (3, 5, 8, 12)  # px, between seeds
MIN_AREAS = (15, 30, 60, 120)  # px, smaller objects are dropped


@dataclass(frozen=True, slots=True)
class Settings:
    channel: str
    sigma: float
    min_distance: int
    min_area: int


def read_signal(image: np.ndarray, channel: str) -> np.ndarray:
    """(H, W) float image in which nuclei should be bright."""
    if image.ndim == 3 and rgb2hsv(image[..., :3])[..., 1].mean() > 0.05:
        if channel == "haematoxylin":
            return rgb2hed(image[..., :3])[..., 0]
        return 1 - rgb2gray(image[..., :3])
    gray = rgb2gray(image[..., :3]) if image.ndim == 3 else image / 255
    low, middle, high = np.percentile(gray, (1, 50, 99))
    return 1 - gray if high - middle < middle - low else gray


def split_touching(smooth: np.ndarray, min_distance: int) -> np.ndarray:
    """(H, W) int32 labels: foreground by Otsu, one object per peak of its distance transform."""
    if smooth.min() == smooth.max():
        return np.zeros(smooth.shape, np.int32)
    foreground = ndimage.binary_fill_holes(smooth > threshold_otsu(smooth))
    # A little smoothing keeps the pixel grid from making two seeds of one round nucleus.
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(foreground), 1)
    components, _ = ndimage.label(foreground)
    peaks = peak_local_max(distance, min_distance=min_distance, labels=components, exclude_border=False)
    seeds = np.zeros(smooth.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, seeds, mask=foreground)


def drop_small(labels: np.ndarray, min_area: int) -> np.ndarray:
    areas = np.bincount(labels.ravel())
    return np.where(areas[labels] >= min_area, labels, 0)


def segment(image: np.ndarray, settings: Settings) -> np.ndarray:
    smooth = ndimage.gaussian_filter(read_signal(image, settings.channel), settings.sigma)
    return drop_small(split_touching(smooth, settings.min_distance), settings.min_area)


def score_grid(image: np.ndarray, true: np.ndarray) -> dict[Settings, LabelScores]:
    """Scores of all settings on one image; what settings share is computed once."""
    scores = {}
    signals: dict[str, np.ndarray] = {channel: read_signal(image, channel) for channel in CHANNELS}
    same = np.array_equal(*signals.values())
    for channel, sigma in itertools.product(CHANNELS[:1] if same else CHANNELS, SIGMAS):
        smooth = ndimage.gaussian_filter(signals[channel], sigma)
        for min_distance in MIN_DISTANCES:
            labels = split_touching(smooth, min_distance)
            for min_area in MIN_AREAS:
                score = evaluate_labels(true, drop_small(labels, min_area))
                for name in CHANNELS if same else (channel,):
                    scores[Settings(name, sigma, min_distance, min_area)] = score
    return scores


def sample_train(rows: list[dict[str, str]], count: int, seed: int) -> list[dict[str, str]]:
    """About ``count`` training images, a quarter of them of each rarer kind where there are so many."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row["split"] == "train":
            kinds.setdefault(row["kind"], []).append(row)
    chosen, left = [], count
    for number, (_, members) in enumerate(sorted(kinds.items(), key=lambda item: len(item[1]))):
        share = left if number == len(kinds) - 1 else count // 4
        picked = rng.permutation(len(members))[: min(share, len(members))]
        chosen += [members[i] for i in picked]
        left -= len(picked)
    return chosen


def describe(scores: list[LabelScores]) -> dict[str, list[float]]:
    """AP@0.5, AP@0.75 and mSA pooled over images, each with its 95% interval over images."""
    tp = np.array([score.true_positives for score in scores])  # (N, T)
    total = np.array([[score.n_true + score.n_predicted] for score in scores]) - tp
    thresholds = scores[0].thresholds
    columns = {
        "AP@0.5": [thresholds.index(0.5)],
        "AP@0.75": [thresholds.index(0.75)],
        "mSA": list(range(len(thresholds))),
    }
    result = {}
    for name, take in columns.items():
        estimate = bootstrap_ratio(tp[:, take], total[:, take])
        result[name] = [round(v, 4) for v in (estimate.value, estimate.low, estimate.high)]
    found, small = pool_scores(scores).recall_by_area(high=50)
    result["recall < 50 px"] = [round(found / small, 4) if small else float("nan")]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv, images/ and labels/")
    parser.add_argument("--tune", type=int, default=80, help="training images for the grid search")
    parser.add_argument("--seed", type=int, default=0, help="of the sample of training images")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()

    def read(row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
        folder = options.data
        return imread(folder / "images" / f"{row['id']}.png"), imread(folder / "labels" / f"{row['id']}.png")

    with (options.data / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    start = time.process_time()
    train = sample_train(rows, options.tune, options.seed)
    grids = [score_grid(*read(row)) for row in train]
    best: dict[str, Settings] = {}
    for kind in ["all", *sorted({row["kind"] for row in rows})]:
        group = [grid for grid, row in zip(grids, train, strict=True) if kind in ("all", row["kind"])]
        best[kind] = max(group[0], key=lambda s: pool_scores(grid[s] for grid in group).ap[0.5])
        score = pool_scores(grid[best[kind]] for grid in group).ap[0.5]
        print(f"tuned on {len(group):3d} train images, {kind:12s} AP@0.5 {score:.3f}  {best[kind]}")
    print(f"tuning took {time.process_time() - start:.0f} CPU seconds\n")

    test = [row for row in rows if row["split"] == "test"]
    report: dict[str, dict[str, dict[str, list[float]]]] = {}
    seconds = []
    for tuning in ("one setting for all", "one setting per kind"):
        scores: dict[str, list[LabelScores]] = {}
        for row in test:
            image, true = read(row)
            settings = best["all" if tuning == "one setting for all" else row["kind"]]
            begin = time.perf_counter()
            labels = segment(image, settings)
            seconds.append(time.perf_counter() - begin)
            score = evaluate_labels(true, labels)
            scores.setdefault(row["kind"], []).append(score)
            scores.setdefault("all", []).append(score)
        report[tuning] = {kind: describe(scores[kind]) for kind in sorted(scores)}
        print(f"{tuning}, split test, pooled [95% interval over images]")
        for kind, numbers in report[tuning].items():
            cells = [
                f"{name} {v[0]:.3f}" + (f" [{v[1]:.3f}, {v[2]:.3f}]" if v[1:] else "")
                for name, v in numbers.items()
            ]
            print(f"  {kind:12s} n={len(scores[kind]):3d}  " + "  ".join(cells))
    print(f"\nmedian {1000 * np.median(seconds):.0f} ms per image")
    if options.json:
        tuned = {kind: asdict(settings) for kind, settings in best.items()}
        options.json.write_text(json.dumps({"settings": tuned, "test": report}, indent=1))


if __name__ == "__main__":
    main()
