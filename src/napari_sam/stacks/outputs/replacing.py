"""Files and folders that appear whole or not at all, whatever ends the program while they are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["replace_file"]


def replace_file(path: Path, write: Callable[[Path], object], *, overwrite: bool) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it there in one step.

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
        mask = os.umask(0)  # mkstemp makes private files; give the file the rights of any other
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        if path.exists() and not overwrite:
            raise FileExistsError(17, "exists already; add --overwrite to replace it", str(path))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
