"""Records of objects that were found automatically: by which method, thresholds, and as which candidate."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.inference.object_table import SCORES, measure_objects
from napari_sam.session.provenance import Maker, ObjectRecord, list_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_sam.inference.encode_settings import EncodeSettings
    from napari_sam.inference.filter_params import FilterParams
    from napari_sam.session.auto_requests import RegionChoice, Shown, Written
    from napari_sam.session.stack_segmenting import StackRequest

__all__ = ["make_auto_records", "make_stack_records", "measure_shown"]

MANY = 50_000
"""Objects in planes; of more there is one record for an object instead of one for each of its planes."""


def measure_shown(shown: Shown, written: Written, pixels: Any) -> dict[str, NDArray[Any]]:
    """The table of an automatic result, ascending by id, with the scores of its candidates; for the worker.

    Parameters
    ----------
    shown : Shown
        The candidates.
    written : Written
        What became of them.
    pixels : array-like or None
        Of the plane, as for ``measure_objects``.
    """
    columns = measure_objects(written.labels, pixels)
    candidates = written.indices[np.argsort(written.ids)]
    for name in SCORES:
        columns[name] = getattr(shown.candidates, name)[candidates]
    return columns


def make_auto_records(
    shown: Shown,
    written: Written,
    areas: Mapping[int, int],
    maker: Maker | None,
    created: str,
) -> dict[int, tuple[ObjectRecord, ...]]:
    """The record of every object of an automatic result, by its id in the layer; for the worker.

    Parameters
    ----------
    shown : Shown
        The candidates, and the thresholds that chose some.
    written : Written
        What became of them.
    areas : mapping of int to int
        Pixels of each id.
    maker : Maker or None
        The model that found them.
    created : str
        When they were looked for; undo and redo give the very same records.
    """
    request, maker = shown.request, maker or Maker()
    common = _describe(request.method, shown.params, request.region, maker)
    scores, stabilities = shown.candidates.predicted_iou, shown.candidates.stability
    versions = list_versions()
    records: dict[int, tuple[ObjectRecord, ...]] = {}
    for label, index in zip(written.ids.tolist(), written.indices.tolist(), strict=True):
        score, stability = float(scores[index]), float(stabilities[index])
        records[label] = (
            ObjectRecord(
                label=label,
                plane=request.plane.index,
                source="automatic",
                model=maker.model,
                digest=maker.digest,
                settings=maker.settings,
                params={**common, "candidate": index},
                predicted_iou=score if np.isfinite(score) else 1.0,
                stability=stability if np.isfinite(stability) else 1.0,
                area=areas.get(label, 0),
                created=created,
                versions=versions,
            ),
        )
    return records


def make_stack_records(
    request: StackRequest,
    maker: Maker,
    filters: FilterParams,
    columns: Mapping[str, NDArray[Any]],
    families: Mapping[int, tuple[int, ...]],
    settings: EncodeSettings | None,
    created: str,
) -> dict[int, tuple[ObjectRecord, ...]]:
    """A record for each object of each plane of a segmented stack, by its id; for the worker.

    Parameters
    ----------
    request : StackRequest
    maker : Maker
        The model that found them.
    filters : FilterParams
        The thresholds that chose them.
    columns : mapping
        ``id``, ``plane``, ``area``, ``predicted_iou`` and ``stability`` of each object in each plane; NaN
        where the model did not say.
    families : mapping of int to tuple of int
        Parents of those objects that have some.
    settings : EncodeSettings or None
        What the model saw; None for the maker's.
    created : str
        When they were looked for.
    """
    common = _describe(request.method, filters, request.region, maker) | {"linked": request.axis}
    versions = list_versions()
    found: dict[int, list[ObjectRecord]] = {}
    rows = (columns[name].tolist() for name in ("id", "plane", "area", "predicted_iou", "stability"))
    for label, number, area, score, stability in zip(*rows, strict=True):
        mine = found.setdefault(label, [])
        if mine and len(columns["id"]) > MANY:
            continue
        parents = families.get(label)
        mine.append(
            ObjectRecord(
                label=label,
                plane=request.stack.planes[number].index,
                source="automatic",
                model=maker.model,
                digest=maker.digest,
                settings=maker.settings if settings is None else asdict(settings),
                params=common | ({"parents": list(parents)} if parents else {}),
                predicted_iou=score if np.isfinite(score) else 1.0,
                stability=stability if np.isfinite(stability) else 1.0,
                area=area,
                created=created,
                versions=versions,
            )
        )
    return {label: tuple(mine) for label, mine in found.items()}


def _describe(
    method: str, filters: FilterParams, region: RegionChoice | None, maker: Maker
) -> dict[str, Any]:
    """What all objects of a result have in common; JSON knows no infinity, so that no limit is None."""
    thresholds = {name: value if np.isfinite(value) else None for name, value in asdict(filters).items()}
    found: dict[str, Any] = {"method": method, "filter": thresholds, "device": maker.device}
    if region is not None:
        found["region"] = {"name": region.name, "digest": region.digest, "cut": region.cut}
    return found
