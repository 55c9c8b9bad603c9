"""One embedding as one file: a zarr v3 group in an uncompressed zip, checked as it is read.

The arrays are sharded and compressed (Blosc LZ4); any zarr opens them with
``zarr.open_group(zarr.storage.ZipStore(path, mode="r"))``. Reading and writing does not go through zarr: what
is left of its specification for arrays of a known layout fits on this page, a small entry takes a fifth
of the time, and no import of 0.3 s comes before the first click.

Zip keeps a checksum of each member and of nothing else, so the metadata names key, format and arrays: an
entry that was cut off, changed, renamed or written by another version is a `DamagedEntryError`.

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
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch

from napari_sam.errors import CacheError
from napari_sam.inference.embedding import Frame, ImageEmbedding
from napari_sam.inference.instance_maps import Instances
from napari_sam.inference.paged_tensor import PagedTensor

if TYPE_CHECKING:
    from pathlib import Path

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


class DamagedEntryError(CacheError):
    """A file is no entry of this key and version."""


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
    ) -> None:
        put = partial(object.__setattr__, self)  # it is frozen
        put("features", features)
        put("detail", detail)
        put("frame", frame)
        put("plane_shape", plane_shape)
        self._maps: NDArray[np.float16] | _Shard | None
        self._instances: Instances | _StoredInstances | None
        put("_maps", maps)
        put("_instances", instances)

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


def read_embedding(path: Path, key: str, device: str | torch.device = "cpu") -> ImageEmbedding:
    """Read the file of an embedding, and check all of it.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    OSError
        When it may not be read.
    DamagedEntryError
        When it is cut off, changed, of another key or another version.
    """
    with path.open("rb") as file:
        try:
            with ZipFile(file) as archive:
                members = {info.filename: archive.read(info) for info in archive.infolist()}
            about = json.loads(members["zarr.json"])["attributes"][_NAME]
            if (about["format"], about["key"]) != (FORMAT, key):
                raise DamagedEntryError(
                    f"Expected an entry of format {FORMAT} and key {key} in {path}, "
                    f"got format {about['format']} and key {about['key']}."
                )
            arrays = {name: _open_array(name, members) for name in about["arrays"]}
            frame: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in about["frame"].items()
            }
            return StoredEmbedding(
                arrays["features"].as_tensor(device),
                arrays["detail"].as_tensor(device) if "detail" in arrays else None,
                arrays.get("maps"),
                _StoredInstances(arrays["labels"], arrays["boxes"]) if "labels" in arrays else None,
                Frame(**frame),
                tuple(about["plane_shape"]),
            )
        except DamagedEntryError:
            raise
        except _SYMPTOMS as error:
            raise DamagedEntryError(f"Expected a whole embedding in {path}, got: {error}.") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Shard:
    """An array whose chunks are still compressed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    data: memoryview
    index: NDArray[np.uint64]  # (rows of chunks, columns of chunks, 2): offset and length in ``data``

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def read_chunk(self, row: int, col: int) -> NDArray[Any]:
        offset, length = (int(n) for n in self.index[row, col])
        out = np.empty(self.chunk, self.dtype)
        _get_compressor().decode(self.data[offset : offset + length], out=out)
        return out

    def read(self) -> NDArray[Any]:
        out = np.empty(self.shape, self.dtype)
        height, width = self.chunk[-2:]
        for row, col in np.ndindex(self.index.shape[:2]):
            target = out[..., row * height : (row + 1) * height, col * width : (col + 1) * width]
            target[...] = self.read_chunk(row, col)[..., : target.shape[-2], : target.shape[-1]]
        return out

    def as_tensor(self, device: str | torch.device) -> PagedTensor:
        return PagedTensor(self.shape, (self.chunk[-2], self.chunk[-1]), self.read_chunk, device)


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
    pieces, index, offset = [], np.empty((rows, cols, 2), "<u8"), 0
    for row, col in np.ndindex(rows, cols):
        piece = np.zeros(chunk, values.dtype)
        found = values[..., row * chunk[-2] : (row + 1) * chunk[-2], col * chunk[-1] : (col + 1) * chunk[-1]]
        piece[..., : found.shape[-2], : found.shape[-1]] = found
        pieces.append(_get_compressor().encode(piece))
        index[row, col] = offset, len(pieces[-1])
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
    }
    return metadata, b"".join([*pieces, index.tobytes()])


def _open_array(name: str, members: dict[str, bytes]) -> _Shard:
    metadata = json.loads(members[f"{name}/zarr.json"])
    shape = tuple(metadata["shape"])
    chunk = tuple(metadata["codecs"][0]["configuration"]["chunk_shape"])
    rows, cols = (-(-n // c) for n, c in zip(shape[-2:], chunk[-2:], strict=True))
    data = memoryview(members[f"{name}/c/{'/'.join('0' * len(shape))}"])
    index = np.frombuffer(data[len(data) - 16 * rows * cols :], "<u8").reshape(rows, cols, 2)
    return _Shard(shape, np.dtype(metadata["data_type"]), chunk, data, index)


def _to_half(values: Tensor) -> NDArray[Any]:
    half = values.half()
    kept = half if bool(torch.isfinite(half).all()) else values.float()
    found: NDArray[Any] = kept.cpu().numpy()
    return found
