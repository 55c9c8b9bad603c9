"""One embedding as one file: a zarr v3 group in an uncompressed zip, checked as it is read.

The arrays are sharded and compressed (Blosc LZ4); any zarr opens them with
``zarr.open_group(zarr.storage.ZipStore(path, mode="r"))``. Reading and writing does not go through zarr: what
is left of its specification for arrays of a known layout fits on this page, a small entry takes a fifth
of the time, and no import of 0.3 s comes before the first click.

The metadata has a checksum (zip's own) and holds those of the chunks, so that a chunk can be read and
checked alone: a click needs 1 MB of the 23 MB of a frame of 1024 pixels. It also names key, format and
arrays. An entry that was cut off, changed, renamed or written by another version is a `DamagedEntryError`.

References
----------
https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html, and its codec ``sharding_indexed``.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import asdict, dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from zipfile import BadZipFile, ZipFile

import numpy as np

from napari_sam.inference.cache import DamagedEntryError
from napari_sam.inference.embedding import Frame, ImageEmbedding
from napari_sam.inference.instance_maps import Instances
from napari_sam.inference.paged_tensor import PagedTensor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

FORMAT: Final = 1
"""Raised when the layout or the meaning of what is stored changes; other entries are then recomputed."""

_SIDES: Final = {"features": 16, "detail": 64, "maps": 256, "labels": 256, "boxes": 1 << 20}
"""Largest side of a chunk: 16 tokens are what a click decodes in, and a chunk is read whole."""
_NAME: Final = "napari_sam"
# What a file that is not as it was written can make zipfile, json, Blosc and NumPy say.
_SYMPTOMS: Final = (
    BadZipFile, ValueError, KeyError, TypeError, IndexError, EOFError, OSError, RuntimeError, struct.error,
    zlib.error, OverflowError, MemoryError, AttributeError,
)  # fmt: skip


class StoredEmbedding(ImageEmbedding):
    """An embedding that was read from disk: what nobody looks at stays compressed.

    Parameters are those of `ImageEmbedding`, or what they are read from.
    """

    def __init__(
        self,
        features: Tensor | PagedTensor,
        detail: Tensor | PagedTensor | None,
        maps: NDArray[np.float16] | _Shard | None,
        instances: Instances | _StoredInstances | None,
        frame: Frame,
        plane_shape: tuple[int, int],
        shards: Iterable[_Shard] = (),
    ) -> None:
        put = partial(object.__setattr__, self)  # it is frozen
        put("features", features)
        put("detail", detail)
        put("frame", frame)
        put("plane_shape", plane_shape)
        self._maps: NDArray[np.float16] | _Shard | None
        self._instances: Instances | _StoredInstances | None
        self._shards: tuple[_Shard, ...]
        put("_maps", maps)
        put("_instances", instances)
        put("_shards", tuple(shards))

    @cached_property
    def maps(self) -> NDArray[np.float16] | None:
        """As in `ImageEmbedding`, unpacked when first wanted."""
        return self._maps.read() if isinstance(self._maps, _Shard) else self._maps

    @cached_property
    def instances(self) -> Instances | None:
        """As in `ImageEmbedding`, unpacked when first wanted."""
        stored = self._instances
        return stored.read() if isinstance(stored, _StoredInstances) else stored

    @property
    def nbytes(self) -> int:
        """Memory that it holds at most, in bytes."""
        held = sum(t.nbytes for t in (self.features, self.detail) if t is not None)
        held += self._maps.nbytes if self._maps is not None else 0
        return held + (self._instances.labels.nbytes if self._instances is not None else 0)

    def load(self) -> None:
        """Check all that is left in the file, and need the file no more.

        Raises
        ------
        DamagedEntryError
            When something is not as it was written, or the file is gone.
        """
        for shard in self._shards:
            shard.load()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, or what another process gets, has everything and needs no file."""
        detail = None if self.detail is None else self.detail[...]
        parts = self.features[...], detail, self.maps, self.instances, self.frame, self.plane_shape
        return ImageEmbedding, parts


