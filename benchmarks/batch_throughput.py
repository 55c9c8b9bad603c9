"""Images per second of a batch against a loop in one thread, over the same files.

Both are processes of their own and start from nothing: interpreter, imports, model, reading, segmenting,
writing TIFF files. They take turns, so that a busy machine slows both alike. The second pair of columns
leaves the start out: from the first image to the last.

    python benchmarks/batch_throughput.py                      200 made images of 256 x 256
    python benchmarks/batch_throughput.py --images FOLDER --count 200 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np

LOOP = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import napari_sam as ns
from napari_sam.stacks.image_io import open_image
from napari_sam.stacks.outputs import write_outputs
model = ns.load_model("nuclei", device="cpu")
out = Path(sys.argv[1])
begun = time.perf_counter()
for path in map(Path, sys.stdin.read().splitlines()):
    stack = open_image(path)
    labels = ns.segment_image(stack.data, model)
    write_outputs(["tiff"], out / path.stem, labels, axes="YX", scale=stack.scale, unit=stack.unit)
print(time.perf_counter() - begun)
"""
PROGRAM = "import sys; from napari_sam.cli.main import main; sys.exit(main())"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def make_images(folder: Path, count: int) -> list[Path]:
    import tifffile

    from napari_sam.sample_data import make_nuclei

    paths = [folder / f"nuclei{i:04d}.tif" for i in range(count)]
    for seed, path in enumerate(paths):
        tifffile.imwrite(path, make_nuclei((256, 256), count=20 + seed % 40, radius=6, seed=seed)[0])
    return paths


def run_loop(paths: list[Path], out: Path) -> tuple[float, float]:
    out.mkdir()
    begun = time.perf_counter()
    text = "\n".join(map(str, paths))
    done = subprocess.run(
        [sys.executable, "-c", LOOP, str(out)],
        input=text, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD,
    )  # fmt: skip
    return time.perf_counter() - begun, float(done.stdout)


def run_batch(paths: list[Path], out: Path, options: list[str]) -> tuple[float, float]:
    begun = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, "batch", *map(str, paths), "--out", str(out), "--device", "cpu"]
    subprocess.run([*command, *options], capture_output=True, check=True, env=os.environ | ONE_THREAD)
    whole = time.perf_counter() - begun
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    ends = sorted(datetime.fromisoformat(line["finished"]) for line in lines if line["kind"] == "unit")
    # of the first images the time is not known; the rate of the others is taken for theirs
    skipped = min(4, len(ends) // 4)
    rest = (ends[-1] - ends[skipped]).total_seconds()
    return whole, rest * len(ends) / (len(ends) - 1 - skipped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="a folder of images; default: made ones")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("options", nargs="*", help="for napari-sam batch, after --")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batch-throughput-"))
    try:
        if options.images is None:
            (folder / "images").mkdir()
            paths = make_images(folder / "images", options.count)
        else:
            paths = sorted(p for p in options.images.iterdir() if p.is_file())[: options.count]
        ratios = []
        print(f"{len(paths)} images, {os.cpu_count()} cores")
        print("round   loop s  batch s  ratio    loop s  batch s  ratio (without the start)")
        for number in range(options.rounds):
            loop, loop_inner = run_loop(paths, folder / f"loop{number}")
            batch, batch_inner = run_batch(paths, folder / f"batch{number}", options.options)
            ratios.append((loop / batch, loop_inner / batch_inner))
            print(
                f"{number + 1:5d} {loop:8.1f} {batch:8.1f} {ratios[-1][0]:6.2f}  "
                f"{loop_inner:8.1f} {batch_inner:8.1f} {ratios[-1][1]:6.2f}",
                flush=True,
            )
        middle = np.median(ratios, axis=0)
        print(f"median ratio {middle[0]:.2f}; without the start {middle[1]:.2f}; wanted 1.80")
        same = sum(
            (folder / "loop0" / f"{p.stem}_labels.tif").read_bytes()
            == (folder / "batch0" / f"{p.stem}_labels.tif").read_bytes()
            for p in paths
        )
        print(f"{same} of {len(paths)} files are the same, byte for byte")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
