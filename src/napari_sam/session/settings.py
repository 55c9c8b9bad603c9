"""What the user has set, as one frozen value, and the file that keeps it from one day to the next.

The file is JSON in the platform's folder for configuration. It is replaced whole, so that no crash leaves
half of one, and only what was changed is changed in it, so that two viewers keep each other's settings.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs

from napari_sam.errors import SamError
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.whole_files import replace_file

if TYPE_CHECKING:
    from napari_sam.session.requests import Plane

__all__ = [
    "CONFIG_VARIABLE",
    "CacheChoice",
    "Settings",
    "SettingsFile",
    "encode_settings_of",
    "settings_from_json",
]

logger = logging.getLogger(__name__)

CONFIG_VARIABLE = "NAPARI_SAM_CONFIG_DIR"
"""Names another folder for the settings, for tests and for shared machines."""

Limits = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """Where embeddings are kept, and how much room they get.

    Attributes
    ----------
    on_disk : bool
        Keep them on disk too, for the next day.
    folder : str or None
        Where; None for the platform's cache folder.
    memory_bytes, disk_bytes : int
        Budgets; the least recently used are dropped beyond them.

    Raises
    ------
    SamError
        When a budget is negative.
    """

    on_disk: bool = True
    folder: str | None = None
    memory_bytes: int = 1 << 30
    disk_bytes: int = 10 << 30

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "disk_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise SamError(f"Expected {name} of 0 or more, got {value!r}; choose a budget in bytes.")
        if not isinstance(self.on_disk, bool) or not isinstance(self.folder, str | None):
            raise SamError(
                f"Expected a cache folder as text or none, got {self.folder!r} ({self.on_disk!r})."
            )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the user can set that outlives a click.

    Attributes
    ----------
    model, device : str
        The model to begin with, and where it runs.
    warm : bool
        Encode what is in view in the background.
    cache : CacheChoice
        Where embeddings are kept.
    object_size : float or None
        Typical diameter of the objects; None leaves the scale to the model.
    object_unit : "px" or "world"
        What ``object_size`` is measured in: pixels of the finest level, or the image's world units.
    channels : tuple of up to three int, or None
        Which channels of a colour image the model sees; None for the first three.
    percentiles : (low, high)
        Of the intensities, 0 to 100; they become black and white.
    limits : tuple of (low, high), or None
        Fixed intensities instead of percentiles.
    scope : "plane" or "stack"
        What the percentiles are taken over.
    mode : "one" or "rapid"
        One object at a time, or each click an object.
    hover : bool
        Show what a click under the cursor would give.
    keep : "pixels", "objects" or "overwrite"
        What an accepted object does to those that are there, as ``AcceptRule.keep``.
    rough_use : "mask", "box" or "both"
        What polygons, ellipses and refined objects are given to the model as.
    autosave : bool
        Keep unsaved work on disk, for after a crash.
    guided : bool
        Has been led through the first object, and needs no more help with that.

    Raises
    ------
    SamError
        When a value is impossible.
    """

    model: str = "nuclei"
    device: str = "auto"
    warm: bool = True
    cache: CacheChoice = field(default_factory=CacheChoice)
    object_size: float | None = None
    object_unit: Literal["px", "world"] = "px"
    channels: tuple[int, ...] | None = None
    percentiles: tuple[float, float] = (1.0, 99.8)
    limits: Limits | None = None
    scope: Literal["plane", "stack"] = "plane"
    mode: Literal["one", "rapid"] = "one"
    hover: bool = False
    rough_use: Literal["mask", "box", "both"] = "both"
    keep: Literal["pixels", "objects", "overwrite"] = "pixels"
    autosave: bool = True
    guided: bool = False

    def __post_init__(self) -> None:
        EncodeSettings(self.object_size, self.channels, self.percentiles, self.limits)  # it checks them
        for name, allowed in (
            ("object_unit", ("px", "world")),
            ("scope", ("plane", "stack")),
            ("mode", ("one", "rapid")),
            ("rough_use", ("mask", "box", "both")),
            ("keep", ("pixels", "objects", "overwrite")),
        ):
            if getattr(self, name) not in allowed:
                raise SamError(f"Expected {name} in {allowed}, got {getattr(self, name)!r}.")
        for name, kind in (
            ("model", str),
            ("device", str),
            ("warm", bool),
            ("hover", bool),
            ("autosave", bool),
            ("guided", bool),
        ):
            if not isinstance(getattr(self, name), kind):
                raise SamError(f"Expected {name} as {kind.__name__}, got {getattr(self, name)!r}.")

    def sees_as(self, other: Settings) -> bool:
        """True when the model sees, and answers, under both settings alike."""
        names = ("model", "device", "warm", "mode", "hover", "rough_use", "autosave", "guided", "keep")
        return replace(self, **{name: getattr(other, name) for name in names}) == other


