"""Records of objects as a file beside their label image: ``NAME.sam.json`` next to ``NAME.tif``.

The format is described in docs/provenance.md. A record is believed only while its object is as it was when
the file was written: each carries its box and a checksum of its pixels. A label image that was edited, or
exchanged, since then brings back no wrong prompts, and those of objects that did not change are not lost.
"""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.inference.whole_files import replace_file
from napari_sam.session.provenance import ObjectRecord, list_versions
from napari_sam.session.record_json import RecordError, read_list, read_mapping, read_text, read_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


__all__ = [
    "SUFFIX",
    "ObjectMark",
    "RecordFile",
    "list_boxes",
    "mark_records",
    "read_record_file",
    "record_path",
    "write_record_file",
]

logger = logging.getLogger(__name__)

SUFFIX = ".sam.json"
FORMAT = "napari-sam objects"
VERSION = 1
MOST_BYTES = 1 << 29
MOST_OBJECTS = 1_000_000

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ObjectMark:
    """What an object looked like when its record was written.

    Attributes
    ----------
    box : (r0, c0, r1, c1)
        Half-open, in pixels of its plane.
    checksum : int
        CRC-32 of its pixels in that box and of a rim of one pixel around it.
    """

    box: Box
    checksum: int


@dataclass(frozen=True, slots=True, eq=False)
class RecordFile:
    """What a file of records holds.

    Attributes
    ----------
    records : tuple of ObjectRecord
        One for each object of each plane.
    marks : tuple of ObjectMark or None
        What each looked like, in the same order; None where nobody looked.
    image, labels : dict
        What is known of the image and of the label image: name, path, shape, digest.
    saved : str
        When, ISO 8601 in UTC.
    """

    records: tuple[ObjectRecord, ...]
    marks: tuple[ObjectMark | None, ...] = ()
    image: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    saved: str = ""

    def believe(self, read_plane: Callable[[tuple[int | None, ...]], Any]) -> tuple[ObjectRecord, ...]:
        """The records of those objects that still look as they did.

        Parameters
        ----------
        read_plane : callable
            Gives the (H, W) labels of a plane index, or something that is indexed like them; None where
            there is no such plane.
        """
        planes: dict[tuple[int | None, ...], Any] = {}
        believed = []
        for record, mark in zip(self.records, self.marks, strict=True):
            if record.plane not in planes:
                planes.clear()  # they come plane by plane; one is held at a time
                planes[record.plane] = read_plane(record.plane)
            labels = planes[record.plane]
            if (
                mark is not None
                and labels is not None
                and _checksum(labels, record.label, mark.box) == mark.checksum
            ):
                believed.append(record)
        return tuple(believed)


def record_path(path: Path) -> Path:
    """Where the records of a label image are."""
    return path if path.name.endswith(SUFFIX) else path.with_name(path.stem + SUFFIX)


def list_boxes(labels: NDArray[np.integer]) -> dict[int, Box]:
    """The half-open box of every object of a plane, (H, W) integers with 0 for background."""
    rows, cols = np.nonzero(labels)
    if rows.size == 0:
        return {}
    values = np.asarray(labels)[rows, cols]
    order = np.argsort(values, kind="stable")
    rows, cols, values = rows[order], cols[order], values[order]
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1) != 0)
    found = (
        np.minimum.reduceat(rows, starts),
        np.minimum.reduceat(cols, starts),
        np.maximum.reduceat(rows, starts) + 1,
        np.maximum.reduceat(cols, starts) + 1,
    )
    boxes = zip(*(column.tolist() for column in found), strict=True)
    return dict(zip(values[starts].tolist(), boxes, strict=True))


def mark_records(
    records: Iterable[ObjectRecord], read_plane: Callable[[tuple[int | None, ...]], Any]
) -> tuple[tuple[ObjectRecord, ...], tuple[ObjectMark | None, ...]]:
    """Records by plane, and what their objects look like now; those without an object are left out."""
    by_plane: dict[tuple[int | None, ...], list[ObjectRecord]] = {}
    for record in records:
        by_plane.setdefault(record.plane, []).append(record)
    kept: list[ObjectRecord] = []
    marks: list[ObjectMark | None] = []
    for plane, ours in by_plane.items():
        labels = read_plane(plane)
        boxes = {} if labels is None else list_boxes(np.asarray(labels))
        for record in ours:
            box = boxes.get(record.label)
            if box is not None:
                kept.append(record)
                marks.append(ObjectMark(box, _checksum(labels, record.label, box)))
    return tuple(kept), tuple(marks)


