"""Sessions that were left behind, as they are read from their folders: nothing is believed unchecked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.session.provenance import ObjectRecord
from napari_sam.session.record_json import (
    RecordError,
    read_list,
    read_mapping,
    read_prompts,
    read_text,
    read_whole,
)
from napari_sam.session.tile_pack import Tile, unpack_tiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_sam.types import Prompts

__all__ = ["FORMAT", "INDEX", "VERSION", "LeftLayer", "LeftSession", "read_session"]

INDEX = "session.json"
FORMAT = "napari-sam session"
VERSION = 1
INDEX_BYTES = 1 << 29
MOST_LAYERS = 1000
MOST_TILES = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class LeftLayer:
    """A Labels layer of a session that was left behind.

    Attributes
    ----------
    head : dict
        name, path, transform, and whether it was the target.
    shape : tuple of int
        Of its labels.
    dtype : numpy.dtype
        Of its labels.
    records : tuple of ObjectRecord
        What is known of its objects.
    pack : Path
        Where its tiles are.
    tiles : dict or None
        First pixel of each tile and where it lies; None where the labels are in a file of their own.
    """

    head: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    records: tuple[ObjectRecord, ...]
    pack: Path
    tiles: Mapping[tuple[int, ...], Tile] | None

    def read(self) -> NDArray[Any] | None:
        """The labels, where they were kept.

        Raises
        ------
        RecordError
            When they are damaged, or there is no memory for them.
        """
        if self.tiles is None:
            return None
        try:
            return unpack_tiles(self.pack, self.tiles, self.shape, self.dtype)
        except (OSError, MemoryError, ValueError) as error:
            raise RecordError(f"The labels of {self.head.get('name')!r} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class LeftSession:
    """A session that was left behind, read but for its labels.

    Attributes
    ----------
    folder : Path
        Where it is.
    image : dict
        What is known of the image: name, path, shape, digest.
    saved : float
        When it was saved last, seconds since 1970.
    closed : bool
        Whether the viewer was closed in order, over unsaved labels.
    settings : dict
        As in the settings file.
    prompts : Prompts or None
        What was not accepted yet.
    plane : tuple of int or None
        Where the prompts lie.
    layers : tuple of LeftLayer
        What was worked on.
    """

    folder: Path
    image: Mapping[str, Any]
    saved: float
    closed: bool
    settings: Mapping[str, Any]
    prompts: Prompts | None
    plane: tuple[int | None, ...]
    layers: tuple[LeftLayer, ...]

    @property
    def count(self) -> int:
        """Number of objects that something is known of."""
        return sum(len({record.label for record in layer.records}) for layer in self.layers)

    @property
    def has_labels(self) -> bool:
        """True when it keeps labels, whoever has drawn them."""
        return any(layer.tiles for layer in self.layers)


def read_session(path: Path) -> LeftSession:
    """Read a session but for its labels.

    Raises
    ------
    RecordError
        When there is nothing in it, or it is damaged.
    """
    index = path / INDEX
    try:
        if index.stat().st_size > INDEX_BYTES:
            raise RecordError(f"Expected {index} to be smaller than {INDEX_BYTES >> 20} MB.")
        values = read_mapping(json.loads(index.read_bytes()), "a session")
        if values.get("format") != FORMAT or read_whole(values, "version") > VERSION:
            raise RecordError(f"Expected {FORMAT!r} of version {VERSION}, got another in {index}.")
        pack = path / Path(read_text(values, "pack", "tiles-0.bin")).name  # never outside the folder
        prompts = values.get("prompts")
        return LeftSession(
            folder=path,
            image=read_mapping(values.get("image", {}), "image"),
            saved=float(read_whole(values, "saved", 0)),
            closed=values.get("closed") is True,
            settings=read_mapping(values.get("settings", {}), "settings"),
            prompts=None if prompts is None else read_prompts(prompts),
            plane=_read_index(values, "plane"),
            layers=tuple(_read_layer(each, pack) for each in read_list(values, "layers", MOST_LAYERS)),
        )
    except (OSError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise RecordError(f"Expected a session in {path}, got none: {error}") from error


def _read_layer(values: Any, pack: Path) -> LeftLayer:
    found = read_mapping(values, "a layer")
    shape = tuple(read_whole({"shape": v}, "shape", low=1) for v in read_list(found, "shape", 32))
    dtype = np.dtype(read_text(found, "dtype", "int32"))
    if len(shape) < 2 or dtype.kind not in "iu":
        raise RecordError(f"Expected labels of whole numbers, got {dtype} of shape {shape}.")
    tiles = None
    if found.get("tiles") is not None:
        tiles = {}
        for each in read_list(found, "tiles", MOST_TILES):
            first, offset, length, checksum = each
            numbers = [read_whole({"tile": v}, "tile", low=0) for v in (*first, offset, length, checksum)]
            tiles[tuple(numbers[:-3])] = Tile(*numbers[-3:])
    return LeftLayer(
        head=found,
        shape=shape,
        dtype=dtype,
        records=tuple(ObjectRecord.from_json(each) for each in read_list(found, "records", MOST_TILES)),
        pack=pack,
        tiles=tiles,
    )


def _read_index(found: Mapping[str, Any], name: str) -> tuple[int | None, ...]:
    values = read_list(found, name, 32)
    return tuple(None if value is None else read_whole({name: value}, name, low=0) for value in values)
