"""Time per encode and per cached click, in the main thread and in a worker thread.

    python benchmarks/click_latency.py [--model nuclei] [--device auto] [--size 256] [--object-size PX]

The viewer computes in a worker thread. A peer of ours had to give that up because encoding became slow in
one, so this measures both, in turns (a busy machine then slows both alike), and says how they compare. Each
has a process of its own: two threads of one that both compute slow each other down even while one rests,
because then GNU's OpenMP lets all threads sleep at every barrier. ``--together`` shows what that costs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from napari_sam.evaluation import ClickTimes, time_click
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import load_model
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from napari_sam.inference.checkpoints import LoadedModel

WHERE = ("main", "worker")


def make_image(size: int, seed: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A (size, size) uint8 image of round blobs, different for each seed, and the middle of one of them."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros((size, size))
    places = rng.integers(0, size, (max(size * size // 1500, 1), 2))
    seeds[tuple(places.T)] = rng.uniform(0.5, 1, len(places))
    blobs = ndimage.gaussian_filter(seeds, 5)
    noisy = blobs / blobs.max() * 180 + rng.normal(20, 5, blobs.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), (int(places[0, 0]), int(places[0, 1]))


def time_one(model: LoadedModel, size: int, seed: int, settings: EncodeSettings) -> ClickTimes:
    image, (row, col) = make_image(size, seed)
    predictor = CachedPredictor(model, settings=settings)  # an empty cache: the first click encodes
    return time_click(predictor, image, Prompts(points=np.array([[row, col]], np.float32)))


def compute_a_little() -> None:
    torch.ones(1 << 22).sum()


def serve(where: str, options: argparse.Namespace, asked: Connection) -> None:
    """Answer seeds with times, from a process's main thread or from a worker thread of it."""
    settings = EncodeSettings(object_size=options.object_size)
    with ThreadPoolExecutor(1) as worker:

        def run(job: Any, *arguments: Any, **options: Any) -> Any:
            call = partial(job, *arguments, **options)
            return worker.submit(call).result() if where == "worker" else call()

        if options.together:
            compute_a_little()
            worker.submit(compute_a_little).result()
        model = run(load_model, options.model, device=options.device)
        asked.send(
            {
                "model": model.name,
                "sha256": model.sha256[:12],
                "device": str(model.device),
                "torch_threads": torch.get_num_threads(),
            }
        )
        while (seed := asked.recv()) is not None:
            asked.send(run(time_one, model, options.size, seed, settings))


def describe(values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(np.array(values) * 1000, (25, 50, 75))
    return {"median_ms": round(middle, 2), "q1_ms": round(low, 2), "q3_ms": round(high, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei", help="a model's name or a checkpoint file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=256, help="edge of the image in px")
    parser.add_argument("--object-size", type=float, help="in px; by default the model looks for it itself")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--together", action="store_true", help="in processes whose other thread computed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()

    times: dict[str, list[ClickTimes]] = {where: [] for where in WHERE}
    spawn = mp.get_context("spawn")
    desks: dict[str, Connection] = {}
    for where in WHERE:
        desks[where], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(where, options, theirs), daemon=True).start()
        theirs.close()  # so that a process that fails is not waited for
    loaded = {**desks["main"].recv(), **desks["worker"].recv()}
    for seed in range(options.repeats + 3):
        for n, where in enumerate(WHERE):
            desks[where].send(2 * seed + n)
            one = desks[where].recv()
            if seed >= 3:  # the first calls allocate and compile
                times[where].append(one)
    for desk in desks.values():
        desk.send(None)
    report = {
        where: {
            "encode": describe([t.encode for t in members]),
            "click": describe([t.click for t in members]),
        }
        for where, members in times.items()
    }
    setting = {
        **loaded,
        "size": options.size,
        "object_size": options.object_size,
        "repeats": options.repeats,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    if options.json:
        print(json.dumps({"setting": setting, "times": report}, indent=1))
        return
    print(", ".join(f"{key} {value}" for key, value in setting.items()))
    for what in ("encode", "click"):
        for where in ("main", "worker"):
            t = report[where][what]
            spread = f"quartiles {t['q1_ms']:.2f} to {t['q3_ms']:.2f}"
            print(f"{what:7s} {where:7s} median {t['median_ms']:8.2f} ms, {spread}")
        ratio = report["worker"][what]["median_ms"] / max(report["main"][what]["median_ms"], 1e-9)
        print(f"{what:7s} worker / main {ratio:.2f}")


if __name__ == "__main__":
    main()
