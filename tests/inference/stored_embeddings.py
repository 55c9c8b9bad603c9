"""Small embeddings that follow from their key, and a worker that stores them, for tests of the cache."""

from __future__ import annotations

import random
import time
import zlib
from typing import Any

import numpy as np
import torch
from scipy.ndimage import find_objects

from napari_sam.inference.cache import DamagedEntryError
from napari_sam.inference.embedding import Frame, ImageEmbedding
from napari_sam.inference.instance_maps import Instances
from napari_sam.inference.zarr_store import ZarrStore


def make_embedding(key: str, side: int = 24, channels: int = 2) -> ImageEmbedding:
    """Random float16 values, with detail, maps and instances of a crop of ``side`` pixels."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    tokens = -(-side // 8)

    def values(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape).astype(np.float16)).float()

    labels = np.zeros((side, side), np.int32)
    labels[2:7, 3:9], labels[12:20, 1:5] = 1, 3  # 2 is missing: such an object has no box
    return ImageEmbedding(
        values(1, channels, tokens, tokens),
        values(1, channels + 1, 4 * tokens, 4 * tokens),
        rng.normal(size=(5, side, side)).astype(np.float16),
        Instances(labels, tuple(find_objects(labels))),
        Frame((10, 20, 10 + side, 20 + side), 1.0, (8 * tokens, 8 * tokens)),
        (1000, 2000),
    )


def equal(a: ImageEmbedding, b: ImageEmbedding) -> bool:
    """Whether all that is in two embeddings is the same."""
    assert a.detail is not None
    assert b.detail is not None
    assert a.maps is not None
    assert b.maps is not None
    assert a.instances is not None
    assert b.instances is not None
    return (
        torch.equal(a.features[...], b.features[...])
        and torch.equal(a.detail[...], b.detail[...])
        and np.array_equal(a.maps, b.maps)
        and np.array_equal(a.instances.labels, b.instances.labels)
        and a.instances.boxes == b.instances.boxes
        and (a.frame, a.plane_shape) == (b.frame, b.plane_shape)
    )


def store_and_check(folder: str, seed: int, seconds: float, budget: int, report: Any) -> None:
    """Write and read random keys; reports that it has begun, then how many were read and how many wrong."""
    store, rng = ZarrStore(folder, budget), random.Random(seed)
    store.put("key0", make_embedding("key0"))  # the first one imports
    report.put("begun")
    end = time.monotonic() + seconds
    found = wrong = 0
    while time.monotonic() < end:
        key = f"key{rng.randrange(12)}"
        embedding = store.get(key)
        if embedding is None:
            store.put(key, make_embedding(key))
            continue
        try:
            wrong += not equal(embedding, make_embedding(key))
            found += 1
        except DamagedEntryError:  # trimmed by another process before all of it was read: encoded anew, then
            store.put(key, make_embedding(key))
    report.put((found, wrong))


if "arguments" in globals():  # by runpy, in a process of its own
    store_and_check(*globals()["arguments"])
