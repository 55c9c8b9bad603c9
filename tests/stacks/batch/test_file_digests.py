from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from napari_sam.stacks.file_digests import digest_path, read_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _rewrite(path: Path) -> None:
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        pytest.param(lambda path: None, True, id="untouched"),
        pytest.param(_touch, True, id="touched"),
        pytest.param(_rewrite, False, id="same-size-other-content"),
        pytest.param(lambda path: path.write_bytes(b"longer than before"), False, id="other-size"),
        pytest.param(lambda path: path.unlink(), False, id="deleted"),
    ],
)
def test_a_file_is_known_again(change: Callable[[Path], object], holds: bool, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"thing")
    state = read_state(path)
    assert state.size == 5
    change(path)
    assert state.still_holds(path) is holds


def test_a_folder_is_what_its_files_are_called_and_hold(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for folder, (name, content) in zip(
        folders, [("x/1", b"one"), ("x/1", b"one"), ("y/1", b"one"), ("x/1", b"two")], strict=True
    ):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
    digests = [digest_path(folder) for folder in folders]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert read_state(folders[0]).size == 3


def _add_labels(image: Path) -> None:
    (image / "labels" / "cells").mkdir(parents=True)
    (image / "labels" / "cells" / "0").write_bytes(b"mine")


def _consolidate(image: Path) -> None:
    """As zarr does in its version 2, and in 3 again."""
    (image / ".zmetadata").write_bytes(b"{}")
    content = json.loads((image / "zarr.json").read_text())
    (image / "zarr.json").write_text(json.dumps(content | {"consolidated_metadata": {"labels": 1}}))


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        pytest.param(_add_labels, True, id="labels"),
        pytest.param(_consolidate, True, id="consolidated"),
        pytest.param(lambda image: (image / "0" / "c0").write_bytes(b"pixels"), False, id="pixels"),
        pytest.param(
            lambda image: (image / "0" / "labels").write_bytes(b"1"), False, id="labels-deeper-down"
        ),
        pytest.param(
            lambda image: (image / "zarr.json").write_text('{"scale": 10, "consolidated_metadata": {}}'),
            False,
            id="metadata",
        ),
    ],
)
def test_an_image_is_what_it_shows(change: Callable[[Path], object], is_same: bool, tmp_path: Path) -> None:
    image = tmp_path / "i.zarr"
    (image / "0").mkdir(parents=True)
    (image / "0" / "c0").write_bytes(b"pixel")
    (image / "zarr.json").write_text('{"scale": 1, "consolidated_metadata": {}}')
    before = read_state(image, is_image=True)
    whole = read_state(image)
    change(image)
    assert before.still_holds(image, is_image=True) is is_same
    assert (read_state(image, is_image=True).digest == before.digest) is is_same
    assert not whole.still_holds(image)
