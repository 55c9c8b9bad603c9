"""Objects propagated through stacks whose truth is known: which prompts, which thresholds, how they meet.

    python benchmarks/propagation.py [--stack IMAGE LABELS] [--table prompts|thresholds|anchors|motion|all]

Without ``--stack`` on synthetic volumes and time series, on which the defaults were chosen. Every object of
four or more planes is clicked once, in the middle of its largest plane (``anchors``: in two planes, a sixth
from either end), and propagated with all others. Scores are the means over objects of the 3-D IoU with the
truth, of the part with an IoU of at least 0.5, and of the planes found too many and too few.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from timing import print_table

import napari_sam as ns
from napari_sam.inference.label_image import read_objects
from napari_sam.sample_data import make_nuclei
from napari_sam.stacks.next_prompts import find_interior
from napari_sam.stacks.propagation import Anchor, PropagationParams, iter_propagate
from napari_sam.types import ObjectMask

PROMPTS = (
    "point",
    "box",
    "mask",
    "logits",
    "mask+point",
    "logits+point",
    "mask+box",
    "logits+box+point",
)
THRESHOLDS: dict[str, tuple[float, ...]] = {
    "min_score": (0.0, 0.3, 0.4, 0.5, 0.6),
    "min_overlap": (0.3, 0.5, 0.7),
    "max_area_change": (1.5, 2.0, 2.5, 3.0, 8.0),
    "max_regrowth": (1.25, 1.5, 2.0, float("inf")),
    "min_contrast": (0.0, 0.1, 0.2, 0.3, 0.4),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", nargs=2, type=Path, metavar=("IMAGE", "LABELS"))
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--volumes", type=int, default=1, help="synthetic ones of each kind")
    parser.add_argument(
        "--table", choices=("prompts", "thresholds", "anchors", "limits", "motion", "all"), default="prompts"
    )
    args = parser.parse_args()
    predictor = ns.CachedPredictor(ns.load_model(args.model, "cpu"), memory_bytes=4 << 30)
    volumes = [_read(*args.stack)] if args.stack else _make_volumes(args.volumes)
    print(f"volumes of {', '.join(str(stack.shape) for stack, _ in volumes)}, model {args.model}")
    for name, table in TABLES.items():
        if args.table in (name, "all"):
            table(volumes, predictor)


def _read(image: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    from tifffile import imread

    return imread(image), imread(labels).astype(np.int32)


def _make_volumes(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Large nuclei in thick sections, and small crowded ones in thin sections."""
    coarse = {"shape": (16, 176, 208), "spacing": (1.0, 0.25, 0.25), "count": 34}
    fine = {"shape": (28, 80, 80), "spacing": (0.6, 0.6, 0.6), "count": 45}
    return [
        make_nuclei(seed=100 * k + seed, **kind)
        for seed in range(count)
        for k, kind in ((1, coarse), (3, fine))
    ]