def encode_settings_of(settings: Settings, plane: Plane | None, limits: Limits | None) -> EncodeSettings:
    """What the model sees of a plane under these settings.

    Parameters
    ----------
    settings : Settings
        The user's.
    plane : Plane or None
        Says what a world unit is in pixels and which channels there are.
    limits : tuple of (low, high), or None
        The range measured over the stack, for ``scope="stack"``.
    """
    size = settings.object_size
    if size is not None and settings.object_unit == "world" and plane is not None:
        size = size / plane.pixel_size
    count = 0 if plane is None else plane.channels
    channels = settings.channels
    if channels is not None and (count < 2 or max(channels) >= count):
        channels = None  # chosen for another image
    chosen = settings.limits or limits
    if chosen is not None and channels is not None and len(chosen) not in (1, len(channels)):
        chosen = chosen[:1]
    return EncodeSettings(size, channels, settings.percentiles, chosen)


class SettingsFile:
    """Reads and writes the settings.

    Parameters
    ----------
    path : Path or None
        The file; None for the platform's place, or that of the variable ``NAPARI_SAM_CONFIG_DIR``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = _default_path() if path is None else path

    def load(self) -> tuple[Settings, str | None]:
        """The settings, and a note for the user where the file could not be used.

        What belongs to one image alone, a fixed intensity range, is not taken over.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Settings(), None
        except (OSError, UnicodeDecodeError) as error:
            return Settings(), self._note(error)
        try:
            return replace(settings_from_json(json.loads(text)), limits=None), None
        except (SamError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            return Settings(), self._note(error)

    def save(self, before: Settings, after: Settings) -> str | None:
        """Write what differs between two settings; a note for the user where that failed."""
        values = _to_json(after)
        changed = {name: value for name, value in values.items() if value != _to_json(before)[name]}
        if not changed:
            return None
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            settings_from_json(kept)
        except (OSError, SamError, TypeError, ValueError, KeyError, AttributeError, RecursionError):
            kept = _to_json(before)
        try:
            text = json.dumps({**kept, **changed}, indent=1)
            replace_file(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        except OSError as error:
            logger.debug("cannot write %s", self.path, exc_info=True)
            return f"Settings cannot be saved to {self.path}: {error}; they last until the viewer closes."
        return None

    def _note(self, error: Exception) -> str:
        logger.debug("cannot use %s", self.path, exc_info=True)
        return (
            f"The settings in {self.path} cannot be read ({type(error).__name__}: {error}); "
            "the defaults are used and replace them at the next change."
        )


def _default_path() -> Path:
    folder = os.environ.get(CONFIG_VARIABLE)
    if folder:
        return Path(folder) / "settings.json"
    return Path(platformdirs.user_config_dir("napari-sam", appauthor=False)) / "settings.json"


def _to_json(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))  # tuples become lists, as when read
    return values


def settings_from_json(values: Any) -> Settings:
    """Settings from what the file holds; names that this version does not know are left alone."""
    if not isinstance(values, dict):
        raise SamError(f"Expected settings by name, got {type(values).__name__}.")
    known = {f.name: values[f.name] for f in fields(Settings) if f.name in values}
    if "cache" in known:
        names = {f.name for f in fields(CacheChoice)}
        known["cache"] = CacheChoice(**{n: v for n, v in known["cache"].items() if n in names})
    if known.get("channels") is not None:
        known["channels"] = tuple(int(channel) for channel in known["channels"])
    if known.get("percentiles") is not None:
        low, high = known["percentiles"]
        known["percentiles"] = (float(low), float(high))
    if known.get("limits") is not None:
        known["limits"] = tuple((float(low), float(high)) for low, high in known["limits"])
    return Settings(**known)
