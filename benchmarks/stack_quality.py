"""Accuracy of segment_stack on stacks with known truth, beside per-plane connected components.

    python benchmarks/stack_quality.py [--model nuclei] [--image img3d.tif --labels mask3d.tif] [--sizes 8 12]

Along z: 3-D AP@0.5 and mSA on made stacks of nuclei at three distances of the planes, and on a pair of files
where one is named, with the automatic scale and with each object size. Along t: the part of correct links
(recall, precision) and of correct divisions on made series of dividing nuclei.

The rows of one stack differ in what segments the planes and in what links them:

- *Otsu*: threshold of the whole stack, connected components of each plane;
- *overlap*: sections with the largest IoU of at least 0.25 are one object, as most programs stitch;
- *linked*: ``napari_sam.stacks.linking``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, label
from skimage.filters import threshold_otsu
from timing import describe_machine, print_table

import napari_sam as ns
from napari_sam.evaluation import evaluate_labels, evaluate_tracks
from napari_sam.evaluation.matching import count_overlaps
from napari_sam.sample_data import make_nuclei
from napari_sam.sample_series import make_dividing_nuclei
from napari_sam.stacks.linking import LinkParams, link_planes
from napari_sam.stacks.segment_stack import iter_segment_stack

if TYPE_CHECKING:
    from napari_sam.stacks.segment_stack import StackLabels

Array = np.ndarray[Any, Any]
STITCH = 0.25
SMALLEST = 12


def main() -> None:
    """Print one table for z and one for t."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--image", help="a stack (Z, Y, X) ...")
    parser.add_argument("--labels", help="... and its labels")
    parser.add_argument("--sizes", type=float, nargs="*", default=[8.0, 12.0], help="object sizes for it")
    parser.add_argument("--quick", action="store_true", help="one stack and one series")
    args = parser.parse_args()
    print(describe_machine())
    model = ns.load_model(args.model)

    stacks: dict[str, tuple[Array, Array, tuple[float | None, ...]]] = {}
    for step, planes in ((0.5, 32), (1.0, 20), (2.0, 10)):
        for seed in (21, 22, 23):
            made = make_nuclei((planes, 200, 240), spacing=(step, 0.25, 0.25), count=45, seed=seed)
            stacks[f"nuclei, {step} µm planes, seed {seed}"] = (*made, (None,))
    if args.quick:
        stacks = dict(list(stacks.items())[3:4])
    if args.image and args.labels:
        import tifffile

        pair = tifffile.imread(args.image), tifffile.imread(args.labels)
        stacks[str(args.image).split("/")[-1]] = (*pair, (None, *args.sizes))
    rows: list[list[object]] = []
    for name, (image, truth, sizes) in stacks.items():
        planes = segment_by_otsu(image)
        rows.append(score(name, "Otsu, overlap", truth, stitch(planes)))
        rows.append(score(name, "Otsu, linked", truth, link(planes, "z")))
        for size in sizes:
            start = time.perf_counter()
            found = run(image, model, "z", size).labels
            seconds = (time.perf_counter() - start) / len(image)
            what = "" if size is None else f", size {size:g}"
            apart = np.stack([np.unique(p, return_inverse=True)[1].reshape(p.shape) for p in found])
            rows.append(score(name, f"model{what}, overlap", truth, stitch(apart)))
            rows.append([*score(name, f"model{what}, linked", truth, found)[:-1], f"{seconds:.2f}"])
    print_table(["stack", "method", "AP@0.5", "mSA", "objects", "true", "s/plane"], rows)
    print()

    rows = []
    series = (("18 nuclei", {}), ("30 nuclei", {"count": 30}), ("18, fast", {"speed": 4.0}))
    for name, options in series[:1] if args.quick else series:
        for seed in (31,) if args.quick else (31, 32, 33):
            image, truth, parents = make_dividing_nuclei((24, 220, 260), seed=seed, **options)
            found = run(image, model, "t")
            otsu = segment_by_otsu(image)
            linked = link_planes(otsu, "t")
            relabelled = np.stack([linked.relabel(k, plane) for k, plane in enumerate(otsu)])
            ideal = link_planes(truth, "t")
            from_truth = np.stack([ideal.relabel(k, plane) for k, plane in enumerate(truth)])
            for what, labels, lineage in (
                ("Otsu, overlap", stitch(otsu), {}),
                ("Otsu, linked", relabelled, linked.parents),
                ("model, overlap", stitch(found.labels), {}),
                ("model, linked", found.labels, found.parents),
                ("true planes, linked", from_truth, ideal.parents),
            ):
                s = evaluate_tracks(truth, parents, labels, lineage)
                divisions = f"{s.right_divisions} of {s.true_divisions}, {s.found_divisions} found"
                rows.append([f"{name}, seed {seed}", what, s.link_recall, s.link_precision, divisions])
    print_table(["series", "method", "link recall", "link precision", "divisions"], rows)


def run(image: Array, model: Any, axis: str, size: float | None = None) -> StackLabels:
    """segment_stack with everything that it knows."""
    predictor = ns.CachedPredictor(model, memory_bytes=0)
    predictor = predictor.with_settings(replace(predictor.settings, object_size=size))
    job = iter_segment_stack(image, predictor, axis)
    while True:
        try:
            next(job)
        except StopIteration as end:
            result: StackLabels = end.value
            return result


def segment_by_otsu(image: Array) -> Array:
    """Connected components of each plane above the stack's Otsu threshold."""
    smooth = np.stack([gaussian_filter(plane.astype(np.float32), 1.0) for plane in image])
    above = smooth > threshold_otsu(smooth)
    planes = np.stack([label(plane)[0] for plane in above]).astype(np.int32)
    for plane in planes:
        plane[(np.bincount(plane.ravel()) < SMALLEST)[plane]] = 0
    return planes


def link(planes: Array, axis: Any) -> Array:
    """Our linking of somebody's planes."""
    linked = link_planes(planes, axis, LinkParams())
    return np.stack([linked.relabel(k, plane) for k, plane in enumerate(planes)])


def stitch(planes: Array) -> Array:
    """Each object takes the id of the one of the plane before with the largest IoU, at least 0.25."""
    result = np.zeros(planes.shape, np.int32)
    free = 1
    for k, plane in enumerate(planes):
        numbers = np.unique(plane[plane > 0])
        ids = dict.fromkeys(numbers.tolist(), 0)
        if k:
            pairs = count_overlaps(result[k - 1], plane)
            before = np.unique(result[k - 1][result[k - 1] > 0])
            for pair in np.argsort(-pairs.iou):
                one, other = int(before[pairs.rows[pair]]), int(numbers[pairs.cols[pair]])
                if pairs.iou[pair] >= STITCH and ids[other] == 0 and one not in ids.values():
                    ids[other] = one
        for number, taken in ids.items():
            if not taken:
                ids[number], free = free, free + 1
            result[k][plane == number] = ids[number]
    return result


def score(name: str, method: str, truth: Array, found: Array) -> list[object]:
    """One row of the table for z."""
    scores = evaluate_labels(truth, found)
    return [name, method, scores.ap[0.5], scores.msa, scores.n_predicted, scores.n_true, ""]


if __name__ == "__main__":
    main()
