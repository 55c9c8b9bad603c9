"""The folder of downloaded weights, where files are known by their content and not by their names."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_sam.errors import CheckpointError
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_sam.inference.registry import ModelCard, WeightFile

__all__ = ["FileHash", "WeightFolder", "default_folder", "iter_hash", "write_atomically"]

logger = logging.getLogger(__name__)

MEGABYTE: Final = 10**6
SMALLEST: Final = MEGABYTE
"""Files with fewer bytes hold no weights that have a name."""
_CHUNK: Final = 1 << 24
_INDEX: Final = "index.json"
_UNFINISHED: Final = (".part", ".crdownload", ".download", ".tmp", ".lock", ".json")


@dataclass(frozen=True, slots=True)
class FileHash:
    """What a file holds, and how to see that it was not changed since.

    Attributes
    ----------
    size : int
        Bytes.
    mtime_ns : int
        Time of the last change.
    xxh128, sha256 : str
        Hexadecimal.
    """

    size: int
    mtime_ns: int
    xxh128: str
    sha256: str


def default_folder() -> Path:
    """Where weights are kept: ``NAPARI_SAM_MODEL_DIR``, or the folder that the system has for caches."""
    chosen = os.environ.get("NAPARI_SAM_MODEL_DIR")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("napari-sam", appauthor=False)) / "models"


class WeightFolder:
    """Files of weights in one folder, found by their content.

    A file is hashed once; what was found is remembered in the folder, for as long as the file keeps its size
    and time.

    Parameters
    ----------
    path : Path or None
        None for ``default_folder()``. It need not exist.
    least_bytes : int or None
        Smaller files are not looked at; None for ``SMALLEST``.
    """

    def __init__(self, path: Path | None = None, least_bytes: int | None = None) -> None:
        self.path = default_folder() if path is None else Path(path)
        self._least_bytes = SMALLEST if least_bytes is None else least_bytes
        self._known = self._read_index()

    def iter_scan(self) -> Generator[Progress, None, None]:
        """Hash the files that are new here; a job."""
        new = [path for path in self._list() if self._lookup(path) is None]
        total = sum(path.stat().st_size for path in new)
        done = 0
        for path in new:
            text = f"Looking at {path.name}"
            job = iter_hash(path)
            try:
                while True:
                    try:
                        read = next(job)
                    except StopIteration as stop:
                        self._known[path.name] = stop.value
                        break
                    yield Progress((done + read) // MEGABYTE, total // MEGABYTE, text)
                done += self._known[path.name].size
            except OSError as error:  # somebody else's file, or taken away meanwhile
                logger.debug("cannot read %s: %s", path, error)
        if new:
            self._write_index()

    def find(self, file: WeightFile) -> Path | None:
        """A file with this content among those that were hashed; None where there is none."""
        for name, found in self._known.items():
            path = self.path / name
            if found.xxh128 == file.xxh128 and self._lookup(path) is not None:
                return path
        return None

    def has(self, card: ModelCard) -> bool:
        """Whether every file of a model is here; one that is bundled always is."""
        return all(self.find(file) is not None for file in card.files)

    def forget(self, file: WeightFile) -> None:
        """Hash the file with this content anew at the next scan, whatever its size and time say."""
        path = self.find(file)
        if path is not None:
            del self._known[path.name]

    def sha256(self, path: Path) -> str | None:
        """The sha256 of a file of this folder, where it is known."""
        found = self._lookup(path) if path.parent == self.path else None
        return None if found is None else found.sha256

    def add(self, path: Path, found: FileHash) -> None:
        """Remember what a file of this folder holds."""
        self._known = self._read_index() | self._known  # another process may have added some
        self._known[path.name] = found
        self._write_index()

    def make(self) -> None:
        """Make the folder and see that files can be written there.

        Raises
        ------
        CheckpointError
            When they cannot.
        """
        probe = self.path / f".{os.getpid()}.probe"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise CheckpointError(
                f"Cannot write to the folder of models {self.path}: {error.strerror or error}; set "
                "NAPARI_SAM_MODEL_DIR to a folder of your own, or have this one made writable."
            ) from error

    def _list(self) -> list[Path]:
        try:
            paths = sorted(self.path.iterdir())
            return [path for path in paths if self._is_candidate(path)]
        except OSError:
            return []

    def _is_candidate(self, path: Path) -> bool:
        if path.suffix.lower() in _UNFINISHED or path.name.startswith("."):
            return False
        return path.is_file() and path.stat().st_size >= self._least_bytes

    def _lookup(self, path: Path) -> FileHash | None:
        """What is known of a file, if it is there and was not changed since."""
        found = self._known.get(path.name)
        try:
            status = path.stat()
        except OSError:
            return None
        if found is None or (found.size, found.mtime_ns) != (status.st_size, status.st_mtime_ns):
            return None
        return found

    def _read_index(self) -> dict[str, FileHash]:
        try:
            data = json.loads((self.path / _INDEX).read_text(encoding="utf-8"))
            return {str(name): FileHash(**entry) for name, entry in data.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}  # none yet, or damaged: files are hashed anew

    def _write_index(self) -> None:
        data = {name: asdict(found) for name, found in self._known.items() if (self.path / name).is_file()}
        try:
            write_atomically(self.path / _INDEX, json.dumps(data, indent=1).encode())
        except OSError as error:  # a folder that others look after: files are hashed again next time
            logger.debug("cannot write %s: %s", self.path / _INDEX, error)


def iter_hash(path: Path) -> Generator[int, None, FileHash]:
    """Hash a file; yields the bytes read so far and returns what it holds.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    import xxhash

    fast, strong = xxhash.xxh128(), hashlib.sha256()
    read = 0
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        while chunk := file.read(_CHUNK):
            fast.update(chunk)
            strong.update(chunk)
            read += len(chunk)
            yield read
    return FileHash(status.st_size, status.st_mtime_ns, fast.hexdigest(), strong.hexdigest())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
