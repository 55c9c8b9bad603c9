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

    from napari_sam.session.auto_requests import Shown, Written

__all__ = ["make_auto_records", "measure_shown"]


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
    thresholds = {name: value if np.isfinite(value) else None for name, value in asdict(shown.params).items()}
    common: dict[str, Any] = {"method": request.method, "filter": thresholds, "device": maker.device}
    if request.region is not None:
        region = request.region
        common["region"] = {"name": region.name, "digest": region.digest, "cut": region.cut}
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