def pack_embedding(key: str, embedding: ImageEmbedding) -> bytes:
    """The content of the file of an embedding.

    Features are rounded to float16, where that can hold them; maps and instances stay as they are.
    """
    arrays: dict[str, NDArray[Any]] = {"features": _to_half(embedding.features[...])}
    if embedding.detail is not None:
        arrays["detail"] = _to_half(embedding.detail[...])
    if embedding.maps is not None:
        arrays["maps"] = embedding.maps
    if embedding.instances is not None:
        labels, boxes = embedding.instances.labels, embedding.instances.boxes
        arrays["labels"] = labels.astype(np.uint16) if len(boxes) < 1 << 16 else labels
        rows = [(b[0].start, b[1].start, b[0].stop, b[1].stop) if b else (-1,) * 4 for b in boxes]
        arrays["boxes"] = np.array(rows, np.int32).reshape(-1, 4)
    about = {
        "format": FORMAT,
        "key": key,
        "arrays": sorted(arrays),
        "frame": asdict(embedding.frame),
        "plane_shape": embedding.plane_shape,
    }
    group = {"zarr_format": 3, "node_type": "group", "attributes": {_NAME: about}}
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("zarr.json", json.dumps(group))
        for name, values in arrays.items():
            metadata, shard = _pack_array(values, _SIDES[name])
            archive.writestr(f"{name}/zarr.json", json.dumps(metadata))
            archive.writestr(f"{name}/c/{'/'.join('0' * values.ndim)}", shard)
    return file.getvalue()


def open_embedding(path: Path, key: str, device: str | torch.device = "cpu") -> StoredEmbedding:
    """Read the metadata of an entry; what it describes is read and checked when it is first looked at.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    OSError
        When it may not be read.
    DamagedEntryError
        When it is cut off, of another key or another version. Looking at the embedding raises it too,
        where that part is damaged, or the file is gone by then.
    """
    with path.open("rb") as file:
        try:
            with ZipFile(file) as archive:
                about = json.loads(archive.read("zarr.json"))["attributes"][_NAME]
                if (about["format"], about["key"]) != (FORMAT, key):
                    raise DamagedEntryError(
                        f"Expected an entry of format {FORMAT} and key {key} in {path}, "
                        f"got format {about['format']} and key {about['key']}."
                    )
                arrays = {name: _open_array(name, archive, file, path) for name in about["arrays"]}
            frame: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in about["frame"].items()
            }
            features: Tensor | PagedTensor = arrays["features"].as_tensor(device)
            if "detail" not in arrays:  # such models decode in whole frames: there is nothing to put off
                features = features[...]
            return StoredEmbedding(
                features,
                arrays["detail"].as_tensor(device) if "detail" in arrays else None,
                arrays.get("maps"),
                _StoredInstances(arrays["labels"], arrays["boxes"]) if "labels" in arrays else None,
                Frame(**frame),
                tuple(about["plane_shape"]),
                arrays.values(),
            )
        except DamagedEntryError:
            raise
        except _SYMPTOMS as error:
            raise DamagedEntryError(f"Expected a whole embedding in {path}, got: {error}.") from error


