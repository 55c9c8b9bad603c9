"""Time and memory of the instance method by size of the plane: both must not grow faster than the pixels.

    python benchmarks/instances_large.py            # up to 4096 x 4096
    python benchmarks/instances_large.py --full     # and 8192 x 8192

Each size runs in a process of its own, on a memory-mapped file of made nuclei, of which only tiles are read.
Prints CPU-seconds per megapixel, each as a ratio to the first size, and how much the resident memory grew
over what the process held with the model loaded and one tile encoded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SIZES = (1024, 2048, 4096, 8192)
PATCH = 1024


def main() -> None:
    """One row a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="8192 x 8192 as well")
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", help="other sizes")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(measure(args.child, args.model, args.device)))
        return
    sizes = args.sizes or SIZES[: None if args.full else -1]
    print("size   objects    CPU s   s/Mpx   ratio  candidates MiB  peak MiB over one tile")
    first = None
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = make_plane(Path(folder), size)
            command = [sys.executable, __file__, "--child", str(path), "--model", args.model]
            done = subprocess.run(
                [*command, "--device", args.device], check=True, capture_output=True, text=True
            )
            row = json.loads(done.stdout.splitlines()[-1])
            path.unlink()
            rate = row["seconds"] / (size * size / 1e6)
            first = first or rate
            print(
                f"{size:5d} {row['objects']:9d} {row['seconds']:8.1f} {rate:7.2f} {rate / first:7.2f}"
                f" {row['held'] / 2**20:15.1f} {row['extra'] / 2**20:23.0f}",
                flush=True,
            )


def make_plane(folder: Path, size: int) -> Path:
    """A file of ``size`` x ``size`` uint16 nuclei: a patch, mirrored over and over."""
    from napari_sam.sample_data import make_nuclei

    patch, _ = make_nuclei((PATCH, PATCH), spacing=(0.25, 0.25), count=300, seed=1)
    path = folder / f"{size}.npy"
    plane = np.lib.format.open_memmap(path, mode="w+", dtype=patch.dtype, shape=(size, size))
    for r in range(0, size, PATCH):
        for c in range(0, size, PATCH):
            piece = patch[:: 1 if r // PATCH % 2 == 0 else -1, :: 1 if c // PATCH % 2 == 0 else -1]
            plane[r : r + PATCH, c : c + PATCH] = piece[: size - r, : size - c]
    plane.flush()
    return path


def measure(path: Path, model: str, device: str) -> dict[str, float]:
    """Segment the file in this process."""
    import napari_sam as ns
    from napari_sam.inference.instance_segmenter import iter_instance_candidates

    plane = np.load(path, mmap_mode="r")
    predictor = ns.CachedPredictor(ns.load_model(model, device), memory_bytes=0)
    for _ in iter_instance_candidates(np.array(plane[:PATCH, :PATCH]), predictor):
        pass
    before, peak, stop = read_resident(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], read_resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    job = iter_instance_candidates(plane, predictor)
    while True:
        try:
            next(job)
        except StopIteration as end:
            found = end.value
            break
    seconds = time.process_time() - start
    stop.set()
    watcher.join()
    held = found.nbytes
    return {
        "objects": len(found),
        "seconds": seconds,
        "held": held,
        "extra": max(0, peak[0] - before),
    }


def read_resident() -> int:
    """Bytes of memory of this process alone: pages of the mapped file do not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This benchmark reads /proc/self/status, which only Linux has.")


if __name__ == "__main__":
    main()
