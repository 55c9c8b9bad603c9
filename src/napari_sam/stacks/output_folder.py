"""The folder that a batch writes to: what is unfinished in it, what is moved in, and when it is of no use."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from napari_sam.errors import BatchError
from napari_sam.stacks.file_digests import FileState, read_state

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["UNFINISHED", "OutputFolder", "OutputFolderError", "explain_folder", "find_cause"]

UNFINISHED: Final = ".unfinished"
"""The folder within the output folder where outputs are made; whatever it holds may be deleted."""
_FOLDER_IS_BAD: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EROFS",
        "EACCES",
        "EPERM",
        "EIO",
        "ENOENT",
        "ENOTDIR",
        "ESTALE",
        "ENODEV",
    )
    if hasattr(errno, name)
)


class OutputFolderError(BatchError):
    """Nothing can be written any more, whatever the unit: the batch stops."""


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where a run of a batch writes.

    Attributes
    ----------
    path : Path
    run : str
        Name of a folder within ``UNFINISHED`` that is there while the run lasts. Outputs are made in it, so
        a worker that outlives its run cannot put anything into place any more.
    """

    path: Path
    run: str

    @property
    def workplace(self) -> Path:
        """Where this run makes its outputs."""
        return self.path / UNFINISHED / self.run

    def open(self) -> None:
        """Begin the run: delete what others have left unfinished."""
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
        self.workplace.mkdir(parents=True)

    def close(self) -> None:
        """End the run, with all that is unfinished."""
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)

    def make_scratch(self) -> Path:
        """A new folder for what is not finished.

        Raises
        ------
        FileNotFoundError
            When the run is over.
        """
        path = self.workplace / secrets.token_hex(8)
        path.mkdir()
        return path

    def move_in(self, path: Path) -> FileState:
        """Move a file or folder to its place, replacing what is there; its state there."""
        for file in [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]:
            _sync(file)
        target = self.path / path.name
        if target.is_dir():  # a folder can only replace an empty one
            target.rename(path.with_name(f"{path.name}.old"))
        path.replace(target)
        return read_state(target)


def _sync(file: Path) -> None:
    """Have a file's content on the disk before the manifest says that it is there."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def explain_folder(error: Exception, folder: Path) -> OutputFolderError:
    """What the user reads when a folder cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return OutputFolderError(
        f"Cannot write to {folder}: {reason}. Make room or choose another folder; the same batch "
        "goes on from where it stopped."
    )


def find_cause(error: BaseException | None) -> OSError | None:
    """What the system said, when it is about the folder rather than about one file."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FOLDER_IS_BAD:
            return error
        error = error.__cause__
    return None
