"""Makes the pictures of the README and the model card, from the sample images and synthetic ones.

    python scripts/make_figures.py [--model nuclei]

writes docs/images/samples.png: each sample with the outlines of the automatic segmentation (left) and
of single clicks (right, the click as a cross); docs/images/synthetic.png: one row for each style of
synthetic images, as they are and with the outlines of single clicks (yellow) and of the truth (blue); no
training run sees these; docs/images/failures.png: single clicks that went wrong on such images; and
docs/images/training.png: the losses that the checkpoint's record holds, a line where a run goes on from
another (needs matplotlib).
docs/images/window.png is made by ``scripts/demo.py --screenshot docs/images/window.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from skimage.measure import regionprops
from skimage.segmentation import find_boundaries
from skimage.transform import resize

import napari_sam as ns
from napari_sam import sample_data
from napari_sam.evaluation.simulated_user import first_click, read_objects
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.transforms import measure_normalization
from napari_sam.training.dataset import NORMALIZED
from napari_sam.training.synthetic import STYLES, make_synthetic_image

SIDE = 300
LOADERS = ("nuclei_2d", "stained_tissue", "immunohistochemistry", "cell", "coins")
CLICKS = {  # (row, col) as fractions of the image
    "nuclei_2d": None,  # the middle of the largest objects found
    "stained_tissue": None,
    "immunohistochemistry": None,
    "cell": ((0.56, 0.78),),
    "coins": ((0.18, 0.14), (0.42, 0.4), (0.66, 0.55), (0.87, 0.84)),
}


def main() -> None:
    """Segment every sample and write one picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    predictor = ns.CachedPredictor(ns.load_model(args.model))
    rows = []
    for name in LOADERS:
        image, _, _ = getattr(sample_data, f"load_{name}")()[0]
        labels = ns.segment_image(image, predictor)
        clicks = choose_clicks(labels, CLICKS[name])
        objects = predictor.predict_many(image, [ns.Prompts(points=[p]) for p in clicks])
        outlined = np.zeros(image.shape[:2], np.int32)
        for number, obj in enumerate(objects, 1):
            outlined[obj.slices][obj.mask] = number
        left, right = draw(image, labels), draw(image, outlined, clicks)
        rows.append(np.concatenate([left, right], axis=1))
        print(f"{name}: {labels.max()} objects; clicks {[round(o.predicted_iou, 2) for o in objects]}")
    args.out.mkdir(parents=True, exist_ok=True)
    iio.imwrite(args.out / "samples.png", np.concatenate(rows))
    drawn = predictor.with_settings(EncodeSettings(limits=NORMALIZED))
    iio.imwrite(args.out / "synthetic.png", draw_styles(drawn))
    iio.imwrite(args.out / "failures.png", draw_failures(drawn))
    plot_curve(predictor.model, args.out / "training.png")


