"""Small nuclei on a large plane: at one look, left to the model, with their size set, and each image alone.

    python benchmarks/mosaics.py --data DIR [--mosaics 4] [--model nuclei]

Sixteen fluorescence images of 256 x 256 pixels whose median nucleus is smaller than 14 pixels, of the
``train`` split, in their order of size, are laid side by side, each stretched to one range. As large as they
should be shown they do not fit into one frame together: at one look they are shown smaller.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from robustness import median_diameter

import napari_sam as ns
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.evaluation.matching import LabelScores, evaluate_labels, pool_scores
from napari_sam.inference.candidates import draw_candidates, filter_candidates
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.instance_candidates import read_instances
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.inference.segment_image import filter_defaults

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE, SMALL, ROW = 256, 14.0, 4
SMALLEST = 50  # pixels


def main() -> None:
    """Segment all four and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--mosaics", type=int, default=4)
    args = parser.parse_args()
    model = ns.load_model(args.model, "cpu")
    chosen = [
        (median_diameter(image.labels), stretch(image.pixels), image.labels)
        for image in read_labelled_images(args.data)
        if image.group == "fluo" and image.labels.shape == (SIDE, SIDE) and image.labels.any()
    ]
    chosen = sorted((item for item in chosen if item[0] < SMALL), key=lambda item: item[0])
    step = max(ROW * ROW, len(chosen) // args.mosaics)
    found: dict[str, list[LabelScores]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for start in range(0, len(chosen) - ROW * ROW + 1, step):
        tiles = chosen[start : start + ROW * ROW]
        pixels = np.block([[image for _, image, _ in tiles[i : i + ROW]] for i in range(0, len(tiles), ROW)])
        truth = join_labels([labels for _, _, labels in tiles])
        size = float(np.median([diameter for diameter, _, _ in tiles]))
        planes = {
            "at one look": [(pixels, truth, None)],
            "left to the model": [(pixels, truth, None)],
            "size set": [(pixels, truth, size)],
            "each image alone": [(image, labels, None) for _, image, labels in tiles],
        }
        for name, asked in planes.items():
            segment = segment_at_one_look if name == "at one look" else ns.segment_image
            begun = time.perf_counter()
            for image, labels, object_size in asked:
                settings = EncodeSettings(limits=((0.0, 1.0),), object_size=object_size)
                predictor = ns.CachedPredictor(model, memory_bytes=0, settings=settings)
                found[name].append(evaluate_labels(labels, segment(image, predictor)))
            seconds[name] += time.perf_counter() - begun
    print("| | AP@0.5 | AP@0.75 | mSA | found of < 50 px | s a mosaic |\n|---|---|---|---|---|---|")
    for name, results in found.items():
        scores = pool_scores(results)
        hits, total = scores.recall_by_area(0, SMALLEST)
        took = seconds[name] / len(found["size set"])
        values = f"{scores.ap[0.5]:.3f} | {scores.ap[0.75]:.3f} | {scores.msa:.3f} | {hits} of {total}"
        print(f"| {name} | {values} | {took:.1f} |")


def segment_at_one_look(image: NDArray[np.float32], predictor: ns.CachedPredictor) -> NDArray[np.int32]:
    """Label the objects that one embedding of the whole image shows, at the scale that was found for it."""
    candidates = read_instances(predictor.model, predictor.encode(image), InstanceParams())
    return draw_candidates(candidates, filter_candidates(candidates, filter_defaults(predictor)))


def stretch(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Gray values, the 1st and 99.8th percentile at 0 and 1."""
    gray = pixels.astype(np.float32)
    gray = gray.mean(axis=2) if gray.ndim == 3 else gray
    low, high = np.percentile(gray, [1, 99.8])
    stretched: NDArray[np.float32] = (gray - low) / max(high - low, 1e-6)
    return stretched


def join_labels(tiles: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Tiles side by side; no two objects share a label."""
    ends = np.cumsum([0, *(int(labels.max()) for labels in tiles)])
    moved = [np.where(labels > 0, labels + end, 0) for labels, end in zip(tiles, ends, strict=False)]
    return np.block([moved[i : i + ROW] for i in range(0, len(moved), ROW)]).astype(np.int32)


if __name__ == "__main__":
    main()
