"""Many files, one after the other: one that cannot be done is reported, and the others go on."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_sam.cli.console import complain, describe, make_bar
from napari_sam.errors import SamError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FileRun"]


class FileRun:
    """What a command does with its files; a context, in which ``bar`` is shown.

    Parameters
    ----------
    total : int
        Number of files.
    verbose : bool
        Whether tracebacks are shown.
    fatal : tuple of exception types
        What the next file would meet too; such an error ends the run.
    """

    def __init__(self, total: int, *, verbose: bool = False, fatal: tuple[type[Exception], ...] = ()) -> None:
        self._total, self._verbose = total, verbose
        # Nobody reads what is printed any more: main() ends it.
        self._fatal: tuple[type[Exception], ...] = (BrokenPipeError, *fatal)
        self._failed = 0
        self.bar = make_bar(total, "file")

    def __enter__(self) -> FileRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    @contextmanager
    def file(self, source: Path) -> Iterator[None]:
        """What is done with one file; errors that a file can have end here."""
        try:
            yield
        except self._fatal:
            raise
        except (SamError, OSError, ValueError, MemoryError) as error:
            self._failed += 1
            if self._verbose:
                traceback.print_exc()
            complain(f"error: {source}: {describe(error)}")
        self.bar.update()

    def conclude(self) -> int:
        """Say how many failed; the exit code: 2 when one did, else 0."""
        if self._failed and self._total > 1:
            complain(f"{self._failed} of {self._total} files failed")
        return 2 if self._failed else 0
