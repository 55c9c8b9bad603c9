"""Time to filter and draw candidates after a threshold moved, as a slider does it.

    python benchmarks/candidates.py [--count 5000] [--side 1024] [--rounds 20]

Discs of random size and place on a square plane, so that each overlaps several others.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from timing import print_table

from napari_sam.inference.candidates import Candidates, FilterParams, draw_candidates, filter_candidates
from napari_sam.types import ObjectMask


def make_candidates(count: int, side: int, seed: int = 0) -> Candidates:
    """Discs of 6 to 16 pixels radius with random scores."""
    rng = np.random.default_rng(seed)
    objects = []
    for _ in range(count):
        radius = int(rng.integers(6, 17))
        rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        origin = (int(rng.integers(0, side - 2 * radius)), int(rng.integers(0, side - 2 * radius)))
        objects.append(ObjectMask(np.hypot(rows, cols) <= radius, origin, *rng.uniform(0.5, 1, 2)))
    return Candidates.from_objects(objects, (side, side))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()

    def measure(function: object, *values: object) -> tuple[float, object]:
        start = time.process_time()
        result = function(*values)  # type: ignore[operator]
        return 1000 * (time.process_time() - start), result

    packing, candidates = measure(make_candidates, options.count, options.side)
    packed = candidates.nbytes
    overlaps, pairs = measure(candidates.find_overlaps)
    filtering, drawing, kept = [], [], []
    for k in range(options.rounds):
        taken, chosen = measure(filter_candidates, candidates, FilterParams(0.5 + 0.4 * k / options.rounds))
        filtering.append(taken)
        drawing.append(measure(draw_candidates, candidates, chosen)[0])
        kept.append(len(chosen))
    print_table(
        ["step", "ms", "note"],
        [
            ["make and pack", packing, f"{options.count} candidates, {packed / 2**20:.1f} MiB"],
            ["count overlaps, once", overlaps, f"{len(pairs[0])} pairs"],
            ["filter, median", float(np.median(filtering)), f"{min(kept)} to {max(kept)} kept"],
            ["filter, slowest", max(filtering), ""],
            ["draw, median", float(np.median(drawing)), f"{options.side} x {options.side}"],
        ],
    )


if __name__ == "__main__":
    main()
