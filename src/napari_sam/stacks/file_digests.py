"""What a file or a folder holds, in a few digits, and whether it was changed since."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xxhash import xxh3_128

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FileState", "digest_path", "read_state"]

_CHUNK: Final = 1 << 22
_ADDED: Final = frozenset({"labels", ".zmetadata"})
"""What is no part of an OME-Zarr image: its labels, and metadata as zarr 2 consolidates them."""


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

    def still_holds(self, path: Path, *, is_image: bool = False) -> bool:
        """Whether a path is still what it was: untouched, or touched but with the same content.

        Parameters
        ----------
        path : Path
        is_image : bool
            As when it was read.
        """
        try:
            now = read_state(path, digest=False, is_image=is_image)
            if now.size != self.size:
                return False
            return now.mtime_ns == self.mtime_ns or digest_path(path, is_image=is_image) == self.digest
        except OSError:
            return False


def read_state(path: Path, *, digest: bool = True, is_image: bool = False) -> FileState:
    """Look at a file, or at all files of a folder.

    Parameters
    ----------
    path : Path
    digest : bool
        Whether to read the content too.
    is_image : bool
        Whether to leave out what programs add to a zarr image without changing it: labels, and metadata that
        they consolidate.

    Raises
    ------
    OSError
        When it is not there or cannot be read.
    """
    own = _read_own_metadata(path) if is_image else {}
    states = {file: file.stat() for file in _list_files(path, is_image)}
    size = sum(len(own[file]) if file in own else state.st_size for file, state in states.items())
    changed = max((state.st_mtime_ns for state in states.values()), default=0)
    return FileState(size, changed, digest_path(path, is_image=is_image) if digest else "")


def digest_path(path: Path, *, is_image: bool = False) -> str:
    """A digest of a file's content, or of the names and contents of a folder.

    Parameters
    ----------
    path : Path
    is_image : bool
        As for ``read_state``.

    Raises
    ------
    OSError
        When it is not there or cannot be read.
    """
    total = xxh3_128()
    is_folder = path.is_dir()
    own = _read_own_metadata(path) if is_image else {}
    for file in _list_files(path, is_image):
        size = len(own[file]) if file in own else file.stat().st_size
        if is_folder:
            total.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        if file in own:
            total.update(own[file])
            continue
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                total.update(chunk)
    return str(total.hexdigest())


def _list_files(path: Path, is_image: bool = False) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [path.__class__(root) / name for root, _, names in os.walk(path) for name in names]
    if is_image:
        found = [file for file in found if file.relative_to(path).parts[0] not in _ADDED]
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def _read_own_metadata(path: Path) -> dict[Path, bytes]:
    """The metadata of a zarr itself, where those of all that it holds are consolidated with them."""
    file = path / "zarr.json"
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):  # no zarr of version 3
        return {}
    if not isinstance(content, dict) or "consolidated_metadata" not in content:
        return {}
    del content["consolidated_metadata"]
    return {file: json.dumps(content, sort_keys=True).encode()}
