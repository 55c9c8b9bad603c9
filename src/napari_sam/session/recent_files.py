"""The checkpoint files that were opened last, kept beside the settings."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_sam.inference.whole_files import replace_file
from napari_sam.session.settings import SettingsFile

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["RecentFiles"]

logger = logging.getLogger(__name__)

_KEPT: Final = 6


class RecentFiles:
    """Paths, the last one first; those that are gone are left out.

    Parameters
    ----------
    path : Path or None
        The list; None for the folder of the settings.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = SettingsFile().path.with_name("recent_checkpoints.json") if path is None else path

    def read(self) -> tuple[str, ...]:
        """The files that are still there."""
        return tuple(name for name in self._read() if Path(name).is_file())

    def add(self, name: str) -> None:
        """Put a file first; what cannot be remembered is forgotten."""
        path = str(Path(name).absolute())
        names = [path, *(other for other in self._read() if other != path)][:_KEPT]
        text = json.dumps(names, indent=1)
        try:
            replace_file(self._path, lambda part: part.write_text(text, encoding="utf-8"))
        except OSError as error:
            logger.debug("cannot write %s: %s", self._path, error)

    def _read(self) -> Iterable[str]:
        try:
            names = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return []
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
