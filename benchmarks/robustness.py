"""How accuracy stands changes of the image that should not matter, and objects of other sizes.

    python benchmarks/robustness.py --data DIR [--model nuclei] [--split test] [--kind histology] [--limit 30]

Every row changes the same images in one way: 16-bit and float ranges, inversion, low contrast, hot pixels,
turns by 90 degrees, noise, blur, uneven light, gray instead of colour; then images rescaled so that the
median object has a given diameter, once with the automatic scale and once with the object size set to it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from skimage.transform import resize

import napari_sam as ns
from napari_sam.cli.evaluate import pair_samples
from napari_sam.evaluation.clicks import evaluate_clicks, pool_clicks
from napari_sam.evaluation.matching import evaluate_labels, pool_scores
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.segment_image import iter_segment_image
from napari_sam.stacks.image_io import read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Callable

Image = np.ndarray[Any, Any]
DIAMETERS = (8, 16, 32, 64, 100, 150)
LARGEST = 1536
"""Rescaled images are cropped to this side."""


def main() -> None:
    """Print one row per change."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--split", default="test")
    parser.add_argument("--kind", help="only images of this kind, by the index")
    parser.add_argument("--limit", type=int, help="only so many images, evenly spread")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--sizes", action="store_true", help="only the rescaled images")
    rows.add_argument("--changes", action="store_true", help="only the images at their own scale")
    args = parser.parse_args()
    options = argparse.Namespace(
        images=args.data / "images",
        labels=args.data / "labels",
        index=args.data / "index.csv",
        split=args.split,
        group="kind",
        limit=None,
    )
    chosen = [s for s in pair_samples(options) if args.kind in (None, s.group)]
    if not chosen:
        parser.error(f"Expected images of the kind {args.kind!r}, got none.")
    count = min(args.limit or len(chosen), len(chosen))
    chosen = [chosen[i * len(chosen) // count] for i in range(count)]
    samples = [(read_image(s.image).data, read_labels(s.labels), s.name) for s in chosen]
    model = ns.load_model(args.model)
    print("| image | 1 click | 1 click anywhere | box | AP@0.5 | mSA |\n|---|---|---|---|---|---|")
    for name, change in {} if args.sizes else CHANGES.items():
        report(name, [(*change(image, labels, seed(n)), None) for image, labels, n in samples], model)
    for diameter in () if args.changes else DIAMETERS:
        scaled = [rescale(image, labels, diameter) for image, labels, _ in samples]
        report(f"{diameter} px objects", [(*pair, None) for pair in scaled], model)
        report(f"{diameter} px objects, size set", [(*pair, float(diameter)) for pair in scaled], model)


def report(name: str, samples: list[tuple[Image, Image, float | None]], model: ns.LoadedModel) -> None:
    """Measure and print a row."""
    clicks, scores = [], []
    for image, labels, size in samples:
        predictor = ns.CachedPredictor(model, settings=EncodeSettings(object_size=size))
        clicks.append(finish(evaluate_clicks(image, labels, predictor, counts=(1,), max_clicks=1)))
        scores.append(evaluate_labels(labels, finish(iter_segment_image(image, predictor))))
    pooled, matched = pool_clicks(clicks), pool_scores(scores)
    numbers = (pooled.miou[1], pooled.anywhere_miou, pooled.box_miou, matched.ap[0.5], matched.msa)
    print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in numbers) + " |", flush=True)


def finish(job: Any) -> Any:
    """Run a job to its end."""
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


def seed(name: str) -> np.random.Generator:
    """Random numbers that depend on the image alone."""
    return np.random.default_rng(list(name.encode()))


def median_diameter(labels: Image) -> float:
    """Of the objects, in pixels."""
    areas = np.bincount(labels.ravel())[1:]
    return 2 * float(np.sqrt(np.median(areas[areas > 0]) / np.pi))


def rescale(image: Image, labels: Image, diameter: float) -> tuple[Image, Image]:
    """The image at a scale at which its median object has this diameter."""
    factor = diameter / median_diameter(labels)
    side = int(LARGEST / factor)
    image, labels = image[:side, :side], labels[:side, :side]
    shape = tuple(max(8, round(n * factor)) for n in labels.shape)
    smooth = resize(image, (*shape, *image.shape[2:]), order=1, anti_aliasing=factor < 1, preserve_range=True)
    rows, cols = (
        ((np.arange(m) + 0.5) * n / m).astype(int) for m, n in zip(shape, labels.shape, strict=True)
    )
    return smooth.astype(image.dtype), labels[np.ix_(rows, cols)]


def _pixels(change: Callable[[Image, np.random.Generator], Image]) -> Callable[..., tuple[Image, Image]]:
    return lambda image, labels, rng: (change(image, rng), labels)


def _hot(image: Image, rng: np.random.Generator) -> Image:
    out = image.astype(np.uint16) * 16
    out[rng.random(image.shape[:2]) < 2e-4] = 65535
    return out


def _uneven(image: Image, rng: np.random.Generator) -> Image:
    field = zoom(rng.uniform(0.4, 1.0, (3, 3)), np.array(image.shape[:2]) / 3, order=1)
    field = field[: image.shape[0], : image.shape[1]]
    return (image * (field if image.ndim == 2 else field[..., None])).astype(image.dtype)


def _noisy(image: Image, rng: np.random.Generator) -> Image:
    low, high = np.percentile(image, (1, 99.8))
    return np.clip(image + rng.normal(0, 0.08 * (high - low), image.shape), 0, 255).astype(image.dtype)


def _blurred(image: Image, _: np.random.Generator) -> Image:
    return gaussian_filter(image, (1.5, 1.5, 0)[: image.ndim])


def _low_contrast(image: Image, _: np.random.Generator) -> Image:
    return (image * 0.1 + 40).round().astype(image.dtype)


CHANGES: dict[str, Callable[[Image, Image, np.random.Generator], tuple[Image, Image]]] = {
    "as it is": _pixels(lambda image, _: image),
    "16-bit, offset 1000": _pixels(lambda image, _: image.astype(np.uint16) * 150 + 1000),
    "float64, -1 to 1": _pixels(lambda image, _: image / 127.5 - 1),
    "inverted": _pixels(lambda image, _: 255 - image),
    "a tenth of the contrast": _pixels(_low_contrast),
    "hot pixels (2 in 10,000)": _pixels(_hot),
    "noise (8 %)": _pixels(_noisy),
    "blur (1.5 px)": _pixels(_blurred),
    "uneven light": _pixels(_uneven),
    "gray instead of colour": _pixels(lambda i, _: i[..., :3].mean(-1) if i.ndim == 3 else i),
    "turned by 90 degrees": lambda image, labels, _: (np.rot90(image).copy(), np.rot90(labels).copy()),
    "turned by 180 degrees": lambda i, labels, _: (np.rot90(i, 2).copy(), np.rot90(labels, 2).copy()),
    "mirrored": lambda image, labels, _: (image[:, ::-1].copy(), labels[:, ::-1].copy()),
}


if __name__ == "__main__":
    main()
