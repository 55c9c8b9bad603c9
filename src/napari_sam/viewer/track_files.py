"""Tracks layers into tables, through napari's File > Save."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.inference.whole_files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["write_tracks_layer"]


def write_tracks_layer(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a Tracks layer as the table that ``napari-sam segment --link t`` writes (npe2).

    Raises
    ------
    ImageError
        When it has too many axes, or the file cannot be written.
    """
    from napari_sam.stacks.tracks import write_tracks

    rows = np.asarray(data)
    places = rows.shape[1] - 2
    if not 2 <= places <= 3:
        raise ImageError(
            f"Expected tracks with at most the axes T, Z, Y and X, got {places + 1}; save the parts apart."
        )
    columns = {"id": rows[:, 0].astype(np.int64), "plane": rows[:, 1].astype(np.int64)}
    columns |= {name: rows[:, 2 + n] for n, name in enumerate("zyx"[-places:])}
    features = attributes.get("features")
    area = np.asarray(features["area"] if features is not None and "area" in features else "unknown")
    if area.dtype.kind in "iuf" and np.isfinite(area).all():
        columns["area"] = area
    graph = attributes.get("graph") or {}
    parents = {int(child): tuple(map(int, mothers)) for child, mothers in graph.items() if mothers}
    text = io.StringIO(newline="")
    write_tracks(text, columns, parents)
    file = Path(path) if path.lower().endswith(".csv") else Path(f"{path}.csv")
    try:
        replace_file(file, lambda part: part.write_bytes(text.getvalue().encode()))
    except OSError as error:
        raise ImageError(f"Expected to write {file}, but: {error}. Choose another folder.") from error
    return [str(file)]
