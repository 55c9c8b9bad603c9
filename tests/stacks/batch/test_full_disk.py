"""A disk that is full in the middle of a batch; a small one is mounted where that is allowed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from napari_sam.stacks.manifest import MANIFEST_NAME, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a small disk of its own; only root may mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_batch_and_it_goes_on_when_there_is_room(batch: Any, small_disk: Path) -> None:
    for i in range(9):
        batch.add(f"more{i}.tif", 10 + i)
    batch.out = small_disk / "out"
    (small_disk / "fill").write_bytes(bytes(72 << 10))
    report = batch.run()
    assert "No space left on device" in report.stopped
    assert report.failed == 0
    assert report.left >= 1
    found = read_manifest(batch.out / MANIFEST_NAME)
    assert all(entry.status == "done" for entry in found.units.values())
    assert len(found.units) == report.done
    (small_disk / "fill").unlink()
    again = batch.run()
    assert (again.done, again.before, again.stopped) == (report.left, report.done, "")
    assert len(list(batch.out.glob("*_labels.tif"))) == 12
