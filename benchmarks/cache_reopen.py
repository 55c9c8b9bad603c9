"""What a click costs on an image that was encoded by another session, and whether its mask is the same.

    python benchmarks/cache_reopen.py [--model nuclei] [--device auto] [--sizes 256,512,1024] [--repeats 9]

Each round opens a new image of each size: its first click encodes, later ones are warm; then a new predictor
with an empty memory on the same folder finds the embedding on disk. Warm and reopened clicks are measured in
turns. The second table compares the masks of fresh embeddings with those of stored ones (float16) on the
samples that come with scikit-image and with this package.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage import data

from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import load_model
from napari_sam.inference.zarr_store import ZarrStore
from napari_sam.sample_data import make_nuclei, make_stained_tissue
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.inference.checkpoints import LoadedModel


def measure(run: Callable[..., Any], *arguments: Any) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    run(*arguments)
    return (time.perf_counter() - begin) * 1000


def make_image(size: int, seed: int) -> tuple[np.ndarray, list[Prompts]]:
    """A (size, size) image of nuclei, and clicks in some of them, the first near the middle."""
    image, labels = make_nuclei((size, size), count=max(3, size * size // 2500), seed=seed)
    places = np.argwhere(labels > 0)
    order = np.argsort(np.abs(places - size / 2).sum(axis=1))
    chosen = [places[order[0]], *np.random.default_rng(seed).permutation(places)[:8]]
    return image, [Prompts([tuple(p)]) for p in chosen]


def read_all(store: ZarrStore, key: str) -> None:
    """Read an embedding with all its arrays."""
    embedding = store.get(key)
    assert embedding is not None
    parts = embedding.features, embedding.detail, embedding.maps
    for part in (*parts, None if embedding.instances is None else embedding.instances.labels):
        if part is not None:
            part[...]


def time_round(model: LoadedModel, size: int, seed: int, folder: Path) -> dict[str, float]:
    image, clicks = make_image(size, seed)
    first = CachedPredictor(model, cache_dir=folder)
    times = {"first click, encodes": measure(first.predict, image, clicks[0])}
    first.cache.flush()
    warm, reopened, read = [], [], []
    key = next(iter(folder.glob("*.zip"))).name.split(".")[0]
    store = ZarrStore(folder, device=model.device)
    for click in clicks:
        warm.append(measure(first.predict, image, click))
        again = CachedPredictor(model, cache_dir=folder)
        copied = image.copy()
        reopened.append(measure(again.predict, copied, click))
        warm.append(measure(again.predict, copied, click))
        read.append(measure(read_all, store, key))
    embedding = first.encode(image)
    times["warm click"] = float(np.median(warm))
    times["reopened, first click"] = float(np.median(reopened))
    times["of it reading the file"] = float(np.median(read))
    times["writing the file"] = measure(store.put, key, embedding)
    times["MB on disk / megapixel"] = store.nbytes / size**2
    times["MB in memory / megapixel"] = embedding.nbytes / size**2
    return times


def list_samples() -> dict[str, np.ndarray]:
    return {
        "cell": data.cell(),
        "coins": data.coins(),
        "immunohistochemistry": data.immunohistochemistry(),
        "nuclei (made)": make_nuclei((400, 400), count=60, seed=1)[0],
        "stained tissue (made)": make_stained_tissue((400, 400), seed=1)[0],
    }


def overlap(a: ObjectMask, b: ObjectMask, shape: tuple[int, int]) -> float:
    one, other = a.paste(shape), b.paste(shape)
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def compare_masks(model: LoadedModel, image: np.ndarray, folder: Path, side: int) -> np.ndarray:
    """IoU of the masks of a grid of clicks, of a fresh embedding and of the stored one."""
    rows, cols = (np.linspace(0, n - 1, side + 2)[1:-1] for n in image.shape[:2])
    clicks = [Prompts([(r, c)]) for r in rows for c in cols]
    fresh = CachedPredictor(model, cache_dir=folder)
    expected = fresh.predict_many(image, clicks)
    fresh.cache.flush()
    found = CachedPredictor(model, cache_dir=folder).predict_many(image, clicks)
    shape = image.shape[:2]
    return np.array([overlap(a, b, shape) for a, b in zip(expected, found, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei", help="a model's name or a checkpoint file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sizes", default="256,512,1024", help="sides of the images in px")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--grid", type=int, default=12, help="clicks along each side of the samples")
    options = parser.parse_args()
    model = load_model(options.model, device=options.device)
    print(f"model {model.name}, device {model.device}, {torch.get_num_threads()} threads of PyTorch")
    sizes = [int(part) for part in options.sizes.split(",")]
    rounds: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for seed in range(options.repeats + 1):
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                times = time_round(model, size, seed, Path(folder))
            if seed:  # the first round imports and allocates
                rounds[size].append(times)
    middle = {
        size: {name: float(np.median([t[name] for t in members])) for name in members[0]}
        for size, members in rounds.items()
    }
    print(f"\n{'ms, median of rounds':28s}" + "".join(f"{size:>5d} px" for size in sizes))
    for name in middle[sizes[0]]:
        print(f"{name:28s}" + "".join(f"{middle[size][name]:8.2f}" for size in sizes))
    for one, other in (
        ("reopened, first click", "warm click"),
        ("first click, encodes", "warm click"),
        ("of it reading the file", "first click, encodes"),
    ):
        ratios = (np.median([t[one] / t[other] for t in rounds[size]]) for size in sizes)
        print(f"{one + ' / ' + other:28s}" + "".join(f" {ratio:.3g}" for ratio in ratios))

    print(f"\n{'fresh against stored masks':28s}{'mean IoU':>10s}{'least':>10s}{'identical':>10s}")
    for name, image in list_samples().items():
        with tempfile.TemporaryDirectory() as folder:
            found = compare_masks(model, image, Path(folder), options.grid)
        print(f"{name:28s}{found.mean():10.5f}{found.min():10.5f}{(found == 1).mean():10.1%}")


if __name__ == "__main__":
    main()
