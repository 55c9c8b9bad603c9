"""How long each format takes for many objects, and how much memory for labels that are not in memory.

python benchmarks/exports.py [--side 4096] [--planes 2000]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

from napari_sam.stacks.image_io import open_image
from napari_sam.stacks.outputs import FORMATS, write_outputs


def make_discs(side: int, pitch: int = 40) -> np.ndarray:
    """Discs of radius 15 in a grid."""
    rows, cols = np.mgrid[:pitch, :pitch] - pitch // 2
    cell = rows**2 + cols**2 < 225
    count = side // pitch
    ids = np.arange(1, count * count + 1, dtype=np.int32).reshape(count, count)
    return np.kron(ids, cell.astype(np.int32))


def write_lazy(name: str, planes: int, queue: multiprocessing.Queue) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tile = make_discs(512)
        source = zarr.create_array(
            Path(folder) / "l.zarr", shape=(planes, *tile.shape), chunks=(1, *tile.shape), dtype="int32"
        )
        for number in range(planes):
            source[number] = tile
        stack = open_image(Path(folder) / "l.zarr")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        write_outputs([name], Path(folder) / "a", stack.data, axes="ZYX")
        seconds = time.perf_counter() - start
        queue.put((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--planes", type=int, default=200)
    options = parser.parse_args()
    labels = make_discs(options.side)
    print(
        f"{labels.shape[0]} x {labels.shape[1]} pixels, {labels.max()} objects; "
        f"{options.planes} lazy planes of {make_discs(512).shape[0]} pixels a side"
    )
    print(f"{'format':10} {'seconds':>8} {'MB':>7} {'lazy: seconds':>14} {'more memory, MB':>16}")
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            path = write_outputs([name], Path(folder) / "a", labels, axes="YX")[0]
            seconds = time.perf_counter() - start
            files = path.rglob("*") if path.is_dir() else [path]
            size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        queue: multiprocessing.Queue = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(
            target=write_lazy, args=(name, options.planes, queue)
        )
        process.start()
        lazy, memory = queue.get()
        process.join()
        print(f"{name:10} {seconds:8.2f} {size:7.2f} {lazy:14.2f} {memory:16.0f}")


if __name__ == "__main__":
    main()
