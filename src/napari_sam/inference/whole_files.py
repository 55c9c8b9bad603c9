"""Files and folders that appear whole or not at all, whatever ends the program while they are written."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["refuse_existing", "replace_file", "replace_folder"]


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Say so, before the work where it can be, when something may not be replaced.

    Raises
    ------
    FileExistsError
        When one of them exists and may not be replaced.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(17, "exists already; add --overwrite to replace it", str(path))


def replace_file(path: Path, write: Callable[[Path], object], *, overwrite: bool = True) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it there in one step.

    Every writer has a temporary file of its own; the file has the rights that any new file has.

    Parameters
    ----------
    path : Path
        The file to appear.
    write : callable
        Takes the temporary path.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        When it exists and may not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])  # of .ome.tif both
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name.removesuffix(suffix)}-", suffix=suffix, dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:  # on the disk before its name is, should the power fail
            os.fsync(file.fileno())
        mask = os.umask(0)  # mkstemp makes private files
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        refuse_existing([path], overwrite=overwrite)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(folder: Path, write: Callable[[Path], object], *, overwrite: bool) -> None:
    """Let ``write`` make a folder beside ``folder``, then move it there.

    What was there is moved aside first and comes back if the new one cannot take its place.

    Raises
    ------
    FileExistsError
        When it exists and may not be replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    refuse_existing([folder], overwrite=overwrite)
    mark = uuid.uuid4().hex[:8]
    temporary = folder.with_name(f".{folder.stem}-{mark}{folder.suffix}")
    old = folder.with_name(f".{folder.stem}-{mark}-old{folder.suffix}")
    try:
        write(temporary)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for rest in (temporary, old):
            shutil.rmtree(rest, ignore_errors=True)
