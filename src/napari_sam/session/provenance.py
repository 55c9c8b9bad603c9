"""What is known of each object: who made it, from which prompts, with which model and settings.

A record is a value that goes into JSON and back (``record_json``); the book holds the records of all layers.
With a record an object can be made again, bit for bit, and corrected from where its user left it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from psygnal import Signal

from napari_sam.session.record_json import (
    dump_prompts,
    read_float,
    read_list,
    read_mapping,
    read_prompts,
    read_text,
    read_whole,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from napari_sam.types import ObjectMask, Prompts

__all__ = ["Maker", "ObjectBook", "ObjectRecord", "Source", "list_versions", "now"]

Source = Literal["prompts", "automatic", "propagated", "edited", "imported"]
SOURCES = get_args(Source)
PACKAGES = ("napari-sam-workbench", "torch", "numpy")


@cache
def list_versions() -> Mapping[str, str]:
    """Versions of the packages that decide what a model answers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a source tree that was never installed
            found[name] = "unknown"
    return MappingProxyType(found)


def now() -> str:
    """The time, as records write it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """Which model answered, and what it saw of the image.

    Attributes
    ----------
    model, digest : str
        Name in the registry or path, and SHA-256 of the weights; empty where unknown.
    settings : dict
        ``EncodeSettings`` as JSON: object size, channels, percentiles, limits.
    device : str
        Where it ran.
    """

    model: str = ""
    digest: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectRecord:
    """How one object of one plane came to be.

    Attributes
    ----------
    label : int
        Its id in the layer.
    plane : tuple of int or None
        Index of its plane as in ``Plane.index``: None on the plane's own two axes, rows first.
    source : "prompts", "automatic", "propagated", "edited" or "imported"
        What made it, or touched it last.
    prompts : Prompts or None
        What the user said about it, in pixels of the plane.
    model, digest : str
        Name and SHA-256 of the model; empty where none was asked.
    settings : dict
        What the model saw of the image, as JSON: object size, channels, percentiles, limits.
    params : dict
        All else that decided it, as JSON: method and thresholds, accepting rule, chosen candidate, device.
    predicted_iou, stability : float
        As the model judged it, 0 to 1.
    area : int
        Pixels when it was written.
    created : str
        When, ISO 8601 in UTC.
    earlier : tuple of Prompts
        Prompts whose answers were fed back, one after the other, before ``prompts`` were answered.
    versions : dict
        Of the packages that answered.
    """

    label: int
    plane: tuple[int | None, ...]
    source: Source = "prompts"
    prompts: Prompts | None = None
    model: str = ""
    digest: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    predicted_iou: float = 1.0
    stability: float = 1.0
    area: int = 0
    created: str = ""
    earlier: tuple[Prompts, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_mask(
        cls,
        label: int,
        plane: tuple[int | None, ...],
        mask: ObjectMask,
        *,
        source: Source = "prompts",
        prompts: Prompts | None = None,
        maker: Maker | None = None,
        params: Mapping[str, Any] | None = None,
        earlier: tuple[Prompts, ...] = (),
    ) -> ObjectRecord:
        """The record of an object that was just made; time and versions are those of now.

        Parameters
        ----------
        label : int
            Its id.
        plane : tuple of int or None
            As ``Plane.index``.
        mask : ObjectMask
            Its pixels and scores.
        source, prompts, earlier
            As the attributes.
        maker : Maker or None
            The model that answered; None where none was asked.
        params : mapping, optional
            As the attribute.
        """
        maker = maker or Maker()
        more = {"device": maker.device} if maker.device else {}
        return cls(
            label=label,
            plane=plane,
            source=source,
            prompts=prompts,
            model=maker.model,
            digest=maker.digest,
            settings=maker.settings,
            params={**more, **(params or {})},
            predicted_iou=mask.predicted_iou,
            stability=mask.stability_score,
            area=mask.area,
            created=now(),
            earlier=earlier,
            versions=list_versions(),
        )

    def touched(self, **changes: Any) -> ObjectRecord:
        """The record after the object was edited by hand: its source is ``edited``, its prompts stay."""
        return replace(self, **{"source": "edited", **changes})

    def to_json(self) -> dict[str, Any]:
        """As values of JSON; ``from_json`` reads them."""
        values: dict[str, Any] = {
            "label": int(self.label),
            "plane": list(self.plane),
            "source": self.source,
            "area": int(self.area),
            "predicted_iou": float(self.predicted_iou),
            "stability": float(self.stability),
            "created": self.created,
            "model": self.model,
            "digest": self.digest,
            "settings": dict(self.settings),
            "params": dict(self.params),
            "versions": dict(self.versions),
        }
        if self.prompts is not None:
            values["prompts"] = dump_prompts(self.prompts)
        if self.earlier:
            values["earlier"] = [dump_prompts(prompts) for prompts in self.earlier]
        return values

    @classmethod
    def from_json(cls, values: Any) -> ObjectRecord:
        """Read what ``to_json`` gave; names that this version does not know are left out.

        Raises
        ------
        RecordError
            When something is missing, of another kind, or impossible.
        """
        found = read_mapping(values, "an object's record")
        source = read_text(found, "source", "imported")
        prompts = found.get("prompts")
        plane = [
            None if value is None else read_whole({"plane": value}, "plane", low=0)
            for value in read_list(found, "plane", 32)
        ]
        return cls(
            label=read_whole(found, "label", low=1),
            plane=tuple(plane),
            source=cast("Source", source) if source in SOURCES else "imported",  # a later version knows more
            prompts=None if prompts is None else read_prompts(prompts),
            model=read_text(found, "model"),
            digest=read_text(found, "digest"),
            settings=read_mapping(found.get("settings", {}), "settings"),
            params=read_mapping(found.get("params", {}), "params"),
            predicted_iou=read_float(found, "predicted_iou", 1.0),
            stability=read_float(found, "stability", 1.0),
            area=read_whole(found, "area", 0, low=0),
            created=read_text(found, "created"),
            earlier=tuple(read_prompts(each) for each in read_list(found, "earlier", 1000)),
            versions={k: str(v) for k, v in read_mapping(found.get("versions", {}), "versions").items()},
        )


Records = tuple[ObjectRecord, ...]


class ObjectBook:
    """The records of every object in every layer; an object of several planes has one for each.

    Layers are known by the token that ``ObjectRef.layer`` carries.
    """

    changed = Signal(object, object)  # layer token, frozenset of the labels whose records are others now

    def __init__(self) -> None:
        self._pages: dict[Hashable, dict[int, Records]] = {}

    def get(self, layer: Hashable, label: int) -> Records:
        """What is known of an object; empty where nothing is."""
        return self._pages.get(layer, {}).get(label, ())

    def labels(self, layer: Hashable) -> tuple[int, ...]:
        """Ids of a layer that have records, in the order in which they were first written down."""
        return tuple(self._pages.get(layer, ()))

    def page(self, layer: Hashable) -> Mapping[int, Records]:
        """The records of a layer by label, as they are at any time: later changes show in it."""
        return self._pages.setdefault(layer, {})

    def layers(self) -> tuple[Hashable, ...]:
        """Layers that have records."""
        return tuple(layer for layer, page in self._pages.items() if page)

    def records(self, layer: Hashable) -> Records:
        """All records of a layer."""
        return tuple(record for records in self._pages.get(layer, {}).values() for record in records)

    def change(self, layer: Hashable, label: int, records: Iterable[ObjectRecord]) -> Records:
        """Replace the records of one object, by none where it is gone; those before."""
        return self.change_many(layer, {label: records})[label]

    def change_many(
        self, layer: Hashable, records: Mapping[int, Iterable[ObjectRecord]]
    ) -> dict[int, Records]:
        """Replace the records of many objects of a layer, with one signal; those before."""
        page = self._pages.setdefault(layer, {})
        before = {}
        for label, new in records.items():
            before[label] = page.get(label, ())
            kept = tuple(new)
            if kept:
                page[label] = kept
            else:
                page.pop(label, None)
        if records:
            self.changed.emit(layer, frozenset(records))
        return before

    def move(self, old: Hashable, new: Hashable) -> None:
        """A layer has another token now, because it was opened or put into the viewer again."""
        page = self._pages.pop(old, None)
        if page is not None:
            self._pages.setdefault(new, {}).update(page)
            self.changed.emit(new, frozenset(page))

    def forget(self, layer: Hashable) -> None:
        """Drop the records of a layer that is gone."""
        page = self._pages.pop(layer, None)
        if page is not None:
            self.changed.emit(layer, frozenset(page))
