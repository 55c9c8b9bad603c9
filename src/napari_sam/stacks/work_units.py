"""What a batch is made of: one job, which says how, and many units of work, each one image.

All of them are values that survive a trip through JSON, because they travel to other processes and machines
and are written into the manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from xxhash import xxh3_128

from napari_sam.errors import SamError
from napari_sam.stacks.file_digests import FileState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BatchJob", "Unit", "UnitResult", "UnitStep", "same_path"]

LINK_AXES: Final = (None, "z", "t")


@dataclass(frozen=True, slots=True)
class BatchJob:
    """How every image of a batch is segmented, and what is written of it.

    Attributes
    ----------
    model : str
        A name of the registry, or the path of a checkpoint.
    device : str
        "auto", "cpu", "cuda" or "mps".
    method : str
        "auto", "instances" or "grid".
    options : dict
        Thresholds and parameters of the method, as ``segment_image`` takes them.
    channels : tuple of int or None
        Those that are used of images with channels.
    object_size : float or None
        Typical diameter of the objects in pixels.
    link : None, "z" or "t"
        The axis along which objects keep their ids; None numbers every plane on its own.
    formats : tuple of str
        Of the outputs; empty writes none.
    threads : int
        Of each worker. Sums are rounded differently with another number, so it belongs to the engine.
    """

    model: str = "nuclei"
    device: str = "auto"
    method: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    channels: tuple[int, ...] | None = None
    object_size: float | None = None
    link: Literal["z", "t"] | None = None
    formats: tuple[str, ...] = ("tiff",)
    threads: int = 1

    def __post_init__(self) -> None:
        if self.link not in LINK_AXES:
            raise SamError(f"Expected to link along 'z' or 't', or not at all, got {self.link!r}.")
        if self.threads < 1:
            raise SamError(f"Expected at least one thread, got {self.threads}.")

    def settings(self) -> dict[str, Any]:
        """What decides the labels, apart from the model's weights and the engine."""
        return {
            "method": self.method,
            "options": dict(sorted(self.options.items())),
            "channels": None if self.channels is None else list(self.channels),
            "object_size": self.object_size,
            "link": self.link,
        }

    def identify(self, model_digest: str) -> str:
        """16 digits that two jobs share when they give the same labels on the same engine."""
        text = json.dumps([self.settings(), model_digest], sort_keys=True)
        return str(xxh3_128(text.encode()).hexdigest())[:16]

    def to_json(self) -> dict[str, Any]:
        """As it is written into a manifest."""
        engine = {"model": self.model, "device": self.device, "threads": self.threads}
        return self.settings() | engine | {"formats": list(self.formats)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BatchJob:
        """What ``to_json`` gave."""
        values = dict(values)
        channels = values.pop("channels")
        channels = None if channels is None else tuple(channels)
        return cls(**values | {"channels": channels, "formats": tuple(values["formats"])})


@dataclass(frozen=True, slots=True)
class Unit:
    """One image to be segmented.

    Attributes
    ----------
    source : str
        Where the image is: the absolute path of a file or of a zarr image; it names the unit.
    stem : str
        What its outputs are called, before the endings of the formats.
    """

    source: str
    stem: str

    @property
    def name(self) -> str:
        """For people: the last part of the source, of a plate's image also those of the plate."""
        parts = Path(self.source).parts
        inside = [i for i, part in enumerate(parts) if part.lower().endswith(".zarr")]
        return "/".join(parts[inside[0] :]) if inside else parts[-1]


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What came out of a unit.

    Attributes
    ----------
    input : FileState
        Of the image, as it was read.
    labels : str
        Digest of the labels' values, shape and type.
    shape : tuple of int
        Of the labels.
    axes : str
        One letter for each.
    objects : int
        In all planes together; an object that is linked counts once.
    notes : tuple of str
        What the user should know of it.
    seconds : dict
        By step: "read", "segment", "write".
    formats : tuple of str
        That were written.
    outputs : tuple of (str, FileState)
        Paths relative to the output folder.
    engine : dict
        What computed it: device, software and versions.
    """

    input: FileState
    labels: str
    shape: tuple[int, ...]
    axes: str
    objects: int
    notes: tuple[str, ...]
    seconds: dict[str, float]
    formats: tuple[str, ...]
    outputs: tuple[tuple[str, FileState], ...]
    engine: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it is written into a manifest."""
        return {
            "input": self.input.to_json(),
            "labels": self.labels,
            "shape": list(self.shape),
            "axes": self.axes,
            "objects": self.objects,
            "notes": list(self.notes),
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "formats": list(self.formats),
            "outputs": [{"path": path} | state.to_json() for path, state in self.outputs],
            "engine": self.engine,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> UnitResult:
        """What ``to_json`` gave."""
        return cls(
            FileState.from_json(values["input"]),
            str(values["labels"]),
            tuple(values["shape"]),
            str(values["axes"]),
            int(values["objects"]),
            tuple(values["notes"]),
            dict(values["seconds"]),
            tuple(values["formats"]),
            tuple((str(v["path"]), FileState.from_json(v)) for v in values["outputs"]),
            dict(values["engine"]),
        )


@dataclass(frozen=True, slots=True)
class UnitStep:
    """News of one unit, for whoever shows them.

    Attributes
    ----------
    unit : Unit
    status : str
        "running", "done" or "failed".
    message : str
        The error, or a note; "" otherwise.
    result : UnitResult or None
        Of a unit that is done.
    """

    unit: Unit
    status: Literal["running", "done", "failed"]
    message: str = ""
    result: UnitResult | None = None


def same_path(paths: Sequence[str]) -> list[list[int]]:
    """Indices of equal names, also of those that differ only in case: one file on many disks.

    Examples
    --------
    >>> same_path(["a", "b", "A"])
    [[0, 2]]
    """
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(paths):
        groups.setdefault(name.casefold(), []).append(i)
    return [group for group in groups.values() if len(group) > 1]
