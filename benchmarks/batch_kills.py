"""A batch killed over and over again, and its labels compared with those of an undisturbed run.

Every kill is a SIGKILL at a random moment: of the program, of one of its workers, or of both. Afterwards
the same command goes on. When a batch is finished the next one begins, until there were as many kills as
asked for.

    python benchmarks/batch_kills.py --kills 50
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from batch_throughput import ONE_THREAD, PROGRAM, make_images


def start(images: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, "batch", str(images), "--out", str(out), "--device", "cpu"]
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | ONE_THREAD,
    )


def list_children(pid: int) -> list[int]:
    """Of Linux only."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(part) for part in text.split()]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def read_outputs(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*_labels.tif")}


def count_lines(out: Path) -> tuple[int, int]:
    """Images that are done, and how often one was done again."""
    path = out / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = [line["source"] for line in lines if line["kind"] == "unit" and line["status"] == "done"]
    return len(set(done)), len(done) - len(set(done))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="batch-kills-"))
    try:
        images = folder / "images"
        images.mkdir()
        make_images(images, options.images)
        begun = time.perf_counter()
        assert start(images, folder / "undisturbed", options.workers).wait() == 0
        duration = time.perf_counter() - begun
        expected = read_outputs(folder / "undisturbed")
        assert len(expected) == options.images
        print(f"{options.images} images, undisturbed {duration:.1f} s")
        kills, batches, workers_killed, again, wrong = 0, 0, 0, 0, 0
        while kills < options.kills:
            out = folder / f"batch{batches}"
            while True:
                process = start(images, out, options.workers)
                moment = time.perf_counter() + chance.uniform(0, duration)
                while time.perf_counter() < moment and process.poll() is None:
                    time.sleep(0.002)
                if process.poll() is None and kills < options.kills:
                    victims = list_children(process.pid)
                    which = chance.choice(["program", "program", "worker", "both"])
                    if which != "program" and victims:
                        kill(chance.choice(victims))
                        workers_killed += 1
                    if which != "worker" or not victims:
                        kill(process.pid)
                    kills += 1
                code = process.wait()
                if code == 0:
                    break
                assert code == -signal.SIGKILL, f"ended with {code}"
            batches += 1
            done, twice = count_lines(out)
            again += twice
            found = read_outputs(out)
            wrong += found != expected or done != options.images
            print(
                f"batch {batches}: {done} done, {kills} kills so far, {workers_killed} of workers", flush=True
            )
        print(
            f"{kills} kills; {batches - wrong} of {batches} batches with the labels of the undisturbed run; "
            f"{again} images done twice"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