def draw_styles(predictor: ns.CachedPredictor, side: int = 192, columns: int = 2) -> Any:
    """Rows of synthetic images, each as it is and beside it with single clicks on all its larger objects."""
    rows = []
    for style in STYLES:
        row = []
        for n in range(columns):
            pixels, labels = make_synthetic_image(np.random.default_rng((n, 987654321)), side, style)
            objects = {obj.label: obj for obj in regionprops(labels) if obj.area >= 50}
            clicks = [tuple(o.coords[len(o.coords) // 2].astype(float)) for o in objects.values()]
            found = predictor.predict_many(pixels, [ns.Prompts(points=[click]) for click in clicks])
            ious = [
                obj.iou(ns.ObjectMask(o.image, o.bbox[:2]))
                for obj, o in zip(found, objects.values(), strict=True)
            ]
            shown = pixels.copy()
            shown[find_boundaries(labels, mode="inner")] = (0.2, 0.5, 1.0)
            for obj in found:
                mask = np.zeros(labels.shape, bool)
                mask[obj.slices] = obj.mask
                shown[find_boundaries(mask, mode="inner")] = (1.0, 0.85, 0.1)
            row += [pixels, shown]
            print(f"{style}: mean IoU of {len(ious)} single clicks {np.mean(ious):.2f}")
        rows.append(np.concatenate(row, axis=1))
    return (np.concatenate(rows) * 255).astype(np.uint8)


def draw_failures(predictor: ns.CachedPredictor, images: int = 4, shown: int = 10, side: int = 96) -> Any:
    """Two rows of objects whose single click was answered worst, at most two a style, each in its middle."""
    found = []
    for style in STYLES:
        cases = []
        for n in range(images):
            pixels, labels = make_synthetic_image(np.random.default_rng((n, 192837465)), 256, style)
            for obj in read_objects(labels):
                (row, col), enough = first_click(obj), obj.area >= 150
                if enough and all(side // 2 <= v < 256 - side // 2 for v in (row, col)):
                    answer = predictor.predict(pixels, ns.Prompts(points=[(row, col)]))
                    cases.append((answer.iou(obj), pixels, obj, answer, (row, col)))
        found += sorted(cases, key=lambda case: case[0])[:2]
    tiles = []
    for iou, pixels, obj, answer, (row, col) in sorted(found, key=lambda case: case[0])[:shown]:
        picture = pixels.copy()
        for mask, colour in ((obj, (0.2, 0.5, 1.0)), (answer, (1.0, 0.85, 0.1))):
            picture[find_boundaries(mask.paste(pixels.shape[:2]), mode="inner")] = colour
        picture[row - 2 : row + 3, col] = picture[row, col - 2 : col + 3] = (1.0, 0.1, 0.1)
        half = side // 2
        crop = picture[row - half : row + half, col - half : col + half]
        tiles.append(np.kron(crop, np.ones((2, 2, 1))))
        print(f"failure: IoU {iou:.2f}")
    rows = [np.concatenate(tiles[i : i + shown // 2], axis=1) for i in (0, shown // 2)]
    return (np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8)


def plot_curve(model: ns.LoadedModel, path: Path) -> None:
    """Losses, and the IoU of the first and the last prompt, over the steps of this run and those before."""
    import matplotlib.pyplot as plt

    runs, record = [], model.record
    while record:
        if record.get("curve"):
            runs.append(record["curve"])
        record = record.get("init_record", {})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for axes, keys in ((left, ("dense", "prompts")), (right, ("iou1", "iou_last"))):
        for colour, key in zip(("C0", "C1"), keys, strict=True):
            start = 0
            for run in reversed(runs):
                points = [(start + line["step"], line[key]) for line in run if key in line]
                axes.plot(*zip(*points, strict=True), color=colour, label=key if not start else None)
                start += run[-1]["step"]
                axes.axvline(start, color="0.85", linewidth=1, zorder=0)
        axes.set_xlabel("step")
        axes.legend(frameon=False)
    left.set_title("loss", loc="left")
    right.set_title("IoU, first and last prompt of training crops", loc="left")
    figure.savefig(path, dpi=100)


def choose_clicks(labels: Any, fractions: Any) -> list[tuple[float, float]]:
    """Given places, or the pixels nearest to the middle of some of the larger objects."""
    if fractions is not None:
        return [(r * (labels.shape[0] - 1), c * (labels.shape[1] - 1)) for r, c in fractions]
    areas = np.bincount(labels.ravel())[1:]
    chosen = np.argsort(-areas)[:12:2] + 1
    points = []
    for number in chosen:
        pixels = np.argwhere(labels == number)
        nearest = ((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()
        points.append((float(pixels[nearest][0]), float(pixels[nearest][1])))
    return points


def draw(image: Any, labels: Any, clicks: Any = ()) -> Any:
    """(SIDE, SIDE, 3) uint8 of the middle of an image with outlines and clicks."""
    shown = measure_normalization(image).apply(image)
    side = min(image.shape[:2])
    r0, c0 = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    crop = (slice(r0, r0 + side), slice(c0, c0 + side))
    picture = resize(shown[crop], (SIDE, SIDE), order=1, anti_aliasing=side > SIDE)
    ids = resize(labels[crop], (SIDE, SIDE), order=0, preserve_range=True, anti_aliasing=False)
    picture[find_boundaries(ids.astype(int), mode="inner")] = (1.0, 0.85, 0.1)
    for row, col in clicks:
        r, c = int((row - r0) * SIDE / side), int((col - c0) * SIDE / side)
        if 4 <= r < SIDE - 4 and 4 <= c < SIDE - 4:
            picture[r - 4 : r + 5, c] = picture[r, c - 4 : c + 5] = (0.1, 0.5, 1.0)
    return (picture * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