def _make_series(seed: int, frames: int = 12, speed: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei that each move on steadily, with a little jitter: (T, Y, X)."""
    rng = np.random.default_rng(seed)
    image, labels = make_nuclei((256, 256), spacing=(0.25, 0.25), count=26, radius=4.0, seed=200 + seed)
    count = int(labels.max())
    angle = rng.uniform(0, 2 * np.pi, count)
    pace = rng.uniform(0.5, 1.5, count) * speed
    velocity = np.stack([np.sin(angle), np.cos(angle)], 1) * pace[:, None]
    background = float(np.percentile(image[labels == 0], 20))
    objects = read_objects(labels)
    stack = np.zeros((frames, *image.shape), np.uint16)
    truth = np.zeros((frames, *image.shape), np.int32)
    for t in range(frames):
        plane = background + 12 * rng.normal(size=image.shape)
        for key, mask in objects.items():
            shift = np.round(velocity[key - 1] * t + rng.normal(0, 0.4, 2)).astype(int)
            moved = mask.shifted(*shift)
            inside = moved.paste(image.shape)
            r0, c0, r1, c1 = moved.box
            if r0 < 0 or c0 < 0 or r1 > image.shape[0] or c1 > image.shape[1]:
                continue  # gone from view at once, so that the truth is not about slivers
            free = inside & (truth[t] == 0)
            rows, cols = np.nonzero(free)
            plane[rows, cols] += image[rows - shift[0], cols - shift[1]].astype(float) - background
            truth[t][free] = key
        stack[t] = np.clip(plane, 0, 4095).astype(np.uint16)
    return stack, truth


# ---------------------------------------------------------------- scores
def _clicks(truth: np.ndarray, key: int, places: tuple[float, ...]) -> list[Anchor]:
    """One click in each of these places of an object: 0.5 the largest plane, else a part of its extent."""
    areas = (truth == key).reshape(len(truth), -1).sum(1)
    there = np.flatnonzero(areas)
    anchors = []
    for place in places:
        plane = int(areas.argmax()) if place == 0.5 else int(there[round(place * (len(there) - 1))])
        row, col = find_interior(ObjectMask.from_plane(truth[plane] == key))
        anchors.append(Anchor(plane, prompts=ns.Prompts([(row, col)])))
    return anchors


def _score(
    volumes: Any, predictor: Any, params: PropagationParams, places: tuple[float, ...] = (0.5,)
) -> list[Any]:
    ious, extra, missing, seconds = [], 0, 0, time.process_time()
    for stack, truth, *settings in volumes:
        sizes = {key: int((truth == key).any((1, 2)).sum()) for key in np.unique(truth[truth > 0]).tolist()}
        said = {key: _clicks(truth, key, places) for key, size in sizes.items() if size >= 4}
        asked = predictor.with_settings(settings[0]) if settings else predictor
        job = iter_propagate(list(stack), asked, said, params=params)
        while True:
            try:
                next(job)
            except StopIteration as stop:
                found = stop.value
                break
        for key in said:
            masks = {p: r.mask for p, r in found[key].items() if r.mask is not None}
            true = {
                p: ObjectMask.from_plane(truth[p] == key)
                for p in range(len(stack))
                if (truth[p] == key).any()
            }
            shared = sum(masks[p].intersection(true[p]) for p in masks.keys() & true.keys())
            union = sum(m.area for m in masks.values()) + sum(m.area for m in true.values()) - shared
            ious.append(shared / union)
            extra += len(masks.keys() - true.keys())
            missing += len(true.keys() - masks.keys())
    count = len(ious)
    part = float(np.mean(np.array(ious) >= 0.5))
    return [
        float(np.mean(ious)), float(np.median(ious)), part, extra / count, missing / count,
        time.process_time() - seconds,
    ]  # fmt: skip


HEAD = ["3-D IoU", "median", ">= 0.5", "planes +", "planes -", "CPU s"]


def _prompts(volumes: Any, predictor: Any) -> None:
    base = PropagationParams()
    rows = [[text, *_score(volumes, predictor, replace(base, prompts=text))] for text in PROMPTS]
    print_table(["prompts", *HEAD], rows)


def _thresholds(volumes: Any, predictor: Any) -> None:
    base = PropagationParams()
    rows = [["without stops", *_score(volumes, predictor, replace(base, stop_at_jumps=False))]]
    for name, values in THRESHOLDS.items():
        for value in values:
            mark = " *" if value == getattr(base, name) else ""
            rows.append(
                [f"{name} {value}{mark}", *_score(volumes, predictor, replace(base, **{name: value}))]
            )
    print_table(["threshold (* default)", *HEAD], rows)


def _anchors(volumes: Any, predictor: Any) -> None:
    base, rows = PropagationParams(), []
    for name, places in (("one, in the middle", (0.5,)), ("two", (0.17, 0.83)), ("three", (0.1, 0.5, 0.9))):
        for between in ("nearest", "blend"):
            params = replace(base, between=between)
            rows.append([f"{name}, {between}", *_score(volumes, predictor, params, places)])
    print_table(["anchors", *HEAD], rows)


def _limits(volumes: Any, predictor: Any) -> None:
    rows = [["each plane", *_score(volumes, predictor, PropagationParams())]]
    whole = []
    for stack, truth in volumes:
        low, high = np.percentile(stack, (1, 99.8))
        whole.append((stack, truth, replace(predictor.settings, limits=((float(low), float(high)),))))
    rows.append(["the stack", *_score(whole, predictor, PropagationParams())])
    print_table(["normalised over", *HEAD], rows)


def _motion(volumes: Any, predictor: Any) -> None:
    rows = []
    for speed in (1.0, 4.0, 8.0, 12.0):
        series = [_make_series(seed, speed=speed) for seed in range(2)]
        for motion in (False, True):
            params = PropagationParams.for_series(motion=motion)
            name = f"{speed:g} px a frame, {'expected to go on' if motion else 'where it was'}"
            rows.append([name, *_score(series, predictor, params)])
    print_table(["time series", *HEAD], rows)


TABLES = {
    "prompts": _prompts,
    "thresholds": _thresholds,
    "anchors": _anchors,
    "limits": _limits,
    "motion": _motion,
}

if __name__ == "__main__":
    main()
