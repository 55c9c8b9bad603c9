"""The grid method against the generator of ``segment-anything``: decodes, time without the encoder, memory.

    python benchmarks/grid_speed.py [--side 1024] [--objects 100] [--points 32] [--rounds 1]

Both run a mask decoder of ViT-B with random weights in full, for every prompt that they ask; its answers are
then replaced by realistic ones, which follow from the labels of a synthetic image: for a click on an object
the object, a part of it and a group, for one beside them the background, with noisy boundaries and scores.
So both have the same work to do with the same masks. Every run is a process of its own; the two take turns.

CPU-seconds are those of all threads. "Extra memory" is the most that a run held above what it held before.
Needs the package ``segment-anything`` (and ``torchvision``, which that imports).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import describe_machine, print_table

from napari_sam.evaluation import evaluate_labels
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.candidates import draw_candidates, filter_candidates
from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.embedding import ImageEmbedding
from napari_sam.inference.segment_image import filter_defaults, iter_candidates
from napari_sam.modeling import Sam, build_sam
from napari_sam.sample_data import make_nuclei

SETTINGS: dict[str, dict[str, Any]] = {"fast": {}, "every point": {"skip": False}, "exact": {"exact": True}}
FRAME, CELLS = 1024, 256


def make_scene(side: int, count: int) -> np.ndarray:
    """True labels of touching nuclei."""
    radius = 0.25 * side / np.sqrt(count) / 3
    return make_nuclei((side, side), count=count, radius=radius, seed=5)[1]


class Answers:
    """What a trained decoder might say of a scene, for points in pixels of the frame."""

    def __init__(self, labels: np.ndarray) -> None:
        from scipy.ndimage import distance_transform_edt, gaussian_filter
        from skimage.transform import resize

        cells = resize(labels, (CELLS, CELLS), order=0, preserve_range=True, anti_aliasing=False)
        self.labels = cells.astype(np.int32)
        noise = gaussian_filter(np.random.default_rng(0).standard_normal((CELLS, CELLS)), 2)
        self.noise = (2 * noise / noise.std()).astype(np.float32)
        self.scale = FRAME / max(labels.shape)
        inside = self.labels > 0
        self.background = np.where(inside, -1.0, 1.0) * (
            distance_transform_edt(inside) + distance_transform_edt(~inside)
        )
        self.asked = 0

    def logits(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(4, 256, 256) logits and (4,) predicted IoU: the single mask, part, object, group."""
        from scipy.ndimage import distance_transform_edt

        self.asked += 1
        col, row = np.clip((xy + 0.5) * CELLS / FRAME, 0, CELLS - 1).astype(int)
        number = self.labels[row, col]
        jitter = np.random.default_rng(row * CELLS + col).uniform(-0.03, 0.03, 3)
        if number == 0:
            whole = self.background * 4 + self.noise
            stack = [whole, np.full_like(whole, -20.0), whole, np.full_like(whole, -20.0)]
            return np.stack(stack).astype(np.float32), np.array([0.9, 0.1, 0.93 + jitter[0], 0.1], np.float32)
        mask = self.labels == number
        rows, cols = np.nonzero(mask)
        r0, r1, c0, c1 = rows.min() - 8, rows.max() + 9, cols.min() - 8, cols.max() + 9
        box = slice(max(r0, 0), r1), slice(max(c0, 0), c1)
        distance = distance_transform_edt(mask[box]) - distance_transform_edt(~mask[box])
        whole = np.full(mask.shape, -20.0, np.float32)
        whole[box] = np.clip(6 * distance, -20, 20) + self.noise[box]
        part = np.where(np.hypot(*(np.indices(mask.shape) - [[[row]], [[col]]])) < 3, whole, -20.0)
        group = whole.copy()
        near = np.hypot(*(np.indices(mask.shape) - [[[row]], [[col]]])) < 30
        group[near & (self.labels > 0)] = 0.6
        iou = np.array([0.95, 0.55 + jitter[0], 0.94 + jitter[1], 0.5 + jitter[2]], np.float32)
        return np.stack([whole, part, whole, group]).astype(np.float32), iou

    def replace(self, points: torch.Tensor, logits: torch.Tensor, iou: torch.Tensor, first: int) -> Any:
        """The decoder's output for (N, 2) points, in its shapes; without the single mask where first is 1."""
        for k, xy in enumerate(points.cpu().numpy()):
            values, scores = self.logits(xy)
            logits[k], iou[k] = torch.from_numpy(values[first:]), torch.from_numpy(scores[first:])
        return logits, iou


class PeakMemory:
    """The most memory held while it runs, above what was held at its start, in MiB (Linux only)."""

    def __enter__(self) -> PeakMemory:
        self.start = self.peak = self._read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.extra = (self.peak - self.start) / 2**20

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._read())

    @staticmethod
    def _read() -> int:
        try:
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        except OSError:
            return 0