def write_record_file(path: Path, file: RecordFile) -> None:
    """Write a file of records, whole or not at all.

    Parameters
    ----------
    path : Path
        Its name ends in ``.sam.json``.
    file : RecordFile
        What it will hold.
    """
    makers: dict[str, int] = {}
    objects = []
    for record, mark in zip(file.records, file.marks or [None] * len(file.records), strict=True):
        values = record.to_json()
        maker = json.dumps({name: values.pop(name) for name in ("model", "digest", "settings", "versions")})
        values["maker"] = makers.setdefault(maker, len(makers))
        if mark is not None:
            values["box"], values["checksum"] = list(mark.box), mark.checksum
        objects.append(values)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "saved": file.saved or datetime.now(UTC).isoformat(timespec="seconds"),
        "software": dict(list_versions()),
        "image": dict(file.image),
        "labels": dict(file.labels),
        "makers": [json.loads(maker) for maker in makers],
    }
    lines = ",\n".join(json.dumps(values) for values in objects)  # one line each, for people and for diff
    text = json.dumps(head, indent=1)[:-2] + f',\n "objects": [\n{lines}\n]\n}}\n'
    replace_file(path, lambda temporary: temporary.write_bytes(text.encode()))


def read_record_file(path: Path) -> RecordFile:
    """Read a file of records; nothing in it is ever run.

    Raises
    ------
    RecordError
        When it cannot be read, is no such file, or is damaged.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise RecordError(f"Expected {path} to hold at most {MOST_BYTES >> 20} MB, got {size >> 20} MB.")
        values = json.loads(path.read_bytes())
    except RecordError:
        raise
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise RecordError(f"Expected records of objects in {path}, got none: {error}") from error
    try:
        return _read(read_mapping(values, "records"))
    except (RecordError, RecursionError) as error:
        raise RecordError(
            f"The records in {path} cannot be used: {error} Delete the file, or save the labels again."
        ) from error


def _read(values: Mapping[str, Any]) -> RecordFile:
    if values.get("format") != FORMAT:
        raise RecordError(f"Expected the format {FORMAT!r}, got {values.get('format')!r:.80}.")
    version = read_whole(values, "version", low=1)
    if version > VERSION:
        raise RecordError(f"Expected version {VERSION} or lower, got {version}; use a newer napari_sam.")
    makers = [read_mapping(maker, "a maker") for maker in read_list(values, "makers", MOST_OBJECTS)]
    records: list[ObjectRecord] = []
    marks: list[ObjectMark | None] = []
    for each in read_list(values, "objects", MOST_OBJECTS):
        found = read_mapping(each, "an object's record")
        number = read_whole(found, "maker", -1)
        if not -1 <= number < len(makers):
            raise RecordError(f"Expected a maker below {len(makers)}, got {number}.")
        records.append(ObjectRecord.from_json({**(makers[number] if number >= 0 else {}), **found}))
        marks.append(_read_mark(found))
    return RecordFile(
        tuple(records),
        tuple(marks),
        read_mapping(values.get("image", {}), "image"),
        read_mapping(values.get("labels", {}), "labels"),
        read_text(values, "saved"),
    )


def _read_mark(found: Mapping[str, Any]) -> ObjectMark | None:
    corners = [read_whole({"box": value}, "box", low=0) for value in read_list(found, "box", 4)]
    if len(corners) != 4:
        return None
    return ObjectMark((corners[0], corners[1], corners[2], corners[3]), read_whole(found, "checksum", low=0))


def _checksum(labels: Any, label: int, box: Box) -> int:
    """Of an object's pixels in its box and one pixel around it, where it would have grown."""
    height, width = labels.shape
    r0, c0, r1, c1 = box
    if not (r0 < r1 <= height and c0 < c1 <= width):
        return -1
    rim = np.asarray(labels[max(r0 - 1, 0) : r1 + 1, max(c0 - 1, 0) : c1 + 1]) == label
    return zlib.crc32(np.packbits(rim).tobytes(), zlib.crc32(repr((box, rim.shape)).encode()))
