"""The weights of a model on this computer: verified before use, whole or not there at all."""

from __future__ import annotations

import logging
import shutil
import threading
from typing import TYPE_CHECKING, Any, Final

from napari_sam.errors import CheckpointError, DownloadError
from napari_sam.inference.download import Patience, iter_receive, size_of
from napari_sam.inference.weight_files import MEGABYTE, FileHash, WeightFolder, iter_hash
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_sam.inference.registry import ModelCard, WeightFile

__all__ = ["describe_by_hand", "fetch", "iter_fetch", "iter_fetch_file"]

logger = logging.getLogger(__name__)

_LOOK: Final = 0.05
"""Seconds between two looks at a lock."""
_SPARE: Final = 50 * MEGABYTE
"""Bytes of a disk that are left alone."""


def iter_fetch(
    card: ModelCard, folder: WeightFolder | None = None, patience: Patience | None = None
) -> Generator[Progress, None, tuple[Path, ...]]:
    """Get every file of a model; a job that counts megabytes and returns the paths.

    Cancelled at a yield, it keeps what has arrived; the next one goes on from there.

    Parameters
    ----------
    card : ModelCard
    folder : WeightFolder or None
        None for the default one.
    patience : Patience or None

    Raises
    ------
    DownloadError
        When a file cannot be fetched, or is not the one expected.
    """
    folder = WeightFolder() if folder is None else folder
    yield from folder.iter_scan()
    paths, before = [], 0
    for file in card.files:
        job = iter_fetch_file(file, folder, patience)
        while True:
            try:
                step = next(job)
            except StopIteration as stop:
                paths.append(stop.value)
                break
            total = max(card.megabytes, before + step.total)
            yield Progress(before + step.done, total, step.description)
        before += file.megabytes
    return tuple(paths)


def fetch(card: ModelCard, folder: WeightFolder | None = None) -> tuple[Path, ...]:
    """Get every file of a model, without a word but in the log; see ``iter_fetch``."""
    job = iter_fetch(card, folder)
    last = ""
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            paths: tuple[Path, ...] = stop.value
            return paths
        if step.description != last:
            last = step.description
            logger.info("%s", last)


def iter_fetch_file(
    file: WeightFile, folder: WeightFolder, patience: Patience | None = None
) -> Generator[Progress, None, Path]:
    """Get one file, unless it is there; a job that counts megabytes and returns its path.

    Raises
    ------
    DownloadError
        When it cannot be fetched, or is not the one expected.
    """
    found = folder.find(file)
    if found is not None:
        return found
    try:
        folder.make()
    except CheckpointError as error:
        raise DownloadError(f"{error} {describe_by_hand(file, folder)}") from error
    lock = _make_lock(folder.path / f".{file.xxh128}.lock")
    yield from _iter_acquire(lock, file)
    try:
        yield from folder.iter_scan()
        found = folder.find(file)  # another process may have been faster
        if found is None:
            found = yield from _iter_get(file, folder, patience or Patience())
        return found
    finally:
        lock.release()


def describe_by_hand(file: WeightFile, folder: WeightFolder) -> str:
    """How to do without a download."""
    return (
        f"Behind a firewall, get {file.url} on another computer and put the file, under any name, into "
        f"{folder.path}: it is recognised by its content."
    )


def _make_lock(path: Path) -> Any:
    from filelock import FileLock  # the system frees it when its process ends, however that ends

    return FileLock(path, thread_local=False)


def _iter_acquire(lock: Any, file: WeightFile) -> Generator[Progress, None, None]:
    from filelock import Timeout

    pause = threading.Event()
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield Progress(0, file.megabytes, f"Waiting for another download of {file.name}")
            pause.wait(_LOOK)
        except (NotImplementedError, OSError) as error:  # some network drives have no locks
            logger.debug("no lock %s: %s", lock.lock_file, error)
            return
        else:
            return


def _iter_get(file: WeightFile, folder: WeightFolder, patience: Patience) -> Generator[Progress, None, Path]:
    part = folder.path / f"{file.name}.{file.xxh128[:8]}.part"
    while True:
        resumed = size_of(part) > 0
        yield from _iter_transfer(file, folder, part, patience)
        got = yield from _iter_check(file, part)
        if got.xxh128 == file.xxh128:
            break
        part.unlink(missing_ok=True)
        if not resumed:
            raise DownloadError(
                f"The file from {file.url} is not the one expected: its xxh128 should be {file.xxh128}, got "
                f"{got.xxh128} of {got.size} bytes. It was deleted; a login page of the network or a newer "
                f"version can be the cause. {describe_by_hand(file, folder)}"
            )
        logger.info("what was left of %s belongs to another file; starting anew", part.name)
    path = folder.path / file.name
    try:
        part.replace(path)
    except OSError as error:
        raise DownloadError(f"Cannot move the download to {path}: {error.strerror or error}.") from error
    folder.add(path, got)
    return path


def _iter_check(file: WeightFile, part: Path) -> Generator[Progress, None, FileHash]:
    job = iter_hash(part)
    size = size_of(part) // MEGABYTE
    while True:
        try:
            next(job)
        except StopIteration as stop:
            found: FileHash = stop.value
            return found
        yield Progress(size, size, f"Checking {file.name}")


def _iter_transfer(
    file: WeightFile, folder: WeightFolder, part: Path, patience: Patience
) -> Generator[Progress, None, None]:
    missing = file.megabytes * MEGABYTE - size_of(part)
    _check_space(file, folder, missing)
    try:
        for step in iter_receive(file.url, part, patience):
            missing = (step.total or 0) - step.bytes
            done = step.bytes // MEGABYTE
            total = max(step.total or file.megabytes * MEGABYTE, step.bytes) // MEGABYTE
            text = f"Downloading {file.name}, {done} of {total} MB"
            if step.is_waiting:
                text = f"Connection lost, trying again: {file.name}"
            yield Progress(done, total, text)
    except DownloadError as error:
        by_hand = describe_by_hand(file, folder)
        raise DownloadError(f"Cannot download {file.name}: {error}. {by_hand}") from error
    except OSError as error:
        _check_space(file, folder, missing)
        why = error.strerror or error
        raise DownloadError(f"Cannot write {file.name} to {folder.path}: {why}.") from error


def _check_space(file: WeightFile, folder: WeightFolder, missing: int) -> None:
    try:
        free = shutil.disk_usage(folder.path).free
    except OSError:
        return
    needed = missing + _SPARE
    if missing > 0 and free < needed:
        raise DownloadError(
            f"Expected {needed // MEGABYTE} MB of free space for {file.name} in {folder.path}, got "
            f"{free // MEGABYTE} MB; make room, or set NAPARI_SAM_MODEL_DIR to a folder on another disk."
        )
