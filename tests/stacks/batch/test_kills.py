"""A batch that is killed at any moment is finished by the next runs, as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from napari_sam.stacks.manifest import MANIFEST_NAME, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from napari_sam.cli.main import main; sys.exit(main())",
    "batch",
]


def _start(batch: Any, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(batch.images), "--out", str(out), "--device", "cpu", *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def test_killed_at_random_the_labels_are_those_of_an_undisturbed_run(batch: Any, tmp_path: Path) -> None:
    for i in range(15):
        batch.add(f"more{i}.tif", 10 + i)
    chance = random.Random(3)
    kills = 0
    while kills < 6:
        workers = "2" if kills == 3 else "0"  # with workers, they must end with it
        process = _start(batch, batch.out, "--workers", workers)
        assert process.stdout is not None
        line = (
            process.stdout.readline()
        )  # an image is done; it would be slow to wait for all places by chance
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.stdout.read()
        process.wait()
        process.stdout.close()
        kills += 1
        assert line
        if process.returncode == 0 or len(read_manifest(batch.out / MANIFEST_NAME).units) == 18:
            break
    assert kills >= 2
    report = batch.run()
    assert (report.failed, report.stopped) == (0, "")
    found = batch.files()
    lines = [json.loads(line) for line in (batch.out / MANIFEST_NAME).read_text().splitlines()]
    done = [line["source"] for line in lines if line["kind"] == "unit"]
    assert len(done) == len(set(done)) == 18  # nothing lost, nothing done twice
    batch.out = tmp_path / "undisturbed"
    assert batch.run().done == 18
    assert found == batch.files()


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl+C to a process of its own")
@pytest.mark.parametrize("where", ["--workers=0", "--workers=2", "--scheduler=local:2"])
def test_ctrl_c_finishes_what_is_in_work(where: str, batch: Any, tmp_path: Path) -> None:
    for i in range(30):
        batch.add(f"more{i}.tif", 10 + i)
    command = [*COMMAND, str(batch.images), "--out", str(batch.out), "--device", "cpu", where]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from there" in complaints
    assert "Traceback" not in complaints
    units = read_manifest(batch.out / MANIFEST_NAME).units
    assert 1 <= len(units) < 33
    assert all(entry.status == "done" for entry in units.values())
    assert {f"{entry.unit.stem}_labels.tif" for entry in units.values()} == set(batch.files())
    assert batch.run().done == 33 - len(units)
