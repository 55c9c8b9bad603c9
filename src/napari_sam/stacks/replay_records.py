"""Objects made once more from their records: the same model and prompts give the same labels, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_sam.errors import SamError
from napari_sam.inference.ambiguity import rank_candidates
from napari_sam.inference.candidates import draw_with_indices, filter_candidates
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.filter_params import FILTER_OPTIONS, FilterParams
from napari_sam.inference.segment_image import iter_candidates
from napari_sam.types import ObjectMask, Prompts, finish

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor

__all__ = ["Record", "predict_record", "replay_records"]


class Record(Protocol):
    """What is needed of an object's record; ``ObjectRecord`` is one."""

    @property
    def label(self) -> int:
        """Its id."""

    @property
    def plane(self) -> tuple[int | None, ...]:
        """Index of its plane."""

    @property
    def source(self) -> str:
        """What made it."""

    @property
    def prompts(self) -> Prompts | None:
        """What the user said."""

    @property
    def earlier(self) -> tuple[Prompts, ...]:
        """Prompts whose answers were fed back."""

    @property
    def digest(self) -> str:
        """SHA-256 of the model."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the model saw."""

    @property
    def params(self) -> Mapping[str, Any]:
        """What else decided it."""

    @property
    def created(self) -> str:
        """When, ISO 8601."""


def replay_records(image: Any, predictor: CachedPredictor, records: Iterable[Record]) -> NDArray[np.int32]:
    """Make the objects of one plane again, in the order in which they were made.

    Objects that were clicked are predicted from their prompts, with every correction and the candidate that
    was chosen; automatic ones are found again with the same method and thresholds.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array
        The plane; numpy, dask or zarr.
    predictor : CachedPredictor
        With the model that the records name.
    records : iterable of ObjectRecord
        Of one plane, such as ``read_record_file(path).records``.

    Returns
    -------
    (H, W) int32
        0 is the background.

    Raises
    ------
    SamError
        When the records are of several planes, name another model, or an object cannot be made from its
        record: those that were edited by hand, imported, or found in a region.
    """
    ordered = sorted(records, key=lambda record: record.created)  # equal times stay in their order
    if len({record.plane for record in ordered}) > 1:
        raise SamError("Expected records of one plane, got several; replay them plane by plane.")
    others = {record.digest for record in ordered} - {predictor.digest}
    if others:
        names = ", ".join(sorted(digest[:12] or "no model" for digest in others))
        raise SamError(
            f"Expected objects of the model {predictor.digest[:12]}, got some of {names}; "
            "load the model that the records name."
        )
    shape = tuple(int(size) for size in image.shape[:2])
    labels = np.zeros(shape, np.int32)
    automatic = _Automatic(image, predictor)
    for record in ordered:
        if record.source == "automatic":
            mask = automatic.find(record)
        elif record.source == "prompts" and record.prompts is not None:
            mask = predict_record(image, predictor, record)
        else:
            raise SamError(
                f"Expected objects that a model made, got object {record.label}, which is {record.source}; "
                "it cannot be made again."
            )
        _paint(labels, mask, record.label, str(record.params.get("keep", "pixels")))
    return labels


def predict_record(image: Any, predictor: CachedPredictor, record: Record) -> ObjectMask:
    """The mask of one object that was clicked, each answer fed back to the next as it was then.

    Raises
    ------
    SamError
        When the record has no prompts.
    """
    if record.prompts is None:
        raise SamError(f"Expected prompts in the record of object {record.label}, got none.")
    asked = predictor.with_settings(_settings(record.settings))
    steps = [*record.earlier, record.prompts]
    choices = _choices(record.params.get("choices"), len(steps))
    mask: ObjectMask | None = None
    for prompts, choice in zip(steps, choices, strict=True):
        fed = prompts if mask is None else replace(prompts, mask=mask)
        ranked = rank_candidates(asked.predict_candidates(image, fed), fed)
        if not 0 <= choice < len(ranked):
            raise SamError(f"Expected mask {choice + 1} of object {record.label}, got only {len(ranked)}.")
        mask = _clip(ranked[choice], image.shape[:2])
    assert mask is not None
    return mask


class _Automatic:
    """Automatic results, each found once for all of its objects."""

    def __init__(self, image: Any, predictor: CachedPredictor) -> None:
        self._image = image
        self._predictor = predictor
        self._found: dict[str, dict[int, ObjectMask]] = {}

    def find(self, record: Record) -> ObjectMask:
        params = dict(record.params)
        index = params.pop("candidate", None)
        if params.get("region") is not None:
            raise SamError(f"Object {record.label} was found in a region, which its record does not hold.")
        key = repr((sorted(params.items(), key=repr), record.settings))
        if key not in self._found:
            self._found[key] = self._search(record, params)
        try:
            return self._found[key][index]
        except KeyError:
            raise SamError(
                f"Expected automatic object {record.label} as candidate {index}, got no such one."
            ) from None

    def _search(self, record: Record, params: Mapping[str, Any]) -> dict[int, ObjectMask]:
        predictor = self._predictor.with_settings(_settings(record.settings))
        candidates = finish(iter_candidates(self._image, predictor, str(params.get("method", "auto"))))
        known = {k: v for k, v in dict(params.get("filter", {})).items() if k in FILTER_OPTIONS}
        if "max_area" in known and known["max_area"] is None:
            known["max_area"] = float("inf")
        kept = filter_candidates(candidates, FilterParams(**known))
        labels, indices = draw_with_indices(candidates, kept)
        return {
            int(index): ObjectMask.from_plane(labels == number)
            for number, index in enumerate(indices.tolist(), start=1)
        }


def _settings(values: Mapping[str, Any]) -> EncodeSettings:
    """Settings from JSON, whose lists were tuples."""
    channels, limits = values.get("channels"), values.get("limits")
    low, high = values.get("percentiles") or (1.0, 99.8)
    return EncodeSettings(
        values.get("object_size"),
        None if channels is None else tuple(int(channel) for channel in channels),
        (float(low), float(high)),
        None if limits is None else tuple((float(a), float(b)) for a, b in limits),
    )


def _choices(values: Any, count: int) -> Sequence[int]:
    if values is None:
        return [0] * count
    if len(values) != count:
        raise SamError(f"Expected {count} chosen masks, one for each step, got {len(values)}.")
    return [int(value) for value in values]


def _clip(mask: ObjectMask, shape: tuple[int, ...]) -> ObjectMask:
    r0, c0, r1, c1 = mask.box
    if r0 >= 0 and c0 >= 0 and r1 <= shape[0] and c1 <= shape[1]:
        return mask
    inside = ObjectMask.from_plane(mask.paste(shape))
    return replace(mask, mask=inside.mask, origin=inside.origin)


def _paint(labels: NDArray[np.int32], mask: ObjectMask, label: int, keep: str) -> None:
    window = labels[mask.slices]
    free = mask.mask if keep == "overwrite" else mask.mask & ((window == 0) | (window == label))
    window[free] = label
