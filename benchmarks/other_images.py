"""Single clicks and boxes on images of kinds that the bundled model never saw in training, or only drawn.

    python benchmarks/other_images.py [--model nuclei] [--images 6]

Coins: the photograph of scikit-image, against the outlines that its own tutorial finds (Sobel filter and
watershed). Synthetic microscopy: new images of each style of ``training.synthetic``, of seeds that training
does not reach. Each object is clicked once in its middle and once anywhere, then asked for by its box.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_fill_holes
from skimage.data import coins
from skimage.filters import sobel
from skimage.measure import label
from skimage.segmentation import watershed
from timing import print_table

import napari_sam as ns
from napari_sam.evaluation.simulated_user import first_click, random_click, read_objects, tight_box
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.training.dataset import NORMALIZED
from napari_sam.training.synthetic import STYLES, make_synthetic_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 987654321
SMALLEST = 50
"""Pixels; smaller objects of the synthetic images are not asked for."""


def outline_coins(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The coins as scikit-image's tutorial on segmentation finds them."""
    markers = np.zeros(image.shape, np.int32)
    markers[image < 30], markers[image > 150] = 1, 2
    parts = label(binary_fill_holes(watershed(sobel(image), markers) == 2))
    areas = np.bincount(parts.ravel())
    large = areas >= 500
    large[0] = False
    return label(large[parts]).astype(np.int32)


def main() -> None:
    """Print one row for each kind of image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--images", type=int, default=6, help="synthetic images of each style")
    args = parser.parse_args()
    model = ns.load_model(args.model)
    kinds = {"coins": [(coins(), outline_coins(coins()))]}
    for style in STYLES:
        seeds = [np.random.default_rng((n, SEED)) for n in range(args.images)]
        kinds[f"synthetic {style}"] = [make_synthetic_image(seed, 256, style) for seed in seeds]
    rows: list[list[object]] = []
    for kind, samples in kinds.items():
        found: dict[str, list[float]] = {"click": [], "anywhere": [], "best": [], "box": []}
        rng = np.random.default_rng(0)
        # Drawn images are normalised already, and measured again their colours would change.
        settings = EncodeSettings(limits=NORMALIZED if kind.startswith("synthetic") else None)
        for image, labels in samples:
            predictor = ns.CachedPredictor(model, settings=settings)
            for obj in read_objects(labels):
                if obj.area < SMALLEST:
                    continue
                prompts = ns.Prompts(points=[first_click(obj)])
                found["click"].append(predictor.predict(image, prompts).iou(obj))
                elsewhere = ns.Prompts(points=[random_click(obj, rng)])
                found["anywhere"].append(predictor.predict(image, elsewhere).iou(obj))
                found["best"].append(max(c.iou(obj) for c in predictor.predict_candidates(image, prompts)))
                found["box"].append(predictor.predict(image, ns.Prompts(box=tight_box(obj))).iou(obj))
        means = {key: f"{np.mean(values):.3f}" for key, values in found.items()}
        rows.append([kind, len(samples), len(found["click"]), *means.values()])
    columns = ["mean IoU, 1 click", "1 click anywhere", "best of all masks", "box"]
    print_table(["images", "number", "objects", *columns], rows)


if __name__ == "__main__":
    main()
