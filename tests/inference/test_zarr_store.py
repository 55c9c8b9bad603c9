from __future__ import annotations

import copy
import dataclasses
import errno
import multiprocessing
import os
import pickle
import random
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import zarr

from napari_sam.errors import CacheError
from napari_sam.inference import zarr_entry, zarr_store
from napari_sam.inference.cache import DamagedEntryError, EmbeddingCache
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.embedding import ImageEmbedding
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.transforms import measure_normalization
from napari_sam.inference.zarr_entry import open_embedding, pack_embedding
from napari_sam.inference.zarr_store import SUFFIX, ZarrStore, default_cache_dir
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

PROGRAM = Path(__file__).with_name("stored_embeddings.py")
_names = runpy.run_path(str(PROGRAM))
make_embedding: Callable[..., ImageEmbedding] = _names["make_embedding"]
equal: Callable[[ImageEmbedding, ImageEmbedding], bool] = _names["equal"]


def path_of(store: ZarrStore, key: str) -> Path:
    return store.folder / f"{key}{SUFFIX}"


@pytest.fixture(scope="module")
def start() -> Callable[..., tuple[Any, Any]]:
    """Starts a worker on a folder (seed, seconds, budget): a process that can be killed, and its reports."""
    windows = sys.platform == "win32"
    context = multiprocessing.get_context("spawn" if windows else "forkserver")
    if not windows:  # one process imports, the others come from it
        context.set_forkserver_preload(["napari_sam.inference.zarr_store", "scipy.ndimage"])

    def start(*arguments: Any) -> tuple[Any, Any]:
        report = context.Queue()
        given = {"arguments": (*arguments, report)}
        process = context.Process(target=runpy.run_path, args=(str(PROGRAM), given), daemon=True)
        process.start()
        return process, report

    return start


def age(store: ZarrStore, *keys: str) -> None:
    """Make entries look as if last used in this order, the first longest ago."""
    for i, key in enumerate(keys):
        when = time.time() - 1000 + i
        os.utime(path_of(store, key), (when, when))


@pytest.fixture
def store(tmp_path: Path) -> ZarrStore:
    return ZarrStore(tmp_path / "cache")


# ---- what is kept -----------------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(store: ZarrStore) -> None:
    embedding = make_embedding("a")
    assert store.get("a") is None
    store.put("a", embedding)
    found = store.get("a")
    assert found is not None
    assert equal(found, embedding)
    assert (found.tokens, found.features.shape) == (embedding.tokens, embedding.features.shape)
    assert found.nbytes <= embedding.nbytes  # labels are narrower
    assert ("a" in store, "b" in store, len(store)) == (True, False, 1)
    assert store.nbytes == path_of(store, "a").stat().st_size


@pytest.mark.parametrize(
    "duplicate",
    [
        pytest.param(lambda found: pickle.loads(pickle.dumps(found)), id="pickled"),
        pytest.param(copy.copy, id="copied"),
        pytest.param(copy.deepcopy, id="copied deeply"),
    ],
)
@pytest.mark.parametrize("loaded", [False, True], ids=["read in part", "read whole"])
def test_what_is_read_can_be_copied(
    store: ZarrStore, duplicate: Callable[[ImageEmbedding], ImageEmbedding], loaded: bool
) -> None:
    embedding = make_embedding("a")
    store.put("a", embedding)
    found = store.get("a")
    assert found is not None
    if loaded:
        found.load()
    again = duplicate(found)
    store.clear()
    assert equal(again, embedding)
    assert (again.nbytes, again.tokens) == (embedding.nbytes, embedding.tokens)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux lists them")