def run_ours(labels: np.ndarray, points: int, options: dict[str, Any]) -> dict[str, float]:
    """The grid of this package."""
    torch.manual_seed(0)
    module = build_sam("vit_b").eval()
    module.image_encoder = torch.nn.Identity()
    predictor = CachedPredictor(LoadedModel("vit_b", "0", module.config, torch.device("cpu"), module, {}))
    frame = predictor.predictor.make_frame((0, 0, *labels.shape))
    embedding = ImageEmbedding(torch.randn(1, 256, 64, 64), None, None, None, frame, labels.shape)
    predictor.encode = lambda *_: embedding  # type: ignore[method-assign]
    answers = Answers(labels)
    original = Sam.decode

    def decode(self: Sam, features: Any, coords: Any, *rest: Any) -> Any:
        logits, iou = original(self, features, coords, *rest)
        started = time.process_time()
        replaced = answers.replace(coords[:, 0], logits.clone(), iou.clone(), 0)
        nonlocal spent
        spent += time.process_time() - started
        return replaced

    spent = 0.0
    Sam.decode = decode  # type: ignore[method-assign]
    image = np.zeros(labels.shape, np.uint8)
    options = {"points_per_side": points} | options
    with PeakMemory() as memory:
        start = time.process_time()
        job = iter_candidates(image, predictor, "grid", **options)
        while True:
            try:
                next(job)
            except StopIteration as end:
                candidates = end.value
                break
        kept = filter_candidates(candidates, filter_defaults(predictor, "grid", **options))
        taken = time.process_time() - start - spent
    drawn = draw_candidates(candidates, kept)
    return describe(labels, drawn, len(kept), answers.asked, taken, memory.extra)


def run_theirs(labels: np.ndarray, points: int) -> dict[str, float]:
    """The generator of ``segment-anything`` with its default thresholds."""
    from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval()
    sam.image_encoder = torch.nn.Identity()
    sam.image_encoder.img_size = FRAME
    generator = SamAutomaticMaskGenerator(sam, points_per_side=points)
    features = torch.randn(1, 256, 64, 64)
    answers = Answers(labels)

    def set_image(image: np.ndarray) -> None:
        height, width = image.shape[:2]
        generator.predictor.original_size = (height, width)
        generator.predictor.input_size = generator.predictor.transform.get_preprocess_shape(
            height, width, FRAME
        )
        generator.predictor.features, generator.predictor.is_image_set = features, True

    generator.predictor.set_image = set_image
    asked: list[torch.Tensor] = []
    encode, decode = sam.prompt_encoder.forward, sam.mask_decoder.forward
    spent = 0.0

    def encode_prompts(points: Any, boxes: Any, masks: Any) -> Any:
        asked[:] = [points[0][:, 0]]
        return encode(points, boxes, masks)

    def decode_prompts(*args: Any, **kwargs: Any) -> Any:
        nonlocal spent
        logits, iou = decode(*args, **kwargs)
        started = time.process_time()
        replaced = answers.replace(asked[0], logits.clone(), iou.clone(), 1)
        spent += time.process_time() - started
        return replaced

    sam.prompt_encoder.forward, sam.mask_decoder.forward = encode_prompts, decode_prompts
    with PeakMemory() as memory:
        start = time.process_time()
        records = generator.generate(np.zeros((*labels.shape, 3), np.uint8))
        taken = time.process_time() - start - spent
    drawn = np.zeros(labels.shape, np.int32)
    for k, record in enumerate(sorted(records, key=lambda r: -r["area"]), 1):
        drawn[record["segmentation"]] = k
    return describe(labels, drawn, len(records), answers.asked, taken, memory.extra)


def describe(
    true: np.ndarray, drawn: np.ndarray, masks: int, asked: int, taken: float, extra: float
) -> dict[str, float]:
    """One row; the mask of the background, which both find, is taken out before it is scored."""
    for k in np.unique(drawn[drawn > 0]):
        mask = drawn == k
        if np.count_nonzero(mask & (true == 0)) > 0.8 * np.count_nonzero(mask):
            drawn[mask] = 0
    scores = evaluate_labels(true, drawn)
    return {
        "decodes": asked,
        "seconds": taken,
        "memory": extra,
        "masks": masks,
        "ap": scores.ap[0.5],
        "msa": scores.msa,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=1024, help="of the image, in pixels")
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--points", type=int, default=32, help="per side")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--skip-reference", action="store_true")
    parser.add_argument("--modes", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        labels = make_scene(options.side, options.objects)
        with torch.inference_mode():
            if options.worker == "segment-anything":
                found = run_theirs(labels, options.points)
            else:
                found = run_ours(labels, options.points, SETTINGS[options.worker])
        print(json.dumps(found))
        return
    names = [*options.modes, *([] if options.skip_reference else ["segment-anything"])]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    arguments = ["--side", str(options.side), "--objects", str(options.objects)]
    for _ in range(options.rounds):
        for name in names:
            command = [sys.executable, __file__, "--worker", name, "--points", str(options.points)]
            out = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout
            runs[name].append(json.loads(out.splitlines()[-1]))
    middle = {
        name: {key: float(np.median([run[key] for run in found])) for key in found[0]}
        for name, found in runs.items()
    }
    reference = middle[names[-1]]
    print(describe_machine())
    print_table(
        ["method", "decodes", "CPU s", "times faster", "extra MiB", "of memory", "masks", "AP@0.5", "mSA"],
        [
            [
                name,
                int(row["decodes"]),
                row["seconds"],
                reference["seconds"] / row["seconds"],
                row["memory"],
                row["memory"] / max(reference["memory"], 1e-9),
                int(row["masks"]),
                row["ap"],
                row["msa"],
            ]
            for name, row in middle.items()
        ],
    )


if __name__ == "__main__":
    main()
