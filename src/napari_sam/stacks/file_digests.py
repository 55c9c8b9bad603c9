"""What a file or a folder holds, in a few digits, and whether it was changed since."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xxhash import xxh3_128

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FileState", "digest_path", "read_state"]

_CHUNK: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class FileState:
    """What was seen of a file, or of all files of a folder together.

    Attributes
    ----------
    size : int
        Bytes.
    mtime_ns : int
        Of the file that was changed last.
    digest : str
        32 hexadecimal digits, of the content and the names within a folder; "" where it was not read.
    """

    size: int
    mtime_ns: int
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is written into a manifest."""
        return {"size": self.size, "mtime_ns": self.mtime_ns, "digest": self.digest}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FileState:
        """What ``to_json`` gave."""
        return cls(int(values["size"]), int(values["mtime_ns"]), str(values["digest"]))

    def still_holds(self, path: Path) -> bool:
        """Whether a path is still what it was: untouched, or touched but with the same content."""
        try:
            now = read_state(path, digest=False)
            if now.size != self.size:
                return False
            return now.mtime_ns == self.mtime_ns or digest_path(path) == self.digest
        except OSError:
            return False


def read_state(path: Path, *, digest: bool = True) -> FileState:
    """Look at a file, or at all files of a folder.

    Parameters
    ----------
    path : Path
    digest : bool
        Whether to read the content too.

    Raises
    ------
    OSError
        When it is not there or cannot be read.
    """
    files = _list_files(path)
    states = [file.stat() for file in files]
    size = sum(state.st_size for state in states)
    changed = max((state.st_mtime_ns for state in states), default=0)
    return FileState(size, changed, digest_path(path) if digest else "")


def digest_path(path: Path) -> str:
    """A digest of a file's content, or of the names and contents of a folder.

    Raises
    ------
    OSError
        When it is not there or cannot be read.
    """
    total = xxh3_128()
    is_folder = path.is_dir()
    for file in _list_files(path):
        if is_folder:
            total.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                total.update(chunk)
    return str(total.hexdigest())


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [path.__class__(root) / name for root, _, names in os.walk(path) for name in names]
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())