def test_writing_in_a_thread_leaves_no_pool_of_threads_there() -> None:
    """A second OpenMP pool in the process would make every click slower."""
    program = """
import os, runpy, sys, threading
import torch
from napari_sam.inference.zarr_entry import pack_embedding

def count():
    return len(os.listdir("/proc/self/task"))

def run(job):
    counted = []
    def work():
        before = count()
        job()
        counted.append(count() - before)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return counted[0]

torch.set_num_threads(4)
embedding = runpy.run_path(sys.argv[1])["make_embedding"]("a", 1024)
assert embedding.detail.numel() > 1 << 19
print(run(lambda: pack_embedding("a", embedding)), run(lambda: torch.ones(1 << 22).sum()))
"""
    command = [sys.executable, "-c", program, str(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    left, pool = map(int, done.stdout.split())
    assert left == 0
    assert pool > 0, "PyTorch has no pool here, so this test says nothing"


@pytest.mark.parametrize("side", [8, 24, 130, 300], ids=lambda n: f"{n} px")
def test_any_zarr_opens_an_entry(side: int, store: ZarrStore) -> None:
    embedding = make_embedding("a", side)
    store.put("a", embedding)
    with zarr.storage.ZipStore(path_of(store, "a"), mode="r") as file:
        group = zarr.open_group(file, mode="r", zarr_format=3)
        assert dict(group.attrs)["napari_sam"]["key"] == "a"
        arrays = {name: array[...] for name, array in group.arrays()}
    assert embedding.instances is not None
    assert np.array_equal(arrays["features"], embedding.features[...].numpy())
    assert np.array_equal(arrays["detail"], embedding.detail[...].numpy())
    assert np.array_equal(arrays["maps"], embedding.maps)
    assert np.array_equal(arrays["labels"], embedding.instances.labels)
    assert arrays["boxes"].tolist() == [
        [box[0].start, box[1].start, box[0].stop, box[1].stop] if box else [-1] * 4
        for box in embedding.instances.boxes
    ]


def test_all_of_an_embedding_is_kept() -> None:
    """Whoever adds something to an embedding must store it, and raise FORMAT."""
    assert [f.name for f in dataclasses.fields(ImageEmbedding)] == [
        "features", "detail", "maps", "instances", "frame", "plane_shape",
    ]  # fmt: skip


def test_a_model_decodes_the_same_from_disk(
    model: LoadedModel, blobs: NDArray[np.uint8], store: ZarrStore
) -> None:
    predictor = Predictor(model)
    fresh = predictor.encode(
        blobs, measure_normalization(blobs), predictor.make_frame((0, 0, *blobs.shape)), blobs.shape
    )
    store.put("a", fresh)
    found = store.get("a")
    assert found is not None
    prompts = [Prompts(points=[(40, 52)]), Prompts(box=(10, 20, 50, 80)), Prompts(points=[(100, 120)])]
    for expected, got in zip(
        predictor.decode_many(fresh, prompts), predictor.decode_many(found, prompts), strict=True
    ):
        assert (got.origin, got.mask.tobytes()) == (expected.origin, expected.mask.tobytes())
        assert got.predicted_iou == expected.predicted_iou


@pytest.mark.parametrize("name", ["conv_model", "vit_model"])
def test_what_is_fresh_is_what_is_read(
    name: str, blobs: NDArray[np.uint8], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Bit for bit, so that an answer does not depend on what a cache happens to hold."""
    model: LoadedModel = request.getfixturevalue(name)
    fresh = CachedPredictor(model, cache_dir=tmp_path)
    embedding = fresh.encode(blobs)
    fresh.cache.flush()
    read = CachedPredictor(model, cache_dir=tmp_path).encode(blobs)
    assert read is not embedding
    assert torch.equal(read.features[...], embedding.features)
    if embedding.detail is not None:
        assert read.detail is not None
        assert torch.equal(read.detail[...], embedding.detail)


def test_a_stored_embedding_can_be_moved(store: ZarrStore) -> None:
    embedding = make_embedding("a")
    store.put("a", embedding)
    found = store.get("a")
    assert found is not None
    assert equal(
        dataclasses.replace(found, plane_shape=(5, 6)), dataclasses.replace(embedding, plane_shape=(5, 6))
    )


def test_an_embedding_without_maps(store: ZarrStore) -> None:
    bare = dataclasses.replace(make_embedding("a"), detail=None, maps=None, instances=None)
    store.put("a", bare)
    found = store.get("a")
    assert found is not None
    assert (found.detail, found.maps, found.instances) == (None, None, None)
    assert torch.equal(found.features[...], bare.features[...])


def test_what_float16_cannot_hold_is_kept_in_float32(store: ZarrStore) -> None:
    embedding = make_embedding("a")
    large = dataclasses.replace(embedding, features=embedding.features[...] + 1e6)
    store.put("a", large)
    found = store.get("a")
    assert found is not None
    assert torch.equal(found.features[...], large.features[...])


def test_only_the_window_of_a_click_is_unpacked(store: ZarrStore) -> None:
    embedding = make_embedding("a", 512)  # 64 x 64 tokens
    store.put("a", embedding)
    found = store.get("a")
    assert found is not None
    window = found.features[..., 20:36, 8:24]
    assert torch.equal(window, embedding.features[..., 20:36, 8:24])
    assert found.features.pages_read == 4
    assert found.detail.pages_read == 0


def test_keys_are_names_of_files(store: ZarrStore) -> None:
    with pytest.raises(CacheError, match="letters, digits"):
        store.put("../a", make_embedding("a"))


# ---- what is damaged --------------------------------------------------------------------------------------


def _cut(data: bytes) -> list[bytes]:
    return [data[:n] for n in range(0, len(data), 97)]


def _flip(data: bytes) -> list[bytes]:
    rng = random.Random(0)
    changed = []
    for i in range(0, len(data), 5):
        copy = bytearray(data)
        copy[i] ^= 1 << rng.randrange(8)
        changed.append(bytes(copy))
    return changed


def _blank(data: bytes) -> list[bytes]:
    """What a file system may leave after a power cut: the length is right, a block is empty."""
    return [data[:n] + bytes(512) + data[n + 512 :] for n in range(0, len(data) - 512, 512)]


def _of_another_key(data: bytes) -> list[bytes]:
    return [pack_embedding("other", make_embedding("a"))]


def _of_another_program(data: bytes) -> list[bytes]:
    return [b"GIF89a" * 100, b"PK\5\6" + bytes(18), bytes(len(data))]


@pytest.mark.parametrize(
    "damage", [_cut, _flip, _blank, _of_another_key, _of_another_program], ids=lambda f: f.__name__[1:]
)
def test_damage_is_noticed(damage: Callable[[bytes], list[bytes]], store: ZarrStore) -> None:
    """Whatever is damaged raises when it is opened, looked at, or loaded; the cache then drops it."""
    embedding = make_embedding("a", 8)
    store.put("a", embedding)
    path = path_of(store, "a")
    harmless = 0
    variants = damage(path.read_bytes())
    for data in variants:
        path.write_bytes(data)
        found = EmbeddingCache(0, store).get("a")
        if found is None:
            assert not path.exists()  # dropped, so that it is written anew
            path.write_bytes(data)
            with pytest.raises(DamagedEntryError):
                equal(open_embedding(path, "a"), embedding)
        else:
            assert equal(found, embedding)
            harmless += 1
    # Dates and attributes in the zip's directory mean nothing, nor does zarr's index of the chunks.
    assert harmless < len(variants) * (0.25 if damage in (_flip, _blank) else 0.001)
    store.put("a", embedding)
    assert store.get("a") is not None


@pytest.mark.parametrize("way", ["deleted", "cut", "changed"])
def test_what_is_damaged_after_it_was_opened(way: str, store: ZarrStore) -> None:
    store.put("a", make_embedding("a", 512))
    path = path_of(store, "a")
    data = path.read_bytes()
    cache = EmbeddingCache(1 << 30, store)
    found = cache.get("a", partial=True)
    assert found is not None
    window = found.features[..., :16, :16]
    if way == "deleted":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 1000] if way == "cut" else bytes(len(data)))
    assert torch.equal(found.features[..., :16, :16], window)  # what was read stays
    with pytest.raises(DamagedEntryError):
        found.features[..., 40:50, 40:50]
    with pytest.raises(DamagedEntryError):
        _ = found.maps
    assert (cache.get("a"), cache.tier("a"), path.exists()) == (None, None, False)


def test_what_is_loaded_needs_the_file_no_more(store: ZarrStore) -> None:
    embedding = make_embedding("a", 100)
    store.put("a", embedding)
    found = EmbeddingCache(0, store).get("a")
    assert found is not None
    store.clear()
    assert equal(found, embedding)


def test_a_click_on_a_damaged_file_encodes_anew(
    conv_model: LoadedModel, make_blobs: Callable[..., Any], tmp_path: Path, encode_calls: list[Any]
) -> None:
    image, click = make_blobs(250, 250), Prompts(points=[(40, 52)])
    expected = CachedPredictor(conv_model, cache_dir=tmp_path)
    before = expected.predict(image, click)
    expected.cache.flush()
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    data = bytearray(path.read_bytes())
    for name in (b"features/c/0/0/0/0", b"detail/c/0/0/0/0"):
        start = data.find(name) + len(name)
        data[start : start + 50] = bytes(50)
    path.write_bytes(data)
    predictor = CachedPredictor(conv_model, cache_dir=tmp_path)
    assert predictor.tier(image) == "disk"
    found = predictor.predict(image, click)
    assert len(encode_calls) == 2
    assert (found.origin, found.mask.tobytes()) == (before.origin, before.mask.tobytes())
    predictor.cache.flush()
    again = CachedPredictor(conv_model, cache_dir=tmp_path)
    again.predict(image, click)
    assert len(encode_calls) == 2


def test_entries_of_another_version_are_dropped(store: ZarrStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zarr_entry, "FORMAT", zarr_entry.FORMAT - 1)
        store.put("a", make_embedding("a"))
        assert store.get("a") is not None
    with pytest.raises(DamagedEntryError, match=r"format 1 and key a in .*, got format 0"):
        open_embedding(path_of(store, "a"), "a")
    assert store.get("a") is None
    assert not path_of(store, "a").exists()


# ---- several processes ------------------------------------------------------------------------------------


def test_processes_share_a_folder(store: ZarrStore, start: Callable[..., Any]) -> None:
    """Four write, read and trim at once; each checks every value that it reads."""
    store.put("key0", make_embedding("key0"))
    budget = 6 * store.nbytes
    workers = [start(str(store.folder), seed, 2.0, budget) for seed in range(4)]
    for process, report in workers:
        assert report.get(timeout=120) == "begun"
        found, wrong = report.get(timeout=120)
        process.join()
        assert (process.exitcode, wrong, found > 0) == (0, 0, True)
    store = ZarrStore(store.folder, budget)
    store.trim()
    assert 0 < store.nbytes <= budget
    assert not list(store.folder.glob("*.tmp"))


def test_a_killed_process_leaves_whole_entries_or_none(store: ZarrStore, start: Callable[..., Any]) -> None:
    rng = random.Random(0)
    for seed in range(20):
        process, report = start(str(store.folder), seed, 60.0, 1 << 30)
        report.get(timeout=120)
        time.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        process.join()
        for i in range(12):
            path = path_of(store, f"key{i}")
            if path.exists():
                assert equal(open_embedding(path, f"key{i}"), make_embedding(f"key{i}"))
                path.unlink()  # so that the next has something to write
    for path in store.folder.glob("*.tmp"):
        os.utime(path, (time.time() - 3600,) * 2)
    store.trim()
    assert not list(store.folder.glob("*.tmp"))


def test_leftovers_are_swept(store: ZarrStore) -> None:
    store.put("a", make_embedding("a"))
    old, new = (store.folder / f"{name}.embedding.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half an ent")
    os.utime(old, (time.time() - 3600,) * 2)
    store.trim()
    assert (old.exists(), new.exists(), "a" in store) == (False, True, True)  # the new one has a writer


# ---- budget -----------------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(store: ZarrStore) -> None:
    for key in "abcd":
        store.put(key, make_embedding("same"))
    one = path_of(store, "a").stat().st_size
    age(store, *"abcd")
    assert store.get("a") is not None  # "b" is the oldest now
    store.trim(2 * one)
    assert [key in store for key in "abcd"] == [True, False, False, True]


def test_writing_keeps_to_the_budget(tmp_path: Path) -> None:
    one = len(pack_embedding("0", make_embedding("same")))
    store = ZarrStore(tmp_path, int(4.5 * one))
    other = ZarrStore(tmp_path, int(4.5 * one))
    for i in range(20):
        (store, other)[i % 2].put(str(i), make_embedding("same"))
        assert store.nbytes <= store.budget_bytes
        assert str(i) in store
    assert len(store) >= 3


def test_an_entry_larger_than_the_budget_drops_nothing(tmp_path: Path) -> None:
    one = len(pack_embedding("a", make_embedding("a")))
    store = ZarrStore(tmp_path, 2 * one)
    store.put("a", make_embedding("a"))
    store.put("b", make_embedding("b", 200))
    assert ("a" in store, "b" in store) == (True, False)


def test_half_of_the_free_disk_is_left(store: ZarrStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in "abcd":
        store.put(key, make_embedding("same"))
    age(store, *"abcd")
    one = store.nbytes // 4
    monkeypatch.setattr(zarr_store.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 2 * one))
    store.trim()  # 4 in use and 2 free: 3 may be kept
    assert [key in store for key in "abcd"] == [False, True, True, True]


def test_a_negative_budget(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="0 bytes or more, got -1"):
        ZarrStore(tmp_path, -1)


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/c", 5], ids=["no such user", "a number"])
def test_a_folder_that_is_no_path(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CacheError, match=f"a folder for embeddings, got '?{folder}"):
        ZarrStore(folder)
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", "~nobody-of-this-name/c")
    with pytest.raises(CacheError, match="a folder for embeddings"):
        default_cache_dir()


def test_clearing_touches_nothing_else(store: ZarrStore) -> None:
    store.put("a", make_embedding("a"))
    mine = store.folder / "mine.zarr.zip"
    mine.write_bytes(b"")
    store.clear()
    assert ("a" in store, len(store), store.nbytes, mine.exists()) == (False, 0, 0, True)


# ---- disks that fail --------------------------------------------------------------------------------------


def test_a_folder_that_vanishes(store: ZarrStore) -> None:
    store.put("a", make_embedding("a"))
    shutil.rmtree(store.folder)
    assert ("a" in store, store.get("a"), store.nbytes, len(store)) == (False, None, 0, 0)
    store.put("a", make_embedding("a"))
    assert store.get("a") is not None


def test_a_disk_that_was_taken_out(tmp_path: Path) -> None:
    store = ZarrStore(tmp_path / "disk" / "cache")
    store.put("a", make_embedding("a"))
    shutil.rmtree(tmp_path / "disk")
    with pytest.raises(CacheError, match=r"Cannot keep embeddings in .*cache: No such file.*another folder"):
        store.put("a", make_embedding("a"))
    assert not (tmp_path / "disk").exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = ZarrStore(tmp_path / "file" / "cache")
    assert ("a" in store, store.get("a"), len(store)) == (False, None, 0)
    with pytest.raises(CacheError, match="Cannot keep embeddings"):
        store.put("a", make_embedding("a"))


def test_a_full_disk_makes_room_once(store: ZarrStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in "abcd":
        store.put(key, make_embedding("same"))
    age(store, *"abcd")
    calls = []

    def fsync(_: int) -> None:
        calls.append(len(store))
        if len(store) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    store.put("e", make_embedding("same"))
    assert calls == [4, 2]
    assert [key in store for key in "abcde"] == [False, False, True, True, True]
    monkeypatch.setattr(
        os, "fsync", lambda _: os.close(-1) if 0 else (_ for _ in ()).throw(OSError(28, "No space"))
    )
    with pytest.raises(CacheError, match="No space"):
        store.put("f", make_embedding("same"))
    assert not list(store.folder.glob("*.tmp"))


# ---- where ------------------------------------------------------------------------------------------------


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path / "mine"))
    assert default_cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("NAPARI_SAM_CACHE_DIR")
    assert default_cache_dir().parts[-1] == "embeddings"
    assert "napari-sam" in default_cache_dir().parts


def test_zarr_is_not_imported_without_need() -> None:
    code = (
        "import sys, napari_sam, napari_sam.inference.cached_predictor, napari_sam.inference.cache\n"
        "print(sorted({'zarr', 'numcodecs'} & set(sys.modules)))\n"
        "import napari_sam.inference.zarr_store\n"
        "print('zarr' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nFalse\n"
