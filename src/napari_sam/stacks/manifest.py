"""The manifest of a batch: a JSON line for all that happened, so that it can be resumed and repeated.

A line is appended and forced to the disk only after the outputs it tells of are in place. Whatever ends the
program, the file then says nothing that is not so; at most its last line is torn, which reading passes over
and the next writing removes. Four kinds of line::

    {"kind": "manifest", "version": 1, ...}        the first one
    {"kind": "job", "id": ..., "job": {...}}       settings and model from here on
    {"kind": "planned", "source": ..., "stem": ...}   which name the outputs of an image have
    {"kind": "unit", "source": ..., "status": "done" | "failed", ...}   the last one of an image counts
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from napari_sam import __version__
from napari_sam.errors import ManifestError
from napari_sam.stacks.work_units import BatchJob, Unit, UnitResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["MANIFEST_NAME", "JobEntry", "Manifest", "ManifestWriter", "UnitEntry", "read_manifest"]

MANIFEST_NAME: Final = "manifest.jsonl"
VERSION: Final = 1
"""To be raised when older programs would misread the lines; what older lines lack is then added on "
"reading."""


@dataclass(frozen=True, slots=True)
class JobEntry:
    """Settings that were used in a folder.

    Attributes
    ----------
    id : str
        What units refer to.
    job : BatchJob
    model_digest : str
        SHA-256 of the checkpoint.
    """

    id: str
    job: BatchJob
    model_digest: str


