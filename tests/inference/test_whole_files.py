"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from napari_sam.inference.whole_files import replace_file, replace_folder


def test_replace_file_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "no space left")

    with pytest.raises(OSError, match="no space left"):
        replace_file(target, fail, overwrite=True)
    assert target.read_text() == "old"
    with pytest.raises(FileExistsError):
        replace_file(target, lambda path: path.write_text("new"), overwrite=False)
    replace_file(target, lambda path: path.write_text("new"), overwrite=True)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "new")]


@pytest.mark.skipif(os.name == "nt", reason="rights of another kind")
def test_a_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    """Who may read the labels of a shared folder may read what lies beside them."""
    (tmp_path / "any.txt").write_text("any")
    replace_file(tmp_path / "a.txt", lambda path: path.write_text("new"))
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("any.txt", "a.txt")]
    assert rights[0] == rights[1]


def test_a_folder_that_cannot_be_replaced_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.zarr"
    target.mkdir()
    (target / "x").write_text("old")

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "x").write_text("new")

    rename = Path.rename

    def stubborn(self: Path, to: Path) -> Path:
        if self.name.startswith(".a-") and not self.stem.endswith("-old"):
            raise PermissionError(13, "in use")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", stubborn)
    with pytest.raises(PermissionError):
        replace_folder(target, write, overwrite=True)
    assert (target / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