class _Shard:
    """An array whose chunks are still compressed, in the file or in memory."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunk: tuple[int, ...],
        table: NDArray[np.int64],
        path: Path,
        start: int,
    ) -> None:
        self.shape, self.dtype, self.chunk = shape, dtype, chunk
        self.nbytes = int(np.prod(shape)) * dtype.itemsize
        self._table = table  # (rows of chunks, columns, 3): offset from ``start``, length, checksum
        self._path, self._start = path, start
        self._loaded: memoryview | None = None

    def load(self) -> None:
        if self._loaded is None:
            self._loaded = self._read_whole()

    def read_chunk(self, row: int, col: int) -> NDArray[Any]:
        offset, length, checksum = self._table[row, col].tolist()
        loaded = self._loaded
        if loaded is not None:
            return self._unpack(loaded[offset : offset + length])
        piece = self._read_file(offset, length)
        self._check(piece, length, checksum)
        return self._unpack(piece)

    def read(self) -> NDArray[Any]:
        data = self._read_whole() if self._loaded is None else self._loaded
        out = np.empty(self.shape, self.dtype)
        height, width = self.chunk[-2:]
        for row, col in np.ndindex(self._table.shape[:2]):
            offset, length, _ = self._table[row, col].tolist()
            target = out[..., row * height : (row + 1) * height, col * width : (col + 1) * width]
            values = self._unpack(data[offset : offset + length])
            target[...] = values[..., : target.shape[-2], : target.shape[-1]]
        return out

    def _read_whole(self) -> memoryview:
        rows = self._table.reshape(-1, 3).tolist()
        data = self._read_file(0, max((offset + length for offset, length, _ in rows), default=0))
        for offset, length, checksum in rows:
            self._check(data[offset : offset + length], length, checksum)
        return data

    def _unpack(self, piece: memoryview) -> NDArray[Any]:
        out = np.empty(self.chunk, self.dtype)
        _get_compressor().decode(piece, out=out)
        return out

    def as_tensor(self, device: str | torch.device) -> PagedTensor:
        return PagedTensor(self.shape, (self.chunk[-2], self.chunk[-1]), self.read_chunk, device)

    def _read_file(self, offset: int, length: int) -> memoryview:
        try:
            with self._path.open("rb", buffering=0) as file:  # not kept open: there may be hundreds
                file.seek(self._start + offset)
                return memoryview(file.read(length))
        except OSError as error:
            raise DamagedEntryError(f"Expected the embedding {self._path}, got: {error}.") from error

    def _check(self, piece: memoryview, length: int, checksum: int) -> None:
        if len(piece) != length or zlib.crc32(piece) != checksum:
            raise DamagedEntryError(f"Expected {self._path} as it was written, got other bytes.")


@dataclass(frozen=True, slots=True, eq=False)
class _StoredInstances:
    labels: _Shard
    boxes: _Shard

    def read(self) -> Instances:
        boxes = self.boxes.read().tolist()
        return Instances(
            self.labels.read().astype(np.int32),
            tuple((slice(b[0], b[2]), slice(b[1], b[3])) if b[0] >= 0 else None for b in boxes),
        )


@cache
def _get_compressor() -> Any:
    from numcodecs.blosc import SHUFFLE, Blosc  # here: it looks through all installed packages

    return Blosc("lz4", clevel=5, shuffle=SHUFFLE)


def _pack_array(values: NDArray[Any], side: int) -> tuple[dict[str, Any], bytes]:
    """The metadata of a zarr array and its only shard."""
    chunk = *values.shape[:-2], *(max(1, min(side, n)) for n in values.shape[-2:])
    rows, cols = (-(-n // c) for n, c in zip(values.shape[-2:], chunk[-2:], strict=True))
    pieces, table, offset = [], np.empty((rows, cols, 3), np.int64), 0
    for row, col in np.ndindex(rows, cols):
        piece = np.zeros(chunk, values.dtype)
        found = values[..., row * chunk[-2] : (row + 1) * chunk[-2], col * chunk[-1] : (col + 1) * chunk[-1]]
        piece[..., : found.shape[-2], : found.shape[-1]] = found
        pieces.append(_get_compressor().encode(piece))
        table[row, col] = offset, len(pieces[-1]), zlib.crc32(pieces[-1])
        offset += len(pieces[-1])
    ends = {"name": "bytes", "configuration": {"endian": "little"}}
    blosc = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": values.itemsize, "blocksize": 0}
    sharding = {
        "chunk_shape": chunk,
        "codecs": [ends, {"name": "blosc", "configuration": blosc}],
        "index_codecs": [ends],
        "index_location": "end",
    }
    shard = *values.shape[:-2], max(rows, 1) * chunk[-2], max(cols, 1) * chunk[-1]
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {_NAME: {"chunks": table.tolist()}},  # offset, length and CRC-32 of each
    }
    return metadata, b"".join([*pieces, table[..., :2].astype("<u8").tobytes()])


def _open_array(name: str, archive: ZipFile, file: BinaryIO, path: Path) -> _Shard:
    metadata = json.loads(archive.read(f"{name}/zarr.json"))
    shape = tuple(metadata["shape"])
    chunk = tuple(metadata["codecs"][0]["configuration"]["chunk_shape"])
    table = np.array(metadata["attributes"][_NAME]["chunks"], np.int64)
    rows, cols = (-(-n // c) for n, c in zip(shape[-2:], chunk[-2:], strict=True))
    member = archive.getinfo(f"{name}/c/{'/'.join('0' * len(shape))}")
    file.seek(member.header_offset + 26)  # of the member's local header, which ends in two variable parts
    start = file.tell() + 4 + sum(struct.unpack("<HH", file.read(4)))
    if start + member.file_size > path.stat().st_size:
        raise DamagedEntryError(f"Expected {path} to hold all of {name}, got a shorter file.")
    return _Shard(shape, np.dtype(metadata["data_type"]), chunk, table.reshape(rows, cols, 3), path, start)


def _to_half(values: Tensor) -> NDArray[Any]:
    # By NumPy: this may run in a thread of its own, where PyTorch would leave an OpenMP pool behind.
    kept: NDArray[Any] = values.float().cpu().numpy()
    with np.errstate(over="ignore"):
        half = kept.astype(np.float16)
    return half if np.isfinite(half).all() else kept
