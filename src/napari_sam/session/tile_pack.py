"""Label images on disk as tiles, of which only those that changed are written again.

One file that only grows holds compressed tiles; where each lies is told by whoever writes the index, after
the tiles. A crash in between leaves bytes at the end that nobody refers to.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.session.record_json import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TILE", "Tile", "TileKey", "TilePack", "iter_tiles", "unpack_tiles"]

TILE = 512
SLACK = 1 << 23
"""Bytes that a pack may hold in vain before it is written anew."""

TileKey = tuple[str, tuple[int, ...]]  # layer, and the tile's first pixel on every axis


@dataclass(frozen=True, slots=True)
class Tile:
    """Where a tile lies in its pack.

    Attributes
    ----------
    offset, length : int
        Its compressed bytes.
    checksum : int
        CRC-32 of its values.
    """

    offset: int
    length: int
    checksum: int


def iter_tiles(
    shape: tuple[int, ...], planes: Iterator[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], tuple[int | slice, ...]]]:
    """(first pixel, index) of every tile of some planes of the last two axes of an array."""
    rows, cols = shape[-2:]
    for plane in planes:
        for r in range(0, rows, TILE):
            for c in range(0, cols, TILE):
                yield (*plane, r, c), (*plane, slice(r, r + TILE), slice(c, c + TILE))


@dataclass(eq=False)
class TilePack:
    """The tiles of one session; not for two threads at once.

    Parameters
    ----------
    folder : Path
        Where the packs are.
    limit : int
        Bytes that the tiles in use may take.
    """

    folder: Path
    limit: int
    tiles: dict[TileKey, Tile] = field(default_factory=dict)
    number: int = 0
    end: int = 0
    nbytes: int = 0  # of the tiles in use

    @property
    def path(self) -> Path:
        """The pack in use."""
        return self.folder / f"tiles-{self.number}.bin"

    def put(self, key: TileKey, values: NDArray[Any]) -> None:
        """Store a tile, unless it is there; empty ones are known by not being there.

        Raises
        ------
        RecordError
            When there is no room for it.
        OSError
            When it cannot be written.
        """
        old = self.tiles.get(key)
        if not values.any():
            self._drop(key)
            return
        raw = np.ascontiguousarray(values).tobytes()
        checksum = zlib.crc32(raw)
        if old is not None and old.checksum == checksum:
            return
        packed = zlib.compress(raw, 1)
        if self.nbytes - (old.length if old else 0) + len(packed) > self.limit:
            raise RecordError(
                f"Expected labels of at most {self.limit >> 20} MB when packed, got more: they are no longer "
                "saved by themselves; save them with 'Save labels'."
            )
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.seek(self.end)
            file.write(packed)
        self._drop(key)
        self.tiles[key] = Tile(self.end, len(packed), checksum)
        self.nbytes += len(packed)
        self.end += len(packed)

    def _drop(self, key: TileKey) -> None:
        old = self.tiles.pop(key, None)
        self.nbytes -= 0 if old is None else old.length

    def forget(self, layer: str) -> None:
        """A layer is gone, or has become another one."""
        for key in [key for key in self.tiles if key[0] == layer]:
            self._drop(key)

    def settle(self) -> None:
        """Have what was put reach the disk, and write the pack anew where most of it is in vain."""
        if not self.path.exists():
            return
        if self.end > 2 * self.nbytes + SLACK:
            old, self.number = self.path, self.number + 1
            moved, self.end = {}, 0
            with old.open("rb") as source, self.path.open("wb") as target:
                for key, tile in self.tiles.items():
                    source.seek(tile.offset)
                    target.write(source.read(tile.length))
                    moved[key] = Tile(self.end, tile.length, tile.checksum)
                    self.end += tile.length
            self.tiles = moved
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def tidy(self) -> None:
        """Remove packs that the index no longer refers to."""
        for path in self.folder.glob("tiles-*.bin"):
            if path != self.path:
                path.unlink(missing_ok=True)


def unpack_tiles(
    path: Path, tiles: Mapping[tuple[int, ...], Tile], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The label image whose tiles a pack holds.

    Raises
    ------
    RecordError
        When the pack is damaged, or does not fit.
    OSError
        When it cannot be read.
    """
    labels = np.zeros(shape, dtype)
    if not tiles:
        return labels
    with path.open("rb") as file:
        for first, tile in tiles.items():
            inside = [0 <= start < size for start, size in zip(first, shape, strict=False)]
            if len(first) != len(shape) or not all(inside):
                raise RecordError(f"Expected tiles inside {shape}, got one at {first}.")
            *plane, r, c = first
            place: Any = (*plane, slice(r, r + TILE), slice(c, c + TILE))
            size = labels[place].nbytes
            file.seek(tile.offset)
            try:
                raw = zlib.decompressobj().decompress(file.read(min(tile.length, 2 * size + 1024)), size + 1)
            except zlib.error as error:
                raise RecordError(f"Expected the tile at {first}, got damaged bytes ({error}).") from error
            if len(raw) != size or zlib.crc32(raw) != tile.checksum:
                raise RecordError(f"Expected the tile at {first}, got other bytes than were written.")
            labels[place] = np.frombuffer(raw, dtype).reshape(labels[place].shape)
    return labels
