"""Thousands of random user actions in a real window; prints the seed and the steps of what fails.

    python benchmarks/monkey.py --actions 2000 --seed 1
    python benchmarks/monkey.py --replay failure.json --shrink

Needs a display; on a machine without one run it under ``scripts/headless.sh``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NAPARI_CONFIG"] = ""
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "monkey"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--actions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed on")
    parser.add_argument("--chunk", type=int, default=250, help="actions in one viewer, which is then closed")
    parser.add_argument("--real", type=float, default=0.25, help="share of viewers with the bundled model")
    parser.add_argument("--bare", action="store_true", help="a viewer without a window: faster")
    parser.add_argument("--replay", type=Path, help="do the steps of a failure again")
    parser.add_argument("--shrink", action="store_true", help="look for fewer steps that fail")
    parser.add_argument("--out", type=Path, default=Path("monkey-failure.json"))
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        for name in ("CONFIG", "CACHE", "STATE"):
            os.environ[f"NAPARI_SAM_{name}_DIR"] = str(Path(scratch) / name.lower())
        return _run(options, Path(scratch))


def _run(options: argparse.Namespace, scratch: Path) -> int:
    import napari
    import numpy as np
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    from monkey import Failure, Monkey, plan, shrink

    app = QApplication.instance() or napari.qt.get_qapp()
    viewers = []

    def make_viewer() -> object:
        for viewer in viewers:
            viewer.close()
        viewers.clear()
        if options.bare:
            return ViewerModel()
        viewers.append(napari.Viewer(show=False))
        return viewers[-1]

    def attempt(steps: list, real: bool) -> str:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        try:
            Monkey(make_viewer, folder, real).run(steps)
        except Failure as failure:
            return str(failure)
        return ""

    if options.replay:
        saved = json.loads(options.replay.read_text())
        runs = [(saved["seed"], [tuple(step) for step in saved["steps"]], saved["real"])]
    else:
        runs = []
        for seed in range(options.seed, options.seed + options.seeds):
            rng = np.random.default_rng(seed)
            for start in range(0, options.actions, options.chunk):
                part = int(rng.integers(1 << 31))
                count = min(options.chunk, options.actions - start)
                runs.append((part, plan(part, count), bool(rng.random() < options.real)))
    failures = 0
    print(f"{'part':>12} {'model':>8} {'actions':>8} {'s':>7}  result")
    for seed, steps, real in runs:
        begun = time.perf_counter()
        message = attempt(steps, real)
        took = time.perf_counter() - begun
        result = "ok" if not message else message.strip().splitlines()[0]
        print(
            f"{seed:>12} {'bundled' if real else 'fake':>8} {len(steps):>8} {took:>7.1f}  {result}",
            flush=True,
        )
        if not message:
            continue
        failures += 1
        if options.shrink:
            steps = shrink(lambda fewer, real=real: bool(attempt(list(fewer), real)), list(steps))
            message = attempt(steps, real) or message
        out = options.out.with_stem(f"{options.out.stem}-{seed}")
        out.write_text(json.dumps({"seed": seed, "real": real, "steps": steps, "message": message}, indent=1))
        print(
            message,
            f"\n{len(steps)} steps are in {out}; repeat them with --replay {out}",
            sep="\n",
            flush=True,
        )
    for viewer in viewers:
        viewer.close()
    app.processEvents()
    print(f"{len(runs)} viewers, {sum(len(s) for _, s, _ in runs)} actions, {failures} failed")
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(main())
