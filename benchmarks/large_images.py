"""Clicks on planes of 1k to 100k pixels a side: the first, later ones, and what they cost beside decoding.

    python benchmarks/large_images.py [--model nuclei] [--device auto] [--repeats 9] [--reference]

Ratios within one run, the parts in turns, so that a busy machine slows all alike:

first click    on an unseen tile of an 8192 x 8192 plane, against one tile's encode and decode alone
later clicks   in a cached tile of planes of 1k, 8k and 100k a side
overhead       of such a click beside its decode
reference      with --reference: a later click of ours against one of segment-anything's SamPredictor on
               planes of 1k and 4k a side, both with a ViT-B of the same random weights
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from references import import_reference
from scipy import ndimage

from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import LoadedModel, load_model
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.transforms import measure_normalization
from napari_sam.modeling import build_sam
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WIDTH = 1031
"""Columns after which the planes repeat, one row further down: wider than a tile, so that none looks odd."""


def make_planes(sides: tuple[int, ...]) -> tuple[dict[int, NDArray[np.uint8]], NDArray[np.int64]]:
    """Planes of blobs, all views of one buffer of 100 MB, and the places of the blobs in the first tile."""
    rng, rows = np.random.default_rng(0), 4096
    places = np.column_stack([rng.integers(0, n, rows * WIDTH // 1500) for n in (rows, WIDTH)])
    seeds = np.zeros((rows, WIDTH), np.float32)
    seeds[tuple(places.T)] = rng.uniform(0.5, 1, len(places))
    blobs = ndimage.gaussian_filter(seeds, 5, mode="wrap")
    strip = np.clip(blobs / blobs.max() * 180 + rng.normal(20, 5, blobs.shape), 0, 255).astype(np.uint8)
    buffer = np.tile(strip.ravel(), -(-(max(sides) * (WIDTH + 1)) // strip.size))
    planes = {n: np.lib.stride_tricks.as_strided(buffer, (n, n), (WIDTH, 1), writeable=False) for n in sides}
    inside = ((places > 100) & (places < 900)).all(axis=1)
    return planes, places[inside]


def measure(run: Callable[[], Any], synchronize: Callable[[], None]) -> float:
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return (time.perf_counter() - start) * 1000


def in_turns(
    parts: dict[str, Callable[[int], Any]], repeats: int, synchronize: Callable[[], None]
) -> dict[str, float]:
    """Median milliseconds of each part, which is told the number of its run; two runs are not counted."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for n in range(repeats + 2):
        for name, run in parts.items():
            taken = measure(lambda run=run, n=n: run(n), synchronize)
            if n >= 2:
                times[name].append(taken)
    return {name: float(np.median(values)) for name, values in times.items()}


def time_first_clicks(
    model: LoadedModel, plane: NDArray[np.uint8], place: NDArray[np.int64], **how: Any
) -> str:
    predictor, alone = CachedPredictor(model, memory_bytes=0), Predictor(model)
    norm, field = measure_normalization(plane), model.config.image_size

    def encode(n: int) -> None:
        tile = plane[n : n + field, :field]
        frame = alone.make_frame((0, 0, field, field))
        embedding = alone.encode(tile, norm, frame, (field, field))
        alone.decode_candidates(embedding, [Prompts([place - (n, 0)])])

    found = in_turns({"tile": encode, "click": lambda _: predictor.predict(plane, Prompts([place]))}, **how)
    return line("first click, 8k", found["click"], found["tile"], "one tile alone", 1.3)


def time_later_clicks(
    model: LoadedModel, planes: dict[int, Any], places: NDArray[np.int64], **how: Any
) -> str:
    parts: dict[str, Callable[[int], Any]] = {}
    for side, plane in planes.items():
        predictor = CachedPredictor(model)
        embedding = predictor.encode(plane, (0, 0, 1024, 1024))

        def click(n: int, predictor: CachedPredictor = predictor, plane: Any = plane) -> None:
            predictor.predict(plane, Prompts([places[n % len(places)]]))

        def decode(n: int, predictor: CachedPredictor = predictor, embedding: Any = embedding) -> None:
            predictor.predictor.decode_candidates(embedding, [Prompts([places[n % len(places)]])])

        parts[f"click {side}"], parts[f"decode {side}"] = click, decode
    how["repeats"] *= 3
    found = in_turns(parts, **how)
    first = min(planes)
    rows = [
        line(f"later click, {side // 1000}k", found[f"click {side}"], found[f"click {first}"], "at 1k", 1.2)
        for side in planes
        if side != first
    ]
    for side in planes:
        overhead = found[f"click {side}"] - found[f"decode {side}"]
        decoding = found[f"decode {side}"]
        rows.append(
            f"overhead, {side // 1000:3d}k     {overhead:8.2f} ms beside {decoding:.2f} ms of decoding"
        )
    return "\n".join(rows)


def compare_clicks(
    planes: dict[int, Any], place: NDArray[np.int64], device: torch.device, **how: Any
) -> dict[int, tuple[float, float]]:
    """Milliseconds of a cached click with a ViT-B on each plane: of ``SamPredictor``, and ours."""
    package = import_reference("segment_anything")
    torch.manual_seed(0)
    theirs = package.sam_model_registry["vit_b"]().to(device).eval()
    module = build_sam("vit_b")
    module.load_state_dict({k: v for k, v in theirs.state_dict().items() if k in module.state_dict()})
    model = LoadedModel("vit_b", "random", module.config, device, module.eval().to(device))
    clicks = {}
    for side, view in planes.items():
        plane = np.ascontiguousarray(view)
        reference, ours = package.SamPredictor(theirs), CachedPredictor(model)
        reference.set_image(np.dstack([plane] * 3))
        point = place[None, ::-1].astype(np.float32)
        parts = {
            "theirs": lambda _, r=reference, p=point: r.predict(p, np.array([1])),
            "ours": lambda _, o=ours, i=plane: o.predict(i, Prompts([place])),
        }
        found = in_turns(parts, **how)
        clicks[side] = found["theirs"], found["ours"]
    return clicks


def line(name: str, taken: float, against: float, what: str, goal: float) -> str:
    return f"{name:18s} {taken:8.2f} ms = {taken / against:5.2f} x {what} ({against:.2f} ms), goal {goal}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei", help="a model's name or a checkpoint file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--reference", action="store_true", help="compare with segment-anything too")
    options = parser.parse_args()
    model = load_model(options.model, device=options.device)
    synchronize = torch.cuda.synchronize if model.device.type == "cuda" else lambda: None
    how = {"repeats": options.repeats, "synchronize": synchronize}
    planes, places = make_planes((1024, 8192, 100_000))
    print(f"{model.name} on {model.device}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(time_first_clicks(model, planes[8192], places[0], **how))
    print(time_later_clicks(model, planes, places, **how))
    if options.reference:
        sides = make_planes((1024, 4096))[0]
        for side, (theirs, ours) in compare_clicks(sides, places[0], model.device, **how).items():
            print(line(f"click vit_b, {side // 1000}k", ours, theirs, "SamPredictor", 1.0))


if __name__ == "__main__":
    main()
