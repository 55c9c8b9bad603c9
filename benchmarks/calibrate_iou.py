"""Fit what a predicted IoU turns out to be, on images held out from training, and put it into a checkpoint.

    python benchmarks/calibrate_iou.py --data DIR --model nuclei.safetensors [--out calibrated.safetensors]

Clicks each held-out object once in its middle (``split_holdout``; the ``train`` split only), and fits a
rising curve from the predicted IoU, weighed by the agreement of the masks, to the measured one. The error is
printed for odd images with the curve of the even ones and the other way round; what is written is the
curve of all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import napari_sam as ns
from napari_sam.evaluation.simulated_user import first_click, read_objects
from napari_sam.inference.checkpoints import write_checkpoint
from napari_sam.inference.iou_calibration import KEY, calibrate_iou, fit_calibration, read_calibration
from napari_sam.training.dataset import read_labelled_images, split_holdout


def main() -> None:
    """Measure, fit and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--holdout", type=float, default=0.1, help="fraction held out, as in training")
    args = parser.parse_args()
    _, held = split_holdout(read_labelled_images(args.data), args.holdout)
    model = ns.load_model(args.model, "cpu")
    model.record[KEY] = [0.0, 1.0], [0.0, 1.0]  # as it is, but for the masks' agreement
    pairs: list[list[tuple[float, float]]] = []
    for image in held:
        predictor, pixels = ns.CachedPredictor(model), image.pixels.astype(np.float32)
        objects = read_objects(image.labels)
        answers = predictor.predict_many(pixels, [ns.Prompts(points=[first_click(obj)]) for obj in objects])
        pairs.append([(a.predicted_iou, a.iou(o)) for a, o in zip(answers, objects, strict=True)])
    halves = [np.array([p for part in pairs[i::2] for p in part]) for i in (0, 1)]
    errors = []
    for fitted, tested in (halves, halves[::-1]):
        curve = read_calibration({KEY: fit_calibration(*fitted.T)})
        found = calibrate_iou(tested[:, 0].astype(np.float32), curve)
        errors.append([np.abs(v - tested[:, 1]).mean() for v in (tested[:, 0], found)])
    before, after = np.average(errors, axis=0, weights=[len(h) for h in halves[::-1]])
    print(f"error of the predicted IoU: {before:.3f} by agreement, {after:.3f} with the curve of the others")
    curve = fit_calibration(*np.concatenate(halves).T)
    print(f"{KEY}: {curve}")
    if args.out is not None:
        record = {**model.record, KEY: curve}
        write_checkpoint(model.module, args.out, name=model.name, record=record, half=True)


if __name__ == "__main__":
    main()