@dataclass(frozen=True, slots=True)
class UnitEntry:
    """What became of a unit.

    Attributes
    ----------
    unit : Unit
    job : str
        Id of the job.
    status : str
    error : str
        Why it failed; "" otherwise.
    attempt : int
        From 1, over all runs.
    finished : str
        ISO 8601, UTC.
    result : UnitResult or None
        Of a unit that is done.
    """

    unit: Unit
    job: str
    status: Literal["done", "failed"]
    error: str = ""
    attempt: int = 1
    finished: str = ""
    result: UnitResult | None = None

    def to_json(self) -> dict[str, Any]:
        """The line."""
        head = {
            "kind": "unit",
            "source": self.unit.source,
            "stem": self.unit.stem,
            "job": self.job,
            "status": self.status,
            "error": self.error or None,
            "attempt": self.attempt,
            "finished": self.finished,
        }
        return head | (self.result.to_json() if self.result is not None else {})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> UnitEntry:
        """What ``to_json`` gave."""
        if values["status"] not in ("done", "failed"):
            raise ValueError(f"a unit is done or failed, not {values['status']!r}")
        return cls(
            Unit(str(values["source"]), str(values["stem"])),
            str(values["job"]),
            values["status"],
            values["error"] or "",
            int(values["attempt"]),
            str(values["finished"]),
            UnitResult.from_json(values) if values["status"] == "done" else None,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says.

    Attributes
    ----------
    jobs : dict
        By id, in the order in which they were last taken up, and as they were then.
    stems : dict
        Of every image that was ever planned: what its outputs are called.
    units : dict
        By source, the last that was written of each.
    intact : int
        Bytes up to the end of the last whole line.
    """

    jobs: dict[str, JobEntry] = field(default_factory=dict)
    stems: dict[str, str] = field(default_factory=dict)
    units: dict[str, UnitEntry] = field(default_factory=dict)
    intact: int = 0

    def was_used_last(self, job_id: str, job: BatchJob) -> bool:
        """Whether these settings, with formats, device and model's path, are the ones that were used last."""
        last = next(reversed(self.jobs.values()), None)
        return last is not None and last.id == job_id and last.job.to_json() == job.to_json()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; one that is not there or empty says nothing.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ManifestError
        When it is no manifest, is damaged elsewhere than at its end, or of a version that cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Manifest()
    except OSError as error:
        raise ManifestError(f"Cannot read the manifest {path}: {error.strerror}.") from error
    found, position = Manifest(), 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break  # torn off when the program ended
            raise ManifestError(
                f"Expected one JSON object a line in the manifest {path}, got something else in line "
                f"{number}; "
                "restore the file, or start in another folder."
            ) from error
        if number == 1:
            _check_version(values, path)
        try:
            _take_in(found, values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ManifestError(
                f"Line {number} of the manifest {path} does not say what it should ({error!r}); "
                "restore the file, or start in another folder."
            ) from error
        position += len(line)
    return Manifest(found.jobs, found.stems, found.units, position)


def _check_version(values: Mapping[str, Any], path: Path) -> None:
    version = values.get("version")
    if values.get("kind") != "manifest" or not isinstance(version, int):
        raise ManifestError(
            f"Expected a manifest of `napari-sam batch` in {path}, got a file whose first line does not "
            "say so."
        )
    if version > VERSION:
        by = values.get("program", "a newer program")
        raise ManifestError(
            f"The manifest {path} was written by {by} in version {version}; this is napari_sam "
            f"{__version__}, "
            f"which reads version {VERSION}. Update napari_sam, or start in another folder."
        )
    if version < VERSION:
        raise ManifestError(
            f"The manifest {path} has version {version}, of a trial that was never published; "
            f"this program reads version {VERSION}. Start in another folder."
        )


def _take_in(found: Manifest, values: Mapping[str, Any]) -> None:
    kind = values["kind"]
    if kind == "job":
        entry = JobEntry(str(values["id"]), BatchJob.from_json(values["job"]), str(values["model_digest"]))
        found.jobs.pop(entry.id, None)  # the one that was used last is the last
        found.jobs[entry.id] = entry
    elif kind == "planned":
        found.stems[str(values["source"])] = str(values["stem"])
    elif kind == "unit":
        unit = UnitEntry.from_json(values)
        found.units[unit.unit.source] = unit
        found.stems[unit.unit.source] = unit.unit.stem
    # other kinds are left for programs that know them


class ManifestWriter:
    """Appends to a manifest; only whoever holds the folder's lock may.

    Parameters
    ----------
    path : Path
        Made when it is not there.
    known : Manifest
        What ``read_manifest`` found; whatever follows its last whole line is removed.

    Raises
    ------
    OSError
        When it cannot be written.
    """

    def __init__(self, path: Path, known: Manifest) -> None:
        self._file = path.open("ab", buffering=0)  # what a full disk refused is not to be tried again
        try:
            self._file.truncate(known.intact)
            self._file.seek(0, os.SEEK_END)
            if known.intact == 0:
                first = {"kind": "manifest", "version": VERSION, "program": f"napari_sam {__version__}"}
                self.append([first | {"created": now()}])
                _sync_folder(path.parent)
            else:
                self._end_line(path)
        except BaseException:
            self.close()
            raise

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write lines and wait until they are on the disk; all of them or, where that fails, none.

        Raises
        ------
        OSError
            When the disk is full or gone.
        """
        before = self._file.seek(0, os.SEEK_END)
        rest = memoryview("".join(json.dumps(record) + "\n" for record in records).encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(before)
            raise

    def append_job(self, entry: JobEntry) -> None:
        """Note settings that are used from now on."""
        line = {"kind": "job", "id": entry.id, "model_digest": entry.model_digest, "job": entry.job.to_json()}
        self.append([line])

    def append_plan(self, units: Iterable[Unit]) -> None:
        """Note which names the outputs of images will have."""
        self.append([{"kind": "planned", "source": unit.source, "stem": unit.stem} for unit in units])

    def append_unit(self, entry: UnitEntry) -> None:
        """Note what became of a unit."""
        self.append([entry.to_json()])

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(OSError):  # what could not be flushed was said before
            self._file.close()

    def _end_line(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # torn off just before its end
                self._file.write(b"\n")


def now() -> str:
    """The time as it is written into a manifest."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _sync_folder(folder: Path) -> None:
    """Make sure that a new file is found after a power failure, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not on every network disk
            os.fsync(handle)
    finally:
        os.close(handle)
