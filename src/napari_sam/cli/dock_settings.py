"""What was chosen in the dock, for commands that have to agree with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam.cli.console import complain

if TYPE_CHECKING:
    from napari_sam.session.settings import CacheChoice, Settings

__all__ = ["choose_cache_dir", "load_dock_settings"]


def load_dock_settings() -> Settings:
    """The settings of the dock, or those that it begins with; complains about a file that cannot be used."""
    from napari_sam.session.settings import SettingsFile

    settings, note = SettingsFile().load()
    if note is not None:
        complain(f"warning: {note}")
    return settings


def choose_cache_dir(named: Path | None, cache: CacheChoice) -> Path:
    """The folder that was named, else the one that was chosen in the dock, else the default."""
    from napari_sam.inference.zarr_store import default_cache_dir

    if named is not None:
        return named
    return default_cache_dir() if cache.folder is None else Path(cache.folder)
